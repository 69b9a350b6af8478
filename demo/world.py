"""World of moving toys, procedural [choice: demo-world]: references say who a toy is, captions what it does.

Positions are in [-1, 1] across the picture, right and down
positive; angles are in radians; colours are RGB in [0, 1]. A scene is played over t in [-1, 1] and its toy is
mid-way at t = 0. A clip is any set of moments of a scene: key pictures and what lies between them
come from one and the same scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Generator, Tensor

from .shapes import SHAPES, TEXTURES, outline_distance, secondary_depth

DIRECTIONS: tuple[str, ...] = ("right", "left", "down", "up", "still")
BACKGROUNDS: tuple[str, ...] = ("light", "dark", "sunset", "meadow")
# How a toy moves in itself; captions may call it so. A picture does not show it, a clip does.
DYNAMICS: tuple[str, ...] = ("steady", "hopping", "spinning", "pulsing", "squashing")
WORLD_SIZE = 80  # pixels: five tokens of 16 a side
WORLD_LENGTH = 97  # pictures of a whole scene at stride 1: 9 at stride 12, 25 at stride 4

# One row per background: the colour at the top of the picture and the colour at its bottom.
_PALETTE = torch.tensor(
    [
        [[0.90, 0.90, 0.95], [0.97, 0.93, 0.84]],
        [[0.05, 0.06, 0.16], [0.20, 0.15, 0.26]],
        [[0.98, 0.62, 0.40], [0.38, 0.22, 0.52]],
        [[0.55, 0.78, 0.98], [0.36, 0.60, 0.26]],
    ]
)
_STEP = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.0, 0.0]])  # (direction, (x, y))
# One row per entry of DYNAMICS: lift, half turns per cycle, and the relative swing of width and height.
_SWING = torch.tensor(
    [[0.0, 0, 0, 0], [0.16, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.22, 0.22], [0, 0, 0.22, -0.22]]
)
# Toys of a video stand on a grid of 16 pixels of 80, which is one token, and travel one token to either side:
# a small model then draws the same pieces wherever a toy stands. In order: across the path, from the middle
# to either end of it, from the middle to a pair's lanes.
_GRID = _TRAVEL = _LANE = 0.4
_ALONE, _BESIDE = 0.5, 0.36  # half a toy's extent alone and in pairs
_CHUNK = 64  # clips rendered together: the planes stay small, whatever the number of clips asked for

_RowsT = TypeVar("_RowsT", bound="_Rows")


@dataclass(frozen=True)
class _Rows:
    """Columns of equal length; an index picks rows of every column and keeps the type."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self: _RowsT, index: Tensor | slice) -> _RowsT:
        return type(self)(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


@dataclass(frozen=True)
class Looks(_Rows):
    """Looks of N toys: what a reference shows and a caption need not say."""

    shape: Tensor  # (N,) int64, index into SHAPES
    texture: Tensor  # (N,) int64, index into TEXTURES
    axis: Tensor  # (N,) int64: the texture runs down the toy (0) or across it (1)
    primary: Tensor  # (N, 3)
    secondary: Tensor  # (N, 3), the texture's second colour
    dynamics: Tensor  # (N,) int64, index into DYNAMICS
    tempo: Tensor  # (N,) int64, cycles of its dynamics per scene


@dataclass(frozen=True)
class Scenes(_Rows):
    """Scenes of N toys: what they do, and where."""

    direction: Tensor  # (N,) int64, index into DIRECTIONS
    background: Tensor  # (N,) int64, index into BACKGROUNDS
    rotation: Tensor  # (N,) angle
    size: Tensor  # (N,) half the toy's extent, as a share of half the picture
    offset: Tensor  # (N, 2) x and y of the middle of its path


Cast = Sequence[
    tuple[Looks, Scenes]
]  # toys that share their pictures; the first one's scenes give the background


def sample_identities(n: int, generator: Generator, dynamic_share: float = 0.0) -> Looks:
    """Looks of N toys with a vivid first colour and a second one, a third of them near-white, the others of
    another hue. This share of them moves in itself, the others are steady."""

    def vivid(hue: Tensor) -> Tensor:
        saturation, value = torch.rand(2, n, generator=generator)
        return rgb(hue, 0.7 + 0.3 * saturation, 0.75 + 0.25 * value)

    hue, turn = torch.rand(2, n, generator=generator)
    primary = vivid(hue)
    secondary = vivid((hue + 0.3 + 0.4 * turn) % 1)
    secondary = secondary.masked_fill(torch.rand(n, 1, generator=generator) < 1 / 3, 0.97)
    shape, texture, axis = (_choices(k, n, generator) for k in (len(SHAPES), len(TEXTURES), 2))
    dynamics = 1 + _choices(len(DYNAMICS) - 1, n, generator)
    steady = torch.rand(n, generator=generator) >= dynamic_share
    return Looks(
        shape,
        texture,
        axis,
        primary,
        secondary,
        dynamics.masked_fill(steady, 0),
        1 + _choices(2, n, generator),
    )


def sample_scenes(n: int, generator: Generator) -> Scenes:
    """N scenes of videos, every direction and background equally likely: upright toys of one size, on a
    coarse grid across their path [choice: toy-grid]."""
    direction, background = _choices(len(DIRECTIONS), n, generator), _choices(len(BACKGROUNDS), n, generator)
    grid = torch.randint(-1, 2, (n, 2), generator=generator) * _GRID
    zero = torch.zeros(n)
    return Scenes(direction, background, zero, zero + _ALONE, grid.masked_fill(_STEP[direction] != 0, 0.0))


def places(scenes: Scenes) -> list[Scenes]:
    """Scenes with their toys at every place of the grid that their paths leave open: what a caption does not
    say."""
    steps = torch.tensor([-1.0, 0.0, 1.0]) * _GRID
    blocked = _STEP[scenes.direction] != 0
    return [
        replace(scenes, offset=offset.expand(len(scenes), 2).masked_fill(blocked, 0.0))
        for offset in torch.cartesian_prod(steps, steps)
    ]


def sample_photographs(n: int, generator: Generator) -> Scenes:
    """N scenes in which a picture of a toy is taken: any size, tilt and place, and no travel."""
    rotation, size = torch.rand(2, n, generator=generator)
    return Scenes(
        direction=torch.full((n,), DIRECTIONS.index("still")),
        background=_choices(len(BACKGROUNDS), n, generator),
        rotation=(rotation - 0.5) * 0.5,
        size=0.42 + 0.2 * size,
        offset=(torch.rand(n, 2, generator=generator) - 0.5) * 0.5,
    )


def other_scenes(scenes: Scenes, generator: Generator) -> Scenes:
    """Scenes of as many photographs, each on another background than the scene it stands in for."""
    step = 1 + _choices(len(BACKGROUNDS) - 1, len(scenes), generator)
    fresh = sample_photographs(len(scenes), generator)
    return replace(fresh, background=(scenes.background + step) % len(BACKGROUNDS))


def sample_cast(n: int, generator: Generator, duet: bool = False, dynamic_share: float = 0.25) -> Cast:
    """Cast that a model is trained on: N single toys, or N pairs, in scenes of videos."""
    scenes = sample_scenes(n, generator)
    places = duets(scenes) if duet else (scenes,)
    return [(sample_identities(n, generator, dynamic_share), place) for place in places]


def duets(scenes: Scenes) -> tuple[Scenes, Scenes]:
    """Scenes of two smaller toys side by side across their path: the left or upper one, and the other."""
    across = torch.where(
        _STEP[scenes.direction][:, :1] != 0, torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    )
    smaller = replace(scenes, size=torch.full_like(scenes.size, _BESIDE))
    return tuple(replace(smaller, offset=across * lane) for lane in (-_LANE, _LANE))  # pyright: ignore[reportReturnType]


def moments(frames: int, stride: int | None = None, start: int | Tensor = 0) -> Tensor:
    """Times of `frames` pictures `stride` apart from picture `start` of a scene of LENGTH: (F,), or (N, F)
    for a start (N,) each. Without a stride they span the scene; a single one is its middle. ValueError past
    the scene's end."""
    if stride is None:
        return torch.linspace(-1, 1, frames) if frames > 1 else torch.zeros(1)
    pictures = torch.as_tensor(start)[..., None] + stride * torch.arange(frames)
    if int(pictures.min()) < 0 or int(pictures.max()) >= WORLD_LENGTH:
        raise ValueError(
            f"{frames} pictures at stride {stride} from picture {int(pictures.min())} end at {int(pictures.max())}; "
            f"a scene has pictures 0 to {WORLD_LENGTH - 1}"
        )
    return pictures * 2 / (WORLD_LENGTH - 1) - 1


def render(
    identities: Looks, scenes: Scenes, frames: int | Tensor = 9, size: int = WORLD_SIZE
) -> tuple[Tensor, Tensor]:
    """Clips of toy i in scene i: video (N, 3, F, H, W) in [-1, 1], toy alpha (N, 1, F, H, W) in [0, 1].

    frames: a number, spread over the whole scene (a single one shows t = 0), or times as `moments` gives
    them. No randomness. ValueError if there are not as many toys as scenes.
    """
    return render_cast([(identities, scenes)], frames, size)


def render_cast(cast: Cast, frames: int | Tensor = 9, size: int = WORLD_SIZE) -> tuple[Tensor, Tensor]:
    """Several toys in every picture, later ones in front: video (N, 3, F, H, W), alpha (N, toys, F, H, W) of
    what is seen of each. An empty cast cannot be rendered (its background is the first toy's)."""
    for identities, scenes in cast:
        if len(identities) != len(cast[0][1]) or len(scenes) != len(cast[0][1]):
            raise ValueError(
                f"got {len(identities)} identities and {len(scenes)} scenes; give one scene per identity"
            )
    times = (moments(frames) if isinstance(frames, int) else frames).expand(len(cast[0][1]), -1)
    video, alpha = [], []
    for start in range(0, len(times), _CHUNK):
        rows = slice(start, start + _CHUNK)
        part = [(identities[rows], scenes[rows]) for identities, scenes in cast]
        pictures, layers = _paint(part, times[rows], size)
        video.append(pictures)
        alpha.append(layers)
    return torch.cat(video).mul_(2).sub_(1), torch.cat(alpha)


def empty(scenes: Scenes, frames: int = 9, size: int = WORLD_SIZE) -> Tensor:
    """The scenes without any toy: (N, 3, F, H, W) in [-1, 1]."""
    return backdrop(scenes.background, size).unsqueeze(2).repeat(1, 1, frames, 1, 1) * 2 - 1


def backdrop(background: Tensor, size: int) -> Tensor:
    """Vertical gradients of the named backgrounds: background (N,) int64 -> (N, 3, H, W) in [0, 1]."""
    top, bottom = _PALETTE.to(background.device)[background].view(-1, 2, 3, 1, 1).unbind(1)
    down = torch.linspace(0, 1, size, device=background.device).view(1, 1, size, 1)
    return (top * (1 - down) + bottom * down).expand(-1, -1, size, size)


def rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The usual HSV to RGB: three (N,) in [0, 1] -> (N, 3) in [0, 1]."""
    k = (hue.unsqueeze(1) * 6 + torch.tensor([5.0, 3.0, 1.0])) % 6
    dip = torch.minimum(k, 4 - k).clamp(0, 1)
    return value.unsqueeze(1) * (1 - saturation.unsqueeze(1) * dip)


def _choices(options: int, n: int, generator: Generator) -> Tensor:
    """(N,) int64 uniform in [0, options)."""
    return torch.randint(0, options, (n,), generator=generator)


def _paint(cast: Cast, times: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, F, H, W) in [0, 1] of a cast at times (N, F), and what is seen of each toy (N, toys, F,
    H, W)."""
    pictures = backdrop(cast[0][1].background, size).unsqueeze(2)
    seen: list[Tensor] = []
    for identities, scenes in cast:
        colour, alpha = _draw_toys(identities, scenes, times, size)
        pictures = pictures + (colour - pictures) * alpha
        seen = [*(layer * (1 - alpha) for layer in seen), alpha]
    return pictures, torch.cat(seen, dim=1)


def _draw_toys(identities: Looks, scenes: Scenes, times: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Colour (N, 3, F, H, W) and alpha (N, 1, F, H, W) of the toys, without what is behind them."""
    x, y = _toy_coordinates(identities, scenes, times, size)
    pixels = _column(scenes.size) * size  # turns a distance in toy units into an edge about one pixel wide
    alpha = torch.sigmoid(outline_distance(identities.shape, x, y).mul_(-0.9 * pixels))
    depth = secondary_depth(identities.shape, identities.texture, identities.axis, x, y)
    share = torch.sigmoid(depth.mul_(pixels)).unsqueeze(1)
    primary, secondary = (
        colour.view(-1, 3, 1, 1, 1) for colour in (identities.primary, identities.secondary)
    )
    return primary + (secondary - primary) * share, alpha.unsqueeze(1)


def _toy_coordinates(identities: Looks, scenes: Scenes, times: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Every pixel in the toy's own frame, where it is upright and reaches about 1: x, y (N, F, H, W)."""
    lift, turn, wide, high = _SWING[identities.dynamics].unsqueeze(1).unbind(-1)  # (N, 1) each
    phase = torch.pi * identities.tempo.unsqueeze(1) * (times + 1)
    centre = _STEP[scenes.direction].unsqueeze(1) * _TRAVEL * times.unsqueeze(2) + scenes.offset.unsqueeze(1)
    across, down = centre[..., 0], centre[..., 1] - lift * (1 - phase.cos()) / 2
    angle = (scenes.rotation.unsqueeze(1) + turn * phase / 2)[..., None, None]
    width, height = (
        (scenes.size.unsqueeze(1) * (1 + swing * phase.sin()))[..., None, None] for swing in (wide, high)
    )
    ruler = torch.linspace(-1, 1, size)
    dx = ruler.view(1, 1, 1, size) - across[..., None, None]
    dy = ruler.view(1, 1, size, 1) - down[..., None, None]
    cos, sin = torch.cos(angle), torch.sin(angle)
    return (cos * dx + sin * dy) / width, (cos * dy - sin * dx) / height


def _column(value: Tensor) -> Tensor:
    """(N,) -> (N, 1, 1, 1)."""
    return value.view(-1, 1, 1, 1)
