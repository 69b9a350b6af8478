"""Given frames: pictures that stand on frames of a video, and what is encoded for them. STIV's frame
replacement, arXiv 2412.07730, §3.2 and §3.5."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from .controls import CLOCKS, CROP
from .fit import fitted_pictures, three_colours
from .geometry import Geometry

VIEWS = 6  # latent frames of the task "multi-view" behind its first


@dataclass(frozen=True)
class GivenFrames:
    """Given frames: latents (1 or B, C, F, h, w) on the replaced frames (F,) or (B, F) bool, zeros elsewhere.
    Clock: "own" gives them the timestep 0 of clean frames, as Wan 2.2 TI2V was trained
    [choice: given-frame-clock]; "shared" the video's (STIV)."""

    latent: Tensor
    replaced: Tensor
    clock: str = CLOCKS[0]

    def __post_init__(self) -> None:
        if self.clock not in CLOCKS:
            raise ValueError(f"clock is {self.clock!r}; choose one of {', '.join(CLOCKS)}")

    def on(self, latent: Tensor) -> Tensor:
        """A latent (B, C, F, h, w) with these frames in their places."""
        return torch.where(self.mask.to(latent.device), self.latent.to(latent), latent)

    @property
    def mask(self) -> Tensor:
        """(1 or B, 1, F, 1, 1) bool"""
        return self.replaced.reshape(-1, 1, self.replaced.shape[-1], 1, 1)

    def over(self, start: int, stop: int) -> "GivenFrames":
        """Given frames of the latent frames [start, stop) alone."""
        return GivenFrames(self.latent[:, :, start:stop], self.replaced[..., start:stop], self.clock)


@dataclass(frozen=True)
class Placed:
    """Pictures (H, W, 3) in [0, 1] of any sizes, and the frames of a video they stand at, negative ones from
    its end. Their clock is `GivenFrames`'s; `fit` (`core.fit`) brings them to the video's size."""

    pictures: Sequence[Tensor] | Tensor
    indices: list[int]
    clock: str = CLOCKS[0]
    fit: str = CROP


@dataclass(frozen=True)
class Task:
    """Rule that says which pictures of a video of `length` are given, for `count` of them. It also says how
    many they must be on a backbone of a geometry, in words and as a test of count and length."""

    indices: Callable[[int, int], list[int]]
    needs: Callable[[Geometry], str]
    fits: Callable[[int, int, Geometry], bool]


