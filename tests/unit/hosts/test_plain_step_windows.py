"""Step windows without ComfyUI: shares of the whole schedule with its shift, of references and guidance."""

from dataclasses import replace

import pytest
import refvid_tiny as tiny
import torch
from refvid_plain import Request, Settings, generate, guided_velocity, load_pipeline, said, texts, velocity
from refvid_plain_cases import Case, Host, condition
from torch import Tensor

from refvid.core.controls import Controls, StepWindow
from refvid.core.guidance import CONDITIONED, NULL, Guidance, Scale
from refvid.core.references import make_reference

LATE = StepWindow(0.5, 1.0)
SHARES = (0.1, 0.3, 0.45, 0.55, 0.7, 0.9)


@pytest.fixture(scope="module")
def host() -> Host:
    return Host(16, (1, 4, 4), torch.float32, torch.float64, torch.device("cpu"))


def level(share: float, shift: float) -> Tensor:
    """Share of Wan's schedule: time t runs from 1 to 0, and shift s makes s t / (1 + (s - 1) t) of it."""
    time = 1 - share
    return torch.tensor(shift * time / (1 + (shift - 1) * time))


def evaluated(host: Host, controls: Controls | None, sigma: Tensor, shift: float) -> Tensor:
    asked = condition(host, Case(() if controls is None else (controls,)), "auto")
    return velocity(host.dit, host.latent(6), sigma, replace(asked, shift=shift), CONDITIONED)


@pytest.mark.parametrize("shift", [1.0, 3.0, 8.0])
def test_a_reference_acts_in_its_share_of_the_schedule_whatever_its_shift(host, shift):
    for share in SHARES:
        sigma = level(share, shift)
        windowed, always, never = (
            evaluated(host, one, sigma, shift) for one in (Controls(steps=LATE), Controls(), None)
        )
        assert torch.equal(windowed, always if share >= 0.5 else never), share
        assert not torch.equal(always, never)


def test_a_fade_is_the_strength_of_its_share(host):
    for share in SHARES:
        sigma = level(share, 5.0)
        faded = evaluated(host, Controls(2.0, StepWindow(fade_in=1.0)), sigma, 5.0)
        torch.testing.assert_close(
            faded, evaluated(host, Controls(2.0 * share), sigma, 5.0), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("shift", [1.0, 6.0])
def test_a_scale_acts_in_its_share_of_the_schedule_whatever_its_shift(host, shift):
    asked = replace(condition(host, Case((Controls(),)), "auto"), texts=said(texts(host)), shift=shift)
    guided = guided_velocity(host.dit, asked, Guidance(Scale(4.0, LATE), Scale(4.0, LATE)))
    for share in SHARES:
        sigma = level(share, shift)
        with_all, without = (velocity(host.dit, host.latent(6), sigma, asked, p) for p in (CONDITIONED, NULL))
        wanted = without + 4 * (with_all - without) if share >= 0.5 else with_all
        torch.testing.assert_close(guided(host.latent(6), sigma), wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shift", [1.0, 5.0])
def test_a_request_s_shift_is_that_of_its_windows_and_of_its_levels(tmp_path, monkeypatch, shift):
    """Ten steps stand at shares 0, 0.1, … 0.9: the reference acts in the last five, guidance in three."""
    backbone = load_pipeline(*tiny.save_models(tmp_path, tiny.config(layers=1)))
    seen, through = [], backbone.dit.through

    def listen(latent, clock, *more, tail, **others):
        seen.append((clock.item() / 1000, tail is not None))
        return through(latent, clock, *more, tail=tail, **others)

    monkeypatch.setattr(backbone.dit, "through", listen)
    shown = make_reference(torch.rand(32, 32, 3), None, Controls(steps=LATE))
    early = Scale(4.0, StepWindow(0, 0.25))
    settings = Settings(width=32, height=32, frames=1, steps=10, shift=shift)
    generate(
        backbone,
        Request("a toy", settings, (shown,), recipe="saber", guidance=Guidance(early, early)),
    )
    expected = [
        (level(step / 10, shift).item(), step >= 5) for step in range(10) for _ in range(1 + (step < 3))
    ]
    assert [acts for _, acts in seen] == [acts for _, acts in expected]
    assert [s for s, _ in seen] == pytest.approx([s for s, _ in expected], rel=1e-5)
