"""References without reference data: a masked, augmented frame of the very clip (Saber, arXiv 2512.06905, §3.1)."""

import math

import torch
from kornia.geometry.transform import get_affine_matrix2d, warp_affine
from torch import Generator, Tensor

from ..core.recipes import GREY

GROUND = 2 * GREY - 1


def fourier_blobs(n: int, size: int, generator: Generator) -> Tensor:
    """Smooth random masks (n, 1, size, size) of 0 and 1: radius 1 + Σ aₖ cos(kθ + φₖ), k = 2…5 (Saber names Fourier
    blobs; amplitudes 0.25/k, radius 0.4 to 0.8 of half a side and aspect 0.7 to 1.3 are our choice)."""

    def draw(*shape: int) -> Tensor:
        return torch.rand(n, *shape, 1, 1, generator=generator)

    line = torch.linspace(-1, 1, size)
    down, right = line.view(1, size, 1), line.view(1, 1, size)
    aspect = 0.7 + 0.6 * draw()
    across, along = (right - (draw() * 0.8 - 0.4)) / aspect, (down - (draw() * 0.8 - 0.4)) * aspect
    angle, distance = torch.atan2(along, across), torch.hypot(along, across)
    waves = [0.25 / k * (2 * draw() - 1) * torch.cos(k * angle + 2 * math.pi * draw()) for k in (2, 3, 4, 5)]
    return distance.lt((0.4 + 0.4 * draw()) * (1 + sum(waves))).float().unsqueeze(1)


def masked_frames(
    video: Tensor, alpha: Tensor, generator: Generator, blob_share: float = 0.25
) -> tuple[Tensor, Tensor]:
    """One reference per clip. video (N, 3, F, H, W) in [-1, 1], alpha (N, 1, F, H, W) of the subject
    -> pictures (N, 3, H, W), grey outside the mask, and masks (N, 1, H, W) of 0 and 1.

    The mask is a random blob with probability `blob_share`, otherwise the subject.
    """
    n, _, frames, size, _ = video.shape
    rows, frame = torch.arange(n), torch.randint(0, frames, (n,), generator=generator)
    picture, subject = video[rows, :, frame], alpha[rows, :, frame].gt(0.5).float()
    blob = torch.rand(n, 1, 1, 1, generator=generator) < blob_share
    return augment(picture, torch.where(blob, fourier_blobs(n, size, generator), subject), generator)


def augment(picture: Tensor, mask: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Rotation ±10°, scale 0.85 to 1.2, flip p = 0.5, mask centred ± 0.35 of half a side, with one matrix for picture
    and mask. Rotation and flip as published; the narrower scale is our choice: a toy fills half its picture."""
    n, _, size, _ = picture.shape

    def spread(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    line = torch.arange(size, dtype=torch.float32)
    total = mask.sum((1, 2, 3)).clamp_min(1)
    centre = (
        torch.stack([(mask * line).sum((1, 2, 3)), (mask * line.view(-1, 1)).sum((1, 2, 3))], 1)
        / total[:, None]
    )
    place = torch.stack([spread(-0.35, 0.35), spread(-0.35, 0.35)], 1) * size / 2 + (size - 1) / 2
    scale = spread(0.85, 1.2)
    flip = torch.where(spread(0, 1) < 0.5, -1.0, 1.0)
    matrix = get_affine_matrix2d(
        place - centre, centre, torch.stack([scale * flip, scale], 1), spread(-10, 10)
    )[:, :2]
    moved = warp_affine(picture, matrix, (size, size), padding_mode="border", align_corners=True)
    seen = warp_affine(mask, matrix, (size, size), mode="nearest", align_corners=True)
    return torch.where(seen > 0.5, moved, GROUND), seen
