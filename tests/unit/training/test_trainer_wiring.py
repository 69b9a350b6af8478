"""Every trainer stepped by hand: what data a step sees, what each part of its loss counts, and that its file
holds the averaged weights, not the last ones."""

from copy import deepcopy
from dataclasses import replace

import pytest
import refvid_tiny as tiny
import torch
from refvid_trainers import SIZES, STEPS, TRAINERS, Record, SlotId, holding, weights
from refvid_world import trained
from safetensors.torch import load_file
from torch import nn

from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.loading import load_dit
from refvid.backbones.wan.text import TextEncoder, load_text_encoder
from refvid.demo.runs import smoke_vae
from refvid.training.base import vae as vae_training
from refvid.training.base.vae_clips import VAEStage, View
from refvid.training.engine.average import Average
from refvid.training.engine.learner import Learner
from refvid.training.engine.loop import Losses, Run, take_steps
from refvid.training.engine.models import Models
from refvid.training.engine.optimise import Optimiser
from refvid.training.engine.precision import mixed
from refvid.training.engine.state import RunFiles, RunState

autocast = pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")


@pytest.fixture
def record(monkeypatch) -> Record:
    found, begin, step = Record(), Average.__init__, Optimiser.step

    def noted(self, module, decay, warm=False):
        found.decay = decay
        begin(self, module, decay, warm)

    def listen(self, module, factor, *given, **others):
        found.factors.append(factor)
        found.before.append(weights(module))
        found.gradients.append({name: deepcopy(p.grad) for name, p in module.named_parameters()})
        norm = step(self, module, factor, *given, **others)
        found.after.append(weights(module))
        return norm

    monkeypatch.setattr(Average, "__init__", noted)
    monkeypatch.setattr(Optimiser, "step", listen)
    return found


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    return Models(*tiny.save_models(tmp_path_factory.mktemp("models"), SIZES))


def fresh(trainer, models: Models) -> tuple[WanDiT, TextEncoder, nn.Module]:
    dit, text = load_dit(models.dit)[0], load_text_encoder(models.text_encoder)
    return dit, text, trainer().trainee(dit, text)


named = pytest.mark.parametrize("trainer", TRAINERS, ids=lambda one: one.__name__)


@autocast
@named
def test_a_step_s_gradient_is_that_of_its_own_batch_with_every_part_by_its_weight(
    trainer, models, record, tmp_path, monkeypatch
):
    trainer().feed(monkeypatch)
    trainer().train(models, tmp_path / "run")
    assert len(record.gradients) == STEPS
    # Of sixty steps up to the whole rate; the last of three lies past the part that holds it.
    falls = (1 - 2 / 3) / (1 - getattr(trainer.config, "hold", 0.5))
    assert record.factors == pytest.approx([1 / 60, 2 / 60, 3 / 60 * falls])
    for step, (before, came) in enumerate(zip(record.before, record.gradients, strict=True)):
        dit, text, learns = fresh(trainer, models)
        holding(learns, before)
        with mixed("cpu"):
            loss = trainer().loss(dit, text, learns, step)
        loss.backward()
        for name, parameter in learns.named_parameters():
            assert (parameter.grad is None) == (came[name] is None), name
            if parameter.grad is not None:
                error, size = (parameter.grad - came[name]).norm(), parameter.grad.norm()
                assert error <= 0.01 * size + 1e-9, (step, name, error, size)


@autocast
@named
def test_a_trainer_s_files_hold_the_average_of_the_weights_after_its_steps(
    trainer, models, record, tmp_path, monkeypatch
):
    trainer().feed(monkeypatch)
    trainer().train(models, tmp_path / "run")
    _, text, learned = fresh(trainer, models)
    for name, values in (("averaged", record.averaged()), ("last", record.after[-1])):
        (tmp_path / name).mkdir()
        trainer().export(holding(learned, values), text, tmp_path / name)
    for file in trainer.files:
        made, wanted, last = (load_file(tmp_path / one / file) for one in ("run", "averaged", "last"))
        assert made.keys() == wanted.keys()
        for key, value in wanted.items():
            torch.testing.assert_close(made[key].float(), value.float(), rtol=2e-3, atol=1e-6, msg=key)
        moved = [(last[key].float() - value.float()).abs().max() for key, value in wanted.items()]
        assert max(moved) > 1e-5, "the last weights are others"


def test_a_vae_s_file_holds_the_average_of_the_weights_after_its_steps(record, tmp_path, monkeypatch):
    stage = VAEStage(STEPS, 1e-3, (View(1, 32, 2),))
    config = replace(smoke_vae(), stages=(stage,))
    monkeypatch.setattr(vae_training, "quality", lambda *_: "not measured")
    monkeypatch.setattr(vae_training, "centre_latents", lambda *_: None)  # which changes weights once more
    trained(vae_training.VAETrainer(), config, tmp_path)
    made, wanted = load_file(tmp_path / "vae.safetensors"), record.averaged()
    assert made.keys() == wanted.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(made[key].float(), value.float(), rtol=2e-3, atol=1e-6, msg=key)
    assert max((record.after[-1][key] - value).abs().max() for key, value in wanted.items()) > 1e-4


@autocast
def test_what_slots_run_once_a_picture_with_learns_at_a_seventh_of_the_rate(
    models, record, tmp_path, monkeypatch
):
    """Adam's first step is its rate in every weight that has a gradient."""
    SlotId().feed(monkeypatch)
    SlotId().train(models, tmp_path)
    moved = {name: (record.after[0][name] - value).abs().max() for name, value in record.before[0].items()}
    slow = {name for name in moved if name.startswith(("encoder.reader.", "encoder.first_slots."))}
    for name in slow:
        assert moved[name] < 1.01 * SlotId.config.rate / 7 / 60, name
    assert max(moved[name] for name in slow) > 0.9 * SlotId.config.rate / 7 / 60


def test_a_loop_minimises_the_sum_of_parts_by_their_weights(record, tmp_path):
    """Of 0.5 w and 3 w² the slope is 0.5 + 6 w."""
    line, state = nn.Linear(2, 2, bias=False), RunState(RunFiles("line", ("line",)), tmp_path, {})
    learner = Learner(line, Optimiser(line, lambda *_: True, 0.1), Average(line, 0.99))

    def losses(batch: None) -> Losses:
        return Losses({"a": (0.5, line.weight.sum()), "b": (3.0, line.weight.square().sum())})

    nothing = lambda draws, turn: None  # noqa: E731
    take_steps(Run(state, learner, 2, lambda step: 1.0, nothing, nothing, losses))
    for before, came in zip(record.before, record.gradients, strict=True):
        torch.testing.assert_close(came["weight"], 0.5 + 6 * before["weight"])
