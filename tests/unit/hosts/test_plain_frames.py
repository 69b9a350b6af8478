"""Given frames without ComfyUI: what the model is shown of them, by which clock; a run ends in them."""

import pytest
import torch
from refvid_plain import Condition, GivenFrames, guided_velocity, texts, velocity
from refvid_plain import condition as conditioned
from refvid_plain_cases import Host
from torch import Tensor

from refvid.backbones.wan.sampler import flow_sigmas, sample_euler
from refvid.core.guidance import CONDITIONED, MIDDLE, NULL, Guidance, Scale

SIGMA = torch.tensor(0.6)
GIVEN = torch.tensor([True, False, True])
CLOSE = {"rtol": 0, "atol": 1e-6}


@pytest.fixture(scope="module")
def host() -> Host:
    return Host(16, (3, 4, 4), torch.float32, torch.float64, torch.device("cpu"))


def clean(host: Host) -> Tensor:
    return host.latent(21) * GIVEN[:, None, None]


def condition(host: Host, clock: str = "own") -> Condition:
    return conditioned(texts(host), frames=GivenFrames(clean(host), GIVEN, clock))


@pytest.mark.parametrize(("clock", "levels"), [("own", [0, 1, 0]), ("shared", [1, 1, 1])])
@pytest.mark.parametrize("entry", [CONDITIONED, MIDDLE])
def test_given_frames_are_shown_clean_with_a_clock_of_their_own_or_the_videos(host, entry, clock, levels):
    latent, asked = host.latent(6, batch=2), condition(host, clock)
    shown = latent.clone()
    shown[:, :, 0], shown[:, :, 2] = clean(host)[:, :, 0], clean(host)[:, :, 2]
    clocks = 1000 * SIGMA * torch.tensor([levels, levels])
    wanted = host.dit(shown, clocks, asked.texts[entry.text].states.expand(2, -1, -1))
    got = velocity(host.dit, latent, SIGMA, asked, entry)
    torch.testing.assert_close(got[:, :, 1], wanted[:, :, 1], **CLOSE)


def test_a_level_for_each_frame_stays_but_for_given_ones(host):
    latent, asked = host.latent(6), conditioned(texts(host), frames=GivenFrames(clean(host), GIVEN))
    shown = latent.clone()
    shown[:, :, 0], shown[:, :, 2] = clean(host)[:, :, 0], clean(host)[:, :, 2]
    wanted = host.dit(shown, torch.tensor([[0.0, 300, 0]]), asked.texts["positive"].states)
    got = velocity(host.dit, latent, torch.tensor([[0.9, 0.3, 0.5]]), asked, CONDITIONED)
    torch.testing.assert_close(got[:, :, 1], wanted[:, :, 1], **CLOSE)
    straight = (latent - clean(host)) / 0.9  # by the noisiest
    torch.testing.assert_close(got[:, :, GIVEN], straight[:, :, GIVEN], **CLOSE)


@pytest.mark.parametrize("clock", ["own", "shared"])
def test_a_step_to_the_end_puts_given_frames_in_their_places(host, clock):
    """From x at level s along v for a step of -s: x - s v."""
    latent = host.latent(6, batch=2)
    ended = latent - SIGMA * velocity(host.dit, latent, SIGMA, condition(host, clock), CONDITIONED)
    for k in (0, 2):
        torch.testing.assert_close(ended[:, :, k], clean(host)[:, :, k].expand(2, -1, -1, -1), **CLOSE)
    assert (ended[:, :, 1] - host.latent(21)[:, :, 1]).abs().max() > 0.1


@pytest.mark.parametrize("renorm", ["off", "clip", "frames"])
def test_a_guided_run_ends_in_its_given_frames(host, renorm):
    guidance = Guidance(Scale(3.0), Scale(7.0), renorm)
    asked, noise = condition(host), host.latent(7, batch=2)
    made = sample_euler(guided_velocity(host.dit, asked, guidance), noise, flow_sigmas(4, 3.0).double())
    wanted = clean(host).expand(2, -1, -1, -1, -1)
    torch.testing.assert_close(made[:, :, GIVEN], wanted[:, :, GIVEN], rtol=0, atol=1e-5)
    free = sample_euler(
        guided_velocity(host.dit, conditioned(texts(host)), guidance), noise, flow_sigmas(4, 3.0).double()
    )
    assert (made - free)[:, :, 1].abs().max() > 1e-3, "the frame between sees them"


def test_a_pass_without_conditions_knows_of_no_given_frame(host):
    latent = host.latent(6)
    got = velocity(host.dit, latent, SIGMA, condition(host), NULL)
    assert torch.equal(got, velocity(host.dit, latent, SIGMA, conditioned(texts(host)), NULL))
    assert torch.equal(got, host.dit(latent, SIGMA[None] * 1000, texts(host)["negative"]))
