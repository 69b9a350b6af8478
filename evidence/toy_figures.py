"""Figures of clips of the demo world: how well they keep a reference's identity and do what their caption
says.

They know the four backdrops and the six shapes, so they need no trained scorer [choice: toy-figures]. Clips
are (N, 3, F, H, W) in [-1, 1]; masks are 1 on the toy. "Ceiling" is the score of rendered clips, "floor" that
of a model that ignores its condition: report both beside it.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.recipe import GREY
from ..demo import captions, casting, world
from ..demo.shapes import SHAPES, TEXTURES

_LEVELS = 4  # histogram levels per colour channel
TOY_APART = 0.18  # of a toy from what is behind it, in RGB of [0, 1]
_SHOWN_SHARE = 0.25  # of a toy or region, at least, that shows a colour
_VIVID = 0.2  # between the channels of a colour that has a hue
_PATCH = 24  # side of the patch that shapes are compared in
_STILL = 0.2  # a toy that ends nearer its start than this, in half pictures, stood still; movers travel 1


def segment(video: Tensor) -> Tensor:
    """Toy mask (N, 1, F, H, W), float 0 or 1: pixels further than TOY_APART in RGB from the nearest backdrop.

    Ceiling: about 0.85 overlap with the rendered alpha (the soft edge counts as toy). Floor: an empty mask.
    A clip on no known backdrop is mostly "toy"; read `background_of` and the mask's area beside it.
    """
    behind = _known_profiles(video)[background_of(video)]
    distance = (_unit(video) - behind[:, :, None, :, None]).square().sum(1, keepdim=True).sqrt()
    return (distance > TOY_APART).float()


def colour_histogram(video: Tensor, mask: Tensor) -> Tensor:
    """Share of the masked pixels in each of 4 x 4 x 4 RGB bins: (N, 64), summing to 1 (0 if no mask).

    Bins run red slowest, blue fastest; video (N, 3, F, H, W), mask (N, 1, F, H, W), weights in [0, 1].
    """
    red, green, blue = (_unit(video) * _LEVELS).long().clamp(0, _LEVELS - 1).unbind(1)
    bins = ((red * _LEVELS + green) * _LEVELS + blue).flatten(1)
    weight = mask.float().flatten(1)
    counts = weight.new_zeros(len(video), _LEVELS**3).scatter_add_(1, bins, weight)
    return counts / counts.sum(1, keepdim=True).clamp_min(1e-6)


def toy_similarity(video: Tensor, picture: Tensor, mask: Tensor) -> Tensor:
    """Histogram intersection of every clip's toy with every masked picture: (N, M) in [0, 1].

    1 is the same colours in the same shares, 0 none in common; picture (M, 3, H, W) in [-1, 1], mask (M, 1,
    H, W). Ceiling: the diagonal on rendered clips, about 0.76 (soft edges mix with the backdrop). Floor: the
    mean off the diagonal, about 0.08, which is what another toy's reference scores.
    """
    toys = colour_histogram(video, segment(video))
    references = colour_histogram(picture.unsqueeze(2), mask.unsqueeze(2))
    return torch.minimum(toys.unsqueeze(1), references.unsqueeze(0)).sum(2)


def direction_of(video: Tensor) -> Tensor:
    """Way the toy's centre goes from the first frame to the last: (N,) int64, index into world.DIRECTIONS.

    Ceiling: 1 on rendered clips. Floor: 1/5 by chance. A frame without a toy has it in the middle, so a clip
    without one stands still.
    """
    x, y, _ = _centre_and_area(segment(video)[:, 0])
    dx, dy = x[:, -1] - x[:, 0], y[:, -1] - y[:, 0]
    sideways = torch.where(dx > 0, world.DIRECTIONS.index("right"), world.DIRECTIONS.index("left"))
    upright = torch.where(dy > 0, world.DIRECTIONS.index("down"), world.DIRECTIONS.index("up"))
    way = torch.where(dx.abs() > dy.abs(), sideways, upright)
    return way.masked_fill(torch.maximum(dx.abs(), dy.abs()) < _STILL, world.DIRECTIONS.index("still"))


def background_of(video: Tensor) -> Tensor:
    """Nearest of the known backdrops: (N,) int64, index into world.BACKGROUNDS. Floor 1/4, ceiling 1."""
    difference = _border_profile(video).unsqueeze(1) - _known_profiles(video)
    return difference.abs().mean((2, 3)).argmin(1)


def grey_share(video: Tensor) -> Tensor:
    """Share of pixels in the grey that stands where references are masked out, within 6/255: (N,). The world
    has no such colour, so rendered clips (ceiling) have none but a few on blurred edges."""
    return ((_unit(video) - GREY).abs().amax(1) <= 6 / 255).float().mean((1, 2, 3))


def backdrop_leak(video: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """Leak of the reference's backdrop: how far the clip's went from its own towards it, (N,), not clamped.

    own, other (N,) int64: the background the caption asks for, and the one the reference was cut out of. The
    border profile is projected on the line between the two: 0 = own (ceiling), 1 = the reference's (worst).
    ValueError where the two are the same: nothing that leaks could then be seen.
    """
    if bool((own == other).any()):
        raise ValueError("own and other name the same background; take references from casting.other_scenes")
    known = _known_profiles(video)
    towards = known[other] - known[own]
    gone = _border_profile(video) - known[own]
    return (gone * towards).sum((1, 2)) / towards.square().sum((1, 2))


def place_of(video: Tensor, scenes: world.Scenes) -> Tensor:
    """Place on the world's grid that is nearest to where the toy goes across its path: (N, 2), 0 along it.
    A clip without a toy has it beside the middle. [choice: place-by-centre]"""
    centre = torch.stack(_centre_and_area(segment(video)[:, 0])[:2], dim=-1).mean(1)  # (N, 2)
    grid = torch.tensor(casting.TOY_PLACES)
    nearest = grid[(centre[..., None] - grid).abs().argmin(-1)]
    return nearest.masked_fill(world.WAYS[scenes.direction] != 0, 0.0)


def shape_of(video: Tensor, toys: world.Looks) -> Tensor:
    """Shape of the toy in the frame in which it is upright: (N,) int64, index into SHAPES.

    The toy's mask, centred and scaled by its area, against every shape at seven rotations; the best overlap
    (intersection over union) wins. Ceiling: about 0.97 on rendered clips. Floor: 1/6 by chance; a clip with
    no toy is given the first shape.
    """
    patches = _normalised(upright(segment(video), toys)).unsqueeze(1)
    templates, shapes = _templates(video.shape[-1])
    overlap = torch.minimum(patches, templates).sum((2, 3))
    union = torch.maximum(patches, templates).sum((2, 3)).clamp_min(1)
    return shapes[(overlap / union).argmax(1)]


def upright(video: Tensor, toys: world.Looks) -> Tensor:
    """Frames (N, C, H, W) of clips (N, C, F, H, W) in which toys are as their photographs have them: the
    middle one of steady ones. Others begin so."""
    frame = torch.where(toys.dynamics == 0, video.shape[2] // 2, 0)
    return video[torch.arange(len(video)), :, frame]


def texture_of(video: Tensor, toys: world.Looks) -> Tensor:
    """Texture of the toy where it is upright, given its two colours: (N,) int64, index into TEXTURES.

    Each pixel of the toy lies some way from the first colour towards the second. That is held against its own
    shape in every texture and axis, and the nearest wins. Ceiling: about 0.99 on rendered clips. Floor: 1/4
    by chance; a toy in other colours is mostly plain.
    """
    patches = _normalised(upright(segment(video), toys), upright(_unit(video), toys))
    primary, way = toys.primary[..., None, None], (toys.secondary - toys.primary)[..., None, None]
    share = (((patches - primary) * way).sum(1) / way.square().sum(1)).clamp(0, 1).unsqueeze(1)
    templates, masks = (made[toys.shape] for made in _texture_templates(video.shape[-1]))
    error = ((share - templates).square() * masks).sum((2, 3)) / masks.sum((2, 3))
    return error.argmin(1) // 2


def shows_colour(video: Tensor, toys: world.Looks) -> Tensor:
    """True where a quarter of the upright toy is of the hue that captions call it by: (N,) bool.

    A second colour may cover half of it. Ceiling: near 1 on rendered clips. Floor: about one in five, as a
    toy has one or two of eight hues [choice: shown-colour].
    """
    pixels, seen = upright(_unit(video), toys), upright(segment(video), toys)[:, 0].bool()
    said = captions.colour_names(toys.primary)
    rows = zip(said, pixels, seen, strict=True)
    return torch.tensor([_hue_share(one[:, mask].T, word) for word, one, mask in rows]) >= _SHOWN_SHARE


def shows_word(video: Tensor, region: Tensor, words: list[str | None]) -> Tensor:
    """1 where a quarter of a region (N, 1, F, H, W) or more is of the hue of a word of `captions.COLOURS`
    [choice: shown-colour]. 0 elsewhere, NaN where there is no word; (N,)."""
    rows = zip(_unit(video), region[:, 0].bool(), words, strict=True)
    shown = [
        torch.nan if word is None else float(_hue_share(one[:, mask].T, word) >= _SHOWN_SHARE)
        for one, mask, word in rows
    ]
    return torch.tensor(shown)


def agreements(clips: Tensor, toys: world.Looks, scenes: world.Scenes) -> dict[str, Tensor]:
    """Agreement of each clip with its toy's shape and texture, the scene's direction and background: (N,) 0
    or 1."""
    pairs = {
        "shape": (shape_of(clips, toys), toys.shape),
        "texture": (texture_of(clips, toys), toys.texture),
        "direction": (direction_of(clips), scenes.direction),
        "background": (background_of(clips), scenes.background),
    }
    return {name: (found == wanted).float() for name, (found, wanted) in pairs.items()}


def _hue_share(colours: Tensor, word: str) -> float:
    """Share of colours (N, 3) in [0, 1] of the hue that a word names; 0 of none."""
    vivid = colours[colours.amax(1) - colours.amin(1) > _VIVID]  # greys have no hue
    return sum(name == word for name in captions.colour_names(vivid)) / max(len(colours), 1)


def _unit(video: Tensor) -> Tensor:
    return (video.float() + 1) / 2


def _known_profiles(video: Tensor) -> Tensor:
    """Colour per row of each known backdrop, at this video's height: (4, 3, H) in [0, 1]."""
    every = torch.arange(len(world.BACKGROUNDS))
    return world.backdrop(every, video.shape[-2])[..., 0]


