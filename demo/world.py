"""World of moving toys, procedural [choice: demo-world]: references say who a toy is, captions what it does.

Positions are in [-1, 1] across the picture, right and down positive; angles are in radians; colours are RGB
in [0, 1]. A scene is played over t in [-1, 1] and its toy is mid-way at t = 0. A clip is any set of moments
of a scene: key pictures and what lies between them come from one and the same scene. Who plays, and where, is
drawn in `casting.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from torch import Tensor

from .shapes import outline_distance, secondary_depth

DIRECTIONS: tuple[str, ...] = ("right", "left", "down", "up", "still")
BACKGROUNDS: tuple[str, ...] = ("light", "dark", "sunset", "meadow")
# How a toy moves in itself; captions may call it so. A picture does not show it, a clip does.
DYNAMICS: tuple[str, ...] = (
    "steady", "hopping", "spinning", "pulsing", "squashing", "turning", "bending",
)  # fmt: skip
WORLD_SIZE = 96  # pixels: six tokens of 16 a side
WORLD_LENGTH = 97  # pictures of a whole scene at stride 1: 17 at stride 6, 25 at stride 4
TRAVEL = 0.5  # from the middle of a path to either end of it

# One row per background: the colour at the top of the picture and the colour at its bottom.
_PALETTE = torch.tensor(
    [
        [[0.90, 0.90, 0.95], [0.97, 0.93, 0.84]],
        [[0.05, 0.06, 0.16], [0.20, 0.15, 0.26]],
        [[0.98, 0.62, 0.40], [0.38, 0.22, 0.52]],
        [[0.55, 0.78, 0.98], [0.36, 0.60, 0.26]],
    ]
)
WAYS = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.0, 0.0]])  # (direction, (x, y))
# One row per entry of DYNAMICS: lift, half turns in the picture's plane, relative swing of width and height,
# turns about the upright axis, and how far head and foot bend aside. Turns are per cycle.
_SWING = torch.tensor(
    [
        [0.0, 0, 0, 0, 0, 0],
        [0.25, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 0, 0.22, 0.22, 0, 0],
        [0, 0, 0.22, -0.22, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0.5],
    ]
)
_THIN = 0.12  # of its width: a toy that shows its edge
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
    back: Tensor  # (N, 3), which has the first colour's place on the other side
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
    side: Tensor  # (N,) int64: its front (0) or its back (1) is towards us as the scene begins


Cast = Sequence[
    tuple[Looks, Scenes]
]  # toys that share their pictures; the first one's scenes give the background


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
    what is seen of each. ValueError for an empty cast (its background is the first toy's), or where there
    are not as many toys as scenes."""
    if not cast:
        raise ValueError("cast: there is no toy; give one or more")
    needed = len(cast[0][1])
    for place, (identities, scenes) in enumerate(cast):
        if not len(identities) == len(scenes) == needed:
            raise ValueError(
                f"cast, toy {place}: {len(identities)} identities and {len(scenes)} scenes; give {needed} of each"
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


def backdrop(background: Tensor, size: int) -> Tensor:
    """Vertical gradients of the named backgrounds: background (N,) int64 -> (N, 3, H, W) in [0, 1]."""
    top, bottom = _PALETTE[background].view(-1, 2, 3, 1, 1).unbind(1)
    down = torch.linspace(0, 1, size).view(1, 1, size, 1)
    return (top * (1 - down) + bottom * down).expand(-1, -1, size, size)


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
    x, y, front = _toy_coordinates(identities, scenes, times, size)
    pixels = _column(scenes.size) * size  # turns a distance in toy units into an edge about one pixel wide
    alpha = torch.sigmoid(outline_distance(identities.shape, x, y).mul_(-0.9 * pixels))
    depth = secondary_depth(identities.shape, identities.texture, identities.axis, x, y)
    share = torch.sigmoid(depth.mul_(pixels)).unsqueeze(1)
    primary, back, secondary = (
        colour.view(-1, 3, 1, 1, 1) for colour in (identities.primary, identities.back, identities.secondary)
    )
    ground = torch.where(front[:, None, :, None, None], primary, back)
    return ground + (secondary - ground) * share, alpha.unsqueeze(1)


def _toy_coordinates(
    identities: Looks, scenes: Scenes, times: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Every pixel in the toy's own frame, where it is upright and reaches about 1: x, y (N, F, H, W), and
    whether its front is seen (N, F)."""
    lift, roll, wide, high, turn, bend = _SWING[identities.dynamics].unsqueeze(1).unbind(-1)  # (N, 1) each
    phase = torch.pi * identities.tempo.unsqueeze(1) * (times + 1)
    centre = WAYS[scenes.direction].unsqueeze(1) * TRAVEL * times.unsqueeze(2) + scenes.offset.unsqueeze(1)
    across, down = centre[..., 0], centre[..., 1] + lift * phase.cos() / 2
    angle = (scenes.rotation.unsqueeze(1) + roll * phase / 2)[..., None, None]
    facing = (torch.pi * scenes.side.unsqueeze(1) + turn * phase).cos()
    front = facing >= 0
    # Seen from behind a toy is its own mirror image: its width is negative.
    profile = torch.where(front, facing.clamp_min(_THIN), facing.clamp_max(-_THIN))
    width = (scenes.size.unsqueeze(1) * (1 + wide * phase.sin()) * profile)[..., None, None]
    height = (scenes.size.unsqueeze(1) * (1 + high * phase.sin()))[..., None, None]
    ruler = torch.linspace(-1, 1, size)
    dx = ruler.view(1, 1, 1, size) - across[..., None, None]
    dy = ruler.view(1, 1, size, 1) - down[..., None, None]
    cos, sin = torch.cos(angle), torch.sin(angle)
    x, y = (cos * dx + sin * dy) / width, (cos * dy - sin * dx) / height
    # Head and foot go one way, the waist the other; about the middle of the toy in the mean.
    return x + (bend * phase.sin())[..., None, None] * (y.square().clamp_max(1) - 1 / 3), y, front


def _column(value: Tensor) -> Tensor:
    """(N,) -> (N, 1, 1, 1)."""
    return value.view(-1, 1, 1, 1)
