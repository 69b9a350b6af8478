"""Guidance tables: closed forms of what they sum to, through the plain host that evaluates them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from refvid.core.guidance import CONDITIONED, NULL, Pass, joint, text_only
from refvid.hosts import plain

KEPT = Pass("negative", True)
scales = st.floats(-20, 20)
tables = pytest.mark.parametrize(("build", "null"), [(joint, NULL), (text_only, KEPT)])


def combine(table, predictions: dict[Pass, Tensor]) -> Tensor:
    """What guided_velocity makes of given predictions, without a model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "velocity", lambda dit, latent, sigma, condition, entry: predictions[entry])
        return plain.guided_velocity(None, None, table)(
            torch.zeros(1, dtype=torch.float64), torch.tensor(0.5)
        )


def predictions(seed: int = 0) -> dict[Pass, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        entry: torch.randn(2, 3, generator=generator, dtype=torch.float64)
        for entry in (CONDITIONED, NULL, KEPT)
    }


@tables
@given(scale=scales)
def test_the_weights_sum_to_one(build, null, scale):
    assert sum(weight for _, weight in build(scale)) == pytest.approx(1, abs=1e-12)


@tables
@given(scale=scales)
def test_guidance_is_null_plus_scale_times_the_difference(build, null, scale):
    given_passes = predictions()
    cond, base = given_passes[CONDITIONED], given_passes[null]
    torch.testing.assert_close(combine(build(scale), given_passes), base + scale * (cond - base))


@tables
def test_scale_one_is_one_pass_and_leaves_it_bit_for_bit(build, null):
    assert build(1.0) == ((CONDITIONED, 1.0),)
    given_passes = {CONDITIONED: torch.randn(2, 3, dtype=torch.float64)}
    assert torch.equal(combine(build(1), given_passes), given_passes[CONDITIONED])


@tables
def test_scale_zero_is_the_null_pass(build, null):
    assert torch.equal(combine(build(0.0), predictions()), predictions()[null])


@tables
@given(scale=scales, constant=st.floats(-5, 5))
def test_adding_a_constant_to_every_prediction_adds_it_to_the_result(build, null, scale, constant):
    raised = {entry: value + constant for entry, value in predictions().items()}
    expected = combine(build(scale), predictions()) + constant
    torch.testing.assert_close(combine(build(scale), raised), expected)


@tables
@given(scale=scales, a=st.floats(-3, 3), b=st.floats(-3, 3))
def test_guidance_is_linear_in_the_predictions(build, null, scale, a, b):
    first, second = predictions(1), predictions(2)
    mixed = {entry: a * first[entry] + b * second[entry] for entry in first}
    expected = a * combine(build(scale), first) + b * combine(build(scale), second)
    torch.testing.assert_close(combine(build(scale), mixed), expected, rtol=1e-9, atol=1e-9)


def test_joint_drops_text_and_references_together_and_text_only_keeps_the_references():
    assert [entry for entry, _ in joint(3.0)] == [Pass("positive", True), Pass("negative", False)]
    assert [entry for entry, _ in text_only(3.0)] == [Pass("positive", True), Pass("negative", True)]
