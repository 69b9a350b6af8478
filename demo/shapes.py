"""Outlines and textures of the demo world's toys, as fields over the toy's own upright coordinates (x right,
y down; a toy reaches about 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "ring", "star", "cross")
TEXTURES: tuple[str, ...] = ("plain", "halves", "striped", "spot")

_Field = Callable[[Tensor, Tensor], Tensor]


def outline_distance(shape: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Distance to the outline in toy units, negative inside. shape (N,) indexes SHAPES; x, y (N, F, H, W)."""
    return _per_kind(shape, _DISTANCE, x, y)


def secondary_depth(shape: Tensor, texture: Tensor, axis: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Depth of a point in the texture's second colour, in toy units: (N, F, H, W).

    texture (N,) index into TEXTURES; axis (N,): the texture runs down the toy (0) or across it (1).
    """
    along = torch.where(_column(axis == 1), x, y)
    ring = shape == SHAPES.index("ring")
    # A spot of the usual size would fall into a ring's hole: there it becomes the inner half of the rim.
    inside_spot = _column(torch.where(ring, 0.68, 0.48)) - _radius(x, y)
    return _per_kind(texture, _TEXTURE, along, inside_spot)


def _column(value: Tensor) -> Tensor:
    return value.view(-1, 1, 1, 1)


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


# Depth of the second colour, scaled to its edge's softness, from the coordinate along the texture and the
# distance inside the spot.
_TEXTURE: tuple[_Field, ...] = (
    lambda along, _: torch.full_like(along, -torch.inf),  # plain
    lambda along, _: 0.7 * along,  # halves
    lambda along, _: 0.24 * torch.cos(6 * along),  # striped
    lambda _, inside_spot: 0.7 * inside_spot,  # spot
)
