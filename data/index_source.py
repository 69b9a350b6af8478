"""Index of clips as a source to learn from: `index:FOLDER`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from .fitting import fitted
from .index import A_FILM, TRAIN, Clip, read_index
from .partners import PARTNER_WINDOW, Partners, Window
from .pictures import at_rate, pictures_of
from .run_lengths import good_masks
from .source import PairedEdits

INDEX = "index"
RATE = 16.0  # pictures a second, of Wan 2.1
NAMELESS = "the subject"  # of whom nobody knows the name


@dataclass(frozen=True)
class IndexedFootage:
    """Clips of an index, decoded where they are asked for, in squares from their middle."""

    source: "IndexSource"
    clips: tuple[Clip, ...]
    windows: tuple[Window, ...]

    @property
    def subjects(self) -> int:
        return 1

    @property
    def length(self) -> int:
        """Pictures at the source's rate of the shortest of them."""
        return min(len(_shown(clip, window)) for clip, window in self._parts)

    def film(
        self, size: int, frames: int, stride: int | None = None, start: int | Tensor = 0
    ) -> tuple[Tensor, Tensor]:
        """Film of the clips, as `data.source.Footage` has it. Without known masks nothing is marked."""
        starts = torch.as_tensor(start).expand(len(self.clips)).tolist()
        films = [
            _film(clip, _moments(_shown(clip, window), frames, stride, first), size)
            for (clip, window), first in zip(self._parts, starts, strict=True)
        ]
        pictures, masks = zip(*films, strict=True)
        return torch.stack(pictures), torch.stack(masks)

    def elsewhere(self, subject: int, size: int, frames: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Another clip of the same identity, as `data.source.Footage` has it; where none is known, another
        part of the same clip."""
        drawn = [self.source.partners.draw(clip, generator) for clip in self.clips]
        clips = [clip if one is None else one.clip for clip, one in zip(self.clips, drawn, strict=True)]
        windows = [
            window if one is None else one.windows[1] for window, one in zip(self.windows, drawn, strict=True)
        ]
        return IndexedFootage(self.source, tuple(clips), tuple(windows)).film(size, frames)

    def captions(self, named: bool = False, stride: int | None = None) -> list[str]:
        """Captions of the clips: the long ones, or where subjects are not to be named the short ones, if any.
        What people wrote says no stride."""
        return [clip.caption if named else clip.short_caption or clip.caption for clip in self.clips]

    def instructions(self) -> list[str]:
        """None: people's clips come without."""
        return []

    def names(self, subject: int) -> list[str]:
        """Names of the identities, where they are known."""
        return [clip.identity or NAMELESS for clip in self.clips]

    @property
    def _parts(self) -> list[tuple[Clip, Window]]:
        return list(zip(self.clips, self.windows, strict=True))


class IndexSource:
    """Index of clips as a `data.source.ClipSource`: those that are used, and not held out. ValueError where
    there is none with a caption."""

    most_subjects = 1

    def __init__(self, folder: Path):
        rows = read_index(folder, f"{INDEX}:{folder}")
        self.by_id = {clip.id: clip for clip in rows}
        used = [clip for clip in rows if clip.ok and clip.split == TRAIN]
        self.clips = [clip for clip in used if clip.caption and clip.kind == A_FILM and not clip.source]
        self.pairs = [clip for clip in used if clip.instruction and clip.source in self.by_id]
        if not self.clips and not self.pairs:
            raise ValueError(f"{INDEX}:{folder} has no clip with a caption; see `refvid data check`")

    @cached_property
    def _lengths(self) -> list[int]:
        """Pictures of each clip at the source's rate."""
        return [len(at_rate(clip, RATE)) for clip in self.clips]

    @cached_property
    def partners(self) -> Partners:
        """Partners of the clips by identity, in windows of PARTNER_WINDOW seconds."""
        return Partners(self.clips, (PARTNER_WINDOW, PARTNER_WINDOW))

    @property
    def name(self) -> str:
        """Name by all that can be read of the clips."""
        rows = [(clip.contents, clip.start, clip.stop, clip.crop, clip.caption, clip.short_caption, clip.identity,
                 clip.pair_of, clip.instruction, str(clip.subject)) for clip in [*self.clips, *self.pairs]]  # fmt: skip
        return f"{INDEX} {sha256(str(rows).encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"

    @property
    def longest(self) -> Sequence[str]:
        """Every text that clips are given."""
        texts = [clip.caption for clip in self.clips] + [clip.short_caption for clip in self.clips]
        return [
            *texts,
            *(clip.instruction for clip in self.pairs),
            *(clip.identity for clip in self.clips),
            NAMELESS,
        ]

    @property
    def vocabulary(self) -> Sequence[str]:
        """Words of all texts."""
        return sorted({word for text in self.longest for word in text.split()})

    @property
    def edit_kinds(self) -> Sequence[str]:
        return sorted({clip.edit for clip in self.pairs})

    def footage(
        self,
        count: int,
        generator: Generator,
        subjects: int = 1,
        moving: float | None = None,
        length: int = 1,
    ) -> IndexedFootage:
        """Clips, each drawn anew, as `data.source.ClipSource` has it; how many of the subjects move in
        themselves is not known of them."""
        if subjects != 1:
            raise ValueError(f"subjects is {subjects}; the clips of an index have 1 that is known")
        if not self.clips:
            raise ValueError(f"{INDEX}: there is no clip with a caption, only edits")
        fitting = [clip for clip, has in zip(self.clips, self._lengths, strict=True) if has >= length]
        if not fitting:
            raise ValueError(
                f"{INDEX}: no clip has {length} pictures at {RATE:g} a second, the longest has {max(self._lengths)}; "
                "cut into longer ones (cut.longest), or learn from shorter windows"
            )
        drawn = torch.randint(len(fitting), (count,), generator=generator).tolist()
        return self._of([fitting[one] for one in drawn])

    def _of(self, clips: Sequence[Clip]) -> IndexedFootage:
        """Footage of whole clips."""
        return IndexedFootage(self, tuple(clips), tuple((0, clip.frames) for clip in clips))

    def edits(self, kind: str, count: int, generator: Generator, frames: int, size: int) -> PairedEdits:
        """Paired edits of a kind, as `data.source.ClipSource` has them. The region is the mask that came with
        a pair, else the whole picture."""
        pairs = [clip for clip in self.pairs if clip.edit == kind]
        if not pairs:
            raise ValueError(f"{INDEX}: there is no edit of kind {kind!r}; needed one of {self.edit_kinds}")
        drawn = [pairs[one] for one in torch.randint(len(pairs), (count,), generator=generator).tolist()]
        before, _ = self._of([self.by_id[clip.source] for clip in drawn]).film(size, frames)
        target, region = self._of(drawn).film(size, frames)
        unknown = region.amax((1, 2, 3, 4), keepdim=True).eq(0)
        region = torch.where(unknown, torch.ones_like(region), region)[:, 0].unsqueeze(1)
        return PairedEdits(before, target, region, [clip.instruction for clip in drawn])


def open_index(place: str) -> IndexSource:
    """The source at `index:FOLDER`."""
    return IndexSource(Path(place))


def _shown(clip: Clip, window: Window) -> list[int]:
    """Pictures of a clip's window that are shown at the source's rate, counted from the clip's first."""
    start, stop = window
    part = replace(clip, start=clip.start + start, stop=clip.start + stop, frames=stop - start)
    return [start + one for one in at_rate(part, RATE)]


def _moments(shown: Sequence[int], frames: int, stride: int | None, start: int) -> list[int]:
    """`frames` of the pictures that are shown, `stride` apart from `start`, or spread over all. ValueError
    past the end."""
    if stride is None:
        places = [round(one * (len(shown) - 1) / max(frames - 1, 1)) for one in range(frames)]
    else:
        places = list(range(start, start + frames * stride, stride))
    if places[-1] >= len(shown) or start < 0:
        raise ValueError(f"pictures {places[0]} to {places[-1]} of a clip that has 0 to {len(shown) - 1}")
    return [shown[one] for one in places]


def _film(clip: Clip, moments: Sequence[int], size: int) -> tuple[Tensor, Tensor]:
    """Pictures (3, F, size, size) in [-1, 1] and masks (1, F, size, size) of 0 and 1 of a clip."""
    wanted = sorted(set(moments))
    read = dict(zip(wanted, pictures_of(clip, wanted), strict=True))
    pictures = np.stack([fitted(read[one], size, size) for one in moments])
    known = good_masks(clip)
    masks = np.stack([_mask(known, one, size) for one in moments])
    film = torch.from_numpy(pictures).movedim(-1, 0).float() / 127.5 - 1
    return film, torch.from_numpy(masks).unsqueeze(0).float()


def _mask(known: Mapping[int, np.ndarray], moment: int, size: int) -> np.ndarray:
    """Mask (size, size) of the subject in the sampled picture that is nearest; of none, nothing."""
    if not known:
        return np.zeros((size, size), np.uint8)
    nearest = known[min(known, key=lambda one: (abs(one - moment), one))]
    return (fitted(nearest[:, :, None] * np.uint8(255), size, size).reshape(size, size) > 127).astype(
        np.uint8
    )
