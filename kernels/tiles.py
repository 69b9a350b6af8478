"""Sizes of the kernels' tiles, by architecture. Compiled ahead of time for each of them in the tests: no spills, shared
memory within limits. Not tuned on a GPU yet."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tiles:
    """Queries and keys of a block, warps of a program, stages of its pipeline."""

    rows: int
    columns: int
    warps: int
    stages: int


@dataclass(frozen=True)
class Plan:
    """Tiles of the three kernels."""

    forward: Tiles
    queries: Tiles  # gradient of the queries
    keys: Tiles  # gradients of keys, values and bias


SMALL = Plan(Tiles(128, 64, 8, 2), Tiles(64, 32, 8, 2), Tiles(64, 32, 8, 2))  # 99 KiB of shared memory
HOPPER = Plan(Tiles(128, 64, 8, 3), Tiles(128, 64, 8, 2), Tiles(64, 64, 8, 2))
BLACKWELL = Plan(Tiles(128, 64, 8, 3), Tiles(128, 64, 8, 2), Tiles(128, 64, 8, 2))
CDNA = Plan(
    Tiles(64, 64, 4, 1), Tiles(64, 32, 4, 1), Tiles(64, 32, 4, 1)
)  # compiled, never run: refused so far
# fp32, not rounded to tf32: no tensor cores.
WIDE = Plan(Tiles(32, 16, 4, 1), Tiles(16, 32, 8, 1), Tiles(16, 16, 4, 1))
INTERPRETED = Plan(*3 * (Tiles(64, 64, 4, 1),))
ARCHITECTURES: dict[int | str, Plan] = {
    80: SMALL, 86: SMALL, 89: SMALL, 90: HOPPER, 100: BLACKWELL, 120: SMALL, "gfx942": CDNA,
}  # fmt: skip


def plan_for(capability: tuple[int, int], wide: bool) -> Plan:
    """Tiles on a device of this compute capability; `wide`, for fp32."""
    return WIDE if wide else ARCHITECTURES.get(10 * capability[0] + capability[1], SMALL)
