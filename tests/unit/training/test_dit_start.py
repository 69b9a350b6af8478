"""Where a DiT's run begins, and how fast its parts learn."""

from dataclasses import replace

import pytest
import torch
from refvid_world import setting, text_encoder

from refvid.core.checkpoint import save_model
from refvid.core.ranks import ALONE
from refvid.demo.runs import smoke_dit
from refvid.training.base.dit.method import DiTTrainee, DiTTrainer
from refvid.training.base.dit.start import Start, begun_dit, fresh_dit
from refvid.training.engine.optimise import GENTLE

TWO_HEADS = {"config": '{"transformer": {"num_heads": 2}}'}


def test_what_reads_words_learns_gently_and_the_blocks_do_not():
    """Adam's first step is its rate in every weight that has a gradient; Muon's is another."""
    config = replace(smoke_dit(), rate=0.07)
    trainee = DiTTrainee(fresh_dit(config.model), text_encoder(config.model.text_width))
    optimiser = DiTTrainer().optimiser(config, trainee, ALONE)
    before = {name: value.detach().clone() for name, value in trainee.named_parameters()}
    for parameter in trainee.parameters():
        parameter.grad = torch.full_like(parameter, 1e-5)  # under the clip
    optimiser.step(trainee, 1.0)
    gentle = {
        name
        for name, value in trainee.named_parameters()
        if abs((value - before[name]).abs().max() - 0.07 * GENTLE) < 1e-4
    }
    assert gentle == {name for name in before if name.startswith(("text.", "dit.text_embedding."))}


def test_a_run_that_starts_from_a_dit_alone_learns_its_words_anew(tmp_path):
    config = smoke_dit()
    given = fresh_dit(config.model)
    save_model(given.state_dict(), tmp_path / "dit.safetensors", TWO_HEADS)
    text = text_encoder(config.model.text_width)
    before = {key: value.clone() for key, value in text.tensors().items()}
    begun = begun_dit(config.model, text, Start(tmp_path / "dit.safetensors")).state_dict()
    assert all(torch.equal(before[key], value) for key, value in text.tensors().items())
    assert torch.allclose(
        begun["blocks.0.ffn.0.weight"], given.state_dict()["blocks.0.ffn.0.weight"], atol=1e-3
    )


def test_a_run_does_not_start_from_a_model_of_another_size(tmp_path):
    config = smoke_dit()
    save_model(fresh_dit(replace(config.model, width=64)).state_dict(), tmp_path / "dit.safetensors")
    save_model(text_encoder(48).tensors(), tmp_path / "text.safetensors")
    save_model(
        fresh_dit(config.model).state_dict(),
        tmp_path / "right.safetensors",
        TWO_HEADS,
    )
    text = text_encoder(config.model.text_width)
    with pytest.raises(ValueError, match="--from: dit"):
        begun_dit(config.model, text, Start(tmp_path / "dit.safetensors", tmp_path / "text.safetensors"))
    with pytest.raises(
        ValueError, match="--from-text: an encoder of width 48 and 2 layers; the run's has 32"
    ):
        begun_dit(config.model, text, Start(tmp_path / "right.safetensors", tmp_path / "text.safetensors"))


def test_a_state_says_which_weights_its_run_began_with(tmp_path):
    """So that a run that begins with others does not go on from it."""
    config = smoke_dit()
    paths = [tmp_path / name for name in ("vae.safetensors", "one.safetensors", "two.safetensors")]
    for seed, path in enumerate(paths):
        save_model({"weight": torch.full((2, 2), float(seed))}, path)
    _, one, two = paths
    starts = (None, Start(one), Start(two), Start(one, one), Start(one, two), Start(two, one))
    said = [DiTTrainer(start).made_by(config, setting(tmp_path), ALONE) for start in starts]
    assert all(a != b for k, a in enumerate(said) for b in said[:k])
    assert said[1] == DiTTrainer(Start(one)).made_by(config, setting(tmp_path), ALONE)
