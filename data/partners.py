"""Partners of clips: other windows of the same identity, in the same shot, the same film or another file."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from .agreement import Pair, joined
from .index import Clip, sort_key
from .vision.hashing import NEAR, distance

if TYPE_CHECKING:  # partners are counted without it
    from torch import Generator

PARTNER_WINDOW = 2.0  # seconds of a clip that another one of the same identity shows
WITHIN_SHOT, WITHIN_FILM, ACROSS_FILMS = "same shot", "other shots", "other films"
Window = tuple[int, int]  # pictures of a clip from its first, stop not included


@dataclass(frozen=True)
class Partner:
    """Partner of a clip: the clip it is of, its kind, and the windows, of the clip itself and of the
    partner."""

    clip: Clip
    kind: str
    windows: tuple[Window, Window]


class Partners:
    """Partners of clips that may be used, within their split, as they follow from `identity` and `pair_of`.
    Near-duplicates and edits are none.

    A clip has two windows of the same shot where it is long enough; nothing in the index says more. Windows
    are `seconds` long, of the clip and of its partner, or the whole of a clip that is shorter.
    """

    def __init__(
        self, clips: Sequence[Clip], seconds: tuple[float, float], apart: float = 1.0, most: float = 0.3
    ):
        """Partners with `apart` seconds between windows of one shot, and at most the share `most` of such
        pairs: both of training.md §3.3. ValueError for numbers out of range."""
        if not (0 < min(*seconds, apart) and max(*seconds, apart) < math.inf and 0 <= most <= 1):
            raise ValueError(f"partners: windows of {seconds} seconds, {apart} apart, at most {most} of one shot;"
                             " needed lengths above 0, and a share")  # fmt: skip
        self._seconds, self._apart, self._most = seconds, apart, most
        self._clips = sorted((clip for clip in clips if clip.ok and not clip.source), key=sort_key)
        self._groups = _groups(self._clips)
        self._films: dict[tuple[str, str], list[Clip]] = defaultdict(list)  # of a group, by its first clip
        for clip in self._clips:
            self._films[self._groups[clip.id][0].id, clip.path].append(clip)

    def by_kind(self, clip: Clip) -> dict[str, list[Clip]]:
        """Partners of a clip, by kind, in the order of the index; of the same shot the clip itself."""
        found: dict[str, list[Clip]] = {
            WITHIN_SHOT: [clip] if self._has_windows(clip) else [],
            WITHIN_FILM: [],
            ACROSS_FILMS: [],
        }
        for other in self._groups.get(clip.id, ()):
            if _fit(clip, other):
                found[_kind(clip, other)].append(other)
        return found

    def kinds(self, clip: Clip) -> list[str]:
        """Kinds of partners that a clip has, those of `by_kind` that are not empty, without listing them."""
        group = self._groups.get(clip.id, [])
        shots = self._films[group[0].id, clip.path] if group else []
        elsewhere = (other for other in group if other.path != clip.path) if len(shots) < len(group) else ()
        has = {
            WITHIN_SHOT: self._has_windows(clip),
            WITHIN_FILM: any(_fit(clip, other) for other in shots),
            ACROSS_FILMS: any(_fit(clip, other) for other in elsewhere),
        }
        return [kind for kind, true in has.items() if true]

    @cached_property
    def chance(self) -> float:
        """Chance that a clip with both is paired within its shot, so that of all pairs `most` are."""
        alone, both, other = self._counts
        return min(1.0, max(0.0, (self._most * (alone + both + other) - alone) / both)) if both else 0.0

    @cached_property
    def share(self) -> float:
        """Share of pairs of one shot that comes of it, each clip drawn as often as it repeats. It is above
        `most` where too many clips have no other partner."""
        alone, both, other = self._counts
        return (alone + both * self.chance) / max(alone + both + other, 1)

    def draw(self, clip: Clip, generator: "Generator") -> Partner | None:
        """A partner, and windows, by the generator alone; None where the clip has none."""
        import torch

        windows, others = self._has_windows(clip), self._has_others(clip)
        if windows and (not others or float(torch.rand((), generator=generator)) < self.chance):
            return Partner(clip, WITHIN_SHOT, self._apart_windows(clip, generator))
        if not others:
            return None
        group = self._groups[clip.id]
        other = group[_number(len(group), generator)]
        while not _fit(clip, other):
            other = group[_number(len(group), generator)]
        both = (
            _window(one, length, generator) for one, length in zip((clip, other), self._seconds, strict=True)
        )
        return Partner(other, _kind(clip, other), (next(both), next(both)))

    def _has_windows(self, clip: Clip) -> bool:
        return sum(self._lengths(clip)) <= clip.frames if clip.fps else False

    def _has_others(self, clip: Clip) -> bool:
        return any(_fit(clip, other) for other in self._groups.get(clip.id, ()))

    def _lengths(self, clip: Clip) -> tuple[int, int, int]:
        """Pictures of a window of the clip, between windows, and of one of its partner."""
        first, second = self._seconds
        return _pictures(clip, first), _pictures(clip, self._apart), _pictures(clip, second)

    def _apart_windows(self, clip: Clip, generator: "Generator") -> tuple[Window, Window]:
        first, apart, second = self._lengths(clip)
        swapped = bool(_number(2, generator))
        left, right = (second, first) if swapped else (first, second)
        # Two places of the free pictures, in ascending order: before the left window, and before the right.
        free = clip.frames - first - apart - second
        low, high = sorted(_number(free + 1, generator) for _ in range(2))
        windows = (low, low + left), (high + left + apart, high + left + apart + right)
        return (windows[1], windows[0]) if swapped else windows

    @cached_property
    def _counts(self) -> tuple[int, int, int]:
        """Clips, as often as they repeat, with windows of the shot alone, with both, with others alone."""
        counts = {(True, False): 0, (True, True): 0, (False, True): 0, (False, False): 0}
        for clip in self._clips:
            counts[self._has_windows(clip), self._has_others(clip)] += clip.repeats
        return counts[True, False], counts[True, True], counts[False, True]


def _groups(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """Clips of the same split that hang together by name or by pairs, by id."""
    number = {clip.id: one for one, clip in enumerate(clips)}
    first: dict[tuple[str, str], int] = {}
    pairs = []
    for one, clip in enumerate(clips):
        others = [number[name] for name in clip.pair_of if name in number]
        if clip.identity:
            others.append(first.setdefault((clip.split, clip.identity), one))
        pairs += [Pair(one, other, 0) for other in others if clips[other].split == clip.split]
    component, _ = joined([clip.identity for clip in clips], pairs)
    groups: dict[int, list[Clip]] = defaultdict(list)
    for clip, root in zip(clips, component, strict=True):
        groups[root].append(clip)
    return {clip.id: groups[root] for clip, root in zip(clips, component, strict=True)}


def _fit(clip: Clip, other: Clip) -> bool:
    near = clip.hash and other.hash and distance(clip.hash, other.hash) <= NEAR
    return other.id != clip.id and not near


def _kind(clip: Clip, other: Clip) -> str:
    return WITHIN_FILM if other.path == clip.path else ACROSS_FILMS


def _pictures(clip: Clip, seconds: float) -> int:
    return math.ceil(clip.rate * seconds)


def _window(clip: Clip, seconds: float, generator: "Generator") -> Window:
    length = min(clip.frames, max(1, _pictures(clip, seconds)))
    start = _number(clip.frames - length + 1, generator)
    return start, start + length


def _number(below: int, generator: "Generator") -> int:
    import torch

    return int(torch.randint(below, (), generator=generator))
