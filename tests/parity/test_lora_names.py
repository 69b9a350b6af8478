"""One LoRA under every published name: the same weights on both hosts, and to begin training with."""

import logging

import comfy.lora
import comfy.sd
import pytest
import refvid_loras as loras
import refvid_tiny as tiny
import torch
from refvid_in_process import load_model

from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.lora import merge_lora
from refvid.core.checkpoint import save_model
from refvid.training.engine.lora import add_lora, begin_with, changed_layers

pytestmark = pytest.mark.comfy
SIZES = tiny.config()
WEIGHTS = tiny.dit_state(SIZES)


def merged(how: str) -> dict[str, torch.Tensor]:
    dit = WanDiT(SIZES)
    dit.load_state_dict(WEIGHTS)
    merge_lora(dit, loras.named(WEIGHTS, how), 0.7)
    return {name: weight.detach() for name, weight in dit.named_parameters()}


@pytest.fixture(scope="module")
def wanted():
    """By the definition: W + strength · alpha / rank · B A."""
    found = {key: value.clone() for key, value in WEIGHTS.items()}
    given = loras.named(WEIGHTS, "ComfyUI")
    for key in given:
        if key.endswith(".lora_B.weight"):
            stem = key.removesuffix(".lora_B.weight")
            low = given[key] @ given[stem + ".lora_A.weight"]
            found[stem.removeprefix(loras.PREFIX) + ".weight"] += 0.7 * 1.5 / loras.RANK * low
    return found


@pytest.mark.parametrize("how", loras.NAMING)
def test_the_plain_host_makes_the_same_weights_of_every_name(how, wanted):
    found = merged(how)
    assert max(float((found[name] - wanted[name]).abs().max()) for name in found) < 1e-5
    assert max(float((found[name] - WEIGHTS[name]).abs().max()) for name in found) > 0.1


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(tiny.save_dit(tmp_path_factory.mktemp("m"), "dit.safetensors", SIZES, WEIGHTS))


@pytest.mark.parametrize("how", loras.NAMING)
def test_cores_loader_makes_them_too_or_is_known_to_log_every_key(model, how, wanted, caplog):
    with caplog.at_level(logging.WARNING):
        patched, _ = comfy.sd.load_lora_for_models(model, None, loras.named(WEIGHTS, how), 0.7, 0.0)
    missing = caplog.text.count("not loaded")
    if how in loras.NOT_READ_BY_CORE:
        assert not patched.patches and missing >= len(loras.named(WEIGHTS, how))
        return
    assert missing == 0
    for key, patches in patched.patches.items():
        name = key.removeprefix("diffusion_model.")
        found = comfy.lora.calculate_weight(patches, WEIGHTS[name].clone(), key)
        assert float((found - wanted[name]).abs().max()) < 1e-5
    assert len(patched.patches) == len(loras.LAYERS) + 1


@pytest.mark.parametrize("how", loras.NAMING)
def test_training_begins_with_every_name(how, tmp_path):
    save_model(loras.named(WEIGHTS, how), tmp_path / "start.safetensors", dtype=torch.float32)
    dit = WanDiT(SIZES)
    layers = add_lora(dit, loras.RANK, ("blocks.0.cross_attn.k", *loras.LAYERS))
    begin_with(layers, dit, tmp_path / "start.safetensors")
    given = loras.named(WEIGHTS, "ComfyUI")
    for name, down, up in changed_layers(layers):
        stem = loras.PREFIX + name
        low = given[stem + ".lora_B.weight"] @ given[stem + ".lora_A.weight"] * 0.5
        torch.testing.assert_close(up.detach() @ down.detach(), low, rtol=1e-4, atol=1e-5)
