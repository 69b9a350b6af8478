"""The part `tiles`: sizes of the kernels' tiles, tried on this GPU. What spills registers, does not fit or is
wrong is dropped and named; the fastest over all shapes is taken where it gains enough."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from functools import partial
from statistics import median
from unittest import mock

import torch
from torch import Tensor

from refvid.kernels import segment_attention
from refvid.kernels.tiles import HEAD_SIZES, KERNELS, SMALLEST, TilePlan, Tiles

from .contenders import ERROR, GRADIENT_ERROR, THIS, error
from .device import Device
from .scenes import Grid, Scene, regions, strength
from .sheet import Case, told

GAIN = 1.02  # what a candidate must gain over the tiles in use
COUNT = 4  # references
# Candidates: queries and keys of a block, warps, stages.
TABLE: dict[str, tuple[Tiles, ...]] = {
    "forward": (
        Tiles(128, 64, 8, 3), Tiles(128, 64, 8, 2), Tiles(128, 64, 4, 3), Tiles(128, 128, 8, 2), Tiles(128, 32, 4, 3),
        Tiles(64, 64, 4, 3), Tiles(64, 128, 4, 2), Tiles(128, 64, 4, 2),
    ),
    "keys": (
        Tiles(64, 64, 8, 2), Tiles(64, 128, 8, 2), Tiles(32, 128, 8, 2), Tiles(64, 32, 8, 2), Tiles(128, 64, 8, 2),
        Tiles(64, 64, 4, 2), Tiles(32, 64, 4, 2), Tiles(64, 64, 8, 1),
    ),
    "queries": (
        Tiles(128, 64, 8, 2), Tiles(64, 64, 4, 2), Tiles(128, 32, 8, 2), Tiles(64, 64, 8, 2), Tiles(64, 32, 8, 2),
        Tiles(64, 32, 4, 2), Tiles(128, 64, 8, 1),
    ),
}  # fmt: skip
# As torch names them where they are launched.
NAMES = {"forward": "forward", "queries": "backward_queries", "keys": "backward_keys"}


@dataclass(frozen=True)
class Shape:
    """A sequence: who sees whom, heads and the video's size."""

    name: str
    make: Callable[[Device, Grid, int], Scene]
    grid: Grid
    heads: int


SHORT, LONG, TINY = (5, 26, 30), (21, 30, 52), (2, 4, 4)  # 4,836 and 34,632 tokens with four references
SHAPES = tuple(
    Shape(f"{length}, {kind}", make, grid, 12)
    for length, grid in (("short", SHORT), ("long", LONG))
    for kind, make in (("no bias", regions), ("a bias", strength))
)
SMALL = tuple(replace(shape, grid=TINY, heads=1) for shape in SHAPES if shape.grid == SHORT)


@dataclass
class Spy:
    """Launches of one kernel: what they took, and what was compiled."""

    device: Device
    kernel: str
    seconds: float = 0.0
    spills: int = 0

    def __call__(self, kernel, *arguments):
        if _name(kernel) != NAMES[self.kernel]:
            return LAUNCH(kernel, *arguments)
        built = []
        self.seconds = self.device.seconds(lambda: built.append(LAUNCH(kernel, *arguments)))
        self.spills = getattr(built[0], "n_spills", None) or 0  # the interpreter compiles nothing
        return built[0]


LAUNCH = segment_attention._launch


def _name(kernel) -> str:
    return getattr(kernel, "__name__", None) or kernel.fn.__name__


def tiles(device: Device) -> list[Case]:
    """The kernels one by one, of the published head size first."""
    return [
        Case(f"{kernel}, head size {size}", partial(tune, device, kernel, size))
        for size in (HEAD_SIZES[:1] if device.dry else reversed(HEAD_SIZES))
        for kernel in TABLE
    ]


