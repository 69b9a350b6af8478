"""Kept keys and values without ComfyUI: what stays from step to step is worked out once; nothing differs."""

from dataclasses import replace

import pytest
import torch
from refvid_plain import Condition, guided_velocity, said, texts, velocity
from refvid_plain_cases import Case, Host, condition
from torch import Tensor

from refvid.core.controls import Controls, StepWindow
from refvid.core.guidance import CONDITIONED, MIDDLE, NULL, Guidance, Scale
from refvid.hosts.plain.recall import Kept

LEVELS = tuple(torch.tensor(s) for s in (0.9, 0.5, 0.2))
CLOSE = {"rtol": 0, "atol": 1e-6}
ALONE = Controls(sees="itself")
# The same at every step: alone, with a clock of its own, everywhere; its strength may still change.
KEPT = {
    "untouched": ALONE,
    "half": replace(ALONE, strength=0.5),
    "three times": replace(ALONE, strength=3.0),
    "a soft mask": replace(ALONE, soft=True),
    "a fade": replace(ALONE, steps=StepWindow(fade_in=1.0)),
    "a window": replace(ALONE, steps=StepWindow(0.4, 0.7)),
}
NOT_KEPT = {
    "reads the video": Case((Controls(),), recipe="videomaker"),
    "the video's clock": Case((ALONE,), recipe="videomaker_shared"),
    "in a region": Case((ALONE,), (0,), recipe="videomaker"),
}


@pytest.fixture(scope="module")
def host() -> Host:
    return Host(16, (2, 4, 4), torch.float32, torch.float64, torch.device("cpu"))


def asked(host: Host, case: Case) -> Condition:
    return replace(condition(host, case, "auto"), texts=said(texts(host)))


def steps(host: Host, given: Condition, kept: Kept | None) -> list[Tensor]:
    return [
        velocity(host.dit, host.latent(6 + k, batch=2), sigma, given, CONDITIONED, kept)
        for k, sigma in enumerate(LEVELS)
    ]


@pytest.fixture
def behind(host, monkeypatch) -> list[int]:
    """Numbers of tokens that stand behind the video, evaluation by evaluation."""
    found, through = [], host.dit.through

    def listen(*given, tail=None, **more):
        found.append(0 if tail is None else tail.tokens.shape[1])
        return through(*given, tail=tail, **more)

    monkeypatch.setattr(host.dit, "through", listen)
    return found


@pytest.mark.parametrize("name", KEPT)
def test_what_is_kept_says_what_a_new_evaluation_says(host, behind, name):
    given = asked(host, Case((KEPT[name],), recipe="videomaker"))
    anew = steps(host, given, None)
    acts = [count > 0 for count in behind]
    behind.clear()
    for one, right in zip(steps(host, given, Kept()), anew, strict=True):
        torch.testing.assert_close(one, right, **CLOSE)
    first = acts.index(True)
    assert [count > 0 for count in behind] == [k == first for k in range(len(LEVELS))], "worked out once"
    if name != "untouched":
        other = steps(host, asked(host, Case((ALONE,), recipe="videomaker")), None)
        assert any((one - right).abs().max() > 1e-4 for one, right in zip(other, anew, strict=True))


@pytest.mark.parametrize("name", NOT_KEPT)
def test_a_reference_that_changes_from_step_to_step_is_not_kept(host, behind, name):
    given, kept = asked(host, NOT_KEPT[name]), Kept()
    anew = steps(host, given, None)
    for one, right in zip(steps(host, given, kept), anew, strict=True):
        assert torch.equal(one, right)
    assert kept.keys == [] and all(behind)


def test_the_passes_of_guidance_keep_each_their_own(host, behind):
    """The pass without conditions sees zero latents, not the picture."""
    given = asked(host, Case((replace(ALONE, strength=0.5),), recipe="videomaker"))
    guided = guided_velocity(host.dit, given, Guidance(Scale(3.0), Scale(7.0)))
    made = [guided(host.latent(6), sigma) for sigma in LEVELS]
    assert [count > 0 for count in behind] == [True] * 3 + [False] * 6
    for sigma, one in zip(LEVELS, made, strict=True):
        cond, middle, null = (
            velocity(host.dit, host.latent(6), sigma, given, entry) for entry in (CONDITIONED, MIDDLE, NULL)
        )
        wanted = null + 3 * (middle - null) + 7 * (cond - middle)
        torch.testing.assert_close(one, wanted, rtol=0, atol=1e-5)
