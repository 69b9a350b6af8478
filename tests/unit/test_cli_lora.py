"""`--lora` of the command line: merged as ComfyUI would, with the recipe that the file names."""

from argparse import Namespace
from pathlib import Path

import pytest
import refvid_tiny as tiny
import torch

from refvid.cli.model import load_files
from refvid.core.adapter import lora_key
from refvid.core.checkpoint import save_model

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
    save_model(low, folder / "low.safetensors", {"refvid.recipe": "videomaker"}, torch.float32)
    save_model({**low, "other.weight": torch.zeros(2)}, folder / "more.safetensors", dtype=torch.float32)
    save_model({"other.weight": torch.zeros(2)}, folder / "none.safetensors", dtype=torch.float32)
    return folder


def loaded(files: Path, *said: str):
    three = {
        name: files / f"{file}.safetensors"
        for name, file in (("dit", "dit"), ("vae", "vae"), ("text_encoder", "text"))
    }
    return load_files(Namespace(**three, dtype="fp32", device="cpu", lora=[f"{files}/{one}" for one in said]))


def weight(backbone) -> torch.Tensor:
    return dict(backbone.dit.named_parameters())[KEY]


def test_loras_add_up_at_their_strengths_and_name_their_recipe(files):
    base, one = loaded(files), loaded(files, "low.safetensors")
    change = weight(one) - weight(base)
    assert change.abs().max() > 0.1 and (base.recipe, one.recipe) == ("saber", "videomaker")
    half = loaded(files, "low.safetensors@0.5", "more.safetensors@-1.5")
    torch.testing.assert_close(weight(half), weight(base) - change, atol=1e-5, rtol=1e-5)
    assert loaded(files, "more.safetensors").recipe == "saber"


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("low.safetensors@much", "'much' is no strength"),
        ("low.safetensors@nan", "strength is nan"),
        ("none.safetensors", "does not hold pairs of lora_A and lora_B"),
        ("gone.safetensors", "there is no file"),
    ],
)
def test_what_is_no_lora_is_refused(files, said, says):
    with pytest.raises(ValueError, match=says):
        loaded(files, said)
