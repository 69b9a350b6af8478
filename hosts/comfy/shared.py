"""What the sides of an evaluation share: references, identities, an edit's source."""

import comfy.conds
import torch
from torch import Tensor

from ...kernels.grouped import Groups


class Cells(comfy.conds.CONDNoiseShape):
    """A grid over the video: ComfyUI crops it with areas and slices it with context windows. Evaluations share a batch
    only where their grids are equal, since who sees whom is one rule for all rows."""

    def can_concat(self, other) -> bool:
        return super().can_concat(other) and torch.equal(self.cond, other.cond)


def packed(groups: Groups) -> tuple[tuple, list[Tensor]]:
    """Groups as two arguments of the model: hashable spans, and a list of tensors."""
    return groups.keys, [*groups.queries, groups.order, *(groups.averaged or ())]


def unpacked(spans: tuple | None, rows: list[Tensor], first: int) -> Groups | None:
    if spans is None:
        return None
    parts = len(spans)
    queries, order, averaged = rows[:parts], rows[parts], tuple(rows[parts + 1 :])
    return Groups(spans, tuple(queries), order, first, averaged or None)  # pyright: ignore[reportArgumentType]
