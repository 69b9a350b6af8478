"""Automatic region of a reference: where the video looks at it already, it is looked at more.

DIAL (arXiv 2609.11507), the part that needs no training, adds log γ · map to the logits of the video's
queries against the reference's keys, in all blocks. The map is one block's attention at the step before.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels.focus import wide_size
from .layout import Layout


@dataclass(frozen=True)
class FocusTurn:
    """Turn of the focused references at one share of the schedule.

    of      (n,) int64, the map of each token that acts; the number of maps for a reference without one
    levels  log γ of each map now: 0 before its start
    """

    of: Tensor
    levels: tuple[float, ...]

    @property
    def acts(self) -> bool:
        """True where a map weighs keys now."""
        return any(self.levels)

    def wide(self, size: int) -> int | None:
        """Features of a head of `size` that carries the maps; None where none acts."""
        return wide_size(size, len(self.levels)) if self.acts else None


def focus_turn(layout: Layout, acting: Sequence[int], share: float, device: torch.device) -> FocusTurn | None:
    """Focus of the references `acting` at a share of the schedule; None where no reference of the layout has
    one. Maps are of all that have one, in their order, so that their number stays over the steps."""
    which = [index for index, stream in enumerate(layout.streams) if stream.controls.focus != 1]
    if not which:
        return None
    places = {index: place for place, index in enumerate(which)}
    of = [places.get(index, len(which)) for index in acting for _ in range(layout.streams[index].kept)]
    levels = tuple(
        layout.streams[index].controls.log_focus(share) if index in acting else 0.0 for index in which
    )
    return FocusTurn(torch.tensor(of, device=device), levels)


def measured_block(blocks: int) -> int:
    """Block whose attention is the map, of a model of so many: the middle one [choice: focus-block]."""
    return blocks // 2


class FocusMaps:
    """Maps of one condition over the steps of a run, by latent frame. Windows over a longer video share them.

    The step before is the last evaluation at another noise level, for samplers that evaluate a level more
    than once [choice: focus-step-before].
    """

    def __init__(self) -> None:
        self._level = math.nan
        self._before: dict[int, Tensor] = {}
        self._now: dict[int, Tensor] = {}

    def before(self, level: float, frames: Sequence[int], like: Tensor) -> Tensor | None:
        """Maps (B, R, tokens) of the step before over these latent frames; None where there are none.

        level  noise level of this evaluation
        like   (B, R, tokens), what frames have that no step saw
        """
        if level != self._level:
            self._before, self._now, self._level = self._before | self._now, {}, level
        if not any(frame in self._before for frame in frames):
            return None
        parts = zip(frames, like.chunk(len(frames), dim=2), strict=True)
        return torch.cat([self._before.get(frame, part) for frame, part in parts], dim=2)

    def keep(self, frames: Sequence[int], measured: Tensor) -> None:
        """Keep maps (B, R, tokens) of this evaluation over these latent frames. They may be filled later."""
        self._now |= dict(zip(frames, measured.chunk(len(frames), dim=2), strict=True))


def focus_maps(
    kept: Sequence[FocusMaps], level: float, frames: Sequence[int], like: Tensor
) -> tuple[Tensor | None, Tensor]:
    """Maps of the step before and the place for those of now, of the conditions of one batch.

    kept   of each condition, whose rows follow one another
    level  noise level; frames, of the video's latent; like, zeros (B, R, tokens) of the whole batch

    -> (B, R, tokens) each, the first None where no condition has any. The place begins with the maps before:
    a cache may leave the forward out.
    """
    parts = like.chunk(len(kept))
    found = [own.before(level, frames, part) for own, part in zip(kept, parts, strict=True)]
    known = [part if one is None else one for one, part in zip(found, parts, strict=True)]
    measured = torch.cat(known)
    for own, part in zip(kept, measured.chunk(len(kept)), strict=True):
        own.keep(frames, part)
    return (None if all(one is None for one in found) else torch.cat(known)), measured