def _border_profile(video: Tensor) -> Tensor:
    """Colour per row of the clip's own backdrop: (N, 3, H) in [0, 1].

    The median over the two outermost columns of either side, then over the frames. Toys seldom touch the
    border, and never for most of a clip.
    """
    border = _unit(video[..., [0, 1, -2, -1]])
    return border.median(-1).values.median(2).values


def _centre_and_area(mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centre x, y in [-1, 1] and pixel count (at least 1) of masks (..., H, W); empty ones are at 0."""
    height, width = mask.shape[-2:]
    down = torch.linspace(-1, 1, height)
    across = torch.linspace(-1, 1, width)
    area = mask.sum((-2, -1)).clamp_min(1)
    return (mask.sum(-2) * across).sum(-1) / area, (mask.sum(-1) * down).sum(-1) / area, area


def _normalised(mask: Tensor, plane: Tensor | None = None) -> Tensor:
    """Masks (N, 1, H, W) of any toy at one place and one size, (N, P, P). With `plane` (N, C, H, W) that is
    looked at through its toy's window instead: (N, P, P), or (N, C, P, P) of several channels."""
    x, y, area = _centre_and_area(mask[:, 0])
    # 0.8 of the side of a square of the toy's area: the widest shape, the cross, just fits.
    reach = 0.8 * (4 * area / mask.shape[-2:].numel()).sqrt() + 0.02
    zero = torch.zeros_like(x)
    view = torch.stack([reach, zero, x, zero, reach, y], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(view, [len(mask), 1, _PATCH, _PATCH], align_corners=False)
    seen = F.grid_sample(mask if plane is None else plane, grid, align_corners=False)
    return seen.squeeze(1)


@lru_cache(maxsize=4)
def _templates(size: int) -> tuple[Tensor, Tensor]:
    """Normalised masks (T, P, P) of every shape at seven rotations, and the shape (T,) of each."""
    rotation = torch.linspace(-0.45, 0.45, 7).repeat(len(SHAPES))
    shape = torch.arange(len(SHAPES)).repeat_interleave(7)
    alpha = _specimens(shape, torch.zeros_like(shape), torch.zeros_like(shape), rotation, size)[1]
    return _normalised((alpha[:, :, 0] > 0.5).float()), shape


@lru_cache(maxsize=4)
def _texture_templates(size: int) -> tuple[Tensor, Tensor]:
    """Templates of every shape, texture and axis, upright: the second colour's share, and the mask, (6, 8, P,
    P)."""
    shape, texture, axis = torch.cartesian_prod(
        torch.arange(len(SHAPES)), torch.arange(len(TEXTURES)), torch.arange(2)
    ).unbind(1)
    picture, alpha = _specimens(shape, texture, axis, torch.zeros(len(shape)), size)
    mask = (alpha[:, :, 0] > 0.5).float()
    share = _normalised(
        mask, 1 - (picture[:, :1, 0] + 1) / 2
    )  # white is the first colour here, black the second
    return share.unflatten(0, (len(SHAPES), -1)), _normalised(mask).unflatten(0, (len(SHAPES), -1))


def _specimens(
    shape: Tensor, texture: Tensor, axis: Tensor, rotation: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """White toys with black second colours in the middle of a picture, as `world.render` gives them."""
    n, none = len(shape), torch.zeros_like(shape)
    white = torch.ones(n, 3)
    toys = world.Looks(shape, texture, axis, white, torch.zeros(n, 3), white, dynamics=none, tempo=none + 1)
    scenes = world.Scenes(
        direction=torch.full_like(shape, world.DIRECTIONS.index("still")),
        background=none,
        rotation=rotation,
        size=torch.full((n,), 0.5),
        offset=torch.zeros(n, 2),
        side=none,
    )
    return world.render(toys, scenes, 1, size)
