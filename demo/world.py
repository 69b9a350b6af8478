"""A procedural world of moving toys: references say who a toy is, captions say what it does.

The whole world is ours. Positions are in [-1, 1] across the picture, right and down positive; angles are in
radians; colours are RGB in [0, 1]. A clip is played over t in [-1, 1] and its toy is mid-way at t = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from torch import Generator, Tensor

SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "ring", "star", "cross")
TEXTURES: tuple[str, ...] = ("plain", "halves", "striped", "spot")
DIRECTIONS: tuple[str, ...] = ("right", "left", "down", "up", "still")
BACKGROUNDS: tuple[str, ...] = ("light", "dark", "sunset", "meadow")

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
class Identities(_Rows):
    """Who N toys are: everything a reference picture shows and a caption does not say."""

    shape: Tensor  # (N,) int64, index into SHAPES
    texture: Tensor  # (N,) int64, index into TEXTURES
    axis: Tensor  # (N,) int64: the texture runs down the toy (0) or across it (1)
    primary: Tensor  # (N, 3)
    secondary: Tensor  # (N, 3), the texture's second colour


@dataclass(frozen=True)
class Scenes(_Rows):
    """What N toys do, and where."""

    direction: Tensor  # (N,) int64, index into DIRECTIONS
    background: Tensor  # (N,) int64, index into BACKGROUNDS
    rotation: Tensor  # (N,) angle at t = 0
    spin: Tensor  # (N,) angle per unit of t
    size: Tensor  # (N,) half the toy's extent, as a share of half the picture
    speed: Tensor  # (N,) share of the longest travel
    offset: Tensor  # (N, 2) x and y in [-1, 1], share of the largest displacement


def sample_identities(n: int, generator: Generator) -> Identities:
    """N toys with a vivid first colour and a second one that is near-white, near-black or of another hue."""

    def vivid(hue: Tensor) -> Tensor:
        saturation, value = torch.rand(2, n, generator=generator)
        return _rgb(hue, 0.7 + 0.3 * saturation, 0.75 + 0.25 * value)

    hue, turn = torch.rand(2, n, generator=generator)
    primary = vivid(hue)
    secondary = vivid((hue + 0.3 + 0.4 * turn) % 1)
    accent = torch.randint(0, 4, (n, 1), generator=generator)  # 0 white, 1 black, 2 and 3 the other hue
    secondary = secondary.masked_fill(accent == 0, 0.97).masked_fill(accent == 1, 0.06)
    return Identities(
        shape=_choices(len(SHAPES), n, generator),
        texture=_choices(len(TEXTURES), n, generator),
        axis=_choices(2, n, generator),
        primary=primary,
        secondary=secondary,
    )


def sample_scenes(n: int, generator: Generator) -> Scenes:
    """N scenes, every direction and background equally likely."""
    rotation, spin, size, speed = torch.rand(4, n, generator=generator)
    return Scenes(
        direction=_choices(len(DIRECTIONS), n, generator),
        background=_choices(len(BACKGROUNDS), n, generator),
        rotation=(rotation - 0.5) * 0.5,
        spin=(spin - 0.5) * 0.3,
        size=0.46 + 0.12 * size,
        speed=0.8 + 0.2 * speed,
        offset=torch.rand(n, 2, generator=generator) * 2 - 1,
    )


def other_scenes(scenes: Scenes, generator: Generator) -> Scenes:
    """As many new scenes, each on another background than the scene it stands in for."""
    fresh = sample_scenes(len(scenes), generator)
    step = 1 + _choices(len(BACKGROUNDS) - 1, len(scenes), generator)
    columns = {field.name: getattr(fresh, field.name) for field in fields(fresh)}
    return Scenes(**{**columns, "background": (scenes.background + step) % len(BACKGROUNDS)})


def render(identities: Identities, scenes: Scenes, frames: int = 9, size: int = 64) -> tuple[Tensor, Tensor]:
    """Clips of toy i in scene i: video (N, 3, F, H, W) in [-1, 1], toy alpha (N, 1, F, H, W) in [0, 1].

    No randomness. A clip of a single frame shows t = 0. ValueError if there are not as many toys as scenes.
    """
    if len(identities) != len(scenes):
        raise ValueError(
            f"got {len(identities)} identities and {len(scenes)} scenes; give one scene per identity"
        )
    video = torch.empty(len(scenes), 3, frames, size, size)
    alpha = torch.empty(len(scenes), 1, frames, size, size)
    for start in range(0, len(scenes), _CHUNK):
        rows = slice(start, start + _CHUNK)
        colour, alpha[rows] = _draw_toys(identities[rows], scenes[rows], frames, size)
        behind = backdrop(scenes.background[rows], size).unsqueeze(2)
        video[rows] = behind + (colour - behind) * alpha[rows]
    return video.mul_(2).sub_(1), alpha


def backdrop(background: Tensor, size: int) -> Tensor:
    """Vertical gradients of the named backgrounds: background (N,) int64 -> (N, 3, H, W) in [0, 1]."""
    top, bottom = _PALETTE.to(background.device)[background].view(-1, 2, 3, 1, 1).unbind(1)
    down = torch.linspace(0, 1, size, device=background.device).view(1, 1, size, 1)
    return (top * (1 - down) + bottom * down).expand(-1, -1, size, size)


def captions(identities: Identities, scenes: Scenes, named: Tensor | None = None) -> list[str]:
    """One sentence per clip; where named (N,) bool is True the shape's own word stands in place of "toy"."""
    spoken = torch.zeros(len(identities), dtype=torch.bool) if named is None else named
    columns = (identities.shape, spoken, scenes.direction, scenes.background)
    return [_caption(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def vocabulary() -> list[str]:
    """Every word a caption can hold, sorted."""
    return sorted({"a", "toy", "moving", "standing", "on", "background", *SHAPES, *DIRECTIONS, *BACKGROUNDS})


def _caption(shape: int, named: bool, direction: int, background: int) -> str:
    subject = SHAPES[shape] if named else "toy"
    verb = "standing" if DIRECTIONS[direction] == "still" else "moving"
    return f"a {subject} {verb} {DIRECTIONS[direction]} on {BACKGROUNDS[background]} background"


def _choices(options: int, n: int, generator: Generator) -> Tensor:
    """(N,) int64 uniform in [0, options)."""
    return torch.randint(0, options, (n,), generator=generator)


def _rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The usual HSV to RGB: three (N,) in [0, 1] -> (N, 3) in [0, 1]."""
    k = (hue.unsqueeze(1) * 6 + torch.tensor([5.0, 3.0, 1.0])) % 6
    dip = torch.minimum(k, 4 - k).clamp(0, 1)
    return value.unsqueeze(1) * (1 - saturation.unsqueeze(1) * dip)


def _draw_toys(identities: Identities, scenes: Scenes, frames: int, size: int) -> tuple[Tensor, Tensor]:
    """Colour (N, 3, F, H, W) and alpha (N, 1, F, H, W) of the toys, without what is behind them."""
    x, y = _toy_coordinates(scenes, frames, size)
    pixels = _column(scenes.size) * size  # turns a distance in toy units into an edge about one pixel wide
    alpha = torch.sigmoid(_per_kind(identities.shape, _DISTANCE, x, y).mul_(-0.9 * pixels))
    share = torch.sigmoid(_secondary_depth(identities, x, y).mul_(pixels)).unsqueeze(1)
    primary, secondary = (
        colour.view(-1, 3, 1, 1, 1) for colour in (identities.primary, identities.secondary)
    )
    return primary + (secondary - primary) * share, alpha.unsqueeze(1)


def _toy_coordinates(scenes: Scenes, frames: int, size: int) -> tuple[Tensor, Tensor]:
    """Every pixel in the toy's own frame, where it is upright and reaches about 1: x, y (N, F, H, W)."""
    t = torch.linspace(-1, 1, frames) if frames > 1 else torch.zeros(1)
    step = _STEP[scenes.direction]
    # Less offset along the path: there the toy already travels up to the border.
    offset = scenes.offset * 0.22 * torch.where(step == 0, 1.0, 0.25)
    centre = step.unsqueeze(1) * (scenes.speed * 0.46).view(-1, 1, 1) * t.view(1, -1, 1) + offset.unsqueeze(1)
    angle = (scenes.rotation.unsqueeze(1) + scenes.spin.unsqueeze(1) * t)[..., None, None]
    ruler = torch.linspace(-1, 1, size)
    dx = ruler.view(1, 1, 1, size) - centre[..., 0, None, None]
    dy = ruler.view(1, 1, size, 1) - centre[..., 1, None, None]
    cos, sin = torch.cos(angle) / _column(scenes.size), torch.sin(angle) / _column(scenes.size)
    return cos * dx + sin * dy, cos * dy - sin * dx


def _column(value: Tensor) -> Tensor:
    """(N,) -> (N, 1, 1, 1)."""
    return value.view(-1, 1, 1, 1)


_Field = Callable[[Tensor, Tensor], Tensor]


def _per_kind(kind: Tensor, functions: Sequence[_Field], x: Tensor, y: Tensor) -> Tensor:
    """functions[kind[i]](x[i], y[i]) for every row i, each function called once on all of its rows."""
    out = torch.empty_like(x)
    for k in kind.unique().tolist():
        rows = (kind == k).nonzero().squeeze(1)
        out[rows] = functions[k](x[rows], y[rows])
    return out


def _radius(x: Tensor, y: Tensor) -> Tensor:
    return torch.sqrt(x * x + y * y)


def _box(x: Tensor, y: Tensor, half_width: float, half_height: float) -> Tensor:
    return torch.maximum(x.abs() - half_width, y.abs() - half_height)


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    below = y - 0.2
    return torch.maximum(x.abs() * 0.866 - below * 0.5, below) - 0.55


def _star(x: Tensor, y: Tensor) -> Tensor:
    rim = 0.74 + 0.26 * torch.cos(5 * torch.atan2(x, -y))
    return (_radius(x, y) - rim) * 0.6  # the slanted rim makes radial distances too long


# Distance to the outline in toy units, negative inside; exact near the outline, which is all the edge needs.
_DISTANCE: tuple[_Field, ...] = (
    lambda x, y: _radius(x, y) - 0.92,  # circle
    lambda x, y: _box(x, y, 0.8, 0.8),  # square
    _triangle,
    lambda x, y: (_radius(x, y) - 0.68).abs() - 0.29,  # ring
    _star,
    lambda x, y: torch.minimum(_box(x, y, 0.32, 0.95), _box(x, y, 0.95, 0.32)),  # cross
)


def _secondary_depth(identities: Identities, x: Tensor, y: Tensor) -> Tensor:
    """How deep a point lies in the texture's second colour, in toy units: (N, F, H, W)."""
    along = torch.where(_column(identities.axis == 1), x, y)
    ring = identities.shape == SHAPES.index("ring")
    # A spot of the usual size would fall into a ring's hole: there it becomes the inner half of the rim.
    inside_spot = _column(torch.where(ring, 0.68, 0.48)) - _radius(x, y)
    return _per_kind(identities.texture, _TEXTURE, along, inside_spot)


# Depth of the second colour, scaled to its edge's softness, from the coordinate along the texture and the
# distance inside the spot.
_TEXTURE: tuple[_Field, ...] = (
    lambda along, _: torch.full_like(along, -torch.inf),  # plain
    lambda along, _: 0.7 * along,  # halves
    lambda along, _: 0.24 * torch.cos(6 * along),  # striped
    lambda _, inside_spot: 0.7 * inside_spot,  # spot
)
