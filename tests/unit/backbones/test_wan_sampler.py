"""Sampler and schedule: fields whose integral is known in closed form."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refvid.backbones.wan.sampler import flow_sigmas, sample_euler

quick = settings(max_examples=30)
steps_and_shift = given(st.integers(1, 60), st.floats(0.5, 12))


def noise() -> torch.Tensor:
    return torch.randn(1, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@quick
@steps_and_shift
def test_a_constant_velocity_is_integrated_exactly_in_any_number_of_steps(steps, shift):
    direction = noise().flip(0) + 1
    got = sample_euler(lambda latent, sigma: direction, noise(), flow_sigmas(steps, shift).double())
    torch.testing.assert_close(got, noise() - direction, rtol=0, atol=1e-12)


@quick
@steps_and_shift
def test_a_velocity_linear_in_the_latent_multiplies_it_step_by_step(steps, shift):
    sigmas = flow_sigmas(steps, shift).double()
    factor = math.prod(
        1 + 0.7 * (b - a) for a, b in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True)
    )
    got = sample_euler(lambda latent, sigma: 0.7 * latent, noise(), sigmas)
    torch.testing.assert_close(got, factor * noise(), rtol=1e-12, atol=1e-12)


@quick
@steps_and_shift
def test_a_straight_flow_ends_at_its_data_in_any_number_of_steps(steps, shift):
    data = noise() * 2 + 1
    got = sample_euler(
        lambda latent, sigma: (latent - data) / sigma, noise(), flow_sigmas(steps, shift).double()
    )
    torch.testing.assert_close(got, data, rtol=1e-9, atol=1e-9)


def test_the_velocity_sees_every_level_but_zero_in_order_and_progress_counts_them():
    sigmas, levels, shown = flow_sigmas(5, 5.0), [], []
    sample_euler(
        lambda latent, sigma: levels.append(sigma.item()) or latent,
        noise(),
        sigmas,
        lambda *done: shown.append(done),
    )
    assert levels == sigmas[:-1].tolist()
    assert shown == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_a_run_that_starts_below_one_scales_its_noise():
    got = sample_euler(lambda latent, sigma: torch.zeros_like(latent), noise(), torch.tensor([0.25, 0.0]))
    torch.testing.assert_close(got, 0.25 * noise())


def test_twenty_steps_without_shift_are_evenly_spaced():
    torch.testing.assert_close(flow_sigmas(20, 1.0), torch.linspace(1, 0, 21))


@quick
@given(st.integers(1, 200), st.floats(0.2, 12))
def test_levels_are_the_shifted_clock_and_fall_from_one_to_zero(steps, shift):
    got = flow_sigmas(steps, shift)
    ticks = [(1000 - math.floor(i * 1000 / steps)) / 1000 for i in range(steps)] + [0.0]
    expected = torch.tensor([shift * t / (1 + (shift - 1) * t) for t in ticks], dtype=torch.float64)
    torch.testing.assert_close(got.double(), expected, rtol=1e-7, atol=1e-7)  # stored as fp32
    assert got[0] == 1 and got[-1] == 0
    assert got.diff().lt(0).all()


@given(st.floats(1.01, 12))
def test_more_shift_means_more_time_at_high_noise(shift):
    assert flow_sigmas(20, shift)[1:-1].gt(flow_sigmas(20, 1.0)[1:-1]).all()


@pytest.mark.parametrize("steps", [0, -3])
def test_no_steps_are_refused(steps):
    with pytest.raises(ValueError, match=f"steps is {steps}; at least 1 is needed"):
        flow_sigmas(steps, 5.0)
