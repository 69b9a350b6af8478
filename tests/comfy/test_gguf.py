"""GGUF files, through the loader of ComfyUI-GGUF: what the pack puts on a model acts as on the weights the
file stands for."""

import importlib.util
from dataclasses import replace

import folder_paths
import pytest
import refvid_gguf
import refvid_in_process as run
import refvid_tiny as tiny
import torch
from refvid_folder import import_folder

from refvid.core.recipes import recipe_named
from refvid.core.references import make_reference
from refvid.hosts.comfy import adapters, identities
from refvid.hosts.comfy.install import install
from refvid.hosts.comfy.references import apply_references
from refvid.hosts.comfy.source.modules import load_editing_adapter
from refvid.hosts.comfy.source.rider import Source, attach

pytestmark = pytest.mark.comfy
FRAMES, SIDE = 3, 8
SIZES = replace(
    tiny.config(), width=256, text_width=4096
)  # the file does not say them: heads of 128, UMT5-XXL's states
TEXTS = [[run.text(1, width=4096), {}]], [[run.text(2, width=4096), {}]]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A tiny Wan from a Q8_0 file, and from its values in fp32."""
    pack = refvid_gguf.find_pack()
    if pack is None or importlib.util.find_spec("gguf") is None:
        pytest.skip(
            "NOT RUN, GGUF was not tested: no ComfyUI-GGUF beside ComfyUI or in COMFYUI_GGUF_PATH, or no package gguf"
        )
    folder = tmp_path_factory.mktemp("gguf")
    held = refvid_gguf.write(folder / "wan.gguf", tiny.dit_state(SIZES))
    folder_paths.add_model_folder_path("unet", str(folder))
    loader = import_folder("comfyui_gguf", pack).NODE_CLASS_MAPPINGS["UnetLoaderGGUFAdvanced"]()
    (quantised,) = loader.load_unet(
        "wan.gguf", "float32", "float32", False
    )  # unpacked as exactly as the twin
    twin = run.load_model(tiny.save_dit(folder, "twin.safetensors", SIZES, held))
    kept = quantised.model.diffusion_model.blocks[0].self_attn.q.weight
    assert type(kept).__name__ == "GGMLTensor" and kept.tensor_type.name == "Q8_0"
    return quantised, twin


def test_without_the_pack_both_make_the_same(pair):
    bare = [run.sample(model, *TEXTS, run.empty_latent()) for model in pair]
    assert run.worst(*bare) < 1e-4


def test_references_act_as_on_the_weights_it_stands_for(pair, vae):
    mask = torch.zeros(48, 80)
    mask[:, :30] = 1

    def made(model):
        given = [make_reference(run.picture(3, 48, 80), mask)]
        out = apply_references(model, None, *TEXTS, vae, run.empty_latent(), given, "saber")
        return run.sample(out.model, out.positive, out.negative, run.empty_latent())

    quantised, twin = (made(model) for model in pair)
    assert run.worst(quantised, twin) < 1e-4
    assert run.worst(quantised, run.sample(pair[0], *TEXTS, run.empty_latent())) > 1e-2


def test_an_identity_and_its_lora_do_too(pair, tmp_path, vae):
    """GGUF puts a LoRA on the weights as it unpacks them, so nothing is rounded again."""
    loaded = adapters.load_comfy_adapter(str(tiny.save_adapter(tmp_path, SIZES)))
    film = torch.rand(7, 48, 48, 3, generator=torch.Generator().manual_seed(1))
    person, *_ = adapters.encode_comfy_identity(loaded, vae, film, None, None)

    def made(model):
        (model,), positive, negative = identities.apply_identity([model], *TEXTS, loaded, person)
        return run.sample(model, positive, negative, run.empty_latent())

    quantised, twin = (made(model) for model in pair)
    assert run.worst(quantised, twin) < 1e-4
    assert run.worst(quantised, run.sample(pair[0], *TEXTS, run.empty_latent())) > 1e-3


@pytest.mark.parametrize("lora", [{}, tiny.lora_of(SIZES, "self_attn")], ids=["modules", "modules and LoRA"])
def test_an_edit_with_the_modules_as_an_adapter_does_too(pair, tmp_path, lora):
    source = torch.randn(1, 16, FRAMES, SIDE, SIDE, generator=torch.Generator().manual_seed(6))
    words = [attach(text, source, recipe_named("sama")) for text in TEXTS]
    held = tiny.semantic_state(SIZES.width) | lora
    file = tiny.save_dit(tmp_path, "modules.safetensors", SIZES, held)

    def made(model):
        patched = install(load_editing_adapter(model, str(file), 1.0), Source)
        return run.sample(patched, *words, run.empty_latent(FRAMES, SIDE, SIDE))

    quantised, twin = (made(model) for model in pair)
    assert run.worst(quantised, twin) < 1e-4
    assert run.worst(quantised, run.sample(pair[0], *TEXTS, run.empty_latent(FRAMES, SIDE, SIDE))) > 1e-2
