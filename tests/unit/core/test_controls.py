"""Controls of a reference: windows and fades in closed form, nonsense refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refvid.core.controls import Controls, FrameWindow, StepWindow
from refvid.core.schedule import flow_sigma, share_of

shares = st.floats(0, 1)


@pytest.mark.parametrize(
    ("window", "factors"),
    [
        (StepWindow(), {0: 1, 0.5: 1, 1: 1}),
        (StepWindow(0.25, 0.75), {0: 0, 0.2499: 0, 0.25: 1, 0.7499: 1, 0.75: 0, 1: 0}),
        (StepWindow(0.5, 1.0), {0.4999: 0, 0.5: 1, 1: 1}),
        (StepWindow(0.2, 1.0, fade_in=0.4), {0.1: 0, 0.2: 0, 0.3: 0.25, 0.4: 0.5, 0.6: 1, 1: 1}),
        (StepWindow(0.0, 0.8, fade_out=0.4), {0: 1, 0.4: 1, 0.6: 0.5, 0.7: 0.25, 0.8: 0}),
        (StepWindow(0.0, 1.0, 0.5, 0.5), {0: 0, 0.25: 0.5, 0.5: 1, 0.75: 0.5, 1: 0}),
    ],
)
def test_a_step_window_is_a_trapezoid_over_the_schedule(window, factors):
    for share, factor in factors.items():
        assert window.factor(share) == pytest.approx(factor, abs=1e-12), share


@given(st.tuples(shares, shares).map(sorted).filter(lambda pair: pair[0] < pair[1]), shares, shares, shares)
def test_a_factor_is_between_0_and_1_and_0_outside_the_window(window, split, fade, share):
    start, end = window
    fade_in = fade * split * (end - start)
    made = StepWindow(start, end, fade_in, fade * (end - start) - fade_in)
    factor = made.factor(share)
    assert 0 <= factor <= 1
    if share < start or (share >= end and end < 1):
        assert factor == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.6, 0.4), "step window is 0.6 to 0.4; needed two shares of the schedule, 0 to 1, the start first"),
        ((0.5, 0.5), "step window is 0.5 to 0.5"),
        ((-0.1, 0.5), "step window is -0.1"),
        ((0.0, 1.1), "step window is 0.0 to 1.1"),
        ((float("nan"), 1.0), "step window is nan"),
        ((0.2, 0.6, 0.3, 0.2), "fades are 0.3 in and 0.2 out; .* no longer than the step window of 0.4"),
        ((0.0, 1.0, -0.1), "fades are -0.1"),
        ((0.0, 1.0, float("nan")), "fades are nan"),
    ],
)
def test_windows_and_fades_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        StepWindow(*arguments)


@pytest.mark.parametrize("arguments", [(-1,), (5, 4), (3, -1)])
def test_a_frame_window_needs_its_first_frame_first(arguments):
    with pytest.raises(ValueError, match="frame window is"):
        FrameWindow(*arguments)


@pytest.mark.parametrize("strength", [-0.1, 10.5, float("nan"), float("inf")])
def test_a_strength_outside_0_to_10_is_refused(strength):
    with pytest.raises(ValueError, match=r"strength is .*; needed 0 \(off\) to 10"):
        Controls(strength)


def test_an_unknown_visibility_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="sees is 'some'; choose one of recipe, all, video, itself, frames"):
        Controls(sees="some")


def test_the_weight_of_a_key_is_strength_times_factor_and_vanishes_outside():
    asked = Controls(0.6, StepWindow(0.2, 0.8, fade_in=0.4))
    assert math.exp(asked.log_strength(0.4)) == pytest.approx(0.3, rel=1e-12)
    assert math.exp(asked.log_strength(0.7)) == pytest.approx(0.6, rel=1e-12)
    assert asked.log_strength(0.2) == asked.log_strength(0.1) == asked.log_strength(0.9) == -math.inf
    assert Controls(0).log_strength(0.5) == -math.inf and Controls().log_strength(0.5) == 0


@given(shares, st.floats(0.1, 20))
def test_a_noise_level_is_found_back_in_its_schedule(share, shift):
    assert share_of(flow_sigma(share, shift), lambda part: flow_sigma(part, shift)) == pytest.approx(
        share, abs=1e-6
    )


def test_the_schedule_starts_in_noise_and_ends_clean():
    assert flow_sigma(0, 5) == 1 and flow_sigma(1, 5) == 0 and flow_sigma(0.5, 1) == 0.5
    assert share_of(1.0, lambda part: flow_sigma(part, 5)) == 0
    assert share_of(0.0, lambda part: flow_sigma(part, 5)) == 1
    assert share_of(2.0, lambda part: flow_sigma(part, 5)) == 0  # above the schedule: not begun


def test_what_is_asked_for_stands_above_what_was_saved_and_the_neutral_does_not():
    saved = Controls(0.5, StepWindow(0.125, 0.5), sees="video")
    assert Controls().over(saved) == saved and saved.over(None) == saved
    found = Controls(2.0, soft=True).over(saved)
    assert found == Controls(2.0, StepWindow(0.125, 0.5), sees="video", soft=True)
