"""Windows of a clip that are encoded, of which training draws one each time."""

from collections.abc import Callable
from dataclasses import dataclass

from .buckets import GROUP
from .order import generator


@dataclass(frozen=True)
class Windowing:
    """Numbers of windows: `windows` of those that are drawn or spread, and `step` pictures between those that
    slide."""

    windows: int
    step: int


def _random(count: int, frames: int, how: Windowing, name: str) -> list[int]:
    draws = generator(0, "windows", name).permutation(count - frames + 1)
    return sorted(int(one) for one in draws[: how.windows])


def _uniform(count: int, frames: int, how: Windowing, _: str) -> list[int]:
    last, gaps = count - frames, how.windows - 1
    return sorted({one * last // gaps for one in range(how.windows)}) if gaps else [last // 2]


STARTS: dict[str, Callable[[int, int, Windowing, str], list[int]]] = {
    "random": _random,
    "head": lambda count, frames, how, name: [0],
    "middle": lambda count, frames, how, name: [(count - frames) // 2],
    "full": lambda count, frames, how, name: [0],
    "chunk": lambda count, frames, how, name: list(range(0, count - frames + 1, frames)),
    "slide": lambda count, frames, how, name: list(range(0, count - frames + 1, how.step)),
    "uniform": _uniform,
}


def whole_length(count: int, longest: int) -> int:
    """Pictures of a window over a whole clip of `count`: the most of 4n + 1, and no more than `longest`."""
    return (min(count, longest) - 1) // GROUP * GROUP + 1