def _spread(count: int, length: int) -> list[int]:
    return [index * (length - 1) // (count - 1) for index in range(count)]


TASKS = {
    "first frame": Task(
        lambda count, length: [0], lambda geometry: "1 picture", lambda count, length, geometry: count == 1
    ),
    "prediction": Task(
        lambda count, length: list(range(count)),
        lambda geometry: (
            f"{geometry.lengths} pictures (latent frames hold {geometry.group}), fewer than the video's"
        ),
        lambda count, length, geometry: count == geometry.whole(count) and count < length,
    ),
    "first and last": Task(
        lambda count, length: [0, length - 1],
        lambda geometry: "2 pictures",
        lambda count, length, geometry: count == 2 and length > 1,
    ),
    "every n-th": Task(
        _spread,
        lambda geometry: (
            f"2 pictures or more that divide the video into equal parts of {geometry.group} pictures or a multiple"
        ),
        lambda count, length, geometry: count > 1 and (length - 1) % (geometry.group * (count - 1)) == 0,
    ),
    "multi-view": Task(
        lambda count, length: [0],
        lambda geometry: (
            f"1 picture, and a video of {geometry.pictures(1 + VIEWS)}: six views of {geometry.group} pictures each"
        ),
        lambda count, length, geometry: count == 1 and length == geometry.pictures(1 + VIEWS),
    ),
}


def indices_of(task: str, count: int, length: int, geometry: Geometry) -> list[int]:
    """Places of `count` pictures in a video of `length`. ValueError where the task has no place for that
    many."""
    if task not in TASKS:
        raise ValueError(f"task is {task!r}; choose one of {', '.join(TASKS)}")
    known = TASKS[task]
    if not known.fits(count, length, geometry):
        raise ValueError(
            f"frames: {count} pictures for a video of {length}; the task {task!r} needs {known.needs(geometry)}"
        )
    return known.indices(count, length)


def read_places(text: str) -> list[int]:
    """ "0, 5-8, -1" -> [0, 5, 6, 7, 8, -1]. ValueError names what is no place."""
    places: list[int] = []
    for part in (piece.strip() for piece in text.split(",")):
        first, dash, last = part[1:].partition("-")
        try:
            start = int(part[:1] + first)
            places += range(start, int(last) + 1) if dash else [start]
        except ValueError as error:
            raise ValueError(
                f"frames: {part!r} in {text!r} is no frame; needed numbers with commas between them, such as 0, 5-8, -1"
            ) from error
    return places


@dataclass(frozen=True)
class GivenClip:
    """Pictures (n, H, W, 3) to encode as one clip, whose latent frames from `skip` on stand on the video's
    from `at` on."""

    pictures: Tensor
    at: int
    skip: int


def clips_to_encode(placed: Placed, length: int, width: int, height: int, group: int) -> list[GivenClip]:
    """Clips to encode so that the pictures stand in a video of `length` pictures of width x height pixels. A
    latent frame is given by all its pictures, `group` of them, or by one, which is held still. ValueError for
    frames outside the video or given twice, and for a latent frame given in part."""
    shown = [fitted_pictures(three_colours(one)[None], height, width, placed.fit) for one in placed.pictures]
    pictures = torch.cat(shown) if shown else torch.zeros(0, height, width, 3)
    places = _checked(len(pictures), placed.indices, length)
    order = sorted(range(len(places)), key=places.__getitem__)
    given: dict[int, list[int]] = {}
    for k in order:
        given.setdefault((places[k] + group - 1) // group, []).append(k)
    for frame, held in given.items():
        if 1 < len(held) < group:
            first = group * (frame - 1) + 1
            raise ValueError(
                f"frames {', '.join(str(places[k]) for k in held)} lie in one latent frame, {first} to {first + group - 1}: give one of "
                f"them, which is held still, or all {group}"
            )
    return [_clip(pictures, run, given, group) for run in _runs(given, group)]


def given_frames(
    placed: Placed, encode: Callable[[Tensor], Tensor], empty: Tensor, geometry: Geometry
) -> GivenFrames:
    """The pictures on an empty video latent (1, C, F, h, w). `encode`: (n, H, W, 3) -> (1, C, k, h, w).
    Everything that may be refused (`clips_to_encode`) is refused before anything is encoded."""
    frames, rows, columns = empty.shape[2:]
    size = (columns * geometry.stride, rows * geometry.stride)
    clips = clips_to_encode(placed, geometry.pictures(frames), *size, geometry.group)
    latent, replaced = torch.zeros_like(empty), torch.zeros(empty.shape[2], dtype=torch.bool)
    for clip in clips:
        made = encode(clip.pictures)[:, :, clip.skip :]
        place = slice(clip.at, clip.at + made.shape[2])
        latent[:, :, place], replaced[place] = made.to(latent), True
    return GivenFrames(latent, replaced, placed.clock)


def _checked(count: int, indices: list[int], length: int) -> list[int]:
    if not indices or len(indices) != count:
        raise ValueError(
            f"frames: {count} pictures for {len(indices)} places; give one picture for each, at least one"
        )
    for index in indices:
        if not -length <= index < length:
            raise ValueError(f"frame {index} lies outside the video, which has the frames 0 to {length - 1}")
    places = [index % length for index in indices]
    if len(set(places)) < len(places):
        twice = next(place for place in places if places.count(place) > 1)
        raise ValueError(f"frame {twice} is given twice; give each frame once")
    return places


def _runs(given: dict[int, list[int]], group: int) -> list[list[int]]:
    """Latent frames that are encoded together: neighbours given by all their pictures; one that is held
    stands alone."""

    def whole(frame: int) -> bool:
        return len(given[frame]) == (1 if frame == 0 else group)

    keyed = [(frame, frame - place if whole(frame) else -1 - frame) for place, frame in enumerate(given)]
    return [[frame for frame, _ in run] for _, run in groupby(keyed, key=lambda one: one[1])]


def _clip(pictures: Tensor, run: list[int], given: dict[int, list[int]], group: int) -> GivenClip:
    """A run that does not begin the video is encoded after its own first picture, since the VAE's first
    latent frame has one."""
    shown = [k for frame in run for k in given[frame]]
    if run[0] == 0:
        return GivenClip(pictures[shown], 0, 0)
    held = shown * group if len(shown) == 1 else shown
    return GivenClip(pictures[[held[0], *held]], run[0], 1)
