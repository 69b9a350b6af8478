"""Pretexts of SAMA's motion alignment: a source video is perturbed so that undoing it teaches motion. The
video to be made stays as it was (arXiv 2603.19228, §3.3 and appendix C; released operators)."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Generator, Tensor

SHARE = 0.3  # of the frames, that inpainting hides
PACE = 2  # frames of the clip to one of the faster clip
TUBES = 2  # on each axis


@dataclass(frozen=True)
class Pretext:
    """Perturbation of a source video. `instruction` is SAMA's task token, which stands before the caption;
    `weight` its part of the training mixture (§4.1). `least` is the fewest frames it can be done to, where a
    latent frame holds so many. `change` takes clip, generator, group, fill and tubes as `perturb` does."""

    instruction: str
    weight: int
    least: Callable[[int], int]
    change: Callable[[Tensor, Generator, int, float, int], Tensor]


@dataclass(frozen=True)
class TubeShuffle:
    """Permutation of the tubes of clips whose `size` is (F, H, W). Each axis is cut into `tubes` parts; where
    it does not divide, the first of them is one longer. One frame over stays where it is, the last [choice:
    leftover-frame]. The tube `sources[n]` comes to place n; places are counted along time, then height, then
    width. ValueError for fewer than 2 tubes, and for a side with less than one pixel or frame to a tube.
    ValueError too for sources that are no permutation among tubes of one size."""

    size: tuple[int, int, int]
    tubes: int
    sources: tuple[int, ...]

    def __post_init__(self) -> None:
        extents = [_extent(tube) for tube in _cut(self.size, self.tubes)]
        permuted = sorted(self.sources) == list(range(len(extents)))
        if not permuted or [extents[source] for source in self.sources] != extents:
            raise ValueError(
                f"sources is {self.sources}; needed each of 0 to {len(extents) - 1} once, at the place of a tube of its size"
            )

    @classmethod
    def draw(cls, size: tuple[int, int, int], tubes: int, generator: Generator) -> "TubeShuffle":
        """Draw one; one that leaves every tube in its place is drawn again [choice: moving-shuffle]."""
        groups: dict[tuple[int, ...], list[int]] = {}
        places = _cut(size, tubes)
        for place, tube in enumerate(places):
            groups.setdefault(_extent(tube), []).append(place)
        still = list(range(len(places)))
        sources = still
        while sources == still:
            sources = still.copy()
            for group in groups.values():
                order = torch.randperm(len(group), generator=generator).tolist()
                for place, index in zip(group, order, strict=True):
                    sources[place] = group[index]
        return cls(size, tubes, tuple(sources))

    def apply(self, clip: Tensor) -> Tensor:
        """(F, H, W, C) -> a new (F, H, W, C). ValueError for a clip of another size."""
        return self._moved(clip, self.sources)

    def undo(self, clip: Tensor) -> Tensor:
        """Undo `apply`, bit for bit."""
        return self._moved(clip, sorted(range(len(self.sources)), key=self.sources.__getitem__))

    def _moved(self, clip: Tensor, sources: tuple[int, ...] | list[int]) -> Tensor:
        if tuple(clip.shape[:3]) != self.size:
            raise ValueError(f"clip is of shape {tuple(clip.shape)}; needed {self.size} and its channels")
        places, moved = _cut(self.size, self.tubes), clip.clone()
        for place, source in zip(places, sources, strict=True):
            moved[place] = clip[places[source]]
        return moved


PRETEXTS = {
    # The source is the video itself: the paper names none for this share [choice: plain-source].
    "none": Pretext("", 1, lambda group: 1, lambda clip, generator, group, fill, tubes: clip),
    "inpaint": Pretext(
        "[Complete the missing regions in the video.]",
        2,
        lambda group: 2,
        lambda clip, generator, group, fill, tubes: _hide_block(clip, generator, fill),
    ),
    "speed": Pretext(
        "[Restore the video to normal playback speed.]",
        3,
        lambda group: 1 + PACE * group,  # fewer would leave one frame, which has no speed
        lambda clip, generator, group, fill, tubes: _speed_up(clip, group),
    ),
    "shuffle": Pretext(
        "[Restore the correct spatio-temporal order of the video segments.]",
        4,
        lambda group: 2,
        lambda clip, generator, group, fill, tubes: _shuffle(clip, generator, tubes),
    ),
}


def perturb(
    pretext: str, clip: Tensor, generator: Generator, group: int, fill: float = 0.0, tubes: int = TUBES
) -> Tensor:
    """Perturb one clip (F, H, W, C) -> (F, H, W, C), for a backbone whose latent frames hold `group`
    pictures. The clip is a new tensor but for "none", which gives the clip itself.

    none     the clip
    inpaint  a block of 30 % of the frames, rounded, is `fill`: black, 0 of [0, 1] or -1 of [-1, 1]. Never
             frame 0
    speed    every second frame, cut to 1 + group · k as in the released operator, then the last one up to the
             clip's length [choice: speed-length]
    shuffle  `tubes` to an axis (SAMA: 2), permuted by `TubeShuffle`

    The generator is one of the CPU's. ValueError for a pretext that does not exist, and for a clip of another
    form or with too few frames. ValueError too for tubes below 2 and for sides smaller than them.
    """
    if pretext not in PRETEXTS:
        raise ValueError(f"pretext is {pretext!r}; choose one of {', '.join(PRETEXTS)}")
    if clip.ndim != 4:
        raise ValueError(f"clip is of shape {tuple(clip.shape)}; needed (F, H, W, C)")
    chosen = PRETEXTS[pretext]
    least = chosen.least(group)
    if len(clip) < least:
        raise ValueError(f"clip has {len(clip)} of the {least} frames that {pretext!r} needs at least")
    return chosen.change(clip, generator, group, fill, tubes)


def _hide_block(clip: Tensor, generator: Generator, fill: float) -> Tensor:
    count = round(SHARE * len(clip))
    start = int(torch.randint(1, len(clip) - count + 1, (), generator=generator))
    hidden = clip.clone()
    hidden[start : start + count] = fill
    return hidden


def _speed_up(clip: Tensor, group: int) -> Tensor:
    taken = clip[::PACE]
    kept = 1 + (len(taken) - 1) // group * group
    return taken[torch.arange(len(clip), device=clip.device).clamp(max=kept - 1)]


def _shuffle(clip: Tensor, generator: Generator, tubes: int) -> Tensor:
    frames, rows, columns, _ = clip.shape
    return TubeShuffle.draw((frames, rows, columns), tubes, generator).apply(clip)


def _cut(size: tuple[int, int, int], tubes: int) -> list[tuple[slice, ...]]:
    """The places of tubes, as `TubeShuffle` says."""
    frames, rows, columns = size
    if tubes < 2:
        raise ValueError(f"tubes is {tubes}; needed 2 or more to an axis")
    if min(size) < tubes:
        raise ValueError(
            f"clip has {frames} frames of {columns}x{rows} pixels; {tubes} tubes to an axis need {tubes} frames, columns and rows at least"
        )
    return list(product(*(_parts(side, tubes) for side in (frames - (frames % tubes == 1), rows, columns))))


def _parts(side: int, parts: int) -> list[slice]:
    short, longer = divmod(side, parts)
    return [
        slice(*ends) for ends in pairwise(index * short + min(index, longer) for index in range(parts + 1))
    ]


def _extent(tube: tuple[slice, ...]) -> tuple[int, ...]:
    return tuple(part.stop - part.start for part in tube)