def tune(device: Device, kernel: str, size: int) -> dict:
    """The candidates of one kernel on all shapes: gains over the tiles in use, why some were dropped, and the
    one to take."""
    device.settle()
    plan = segment_attention._plan(device.normal(1, 1, 1, size))
    used: Tiles = getattr(plan, kernel)
    candidates = [used, *(one for one in TABLE[kernel] if one != used)][: 2 if device.dry else None]
    dropped: dict[Tiles, str] = {}
    seconds: dict[Tiles, list[float]] = {one: [] for one in candidates}
    for shape in SMALL if device.dry else SHAPES:
        scene = shape.make(device, shape.grid, COUNT)
        values = [device.normal(1, shape.heads, scene.length, size, seed=seed) for seed in range(3)]
        trials = {}
        for one in candidates:
            way = replace(plan, **{kernel: one})
            reason = dropped.get(one) or _why_not(device, kernel, way, scene, values, one != used)
            if reason is None:
                trials[one] = partial(launch, device, kernel, way, scene, values)
            elif one == used:
                return {"failed": f"the tiles in use, {shown(one)}: {reason}"}
            else:
                dropped[one] = reason
        table = device.rounds([lambda trial=trial: trial().seconds for trial in trials.values()])
        for one, took in zip(trials, zip(*table, strict=True), strict=True):
            seconds[one].append(median(took))
    whole = {one: took for one, took in seconds.items() if one not in dropped}
    return {
        "kernel": kernel,
        "size": size,
        "architecture": SMALLEST if device.dry else capability(),
        "used": list(astuple(used)),
        "best": list(astuple(best(whole, used))),
        "gains": {shown(one): round(gain(took, whole[used]), 3) for one, took in whole.items()},
        "milliseconds": {shown(one): [round(1e3 * s, 4) for s in took] for one, took in whole.items()},
        "dropped": {shown(one): reason for one, reason in dropped.items()},
    }


def gain(took: list[float], usual: list[float]) -> float:
    """The geometric mean over shapes of what the usual takes over what this one takes."""
    return math.exp(sum(math.log(u / t) for t, u in zip(took, usual, strict=True)) / len(took))


def best(seconds: dict[Tiles, list[float]], used: Tiles) -> Tiles:
    """The candidate of the highest gain, the tiles in use where that is too small."""
    first = max(seconds, key=lambda one: gain(seconds[one], seconds[used]))
    return first if gain(seconds[first], seconds[used]) >= GAIN else used


def shown(one: Tiles) -> str:
    return " x ".join(str(number) for number in astuple(one))


def capability() -> int:
    major, minor = torch.cuda.get_device_capability()
    return 10 * major + minor


def launch(device: Device, kernel: str, plan: TilePlan, scene: Scene, values: list[Tensor]) -> Spy:
    """One pass with this plan, forward or with gradients, and what the kernel's launch took of it."""
    spy = Spy(device, kernel)
    with planned(plan, spy):
        if kernel == "forward":
            THIS.make(scene)(*values)
        else:
            trained = [value.detach().requires_grad_() for value in values]
            out = THIS.make(scene)(*trained)
            torch.autograd.grad(out, trained, torch.ones_like(out))
    return spy


@contextmanager
def planned(plan: TilePlan, spy: Callable = LAUNCH) -> Iterator[None]:
    """The kernels run with these tiles, and are watched."""
    with (
        mock.patch.object(segment_attention, "_plan", return_value=plan),
        mock.patch.object(segment_attention, "_launch", spy),
    ):
        yield


def _why_not(
    device: Device, kernel: str, plan: TilePlan, scene: Scene, values: list[Tensor], candidate: bool
) -> str | None:
    """Reason why these tiles are dropped: they do not fit, are wrong, or spill. The tiles in use may; what
    gains on them shows."""
    backward = kernel != "forward"
    try:
        spills = launch(device, kernel, plan, scene, values).spills
        with planned(plan):
            off = error(THIS, THIS.make(scene), scene, values, backward)
    except Exception as refused:  # shared memory, registers, a compiler's crash: each drops it
        if device.dry or device.broken():
            raise RuntimeError(f"{shown(getattr(plan, kernel))}: {told(refused)}") from refused
        return told(refused)
    if candidate and spills:
        return f"{spills} registers spilled"
    return None if off <= (GRADIENT_ERROR if backward else ERROR) else f"off by {off:.1e}"


assert set(TABLE) == set(KERNELS) == set(NAMES)
