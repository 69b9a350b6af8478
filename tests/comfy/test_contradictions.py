"""Contradictions of files and inputs in ComfyUI are logged, and no part of an adapter is dropped."""

import logging

import comfy.sd
import comfy.utils
import pytest
import refvid_loras as loras
import refvid_tiny as tiny
import torch
from refvid_in_process import empty_latent, load_model, picture, text

from refvid.core import recipes
from refvid.core.checkpoint import save_model
from refvid.core.guidance import Guidance, Scale, joint
from refvid.core.references import make_reference
from refvid.hosts.comfy import wire
from refvid.hosts.comfy.files import file_recipe
from refvid.hosts.comfy.guiders import table_guider
from refvid.hosts.comfy.references import AttachedReferences, apply_references
from refvid.hosts.comfy.source.modules import load_editing_adapter

pytestmark = pytest.mark.comfy
SIZES = tiny.config()


@pytest.fixture
def saber(folder):
    return load_model(tiny.save_dit(folder, "s.safetensors", SIZES, tiny.dit_state(SIZES), recipe="saber"))


@pytest.fixture
def told(caplog, monkeypatch):
    monkeypatch.setattr(recipes, "_told", set())
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records if "refvid: " in record.getMessage()]


def words():
    return [[[text(seed), {}]] for seed in (1, 2)]


def applied(model, vae, recipe: str):
    return apply_references(model, None, *words(), vae, empty_latent(), [make_reference(picture(3))], recipe)


def with_lora(model, path):
    """Loads as core's Load LoRA does."""
    state, metadata = comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
    return comfy.sd.load_lora_for_models(model, None, state, 1.0, 0.0, lora_metadata=metadata)[0]


def test_a_recipe_that_the_models_file_contradicts_is_said_once(saber, vae, told):
    for _ in range(2):
        applied(saber, vae, "phantom")
    (said,) = told()
    assert "the recipe is phantom, but the model's file says it was trained for saber" in said
    applied(saber, vae, "auto")
    assert len(told()) == 1


def test_the_recipe_of_a_lora_on_the_model_is_the_models(saber, vae, folder, told):
    path = folder / "lora.safetensors"
    state = tiny.lora_of(SIZES, "self_attn")
    save_model(state, path, {"refvid.recipe": "videomaker"}, torch.float32)
    model = with_lora(saber, path)
    assert (file_recipe(saber), file_recipe(model)) == ("saber", "videomaker")
    assert applied(model, vae, "auto").positive[0][1][wire.key(AttachedReferences, "recipe")] == "videomaker"
    applied(model, vae, "videomaker_shared")
    assert told() == []
    save_model(state, path, {"other": "metadata"}, torch.float32)
    assert file_recipe(with_lora(saber, path)) == "saber"


def test_an_editing_adapter_brings_every_form_of_change_to_the_model(saber, folder, caplog):
    forms = loras.forms(tiny.dit_state(SIZES))
    path = folder / "adapter.safetensors"
    for form in ("diff", "diff_b", "dora_scale over outputs"):
        save_model(tiny.semantic_state(SIZES.width) | forms[form], path, dtype=torch.float32)
        patched = load_editing_adapter(saber, str(path), 1.0)
        alone = comfy.sd.load_lora_for_models(saber, None, forms[form], 1.0, 0.0)[0]
        assert patched.patches.keys() == alone.patches.keys() != set()
    assert "not loaded" not in caplog.text
    stray = {"diffusion_model.blocks.0.cross_attn.q.nobodys": torch.ones(1)}
    save_model(tiny.semantic_state(SIZES.width) | stray, path, dtype=torch.float32)
    with pytest.raises(ValueError, match=r"q\.nobodys, which cannot be merged here"):
        load_editing_adapter(saber, str(path), 1.0)


def test_a_strength_without_a_lora_is_said_and_a_whole_model_brings_its_modules_alone(
    saber, folder, told, caplog
):
    path = tiny.save_dit(folder, "sama.safetensors", SIZES, tiny.sama_state(SIZES))
    assert not load_editing_adapter(saber, str(path), 1.0).patches
    assert not told() and "not loaded" not in caplog.text
    load_editing_adapter(saber, str(path), 0.5)
    (said,) = told()
    assert "sama.safetensors holds no LoRA beside the modules; its strength of 0.5 acts on nothing" in said


def test_an_image_scale_is_said_to_have_nothing_to_act_on(saber, vae, told):
    guidance = Guidance(Scale(2.0), Scale(4.0))
    table_guider(saber, *words(), joint(Scale(4.0)))
    out = applied(saber, vae, "saber")
    table_guider(out.model, out.positive, out.negative, guidance)
    assert told() == []
    table_guider(saber, *words(), guidance)
    (said,) = told()
    assert "image_scale: positive carries neither references nor identities nor given frames" in said
