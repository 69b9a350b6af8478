"""Features that SAMA's semantic tokens are made of: SigLIP's where its weights are (`data/models/siglip.py`).
The demo has a small fixed extractor of its own, which knows no meaning."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

BINS = 8


class Extractor(Protocol):
    """Extractor of features (B, width, h, w) from pictures (B, 3, H, W) in [-1, 1], on any grid of 8 a side
    or finer. `name` tells it from every other."""

    @property
    def name(self) -> str: ...

    def __call__(self, pictures: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class HandMade:
    """Colour, its square, and a histogram of gradients by direction (after HOG, Dalal and Triggs 2005). All
    are scaled to about unit variance over the demo world, as measured [choice: hand-made-features]."""

    name: str = "hand-made"

    def __call__(self, pictures: Tensor) -> Tensor:
        grey = F.pad(pictures.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        # Differences (B, 1, H, W) of the neighbours on both sides.
        across, down = (
            grey[:, :, 1:-1, 2:] - grey[:, :, 1:-1, :-2],
            grey[:, :, 2:, 1:-1] - grey[:, :, :-2, 1:-1],
        )
        turn = (torch.atan2(down, across) / (2 * torch.pi) * BINS) % BINS
        # Share of each direction: a gradient between two bins counts for both, in straight lines.
        edges = [
            (1 - (turn - index + BINS / 2).remainder(BINS).sub(BINS / 2).abs()).clamp_min(0)
            for index in range(BINS)
        ]
        strength = (across.square() + down.square()).sqrt()
        parts = [pictures / 0.5, (pictures.square() - 0.35) / 0.3, *(80 * strength * edge for edge in edges)]
        return F.avg_pool2d(torch.cat(parts, dim=1), 2)
