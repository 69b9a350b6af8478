"""Batch of a step of VideoMaker: clips with their photographs. Everything random is drawn here."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ...engine.encode import no_words
from ...engine.noise import sample_sigma
from .config import VideoMakerTraining
from .rows import Photographed


@dataclass(frozen=True)
class PhotographedBatch:
    """Batch of one step.

    rows             B clips with their photographs
    noise            (B, 16, F, h, w) for the clips
    reference_noise  (B, 16, h, w) for the photographs
    sigma            (B,)
    dropped          (B,) bool: rows that see no picture
    tokens           (B, S) of the text
    weight           (B, 1, F, h, w) of mean 1
    """

    rows: Photographed
    noise: Tensor
    reference_noise: Tensor
    sigma: Tensor
    dropped: Tensor
    tokens: Tensor
    weight: Tensor


def draw_photographed(
    data: Photographed, config: VideoMakerTraining, generator: Generator
) -> PhotographedBatch:
    """Draw `config.batch` clips with their photographs; the same whatever the loss and the recipe are."""
    size, device = config.batch, generator.device
    rows = data[torch.randint(0, len(data.latent), (size,), generator=generator, device=device)]
    left_out, named = torch.rand(2, size, generator=generator, device=device)
    # Of 0 to 1 the beginning leaves out the text, then both, then the picture.
    mute = left_out < config.text_dropout + config.both_dropout
    until = config.text_dropout + config.both_dropout + config.image_dropout
    tokens = torch.where((named < config.named_share)[:, None], rows.tokens[:, 1], rows.tokens[:, 0])
    weight = 1 + config.subject_weight * rows.coverage.float()
    return PhotographedBatch(
        rows=rows,
        noise=torch.randn(rows.latent.shape, generator=generator, device=device),
        reference_noise=torch.randn(rows.reference.shape, generator=generator, device=device),
        sigma=sample_sigma(size, config.shift, generator),
        dropped=(left_out >= config.text_dropout) & (left_out < until),
        tokens=torch.where(mute[:, None], no_words(tokens), tokens),
        weight=(weight / weight.mean()).unsqueeze(1),
    )
