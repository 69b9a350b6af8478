"""Appearance of a subject as numbers that two pictures can be compared by: colours, texture, outline.

A clip is (F, H, W, 3) in [0, 1], a picture a clip of one frame. A mask is (F, H, W) in [0, 1], 1 = subject.
Nothing is trained and nothing is known of what is shown [choice: appearance-by-arithmetic].
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import pi, prod

import torch
import torch.nn.functional as F
from torch import Tensor

# Knots in CIE Lab: lightness coarser than colour, for shading moves it most. Neighbours share a pixel
# linearly, so a small shift of colour costs a small share of the overlap.
COLOUR_KNOTS = (4, 9, 9)
COLOUR_BINS = prod(COLOUR_KNOTS)
PATCH = 96  # side of the patch that texture and outline are read in
REACH = 1.25  # half that side, in sides of a square of the subject's area: a bar of 6 to 1 just fits
TURNS = 24
_SIDE = PATCH / (2 * REACH)
_NOISE = 0.01  # slope per pixel of the patch that counts as flat: 8-bit steps and compression
_TEXTURE_KNOTS = (6, 3)  # strength of the slope, coherence of its direction
_SCALES = (1.0, 2.0)
# CIE XYZ of linear sRGB, its white (D65), and the share of white below which lightness is a straight line.
_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
_DARK = 0.008856
_LEAST = 4.0  # pixels: a frame with less of the subject has none


@dataclass(frozen=True)
class Colours:
    """Places of a clip's pixels among the knots: index and weight (8, F, H, W); weights of a pixel sum to
    1."""

    index: Tensor
    weight: Tensor

    def histogram(self, mask: Tensor) -> Tensor:
        """Share of the masked pixels at each knot: (324,), summing to 1; all 0 for an empty mask. mask (F, H,
        W)."""
        counts = self.counts(mask)
        return counts / counts.sum().clamp_min(1e-9)

    def counts(self, mask: Tensor) -> Tensor:
        """Pixels at each knot, weighted by mask (F, H, W): (324,)."""
        return _counted(self.index, self.weight * mask, COLOUR_BINS)

    def looked_up(self, histogram: Tensor) -> Tensor:
        """Back-projection: the histogram's (324,) value at every pixel, (F, H, W)."""
        return (histogram[self.index] * self.weight).sum(0)


def colours(clip: Tensor) -> Colours:
    """Colours of a clip (F, H, W, 3) in [0, 1]: its pixels among 4 x 9 x 9 knots of CIE Lab (D65)."""
    light, a, b = lab(clip.float().clamp(0, 1)).unbind(-1)
    knots = torch.tensor(COLOUR_KNOTS) - 1
    places = torch.stack([light / 100, (a + 100) / 200, (b + 100) / 200]) * knots.view(3, 1, 1, 1).to(light)
    return Colours(*_among(places, COLOUR_KNOTS))


def lab(colours: Tensor) -> Tensor:
    """CIE Lab (D65) of sRGB (..., 3) in [0, 1]: (..., 3), L in 0..100, a and b about -100..100."""
    linear = torch.where(colours > 0.04045, ((colours + 0.055) / 1.055) ** 2.4, colours / 12.92)
    share = linear @ linear.new_tensor(_XYZ).T / linear.new_tensor(_WHITE)
    root = torch.where(share > _DARK, share.clamp(min=_DARK) ** (1 / 3), 7.787 * share + 4 / 29)
    x, y, z = root.unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def overlap(one: Tensor, other: Tensor) -> float:
    """Histogram intersection of two histograms (K,) that sum to 1: 1 the same, 0 nothing in common."""
    return torch.minimum(one, other).sum().clamp(0, 1).item()


def texture(clip: Tensor, mask: Tensor) -> Tensor:
    """Share of the subject's pixels at each strength and coherence of slope, at two scales: (36,), summing to
    1.

    The subject is centred and brought to one size first. Slopes are of brightness, smoothed inside the mask
    only (normalised convolution), so what lies behind it does not count. Strength and coherence (of the
    structure tensor) do not change when the subject turns. All 0 where no frame shows the subject. ValueError
    as `normalised`.
    """
    patches, inside = normalised(clip, mask)
    weight = clip.new_tensor([0.2126, 0.7152, 0.0722])
    light = (patches * weight.view(1, 3, 1, 1)).sum(1, keepdim=True)
    parts = []
    for sigma in _SCALES:
        places = torch.stack(_slopes(light, inside, sigma)).clamp(0, 1)
        knots = torch.tensor(_TEXTURE_KNOTS).view(2, 1, 1, 1, 1) - 1
        index, share = _among(places * knots, _TEXTURE_KNOTS)
        parts.append(_counted(index, share * inside, prod(_TEXTURE_KNOTS)))
    counts = torch.cat(parts)
    return counts / counts.sum().clamp_min(1e-9)


def outline(mask: Tensor) -> Tensor:
    """Masks (F, H, W) of a subject at one place and one size: (F, 96, 96) in [0, 1]; 0 for a frame without
    it."""
    return normalised(mask.unsqueeze(-1), mask)[1][:, 0]


def turned_outlines(mask: Tensor) -> Tensor:
    """The outline of one mask (1, H, W) at 24 rotations, plain and mirrored: (48, 96, 96)."""
    angles = torch.arange(TURNS, device=mask.device) * (2 * pi / TURNS)
    views = [
        normalised(mask.unsqueeze(-1), mask, angle, mirrored)[1][:, 0]
        for mirrored in (False, True)
        for angle in angles
    ]
    return torch.cat(views)


