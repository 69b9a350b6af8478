"""`--lora` of the command line: merged as ComfyUI would, with the recipe that the file names."""

import logging
from argparse import Namespace
from pathlib import Path

import pytest
import refvid_tiny as tiny
import torch

from refvid.cli import model
from refvid.cli.model import load_files
from refvid.core.checkpoint import save_model
from refvid.core.lora import lora_key

SIZES = tiny.config()
KEY = "blocks.1.self_attn.q.weight"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.save_dit(folder, "dit.safetensors", SIZES, tiny.dit_state(SIZES), recipe="saber")
    tiny.save_vae(folder, width=4)
    tiny.save_text_encoder(folder)
    torch.manual_seed(3)
    low = {
        lora_key(1, "q", "lora_A.weight", "self_attn"): torch.randn(2, SIZES.width),
        lora_key(1, "q", "lora_B.weight", "self_attn"): torch.randn(SIZES.width, 2),
        lora_key(1, "q", "alpha", "self_attn"): torch.tensor(1.0),
    }
    for name, state, recipe in (
        ("low", low, "videomaker"),
        ("bernini", low, "bernini"),
        ("silent", low, None),
        ("more", {**low, "other.weight": torch.zeros(2)}, None),
    ):
        said = {} if recipe is None else {"refvid.recipe": recipe}
        save_model(state, folder / f"{name}.safetensors", said, torch.float32)
    return folder


def loaded(files: Path, *said: str, **more):
    three = {
        name: files / f"{file}.safetensors"
        for name, file in (("dit", "dit"), ("vae", "vae"), ("text_encoder", "text"))
    }
    loras = [f"{files}/{one}" for one in said]
    return load_files(Namespace(**three, dtype="fp32", device="cpu", lora=loras, **more))


def weight(backbone) -> torch.Tensor:
    return dict(backbone.dit.named_parameters())[KEY]


def test_loras_add_up_at_their_strengths_and_name_their_recipe(files):
    base, one = loaded(files), loaded(files, "low.safetensors")
    change = weight(one) - weight(base)
    assert change.abs().max() > 0.1 and (base.recipe, one.recipe) == ("saber", "videomaker")
    half = loaded(files, "low.safetensors@0.5", "silent.safetensors@-1.5")
    torch.testing.assert_close(weight(half), weight(base) - change, atol=1e-5, rtol=1e-5)
    assert (half.recipe, loaded(files, "silent.safetensors").recipe) == ("videomaker", "saber")


def test_a_lora_at_strength_0_changes_neither_weights_nor_recipe(files):
    base, off = loaded(files), loaded(files, "low.safetensors@0")
    assert torch.equal(weight(off), weight(base)) and off.recipe == "saber"


def test_loras_of_two_recipes_need_a_choice_and_are_named_with_it(files, caplog):
    two = ("low.safetensors", "bernini.safetensors@0.5")
    with pytest.raises(ValueError, match=r"low.safetensors for videomaker, bernini.safetensors for bernini"):
        loaded(files, *two)
    with caplog.at_level(logging.WARNING):
        loaded(files, *two, recipe="videomaker")
    assert "different recipes" in caplog.text and "--recipe says videomaker" in caplog.text
    assert loaded(files, two[0], "bernini.safetensors@0").recipe == "videomaker"


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("low.safetensors@much", "'much' is no strength"),
        ("low.safetensors@nan", "strength is nan"),
        (
            "more.safetensors",
            "more.safetensors holds other.weight, which cannot be merged here; needed pairs",
        ),
        ("gone.safetensors", "there is no file"),
    ],
)
def test_what_is_no_lora_is_refused(files, said, says):
    with pytest.raises(ValueError, match=says):
        loaded(files, said)


def test_a_strength_that_is_none_is_refused_before_a_model_is_read(files, monkeypatch):
    monkeypatch.setattr(model, "_with_loras", None)
    three = dict.fromkeys(("dit", "vae", "text_encoder"), Path("none"))
    with pytest.raises(ValueError, match="is no strength"):
        load_files(Namespace(**three, dtype=None, device="cpu", lora=["a@b"]))
