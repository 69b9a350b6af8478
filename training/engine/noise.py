"""Randomness of a step: its noise levels, and the generators that draw it."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Draws:
    """Generators of a step: `own` draws what is this process's alone, `common` what all processes share, so
    that their batches have one cost."""

    own: Generator
    common: Generator

    @classmethod
    def on(cls, device: str) -> "Draws":
        """Fresh generators on a device."""
        return cls(Generator(device), Generator(device))


@dataclass(frozen=True)
class NoiseSettings:
    """Noise levels that a run sees, from 0 (clean) to 1.

    sampling  logit_normal (deviation 1.1) or uniform
    shift     Wan's shift: shift · t / (1 + (shift - 1) t)
    low, high  levels that are drawn between, after the shift
    """

    sampling: str = "logit_normal"
    shift: float = 5.0
    low: float = 0.0
    high: float = 1.0


def sample_sigma(size: int, shift: float, generator: Generator) -> Tensor:
    """Noise levels (B,) from 0 to 1: logit-normal of deviation 1.1, with Wan's shift."""
    clock = torch.sigmoid(1.1 * torch.randn(size, generator=generator, device=generator.device))
    return shift * clock / (1 + (shift - 1) * clock)
