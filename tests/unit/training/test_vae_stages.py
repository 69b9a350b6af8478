"""A VAE's run: what a step sees by its stage, its rate and its draws, and what it begins with."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import refvid_tiny as tiny
import torch
from refvid_world import WORLD
from torch import Generator, Tensor

from refvid.backbones.wan.geometry import WAN_2_1
from refvid.backbones.wan.loading import load_vae
from refvid.core.ranks import ALONE
from refvid.demo.runs import smoke_vae
from refvid.training.base import vae_clips
from refvid.training.base.vae import VAETrainer
from refvid.training.base.vae_clips import VAEStage, View
from refvid.training.engine.noise import Draws

PICTURE, CLIP, LARGE = View(1, 32, 2), View(5, 32, 2), View(1, 64, 3)
STAGES = (VAEStage(3, 1e-3, (PICTURE,)), VAEStage(100, 1e-2, (CLIP, LARGE)))
CONFIG = replace(smoke_vae(), stages=STAGES)


class Listening:
    """Data that notes which view is asked for, and draws once for it."""

    def __init__(self) -> None:
        self.views: list[View] = []

    def batch(self, view: View, generator: Generator) -> Tensor:
        self.views.append(view)
        return torch.randn(view.batch, 3, view.frames, view.size, view.size, generator=generator)


def drawn(steps: int, seed: int = 0) -> tuple[list[View], list[Tensor]]:
    """Views and crops of the first steps of a run."""
    data, draws, config = Listening(), Draws.on("cpu"), replace(CONFIG, seed=seed)
    crops = []
    for step in range(steps):
        VAETrainer().seed(config, draws, step, ALONE)
        crops.append(VAETrainer().draw(config, data, draws, step, ALONE).video)  # type: ignore[arg-type]
    return data.views, crops


def test_a_step_sees_the_views_of_its_stage_in_turn_from_the_stages_first():
    assert drawn(6)[0] == [PICTURE] * 3 + [CLIP, LARGE, CLIP]
    assert VAETrainer().steps(CONFIG) == 103
    with pytest.raises(ValueError, match="past the last stage"):
        VAETrainer().rate(CONFIG, 103)


def test_every_stage_warms_up_and_decays_to_a_rate_of_its_own():
    rates = [VAETrainer().rate(CONFIG, step) for step in range(103)]
    assert rates[0] == pytest.approx(1e-3 / 40) and rates[3] == pytest.approx(1e-2 / 40)
    assert max(rates[3:]) > 8e-3 and rates[102] == pytest.approx(5e-4)


def test_steps_of_a_run_draw_on_and_another_seed_draws_otherwise():
    (first, second, *_), again, (other, *_) = drawn(2)[1], drawn(2)[1], drawn(1, seed=1)[1]
    assert torch.equal(first, again[0]) and torch.equal(second, again[1])
    assert not torch.equal(first, second) and not torch.equal(first, other)


def test_a_vae_begins_with_the_weights_that_are_given_but_for_what_it_saw_of_the_past(tmp_path):
    file = tiny.save_vae(tmp_path, width=2)
    theirs, ours = load_vae(file), VAETrainer(file).trainee(CONFIG, None, None)  # type: ignore[arg-type]
    assert ours.training and all(one.requires_grad for one in ours.parameters())
    for name, value in theirs.state_dict().items():
        found = ours.state_dict()[name]
        if value.ndim == 5 and value.shape[2] == value.shape[3] == 3:
            assert torch.equal(found[:, :, 2], value[:, :, 2]), name
        else:
            assert torch.equal(found, value), name


def test_quality_is_told_of_clips_that_were_never_trained_on(monkeypatch):
    asked: list[Tensor] = []
    made = vae_clips.varied_clips

    def listen(config, source, clips, generator):
        asked.append(generator.get_state())
        return made(replace(config, frames=1, size=32), source, clips, generator)

    monkeypatch.setattr(vae_clips, "varied_clips", listen)
    vae_clips.Crops(CONFIG, WORLD)
    vae_clips.unseen_clips(CONFIG, WORLD)
    assert len(asked) == 2 and not torch.equal(*asked)


def test_quality_is_that_of_what_is_given_back():
    clips, alpha = vae_clips.unseen_clips(replace(CONFIG, frames=9, size=32), WORLD, 8)
    still = SimpleNamespace(
        geometry=WAN_2_1,
        device="cpu",
        encode=lambda video: video,
        decode=lambda video: video[:, :, :1].expand_as(video),
    )
    darker = SimpleNamespace(
        geometry=WAN_2_1,
        device="cpu",
        encode=lambda video: video,
        decode=lambda video: (video - 0.2).clamp(-1, 1),
    )
    found = vae_clips.quality(still, (clips, alpha))  # type: ignore[arg-type]
    assert found.places[0] > 100 > 20 > found.places[1] > found.places[4] and found.motion == 0
    away = vae_clips.quality(darker, (clips * 0.8, alpha))  # type: ignore[arg-type]
    assert away.whole == pytest.approx(20, abs=0.1) and away.inside == pytest.approx(20, abs=0.1)
    assert away.motion == pytest.approx(1) and "1.00 times their motion" in str(away)


def test_quality_tells_the_places_of_a_latent_frame_apart():
    clips, alpha = vae_clips.unseen_clips(replace(CONFIG, frames=9, size=32), WORLD, 8)
    off = torch.tensor([0.02, 0.04, 0.06, 0.08, 0.1, 0.04, 0.06, 0.08, 0.1])  # by picture
    shifted = SimpleNamespace(
        geometry=WAN_2_1,
        device="cpu",
        encode=lambda video: video,
        decode=lambda video: video + off.view(1, 1, -1, 1, 1),
    )
    found = vae_clips.quality(shifted, (clips / 2, alpha))  # type: ignore[arg-type]
    wanted = (-20 * (off[:5] / 2).log10()).tolist()
    assert found.places == pytest.approx(wanted, abs=0.01)
