"""Clips that were held out, and their loss with references of their own, with none and with another's."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from ....backbones.wan.dit import WanDiT
from ....data.index import HELD_OUT, Clip
from ....data.prepared import Prepared
from ...reports.gain import other_rows
from .batch import ClipRow, EncodePictures, batch_from_rows, row_generator, window_name
from .config import SaberSettings
from .losses import row_losses
from .references import draw_references

_DRAWS = (0, "held out")  # the same for every seed of training, and others than any step's


class HeldOutClips:
    """Held-out clips with captions (`reports.gain.HeldOut`): of each its middle window, one reference, and
    noise that depends on the clip and the level alone."""

    def __init__(self, prepared: Prepared, settings: SaberSettings, dit: WanDiT, encode: EncodePictures):
        self.prepared, self.settings = prepared, settings
        self._dit, self._encode = dit, encode
        numbers = sorted({number for found in prepared.buckets(HELD_OUT).values() for number in found})
        self.rows: Sequence[Clip] = _film_by_film([prepared.clips[number] for number in numbers])
        self.clips = [window_name(prepared, clip, clip.windows // 2) for clip in self.rows]
        self.scenes = [clip.contents for clip in self.rows]
        self.row = lru_cache(maxsize=4)(self._row)

    def loss(self, row: int, levels: Tensor, references: str) -> Tensor:
        """Loss of a clip at noise levels (L,), (L,), as `reports.gain.HeldOut` has it."""
        shown = self.shown(row, references)
        rows = [
            replace(shown, sigma=level, noise=self._noise(shown.latent, row, index))
            for index, level in enumerate(levels)
        ]
        found = []
        for first in range(0, len(rows), self.settings.train.batch):
            batch = batch_from_rows(rows[first : first + self.settings.train.batch], self._encode)
            found.append(row_losses(self._dit, batch.to(str(self._dit.device))))
        return torch.cat(found).float().cpu()

    def shown(self, row: int, references: str) -> ClipRow:
        """A clip with no references, its own, or another's."""
        mine = self.row(row)
        if references == "none":
            return replace(mine, pictures=mine.pictures[:0], masks=mine.masks[:0])
        if references == "own":
            return mine
        its = self.row(self._others[row])
        size = mine.pictures.shape[2:]
        return replace(
            mine,
            pictures=_fitting(its.pictures, size),
            masks=_fitting(its.masks[None], size)[0].gt(0.5).float(),
        )

    @cached_property
    def _others(self) -> list[int]:
        return other_rows(self.scenes)

    def _row(self, row: int) -> ClipRow:
        clip = self.rows[row]
        window = clip.windows // 2
        draws = row_generator(*_DRAWS, clip.id)
        references = draw_references(self.prepared, clip, window, 1, self.settings.references, draws)
        latent = self.prepared.latent(clip, window).float()
        return ClipRow(
            self.clips[row],
            latent,
            torch.zeros_like(latent),
            torch.zeros(()),
            *references,
            self.prepared.text(clip),
        )

    def _noise(self, latent: Tensor, row: int, index: int) -> Tensor:
        draws = row_generator(*_DRAWS, self.rows[row].id, index)
        return torch.randn(latent.shape, generator=draws)


def _fitting(pictures: Tensor, size: Sequence[int]) -> Tensor:
    """Pictures (K, C, H, W) on a canvas of another size: stretched, where they are of another shape."""
    return (
        pictures if pictures.shape[2:] == tuple(size) else F.interpolate(pictures, tuple(size), mode="area")
    )


def _film_by_film(clips: Sequence[Clip]) -> list[Clip]:
    """The first clip of every film, then the second, and so on: sheets show the first few."""
    seen: Counter[str] = Counter()
    turns = []
    for clip in clips:
        turns.append(seen[clip.contents])
        seen[clip.contents] += 1
    return [clip for _, clip in sorted(zip(turns, clips, strict=True), key=lambda pair: pair[0])]
