"""LoRA files on both hosts: what the plain host merges is what ComfyUI's own loader makes."""

import logging

import comfy.lora
import comfy.sd
import pytest
import refvid_loras as loras
import refvid_tiny as tiny
import torch

from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.loading import load_dit
from refvid.backbones.wan.lora import merge_lora
from refvid.core.lora import ENDS, MODULATION

pytestmark = pytest.mark.comfy
SIZES = tiny.config()
FORMS = loras.forms(WanDiT(SIZES).state_dict())


@pytest.fixture(scope="module")
def dit_file(tmp_path_factory):
    return tiny.save_dit(tmp_path_factory.mktemp("models"), "dit.safetensors", SIZES, tiny.dit_state(SIZES))


@pytest.fixture(scope="module")
def model(dit_file):
    return comfy.sd.load_diffusion_model(str(dit_file), model_options={"dtype": torch.float32})


def merged_by_core(model, *given) -> dict[str, torch.Tensor]:
    """Weights without their prefix after files (state, strength), one after the other."""
    patched = model
    for state, strength in given:
        patched, _ = comfy.sd.load_lora_for_models(patched, None, dict(state), strength, 0.0)
    assert patched.patches
    weights = {}
    for key, weight in model.model_state_dict("diffusion_model.").items():
        patches = patched.patches.get(key, ())
        weights[key.removeprefix("diffusion_model.")] = comfy.lora.calculate_weight(
            patches, weight.clone(), key
        )
    return weights


def difference(dit, wanted: dict[str, torch.Tensor]) -> float:
    found = dict(dit.named_parameters())
    assert found.keys() == wanted.keys()
    return max(float((found[key] - wanted[key]).abs().max()) for key in wanted)


@pytest.mark.parametrize("strength", [1.0, -0.7, 2.0, 0.0])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_merged_is_what_core_makes_of_the_file(model, dit_file, form, strength, caplog):
    with caplog.at_level(logging.WARNING):
        wanted = merged_by_core(model, (FORMS[form], strength))
    assert (
        "not loaded" not in caplog.text and "SHAPE MISMATCH" not in caplog.text and "ERROR" not in caplog.text
    )
    dit = load_dit(dit_file)[0]
    before = difference(dit, wanted)
    merge_lora(dit, FORMS[form], strength)
    assert difference(dit, wanted) < 1e-5
    assert (before > 0.1) == (strength != 0)


def test_files_one_after_the_other_are_what_core_makes_of_them(model, dit_file):
    given = (
        ("dora_scale over outputs", 0.8),
        ("alpha", 1.0),
        ("dora_scale over inputs", -0.5),
        ("diff", 0.3),
    )
    dit = load_dit(dit_file)[0]
    for form, strength in given:
        merge_lora(dit, FORMS[form], strength)
    assert difference(dit, merged_by_core(model, *((FORMS[form], by) for form, by in given))) < 1e-5


def test_the_forms_show_every_end_that_is_read_and_that_core_knows():
    shown = {end for end in ENDS if any(key.endswith(end) for form in FORMS.values() for key in form)}
    assert shown == set(ENDS) - {MODULATION}
