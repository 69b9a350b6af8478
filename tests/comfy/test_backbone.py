"""Loading a backbone: which loader is used, what is said, and the shift."""

import comfy_extras.nodes_model_advanced
import pytest
import refvid_tiny as tiny
import torch
from refvid_in_process import load_model
from safetensors.torch import save_file

from refvid.hosts.comfy import backbone
from refvid.hosts.comfy.families.wan import describe

pytestmark = pytest.mark.comfy


@pytest.mark.parametrize("shift", [1.0, 3.0, 8.0])
def test_the_shift_is_cores(t2v, shift):
    core = comfy_extras.nodes_model_advanced.ModelSamplingSD3().patch(t2v, shift)[0]
    schedules = [m.get_model_object("model_sampling").sigmas for m in (backbone.with_shift(t2v, shift), core)]
    assert torch.equal(*schedules)


def test_the_shift_leaves_the_model_it_was_given_alone(t2v):
    before = t2v.get_model_object("model_sampling")
    backbone.with_shift(t2v, 2.5)
    assert t2v.get_model_object("model_sampling") is before


def test_a_text_encoder_of_another_kind_is_refused_by_the_key_it_lacks(tmp_path):
    path = tmp_path / "clip_l.safetensors"
    save_file({"text_model.embeddings.token_embedding.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(
        ValueError,
        match=r"^text_encoder: clip_l.safetensors is not a UMT5 in ComfyUI.s format: it has no shared.weight",
    ):
        backbone.load_comfy_text_encoder(str(path))


def test_variant_and_channels_are_said(folder, t2v):
    assert describe(t2v) == "WAN21: 16 input channels, latents of 16 channels"
    sizes = tiny.config(in_channels=36, image_width=1280)
    i2v = load_model(tiny.save_dit(folder, "i2v.safetensors", sizes, tiny.dit_state(sizes)))
    assert describe(i2v) == "WAN21: 36 input channels, latents of 16 channels"
    sizes = tiny.config(in_channels=48, out_channels=48)
    ti2v = load_model(tiny.save_dit(folder, "ti2v.safetensors", sizes, tiny.dit_state(sizes)))
    assert describe(ti2v) == "WAN22: 48 input channels, latents of 48 channels"
