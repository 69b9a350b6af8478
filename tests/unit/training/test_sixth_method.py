"""A method that the pack does not know, trained by `register` alone."""

import pytest
import refvid_sixth as sixth
import refvid_tiny as tiny
import torch
from refvid_sixth_training import LearnedMethod, LearnedTraining
from refvid_world import trained
from safetensors.torch import load_file

from refvid.core import recipes
from refvid.hosts.plain import evaluation as plain
from refvid.training.engine import loop, method
from refvid.training.engine.method import method_named, register
from refvid.training.engine.models import Models

SIZES = tiny.config()


@pytest.fixture(autouse=True)
def alone():
    """What other tests find registered is as it was."""
    with sixth.left_as_it_was(recipes.RECIPES, plain._kinds, method._METHODS):
        sixth.recipe()
        register(LearnedMethod())
        yield


def test_its_tokens_learn_in_two_steps_and_a_run_that_was_cut_off_ends_in_the_same_file(
    tmp_path, monkeypatch
):
    models = Models(*tiny.save_models(tmp_path / "models", SIZES))
    monkeypatch.setattr(loop, "SAVE_EVERY", -1.0)
    losses, calls = LearnedMethod.losses, []

    def second_fails(*given):
        calls.append(given[4])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return losses(*given)

    trained(method_named(sixth.NAME), LearnedTraining(), tmp_path / "whole", models)
    monkeypatch.setattr(LearnedMethod, "losses", second_fails)
    with pytest.raises(KeyboardInterrupt):
        trained(method_named(sixth.NAME), LearnedTraining(), tmp_path / "cut", models)
    trained(method_named(sixth.NAME), LearnedTraining(), tmp_path / "cut", models, resume=True)
    whole, cut = (load_file(tmp_path / run / "learned.safetensors")["tokens"] for run in ("whole", "cut"))
    assert torch.equal(whole, cut) and (whole - sixth.learned(SIZES.width)).abs().min() > 0
    assert not torch.equal(calls[0].noise, calls[1].noise)


def test_its_name_is_taken():
    assert isinstance(method_named(sixth.NAME), LearnedMethod)
    with pytest.raises(ValueError, match=f"method: {sixth.NAME} is registered already"):
        register(LearnedMethod())


def test_a_name_that_nothing_is_registered_by_is_refused():
    with pytest.raises(ValueError, match=r"method: nobody is not known; needed one of .*learned_tokens"):
        method_named("nobody")
