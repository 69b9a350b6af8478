"""Automatic regions of references on the plain host: their maps over the steps of a run, and the focused
attention of all blocks."""

from itertools import count

import torch
from torch import Tensor

from ...backbones.base import attend_all
from ...core.focus import FocusMaps, FocusTurn, focus_maps, measured_block
from ...core.layout import Layout
from ...kernels.focus import Focus, focused, measure_maps
from ...kernels.grouped import Attend, Groups, in_groups
from .evaluation import Evaluation


def plain_focus(evaluation: Evaluation, turn: FocusTurn, layout: Layout, kept: FocusMaps | None) -> Focus:
    """Focus of a pass, with the maps of the step before. ValueError where nothing is kept from step to
    step."""
    if kept is None:
        raise ValueError(
            f"focus is {[stream.controls.focus for stream in layout.streams]}, but this pass keeps nothing "
            "from step to step; needed 1, or a run (`sampling.guided_velocity`)"
        )
    dit, (rows, _, *grid) = evaluation.dit, evaluation.latent.shape
    frames = range(evaluation.start, evaluation.start + grid[0])
    like = torch.zeros(
        rows, len(turn.levels), layout.geometry.count(*grid), device=dit.device, dtype=dit.dtype
    )
    maps, measured = focus_maps([kept], float(evaluation.sigma.max()), frames, like)
    return Focus(turn.of, like.new_tensor(turn.levels), measured, maps if turn.acts else None)


def in_all_blocks(focus: Focus, attend: Attend, groups: Groups | None, layers: int) -> Attend:
    """Attention of a model's blocks, called in their order: `attend` with the focus. The maps are measured in
    one of them, over what the groups see."""
    inner, blocks = focused(attend, focus), count()

    def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        if next(blocks) == measured_block(layers):
            measure_maps(focus, in_groups(attend_all, groups), query, key, bias)
        return inner(query, key, value, bias)

    return attention
