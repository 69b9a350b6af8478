"""Clips that trials make and hold theirs against: the noise of each toy, and what the VAE alone does to the
truth."""

from dataclasses import replace

import torch
from torch import Tensor

from ...backbones.base import VideoVAE
from ...hosts.plain.pipeline import Settings

UNSEEN_SEED = 990_000  # of toys; adapters are trained on lower seeds, a DiT on higher ones
TRUTH, CODED = "truth", "truth through the VAE"  # clips that no model made
_TOGETHER = 16  # clips that are coded in one batch


def seed_of(settings: Settings, row: int, noise: int = 0) -> int:
    """Seed of a clip: it depends on the toy's row and the number of the noise alone."""
    return settings.seed + row + 1000 * noise


def seeds_of(settings: Settings, rows: int, noise: int = 0) -> list[int]:
    """Seeds of as many clips."""
    return [seed_of(settings, row, noise) for row in range(rows)]


def seeded(settings: Settings, row: int, noise: int = 0) -> Settings:
    """Settings of one clip."""
    return replace(settings, seed=seed_of(settings, row, noise))


@torch.no_grad()
def through(vae: VideoVAE, video: Tensor) -> Tensor:
    """Video (N, 3, F, H, W) in [-1, 1], coded and decoded: no model behind this VAE can surpass it."""
    parts = [vae.decode(vae.encode(part.to(vae.device, vae.dtype))) for part in video.split(_TOGETHER)]
    return torch.cat(parts).float().cpu().clamp(-1, 1)
