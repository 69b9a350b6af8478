"""Noise levels: their distributions in closed form, in ranges too, and what is refused."""

import math

import pytest
import torch
from torch import Generator, Tensor

from refvid.training.engine.noise import NoiseSettings, sample_sigma

MANY = 20_000
# Kolmogorov's bound: exceeded by one true sample of 10,000.
BOUND = math.sqrt(-math.log(1e-4 / 2) / 2 / MANY)


def share(level: float, settings: NoiseSettings) -> float:
    """Share of levels below, of the whole distribution."""
    clock = level / (settings.shift - (settings.shift - 1) * level)
    if settings.sampling == "uniform":
        return clock
    if clock in (0.0, 1.0):
        return clock
    return (1 + math.erf(math.log(clock / (1 - clock)) / 1.1 / math.sqrt(2))) / 2


def sampled(settings: NoiseSettings, size: int = MANY, seed: int = 0) -> Tensor:
    return settings.sample(size, Generator().manual_seed(seed))


@pytest.mark.parametrize("sampling", ["logit_normal", "uniform"])
@pytest.mark.parametrize("shift", [1.0, 5.0, 0.4])
@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (0.875, 1.0), (0.0, 0.9), (0.3, 0.5), (0.98, 0.99), (0.0, 0.02)]
)
def test_levels_have_the_distribution_that_is_asked_for_conditioned_on_the_range(sampling, shift, low, high):
    settings = NoiseSettings(sampling, shift, low, high)
    levels = sampled(settings).double().sort().values
    assert levels[0] >= low and levels[-1] <= high
    below, above = share(low, settings), share(high, settings)
    wanted = torch.tensor([(share(level, settings) - below) / (above - below) for level in levels.tolist()])
    found = torch.arange(1, MANY + 1) / MANY
    assert (found - wanted).abs().max() < BOUND + 1 / MANY


def test_without_a_range_levels_are_those_of_the_demo_bit_for_bit():
    draws = torch.randn(MANY, generator=Generator().manual_seed(0))
    clock = torch.sigmoid(1.1 * draws)
    wanted = 3.0 * clock / (1 + 2.0 * clock)
    assert torch.equal(sample_sigma(MANY, 3.0, Generator().manual_seed(0)), wanted)
    assert torch.equal(sampled(NoiseSettings(shift=3.0)), wanted)


@pytest.mark.parametrize("sampling", ["logit_normal", "uniform"])
def test_as_many_numbers_are_drawn_whatever_the_range(sampling):
    after = []
    for low, high in ((0.0, 1.0), (0.5, 0.6), (0.0, 0.1)):
        generator = Generator().manual_seed(1)
        NoiseSettings(sampling, 5.0, low, high).sample(7, generator)
        after.append(torch.rand(1, generator=generator).item())
    assert len(set(after)) == 1


@pytest.mark.parametrize(("low", "high"), [(0.99999, 1.0), (0.0, 1e-5), (0.999, 0.9991)])
def test_far_in_the_tails_levels_stay_spread(low, high):
    levels = sampled(NoiseSettings(shift=1.0, low=low, high=high), 1000)
    assert levels.isfinite().all() and levels.min() >= low and levels.max() <= high
    assert len(levels.unique()) > 30  # as numbers of 32 bits allow


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"sampling": "cosine"}, "noise.sampling is cosine; needed logit_normal or uniform"),
        ({"shift": 0.0}, "noise.shift is 0.0"),
        ({"shift": math.nan}, "noise.shift is nan"),
        ({"shift": math.inf}, "noise.shift is inf"),
        ({"low": 0.5, "high": 0.5}, "noise.low is 0.5 and noise.high 0.5"),
        ({"low": 0.6, "high": 0.5}, "noise.low is 0.6 and noise.high 0.5"),
        ({"low": -0.1}, "noise.low is -0.1"),
        ({"high": 1.1}, "noise.high 1.1"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(given, named):
    with pytest.raises(ValueError, match=named):
        NoiseSettings(**given)
