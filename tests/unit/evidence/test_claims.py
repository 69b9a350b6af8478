"""Claims: what their verdicts follow, and the sentence that is printed of each."""

from math import isnan

import pytest
import torch
from torch import Generator, Tensor

from refvid.evidence.ablations.frames import FRAME_CLAIMS
from refvid.evidence.ablations.saber import SABER_ARMS
from refvid.evidence.ablations.slot_id import SLOT_CLAIMS
from refvid.evidence.ablations.videomaker import VIDEOMAKER_CLAIMS
from refvid.evidence.claims import Claim, Side, Wording, decide, sentence

ONE, OTHER = Side("new", "clips"), Side("old", "clips")
NOISE = 0.01 * torch.randn(40, generator=Generator().manual_seed(0))
NOISE = NOISE - NOISE.mean()


def runs(shift: float | Tensor) -> dict:
    """The new run's figure is the old one's plus a shift."""
    before = torch.linspace(0, 1, 40)
    return {"new": [{"clips": {"own": before + shift + NOISE}}], "old": [{"clips": {"own": before}}]}


@pytest.mark.parametrize(
    ("shift", "sign", "margin", "holds"),
    [
        (0.1, 1, 0.0, True), (-0.1, 1, 0.0, False), (0.0, 1, 0.0, None),
        (0.1, -1, 0.0, False), (-0.1, -1, 0.0, True), (0.0, -1, 0.0, None),
        (-0.04, 1, 0.05, True), (-0.06, 1, 0.05, False), (-0.05, 1, 0.05, None), (0.0, 1, 0.05, True),
        (0.04, -1, 0.05, True), (0.06, -1, 0.05, False), (0.05, -1, 0.05, None),
    ],
)  # fmt: skip
def test_a_verdict_follows_its_interval_sign_and_margin(shift, sign, margin, holds):
    verdict = decide(Claim("it grows", ONE, OTHER, "own", sign, margin), runs(shift))
    assert verdict.holds is holds
    assert verdict.mean == pytest.approx(shift, abs=1e-6)
    assert verdict.low < verdict.mean < verdict.high


def test_sides_are_compared_toy_by_toy():
    """Toys lie a hundred times further apart than the sides do."""
    assert decide(Claim("it grows", ONE, OTHER, "own"), runs(0.01)).holds is True
    turned = runs(0.01)
    turned["new"][0]["clips"]["own"] = turned["new"][0]["clips"]["own"].flip(0)
    assert decide(Claim("it grows", ONE, OTHER, "own"), turned).holds is None


def test_a_side_is_the_mean_of_its_training_seeds():
    two = runs(0.3)
    two["new"].append({"clips": {"own": two["old"][0]["clips"]["own"] - 0.1}})
    assert decide(Claim("it grows", ONE, OTHER, "own"), two).mean == pytest.approx(0.1, abs=1e-6)


def test_toys_that_a_figure_does_not_apply_to_are_left_out_of_both_sides():
    shift = torch.full((40,), 0.1)
    shift[:10] = torch.nan
    found = decide(Claim("it grows", ONE, OTHER, "own"), runs(shift))
    assert found.holds is True and found.mean == pytest.approx(0.1, abs=5e-3)


def test_a_figure_that_applies_to_no_toy_decides_nothing():
    claim, none = Claim("it grows", ONE, OTHER, "own"), runs(torch.full((40,), torch.nan))
    found = decide(claim, none)
    assert found.holds is None and all(isnan(one) for one in (found.mean, found.low, found.high))
    assert "**not decided** (own +nan [+nan, +nan])" in sentence(claim, none)


@pytest.mark.parametrize(("shift", "told"), [(0.1, "holds"), (-0.1, "does not hold"), (0.0, "not decided")])
def test_a_sentence_says_claim_verdict_and_shift(shift, told):
    said = sentence(Claim("it grows", ONE, OTHER, "own"), runs(shift))
    mean = f"{shift:+.3f}"
    assert said.replace("-0.000", "+0.000").startswith(f"- **it grows**: **{told}** (own {mean} [")
    assert said.endswith("]).")


def test_a_sentence_says_the_margin_where_there_is_one():
    said = [
        sentence(Claim("no worse", ONE, OTHER, "own", margin=margin), runs(-0.01)) for margin in (0.0, 0.05)
    ]
    assert "margin" not in said[0] and said[1].endswith("], margin 0.05).")
    assert "**does not hold**" in said[0] and "**holds**" in said[1]


def test_a_sentence_has_the_words_that_it_is_given():
    words = Wording("**{first}**: {says}", "yes", "no", " against all", "+.1f")
    claim = Claim("it grows", ONE, OTHER, "own")
    assert (
        sentence(claim, runs(0.3), words)
        == "- **new**: it grows: **yes** (own +0.3 [+0.3, +0.3] against all)."
    )
    assert ": **no** (own -0.3 [" in sentence(claim, runs(-0.3), words)
    margin = Claim("it grows", ONE, OTHER, "own", margin=0.05)
    assert sentence(margin, runs(0.3), words).endswith("[+0.3, +0.3], margin 0.05 against all).")


def test_no_two_claims_of_an_ablation_say_the_same():
    for claims in (FRAME_CLAIMS, SLOT_CLAIMS, VIDEOMAKER_CLAIMS, [arm.claim for arm in SABER_ARMS]):
        compared = {(one.first, one.second, one.figure) for one in claims}
        assert len(compared) == len(claims)
        assert all(one.first != one.second for one in claims)


FOLLOWED = {"the prompt is still followed": 0.05}
NO_WORSE = {
    "a video and its picture together are no worse than the video": 0.03,
    "nor than the picture": 0.03,
    "nor are shapes worse than with the picture alone": 0.05,
}


@pytest.mark.parametrize(
    ("claims", "worse"),
    [(SLOT_CLAIMS, FOLLOWED | NO_WORSE), (VIDEOMAKER_CLAIMS, FOLLOWED)],
    ids=["slot_id", "videomaker"],
)
def test_only_what_is_to_be_no_worse_has_a_margin_and_all_else_has_to_be_more(claims, worse):
    assert {one.says: one.margin for one in claims if one.margin} == worse
    assert all(one.sign == 1 for one in claims)
