"""Casts of the demo world: who plays in which scene, drawn by a seed, at a level of difficulty."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from .shapes import SHAPES, TEXTURES
from .world import BACKGROUNDS, DIRECTIONS, DYNAMICS, WAYS, Cast, Looks, Scenes

# Ways in which toys move in themselves, drawn evenly: more of them turn, which shows both sides.
_MOVING = (*range(1, len(DYNAMICS)), DYNAMICS.index("turning"))
TEMPI = (1, 2)  # cycles of its dynamics per scene
_EXTENT = 0.4  # half a toy's extent in a scene of videos
# Toys of a video stand on a grid of 16 pixels of 96, which is one token, half a token off the middle: a small
# model then draws the same pieces wherever a toy stands. From the middle to a lane of a pair; every place.
_LANE = 0.5
TOY_PLACES = (-_LANE, -_LANE / 3, _LANE / 3, _LANE)


@dataclass(frozen=True)
class Level:
    """Difficulty of clips: the share of toys that move in themselves, and the most toys of a clip."""

    moving: float
    toys: int


WORLD_LEVELS: dict[str, Level] = {"still": Level(0.0, 1), "lively": Level(0.5, 1), "crowded": Level(0.5, 2)}
HARDEST = "crowded"


def sample_identities(n: int, generator: Generator, dynamic_share: float = 0.0) -> Looks:
    """Looks of N toys with vivid colours on front and back, of different hues. The texture's colour is of a
    third hue, or near-white on a third of them. This share of them moves in itself, the others are steady."""

    def vivid(hue: Tensor) -> Tensor:
        saturation, value = torch.rand(2, n, generator=generator)
        return rgb(hue, 0.7 + 0.3 * saturation, 0.75 + 0.25 * value)

    hue, turn, around = torch.rand(3, n, generator=generator)
    primary = vivid(hue)
    # Of the other hues, in a circle, the back has the nearer or the further ones, the texture the others.
    behind = torch.rand(n, generator=generator) < 0.5
    shifts = 0.25 + 0.2 * turn, 0.6 + 0.2 * around
    back = vivid((hue + torch.where(behind, *shifts)) % 1)
    secondary = vivid((hue + torch.where(behind, *shifts[::-1])) % 1)
    secondary = secondary.masked_fill(torch.rand(n, 1, generator=generator) < 1 / 3, 0.97)
    shape, texture, axis = (choices(k, n, generator) for k in (len(SHAPES), len(TEXTURES), 2))
    dynamics = torch.tensor(_MOVING)[choices(len(_MOVING), n, generator)]
    steady = torch.rand(n, generator=generator) >= dynamic_share
    return Looks(
        shape=shape,
        texture=texture,
        axis=axis,
        primary=primary,
        secondary=secondary,
        back=back,
        dynamics=dynamics.masked_fill(steady, 0),
        tempo=torch.tensor(TEMPI)[choices(len(TEMPI), n, generator)],
    )


def steady(toys: Looks) -> Looks:
    """Toys of the same looks that do not move in themselves."""
    return replace(toys, dynamics=torch.zeros_like(toys.dynamics))


def sample_scenes(n: int, generator: Generator) -> Scenes:
    """N scenes of videos, every direction and background equally likely. Upright toys of one size stand on a
    coarse grid across their path, and show their front first [choice: toy-grid]."""
    direction, background = choices(len(DIRECTIONS), n, generator), choices(len(BACKGROUNDS), n, generator)
    offset = torch.tensor(TOY_PLACES)[torch.randint(0, len(TOY_PLACES), (n, 2), generator=generator)]
    zero = torch.zeros(n)
    scenes = Scenes(
        direction, background, rotation=zero, size=zero + _EXTENT, offset=offset, side=zero.long()
    )
    return heading(scenes, direction)


def heading(scenes: Scenes, direction: Tensor) -> Scenes:
    """The scenes with other directions (N,): where a toy travels it passes the middle of its path."""
    offset = scenes.offset.masked_fill(WAYS[direction] != 0, 0.0)
    return replace(scenes, direction=direction, offset=offset)


def sample_photographs(n: int, generator: Generator, side: int = 0) -> Scenes:
    """N scenes in which a toy is photographed from one side: any size, tilt and place, and no travel."""
    rotation, size = torch.rand(2, n, generator=generator)
    return Scenes(
        direction=torch.full((n,), DIRECTIONS.index("still")),
        background=choices(len(BACKGROUNDS), n, generator),
        rotation=(rotation - 0.5) * 0.5,
        size=0.35 + 0.17 * size,
        offset=(torch.rand(n, 2, generator=generator) - 0.5) * 0.6,
        side=torch.full((n,), side),
    )


def other_scenes(scenes: Scenes, generator: Generator, side: int = 0) -> Scenes:
    """Scenes of as many photographs, each on another background than the scene it stands in for."""
    step = 1 + choices(len(BACKGROUNDS) - 1, len(scenes), generator)
    fresh = sample_photographs(len(scenes), generator, side)
    return replace(fresh, background=(scenes.background + step) % len(BACKGROUNDS))


def sample_cast(n: int, generator: Generator, duet: bool = False, dynamic_share: float = 0.5) -> Cast:
    """Cast that a model is trained on: N single toys, or N pairs, in scenes of videos."""
    scenes = sample_scenes(n, generator)
    shared = duets(scenes) if duet else (scenes,)
    return [(sample_identities(n, generator, dynamic_share), one) for one in shared]


def duets(scenes: Scenes) -> tuple[Scenes, Scenes]:
    """Scenes of two toys side by side across their path: the left or upper one, and the other."""
    across = torch.where(
        WAYS[scenes.direction][:, :1] != 0, torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    )
    return replace(scenes, offset=-_LANE * across), replace(scenes, offset=_LANE * across)


def swapped(pair: tuple[Scenes, Scenes], turned: Tensor) -> tuple[Scenes, Scenes]:
    """Scenes of a pair, in which two toys change their places where `turned` (N,) bool says so."""
    first, second = pair
    where = turned[:, None]
    return (
        replace(first, offset=torch.where(where, second.offset, first.offset)),
        replace(second, offset=torch.where(where, first.offset, second.offset)),
    )


def other_shape(toys: Looks, generator: Generator, dynamic_share: float = 0.0) -> Looks:
    """Toys beside others, as many as `toys` and each of another shape than its own, which names it."""
    beside = sample_identities(len(toys), generator, dynamic_share)
    step = 1 + choices(len(SHAPES) - 1, len(toys), generator)
    return replace(beside, shape=(toys.shape + step) % len(SHAPES))


def rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The usual HSV to RGB: three (N,) in [0, 1] -> (N, 3) in [0, 1]."""
    k = (hue.unsqueeze(1) * 6 + torch.tensor([5.0, 3.0, 1.0])) % 6
    dip = torch.minimum(k, 4 - k).clamp(0, 1)
    return value.unsqueeze(1) * (1 - saturation.unsqueeze(1) * dip)


def choices(options: int, n: int, generator: Generator) -> Tensor:
    """(N,) int64 uniform in [0, options)."""
    return torch.randint(0, options, (n,), generator=generator)
