"""Guidance tables: closed forms of what they sum to, and of their scales over the schedule."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from refvid.core.controls import StepWindow
from refvid.core.guidance import (
    CONDITIONED,
    MIDDLE,
    NULL,
    Guidance,
    Pass,
    Scale,
    combine,
    guidance_table,
    joint,
    renormed,
)

scales = st.floats(0, 20)


def predictions(seed: int = 0) -> dict[Pass, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        entry: torch.randn(2, 3, generator=generator, dtype=torch.float64)
        for entry in (CONDITIONED, MIDDLE, NULL)
    }


@given(image=scales, text=scales)
def test_the_weights_sum_to_one_and_make_the_papers_formula(image, text):
    found, made = guidance_table(image, text), predictions()
    assert sum(weight for _, weight in found) == pytest.approx(1, abs=1e-12)
    cond, middle, null = (made[entry] for entry in (CONDITIONED, MIDDLE, NULL))
    expected = null + image * (middle - null) + text * (cond - middle)
    torch.testing.assert_close(combine(found, made), expected)


@given(scale=scales)
def test_joint_guidance_is_classifier_free_guidance_bit_for_bit_and_never_asks_for_the_middle(scale):
    found, made = joint(Scale(scale)).table(0.3), predictions()
    assert MIDDLE not in dict(found)
    cond, null = made[CONDITIONED], made[NULL]
    if scale not in (0, 1):
        assert torch.equal(combine(found, made), null + (cond - null) * scale)


@given(scale=scales, image=scales, text=scales)
def test_separate_guidance_at_one_scale_is_joint_guidance(scale, image, text):
    assert guidance_table(scale, scale) == joint(Scale(scale)).table(0.0)
    assert guidance_table(1.0, text) == tuple(
        (p, w) for p, w in ((CONDITIONED, text), (MIDDLE, 1 - text)) if w
    )


def test_what_has_no_weight_is_not_evaluated():
    assert guidance_table(1.0, 1.0) == ((CONDITIONED, 1.0),)
    assert guidance_table(0.0, 0.0) == ((NULL, 1.0),)
    assert [entry for entry, _ in guidance_table(1.5, 7.5)] == [CONDITIONED, MIDDLE, NULL]
    made = predictions()
    assert combine(guidance_table(1.0, 1.0), made) is made[CONDITIONED]


@given(image=scales, text=scales, a=st.floats(-3, 3), b=st.floats(-3, 3))
def test_guidance_is_linear_in_its_passes(image, text, a, b):
    first, second, found = predictions(1), predictions(2), guidance_table(image, text)
    mixed = {entry: a * first[entry] + b * second[entry] for entry in first}
    expected = a * combine(found, first) + b * combine(found, second)
    torch.testing.assert_close(combine(found, mixed), expected, rtol=1e-9, atol=1e-9)


@given(image=scales, text=scales)
def test_what_all_passes_agree_on_stays_to_the_last_bit(image, text):
    same = torch.randn(64, generator=torch.Generator().manual_seed(1)) * 3
    assert torch.equal(combine(guidance_table(image, text), dict.fromkeys(predictions(), same)), same)


@given(value=scales, share=st.floats(0, 1))
def test_a_scale_is_one_outside_its_window_and_rises_and_falls_along_its_fades(value, share):
    assert Scale(value).at(share) == value
    early = Scale(value, StepWindow(0.0, 0.5)).at(share)
    assert early == (value if share < 0.5 else 1.0)
    rising = Scale(value, StepWindow(0.0, 1.0, fade_in=1.0)).at(share)
    assert rising == pytest.approx(1 + (value - 1) * share, abs=1e-9)


def test_bad_scales_are_refused_by_name():
    for value in (math.nan, math.inf, -0.1):
        with pytest.raises(ValueError, match=f"scale is {value}"):
            Scale(value)
    with pytest.raises(ValueError, match="renorm is 'each'; choose one of off, clip, frames"):
        Guidance(Scale(1), Scale(1), "each")


@given(seed=st.integers(0, 50), grow=st.floats(0.01, 100), per_frame=st.booleans())
def test_a_renormed_velocity_has_the_conditioned_norm_whatever_its_own(seed, grow, per_frame):
    generator = torch.Generator().manual_seed(seed)
    guided, conditioned = torch.randn(2, 2, 4, 3, 5, 5, generator=generator)
    over = (1, 3, 4) if per_frame else (1, 2, 3, 4)
    got = renormed(guided * grow, conditioned, per_frame)
    torch.testing.assert_close(got.square().sum(over), conditioned.square().sum(over), rtol=2e-5, atol=0)
    torch.testing.assert_close(got, renormed(guided, conditioned, per_frame), rtol=1e-4, atol=1e-5)
