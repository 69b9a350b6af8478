"""Sizes of the kernels' tiles, by architecture and head size: `tiles.json`. Each entry is compiled ahead of
time in the tests: no spills, shared memory within limits. docs/gpu.md says which were tuned on a GPU;
bench/gpu_run.py tunes them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

TILES_FILE = Path(__file__).with_name("tiles.json")
HEAD_SIZES = (64, 128)  # narrower heads are filled up with zeros
SMALLEST = 86  # 99 KiB of shared memory: what runs on an architecture that the table does not know


@dataclass(frozen=True)
class Tiles:
    """Queries and keys of a block, warps of a program, stages of its pipeline."""

    rows: int
    columns: int
    warps: int
    stages: int


@dataclass(frozen=True)
class TilePlan:
    """Tiles of the three kernels."""

    forward: Tiles
    queries: Tiles  # gradient of the queries
    keys: Tiles  # gradients of keys, values and bias


Architecture = int | str  # compute capability 9.0 is 90; AMD's by name
TileTable = dict[Architecture, dict[int, TilePlan]]
KERNELS = tuple(field.name for field in fields(TilePlan))


def read_table(text: str) -> TileTable:
    """The table that a text of JSON holds: {architecture: {head size: {kernel: [rows, columns, warps,
    stages]}}}. ValueError names the entry that is broken."""
    try:
        held = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{TILES_FILE.name} is no JSON: {error}") from None
    _require(isinstance(held, dict) and bool(held), "the table", held, "an object of architectures")
    table = {int(name) if name.isdecimal() else name: _sizes(name, sizes) for name, sizes in held.items()}
    _require(SMALLEST in table, "the table", list(held), f"{SMALLEST} in it, for GPUs that it does not know")
    return table


def table_text(table: Mapping[Architecture, Mapping[int, TilePlan]]) -> str:
    """Text that `read_table` reads, a line a head size."""
    parts = []
    for name, sizes in table.items():
        lines = [
            f'  "{size}": {json.dumps({kernel: list(tiles.values()) for kernel, tiles in asdict(plan).items()})}'
            for size, plan in sizes.items()
        ]
        parts.append(f' "{name}": {{\n' + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _sizes(name: str, sizes: object) -> dict[int, TilePlan]:
    wanted = [str(size) for size in HEAD_SIZES]
    fits = isinstance(sizes, dict) and sorted(sizes) == sorted(wanted)
    _require(fits, name, sizes, f"an object of head sizes {' and '.join(wanted)}")
    assert isinstance(sizes, dict)
    return {size: _plan(f"{name}, head size {size}", sizes[str(size)]) for size in HEAD_SIZES}


def _plan(entry: str, plan: object) -> TilePlan:
    fits = isinstance(plan, dict) and sorted(plan) == sorted(KERNELS)
    _require(fits, entry, plan, f"an object of {', '.join(KERNELS)}")
    assert isinstance(plan, dict)
    return TilePlan(**{kernel: _tiles(f"{entry}, {kernel}", plan[kernel]) for kernel in KERNELS})


def _tiles(entry: str, numbers: object) -> Tiles:
    needed = (
        "[rows, columns, warps, stages]: powers of two, rows and columns of 16 or more, and 1 to 8 stages"
    )
    fits = isinstance(numbers, list) and len(numbers) == 4 and all(type(one) is int for one in numbers)
    _require(fits, entry, numbers, needed)
    assert isinstance(numbers, list)
    rows, columns, warps, stages = numbers
    powers = all(one > 0 and one & (one - 1) == 0 for one in (rows, columns, warps))
    _require(powers and min(rows, columns) >= 16 and 1 <= stages <= 8, entry, numbers, needed)
    return Tiles(rows, columns, warps, stages)


def _require(fits: bool, entry: str, found: object, needed: str) -> None:
    if not fits:
        raise ValueError(f"{TILES_FILE.name}: {entry} is {found!r}; needed {needed}")


ARCHITECTURES = read_table(TILES_FILE.read_text("utf-8"))
# fp32, not rounded to tf32: no tensor cores.
WIDE_TILES = TilePlan(Tiles(32, 16, 4, 1), Tiles(16, 32, 8, 1), Tiles(16, 16, 4, 1))
INTERPRETER_TILES = TilePlan(*3 * (Tiles(64, 64, 4, 1),))


def plan_for(capability: tuple[int, int], size: int, wide: bool) -> TilePlan:
    """Tiles on a device of this compute capability for heads of `size` features, 64 or 128; `wide`: fp32."""
    if wide:
        return WIDE_TILES
    return ARCHITECTURES.get(10 * capability[0] + capability[1], ARCHITECTURES[SMALLEST])[size]
