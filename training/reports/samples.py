"""Samples of a run: sheets of held-out clips, made by the model as it stands with and without references."""

import logging
import textwrap
import time
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ...drawing.sheet import contact_sheet
from ..engine.loop import Callback, Losses, Update
from .log import RunLog

logger = logging.getLogger(__name__)
SHEETS = "samples"  # in the folder of a run
TITLES = ["references, as seen", "clip", "without references", "with references"]
_HEIGHT = 160  # pixels, of the largest cells
_LETTERS = 160  # of a caption


class Sampler(Protocol):
    """Maker of samples of held-out clips. Pictures are (3, H, W) and films (3, F, H, W), in [-1, 1]."""

    @property
    def captions(self) -> Sequence[str]:
        """Captions of the clips that are drawn, one a row."""
        ...

    def reference(self, row: int) -> Tensor:
        """Picture of the references as the model sees them, masked and on grey, side by side."""
        ...

    def truth(self, row: int) -> Tensor:
        """Film of the clip itself."""
        ...

    def sample(self, row: int, with_references: bool) -> Tensor:
        """Film that the model makes; its noise depends on the row alone."""
        ...


class Samples(Callback):
    """Report that draws a sheet every so many steps and after the last: `samples/STEP.jpg`."""

    def __init__(self, sampler: Sampler, log: RunLog, steps: int, every: int):
        """`every` so many steps of `steps`. ValueError for fewer than 1."""
        if every < 1:
            raise ValueError(f"report.sample_every is {every}; needed 1 or more, or no samples at all")
        self._sampler, self._log, self._steps, self._every = sampler, log, steps, every

    def due(self, done: int) -> bool:
        """True where it is time after so many steps."""
        return done % self._every == 0 or done == self._steps

    def after(self, done: int, losses: Sequence[Losses], update: Update) -> None:
        """Draw a sheet if it is time."""
        if not self.due(done):
            return
        begun, path = time.monotonic(), self._log.path.parent / SHEETS / f"{done}.jpg"
        rows = [sample_row(self._sampler, row) for row in range(len(self._sampler.captions))]
        captions = [textwrap.shorten(one, _LETTERS, placeholder=" …") for one in self._sampler.captions]
        contact_sheet(rows, TITLES, path, captions, scale=1)
        seconds = time.monotonic() - begun
        self._log.write("sample", done, seconds=round(seconds, 3), sheet=f"{SHEETS}/{path.name}")
        logger.info("step %d: samples in %s (%.3g s)", done, path, seconds)


@torch.no_grad()
def sample_row(sampler: Sampler, row: int) -> list[Tensor]:
    """Cells of a clip, as TITLES says, in a height for eyes."""
    cells = sampler.reference(row), sampler.truth(row), sampler.sample(row, False), sampler.sample(row, True)
    return [_fitted(cell) for cell in cells]


def _fitted(cell: Tensor) -> Tensor:
    """Picture or film, no higher than a cell of the sheet."""
    cell = cell.detach().float().cpu()
    height, width = cell.shape[-2:]
    if height <= _HEIGHT:
        return cell
    size = (_HEIGHT, max(1, round(width * _HEIGHT / height)))
    pictures = cell.reshape(-1, 1, height, width)
    return F.interpolate(pictures, size, mode="area").view(*cell.shape[:-2], *size)
