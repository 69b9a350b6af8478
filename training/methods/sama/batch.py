"""Batch of a step of SAMA: pairs of clips. Everything random is drawn here."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from ....backbones.wan.text import PADDING
from ...engine.noise import sample_sigma
from .config import SamaTraining
from .rows import EditPairs


@dataclass(frozen=True)
class PairBatch:
    """Batch of one step.

    rows            B pairs
    noise           (B, 16, F, h, w) for targets
    semantic_noise  (B, 65, features) for semantic tokens
    sigma           (B,)
    tokens          (B, S) of the prompt, the prefix alone where it is dropped
    weight          (B, 1, F, h, w) of mean 1
    """

    rows: EditPairs
    noise: Tensor
    semantic_noise: Tensor
    sigma: Tensor
    tokens: Tensor
    weight: Tensor


def draw_pairs(data: EditPairs, config: SamaTraining, prefix: Tensor, generator: Generator) -> PairBatch:
    """Draw `config.batch` pairs; the same whatever the loss is. `prefix` (P,) is what every prompt begins
    with."""
    size, device = config.batch, generator.device
    rows = data[torch.randint(0, len(data.target), (size,), generator=generator, device=device)]
    dropped = torch.rand(size, generator=generator, device=device) < config.text_dropout
    # (S,): the prefix alone, padded
    mute = nn.functional.pad(prefix, (0, rows.tokens.shape[1] - len(prefix)), value=PADDING)
    weight = 1 + config.region_weight * rows.coverage.float()
    return PairBatch(
        rows=rows,
        noise=torch.randn(rows.target.shape, generator=generator, device=device),
        semantic_noise=torch.randn(rows.semantic.shape, generator=generator, device=device),
        sigma=sample_sigma(size, config.shift, generator),
        tokens=torch.where(dropped[:, None], mute, rows.tokens),
        weight=(weight / weight.mean()).unsqueeze(1),
    )
