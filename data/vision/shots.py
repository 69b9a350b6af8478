"""Shots of a film: where it is cut, and how much of a stretch stands still or flashes."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, pairwise, repeat

import numpy as np

from .measures import change, flashes_a_second, light_of, scaled, six_digits

_WINDOW = 2  # pictures on either side that a cut is held against; PySceneDetect's default
BRIEF = 0.25  # seconds; a film that is itself again after less was not cut, it flashed
STILL = 0.5  # of 255; a smaller change stands still
TELEVISION = 24  # pictures a second; faster films are compared at about this rate


@dataclass
class Watched:
    """Record of a film's pictures.

    step     pictures between two that are compared
    light    relative luminance of each picture
    changes  mean absolute difference of each picture and the one `step` before it, of 255
    cuts     places at which a shot begins
    """

    step: int
    light: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)

    def still(self, start: int, stop: int) -> float:
        """Share of pairs of pictures of a stretch that stand still; 0 where it has no pair."""
        changes = self.changes[start + self.step : stop]
        return six_digits(sum(one < STILL for one in changes) / len(changes)) if changes else 0.0

    def flashes(self, start: int, stop: int, fps: float) -> int:
        """Most flashes within a second of a stretch."""
        return flashes_a_second(self.light[start:stop], fps)


def watch(pictures: Iterable[np.ndarray], rate: Fraction, threshold: float | None) -> Watched:
    """Look at pictures (H, W, 3) uint8 one after another. `threshold` is the ratio of a cut's change to the
    mean change around it; None: no cuts are looked for."""
    watched = Watched(max(1, round(rate / TELEVISION)))
    before: deque[np.ndarray] = deque(maxlen=watched.step)
    finder = None if threshold is None else _Finder(rate, threshold)
    for picture in map(scaled, pictures):
        watched.light.append(light_of(picture))
        watched.changes.append(change(before[0], picture) if len(before) == watched.step else math.inf)
        before.append(picture)
        if finder:
            finder.see(picture)
    if finder:
        watched.cuts = finder.end()
    return watched


def stretches(cuts: list[int], frames: int, longest: float) -> Iterator[tuple[int, int]]:
    """(start, stop) of each shot; those of more than `longest` frames are divided evenly."""
    for start, stop in pairwise([0, *cuts, frames]):
        parts = max(1, math.ceil((stop - start) / longest))
        places = [start + one * (stop - start) // parts for one in range(parts + 1)]
        yield from pairwise(places)


class _Finder:
    """Cuts found by PySceneDetect's AdaptiveDetector, picture by picture.

    It judges no picture without neighbours, so the first and the last are shown to it _WINDOW times more.
    """

    def __init__(self, rate: Fraction, threshold: float):
        from scenedetect.detectors import AdaptiveDetector

        self._detector = AdaptiveDetector(adaptive_threshold=threshold, min_scene_len=1, window_width=_WINDOW)
        self._rate = rate
        self._brief = math.floor(BRIEF * rate)
        self._shown = 0
        self._near: deque[np.ndarray] = deque(maxlen=_WINDOW + 2)  # the one before a cut that is just found
        self._cuts: list[tuple[int, np.ndarray, np.ndarray]] = []

    def see(self, picture: np.ndarray) -> None:
        """Take the next picture."""
        for one in chain(repeat(picture, 0 if self._shown else _WINDOW), (picture,)):
            self._show(one)

    def end(self) -> list[int]:
        """Places of all cuts."""
        for one in list(self._near)[-1:] * _WINDOW:
            self._show(one)
        return [place for place, _, _ in self._cuts]

    def _show(self, picture: np.ndarray) -> None:
        from scenedetect import FrameTimecode

        self._near.append(picture)
        found = self._detector.process_frame(FrameTimecode(self._shown, self._rate), picture[..., ::-1])
        self._shown += 1
        for time in found:
            self._take(time.frame_num - _WINDOW, self._near[0], self._near[1])

    def _take(self, place: int, before: np.ndarray, after: np.ndarray) -> None:
        """A cut, or the end of a flash [choice: brief-flash]."""
        if self._cuts:
            last, calm, flash = self._cuts[-1]
            if place - last <= self._brief and change(calm, after) < change(calm, flash) / 2:
                self._cuts.pop()
                return
        self._cuts.append((place, before, after))
