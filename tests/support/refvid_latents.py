"""Clips as training sees them, without a VAE."""

import torch
from torch import Generator, Tensor

from refvid.training.base.dit.rows import MaskedClips


def latents(clips: int = 64, frames: int = 3, references: int = 2) -> MaskedClips:
    generator = Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(clips, *shape, generator=generator)

    words = torch.randint(3, 40, (clips, 2, 6), generator=generator)
    words[:, :, 5] = 1
    return MaskedClips(
        latent=draw(16, frames, 8, 8).half(),
        last=draw(16, 8, 8).half(),
        reference=draw(references, 16, 8, 8).half(),
        keep=draw(references, 16) > 0,
        coverage=draw(frames, 8, 8).sigmoid().half(),
        tokens=words,
    )
