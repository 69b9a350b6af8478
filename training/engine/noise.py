"""Randomness of a step: its noise levels, and the generators that draw it."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

LOGIT_DEVIATION = 1.1  # of logit-normal levels, before the shift
SAMPLINGS = ("logit_normal", "uniform")


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

    def __post_init__(self) -> None:
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"noise.sampling is {self.sampling}; needed {' or '.join(SAMPLINGS)}")
        if not 0 < self.shift < math.inf:
            raise ValueError(f"noise.shift is {self.shift}; needed a number above 0")
        if not 0 <= self.low < self.high <= 1:
            raise ValueError(
                f"noise.low is {self.low} and noise.high {self.high}; needed 0 <= low < high <= 1"
            )

    def sample(self, size: int, generator: Generator) -> Tensor:
        """Noise levels (B,) on the generator's device: the distribution over all levels, conditioned on low
        to high. As many numbers are drawn whatever the range."""
        normal = self.sampling == "logit_normal"
        draw = torch.randn if normal else torch.rand
        drawn = draw(size, generator=generator, device=generator.device)
        if (self.low, self.high) != (0, 1):
            low, high = self._clock(self.low), self._clock(self.high)
            drawn = _normal_between(drawn, low, high) if normal else low + (high - low) * drawn
        clock = torch.sigmoid(LOGIT_DEVIATION * drawn) if normal else drawn
        level = self.shift * clock / (1 + (self.shift - 1) * clock)
        return level.clamp(self.low, self.high)  # for what rounding moves beyond

    def _clock(self, level: float) -> float:
        """Draw that becomes this level: a normal deviate, or a time from 0 to 1."""
        clock = level / (self.shift - (self.shift - 1) * level)
        if self.sampling == "uniform":
            return clock
        return (
            math.log(clock / (1 - clock)) / LOGIT_DEVIATION if 0 < clock < 1 else (2 * clock - 1) * math.inf
        )


def _normal_between(drawn: Tensor, low: float, high: float) -> Tensor:
    """Normal deviates, moved to between low and high by the inverse of the conditioned distribution."""
    # The side of the tail that is near 0, where numbers are dense: a share near 1 would lose its digits.
    sign = -1.0 if low > 0 else 1.0
    below, above = sorted((_normal_share(sign * low), _normal_share(sign * high)))
    share = torch.special.ndtr(sign * drawn.double())
    return (sign * torch.special.ndtri(below + (above - below) * share)).float()


def _normal_share(deviate: float) -> float:
    """Share of a normal distribution that lies below."""
    return math.erfc(-deviate / math.sqrt(2)) / 2


def sample_sigma(size: int, shift: float, generator: Generator) -> Tensor:
    """Noise levels (B,) from 0 to 1: logit-normal of deviation 1.1, with Wan's shift."""
    return NoiseSettings(shift=shift).sample(size, generator)
