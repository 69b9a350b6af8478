"""Dynamics of a toy, read from a clip: how it moves in itself, by the world's dynamics that explains it
best."""

from dataclasses import replace

import torch
from torch import Tensor

from ..demo import casting, world
from .toy_figures import place_of

# Steady, then every other dynamics at every tempo: what a toy can be told apart by, (kinds, 2).
MOTIONS = torch.tensor(
    [(0, 1), *((dynamics, tempo) for dynamics in range(1, len(world.DYNAMICS)) for tempo in casting.TEMPI)]
)


def kind_of(toys: world.Looks) -> Tensor:
    """Row of MOTIONS that each toy is, (N,) int64."""
    tempo = torch.where(toys.dynamics == 0, 1, toys.tempo)
    own = torch.stack([toys.dynamics, tempo], dim=1)
    return (own[:, None] == MOTIONS).all(2).int().argmax(1)


def dynamics_of(clips: Tensor, toys: world.Looks, scenes: world.Scenes) -> Tensor:
    """Row of MOTIONS whose rendering of the same toys in the same scenes is nearest to each clip: (N,) int64.

    Nearest by the mean square difference; clips (N, 3, F, H, W) in [-1, 1] span a scene. A caption does not
    say where across its path a toy goes, so it is looked for where the clip's is. Ceiling: 1 on rendered
    clips of toys whose dynamics shows (a spinning circle of one colour is a steady one). Floor: 1 / 13 by
    chance; a clip without a toy is what moves least. [choice: dynamics-by-rendering]
    """
    frames, size = clips.shape[2], clips.shape[-1]
    there = replace(scenes, offset=place_of(clips, scenes))
    best = torch.empty(len(MOTIONS), len(clips))
    for index, (dynamics, tempo) in enumerate(MOTIONS.tolist()):
        kind = replace(
            toys,
            dynamics=torch.full_like(toys.dynamics, dynamics),
            tempo=torch.full_like(toys.tempo, tempo),
        )
        drawn, _ = world.render(kind, there, frames, size)
        best[index] = (drawn - clips).square().mean((1, 2, 3, 4))
    return best.argmin(0)
