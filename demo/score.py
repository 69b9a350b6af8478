"""How well a generated clip keeps the identity of a reference picture and does what its caption says.

Every figure is made for the demo world alone: it knows the four backdrops and the six shapes, so it needs no
trained scorer. All of it is ours. Clips are (N, 3, F, H, W) in [-1, 1]; masks are 1 on the toy. "Ceiling" is
what rendered clips score, "floor" what a model that ignores its condition scores: report both beside it.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from . import world

_LEVELS = 4  # histogram levels per colour channel
_PATCH = 24  # side of the patch that shapes are compared in
_STILL = (
    0.2  # a toy that ends nearer its start than this, in half pictures, stood still; movers travel over 0.7
)


def segment(video: Tensor) -> Tensor:
    """Toy mask (N, 1, F, H, W), float 0 or 1: pixels further than 0.18 in RGB from the nearest backdrop.

    Ceiling: about 0.87 overlap with the rendered alpha (the soft edge counts as toy). Floor: an empty mask.
    A clip on no known backdrop is mostly "toy"; read `background_of` and the mask's area beside it.
    """
    behind = _known_profiles(video)[background_of(video)]
    distance = (_unit(video) - behind[:, :, None, :, None]).square().sum(1, keepdim=True).sqrt()
    return (distance > 0.18).float()


def colour_histogram(video: Tensor, mask: Tensor) -> Tensor:
    """Share of the masked pixels in each of 4 x 4 x 4 RGB bins: (N, 64), summing to 1 (0 if no mask).

    video (N, 3, F, H, W), mask (N, 1, F, H, W), weights in [0, 1]. Bins run red slowest, blue fastest.
    """
    red, green, blue = (_unit(video) * _LEVELS).long().clamp(0, _LEVELS - 1).unbind(1)
    bins = ((red * _LEVELS + green) * _LEVELS + blue).flatten(1)
    weight = mask.float().flatten(1)
    counts = weight.new_zeros(len(video), _LEVELS**3).scatter_add_(1, bins, weight)
    return counts / counts.sum(1, keepdim=True).clamp_min(1e-6)


def similarity(video: Tensor, picture: Tensor, mask: Tensor) -> Tensor:
    """Histogram intersection of every clip's toy with every masked picture: (N, M) in [0, 1].

    picture (M, 3, H, W) in [-1, 1], mask (M, 1, H, W). 1 is the same colours in the same shares, 0 none in
    common. Ceiling: the diagonal on rendered clips, about 0.73 (soft edges mix with the backdrop). Floor: the
    mean off the diagonal, about 0.07, which is what another toy's reference scores.
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


def background_leak(video: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """How far the clip's backdrop went from its own towards the reference's: (N,), not clamped.

    own, other (N,) int64: the background the caption asks for, and the one the reference was cut out of. The
    border profile is projected on the line between the two: 0 = own (ceiling), 1 = the reference's (worst).
    ValueError where the two are the same: nothing that leaks could then be seen.
    """
    if bool((own == other).any()):
        raise ValueError("own and other name the same background; take references from world.other_scenes")
    known = _known_profiles(video)
    towards = known[other] - known[own]
    gone = _border_profile(video) - known[own]
    return (gone * towards).sum((1, 2)) / towards.square().sum((1, 2))


def shape_of(video: Tensor) -> Tensor:
    """Shape of the toy in the middle frame: (N,) int64, index into world.SHAPES.

    The toy's mask, centred and scaled by its area, against every shape at seven rotations; the best overlap
    (intersection over union) wins. Ceiling: about 0.94 on rendered clips. Floor: 1/6 by chance; a clip with
    no toy is given the first shape.
    """
    mask = segment(video)[:, :, video.shape[2] // 2].float()
    patches = _normalised(mask).unsqueeze(1)
    templates, shapes = (made.to(video.device) for made in _templates(video.shape[-1]))
    overlap = torch.minimum(patches, templates).sum((2, 3))
    union = torch.maximum(patches, templates).sum((2, 3)).clamp_min(1)
    return shapes[(overlap / union).argmax(1)]


def paired_interval(difference: Tensor, seed: int = 0, resamples: int = 10_000) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap percentile interval (mean, low, high) of paired differences (N,).

    One difference per clip (own minus other, with minus without). An interval that holds 0 claims nothing.
    """
    if difference.ndim != 1 or not len(difference):
        raise ValueError(f"difference has shape {tuple(difference.shape)}; give one number per clip, (N,)")
    values = difference.double().cpu()
    picks = torch.randint(0, len(values), (resamples, len(values)), generator=Generator().manual_seed(seed))
    low, high = values[picks].mean(1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return values.mean().item(), low, high


def _unit(video: Tensor) -> Tensor:
    return (video.float() + 1) / 2


def _known_profiles(video: Tensor) -> Tensor:
    """Colour per row of each known backdrop, at this video's height: (4, 3, H) in [0, 1]."""
    every = torch.arange(len(world.BACKGROUNDS), device=video.device)
    return world.backdrop(every, video.shape[-2])[..., 0]


def _border_profile(video: Tensor) -> Tensor:
    """Colour per row of the clip's own backdrop: (N, 3, H) in [0, 1].

    The median over the two outermost columns of either side, then over the frames: toys seldom touch the
    border, and never for most of a clip.
    """
    border = _unit(video[..., [0, 1, -2, -1]])
    return border.median(-1).values.median(2).values


def _centre_and_area(mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centre x, y in [-1, 1] and pixel count (at least 1) of masks (..., H, W); empty ones are at 0."""
    height, width = mask.shape[-2:]
    down = torch.linspace(-1, 1, height, device=mask.device)
    across = torch.linspace(-1, 1, width, device=mask.device)
    area = mask.sum((-2, -1)).clamp_min(1)
    return (mask.sum(-2) * across).sum(-1) / area, (mask.sum(-1) * down).sum(-1) / area, area


def _normalised(mask: Tensor) -> Tensor:
    """Masks (N, 1, H, W) of any toy at one place and one size: (N, P, P)."""
    x, y, area = _centre_and_area(mask[:, 0])
    # 0.8 of the side of a square of the toy's area: the widest shape, the cross, just fits.
    reach = 0.8 * (4 * area / mask.shape[-2:].numel()).sqrt() + 0.02
    zero = torch.zeros_like(x)
    view = torch.stack([reach, zero, x, zero, reach, y], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(view, [len(mask), 1, _PATCH, _PATCH], align_corners=False)
    return F.grid_sample(mask, grid, align_corners=False)[:, 0]


@lru_cache(maxsize=4)
def _templates(size: int) -> tuple[Tensor, Tensor]:
    """Normalised masks (T, P, P) of every shape at seven rotations, and the shape (T,) of each."""
    rotation = torch.linspace(-0.45, 0.45, 7).repeat(len(world.SHAPES))
    shape = torch.arange(len(world.SHAPES)).repeat_interleave(7)
    zero = torch.zeros_like(rotation)
    white = torch.ones(len(shape), 3)
    still = torch.full_like(shape, world.DIRECTIONS.index("still"))
    toys = world.Identities(
        shape=shape,
        texture=torch.zeros_like(shape),
        axis=torch.zeros_like(shape),
        primary=white,
        secondary=white,
    )
    scenes = world.Scenes(
        direction=still,
        background=torch.zeros_like(shape),
        rotation=rotation,
        spin=zero,
        size=zero + 0.5,
        speed=zero,
        offset=torch.zeros(len(shape), 2),
    )
    alpha = world.render(toys, scenes, frames=1, size=size)[1]
    return _normalised((alpha[:, :, 0] > 0.5).float()), shape