def agreement(outlines: Tensor, turned: Tensor) -> float:
    """Mean over frames (F, 96, 96) of the best overlap (intersection over union) with any of (T, 96, 96)."""
    frames, wanted = outlines.unsqueeze(1), turned.unsqueeze(0)
    shared = torch.minimum(frames, wanted).sum((2, 3))
    union = torch.maximum(frames, wanted).sum((2, 3)).clamp_min(1e-6)
    return (shared / union).amax(1).mean().item()


def normalised(
    clip: Tensor, mask: Tensor, angle: Tensor | float = 0.0, mirrored: bool = False
) -> tuple[Tensor, Tensor]:
    """Centre the subject in a patch, its area the same in every frame: (F, C, 96, 96), and its mask (F, 1,
    96, 96).

    It is turned by `angle` radians about its centre, mirrored before that; clip (F, H, W, C), mask (F, H, W).
    A frame with under 4 pixels of the subject gets an empty mask. ValueError where clip and mask differ in
    size.
    """
    if clip.shape[:3] != mask.shape:
        raise ValueError(
            f"mask has shape {tuple(mask.shape)}, the clip {tuple(clip.shape)}; needed {tuple(clip.shape[:3])}"
        )
    # Multiplied by the mask before any interpolation and divided after: what lies outside never mixes in.
    planes = torch.cat([clip.movedim(-1, 1) * mask.unsqueeze(1), mask.unsqueeze(1)], 1).float()
    side = planes[:, -1].sum((1, 2)).sqrt()
    # Sampling alone would skip pixels of a subject much larger than its patch.
    scale = min(1.0, 1.5 * _SIDE / max(side.max().item(), 1.0))
    if scale < 1:
        size = [max(1, round(length * scale)) for length in planes.shape[-2:]]
        planes = F.interpolate(planes, size=size, mode="bilinear", antialias=True).clamp(0, 1)
        side = planes[:, -1].sum((1, 2)).sqrt()
    grid = _view(planes[:, -1], side, torch.as_tensor(angle, device=planes.device), mirrored)
    seen = F.grid_sample(planes, grid, padding_mode="zeros", align_corners=False)
    there = side.square().ge(_LEAST * scale**2).to(seen).view(-1, 1, 1, 1)
    return seen[:, :-1] / seen[:, -1:].clamp_min(1e-4), seen[:, -1:] * there


def _view(mask: Tensor, side: Tensor, angle: Tensor, mirrored: bool) -> Tensor:
    """Grid that grid_sample reads the patch's pixels at: (F, 96, 96, 2)."""
    height, width = mask.shape[-2:]
    down, across = torch.arange(height).to(mask), torch.arange(width).to(mask)
    area = side.square().clamp_min(1e-6)
    y, x = (mask.sum(2) * down).sum(1) / area, (mask.sum(1) * across).sum(1) / area
    steps = (torch.arange(PATCH, device=mask.device) + 0.5) / PATCH * 2 - 1
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    u, v = angle.cos() * u - angle.sin() * v, angle.sin() * u + angle.cos() * v
    u = -u if mirrored else u
    reach = (REACH * side).view(-1, 1, 1)
    columns, rows = x.view(-1, 1, 1) + reach * u, y.view(-1, 1, 1) + reach * v
    return torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)


def _slopes(light: Tensor, inside: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Strength (log scale, 1 = steepest knot) and coherence of the slope of light (F, 1, P, P) inside the
    mask."""
    smooth = blurred(light * inside, sigma) / blurred(inside, sigma).clamp_min(1e-3)
    padded = F.pad(smooth, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    tensor = torch.cat([across.square(), down.square(), across * down], 1)
    xx, yy, xy = (blurred(tensor * inside, 2.0) / blurred(inside, 2.0).clamp_min(1e-3)).split(1, dim=1)
    coherence = ((xx - yy).square() + 4 * xy.square()).sqrt() / (xx + yy + _NOISE**2)
    strength = torch.log2(1 + (across.square() + down.square()).sqrt() / _NOISE)
    return strength / (_TEXTURE_KNOTS[0] - 1), coherence


def blurred(planes: Tensor, sigma: float) -> Tensor:
    """Planes (F, C, H, W) under a Gaussian, cut off at three deviations; zeros lie around them."""
    reach = round(3 * sigma)
    weight = torch.exp(-(torch.arange(-reach, reach + 1).to(planes) ** 2) / (2 * sigma**2))
    weight = (weight / weight.sum()).view(1, 1, 1, -1)
    across = F.conv2d(planes.flatten(0, 1).unsqueeze(1), weight, padding=(0, reach))
    return F.conv2d(across, weight.transpose(2, 3), padding=(reach, 0)).view_as(planes)


def _among(places: Tensor, knots: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Places (D, ...) in knots -> index and weight (2^D, ...) of the knots around them."""
    index, weight = [], []
    low = torch.stack([place.floor().clamp(0, many - 2) for place, many in zip(places, knots, strict=True)])
    part = (places - low).clamp(0, 1)
    for corner in product((0, 1), repeat=len(knots)):
        at, share = torch.zeros_like(places[0], dtype=torch.int64), torch.ones_like(places[0])
        for axis, (step, many) in enumerate(zip(corner, knots, strict=True)):
            at = at * many + low[axis].long() + step
            share = share * (part[axis] if step else 1 - part[axis])
        index.append(at)
        weight.append(share)
    return torch.stack(index), torch.stack(weight)


def _counted(index: Tensor, weight: Tensor, bins: int) -> Tensor:
    """Weights summed by index: (bins,). In double, so that the order of pixels does not show."""
    counts = torch.zeros(bins, dtype=torch.float64, device=weight.device)
    return counts.scatter_add_(0, index.flatten(), weight.flatten().double()).float()
