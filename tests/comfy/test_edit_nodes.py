"""Instruction Edit on a real server: a film in, a film out, and what is refused; editing adapters and
quantised bases in process."""

import re

import av
import comfy.model_patcher
import numpy as np
import pytest
import refvid_in_process as run
import refvid_tiny as tiny
import torch
from PIL import Image
from refvid_client import edited, failure, node
from refvid_sama import FRAMES, SIDE, Editor

from refvid.backbones.wan.loading import load_dit
from refvid.backbones.wan.lora import merge_lora
from refvid.core.checkpoint import save_model
from refvid.core.lora import lora_key
from refvid.core.recipes import recipe_named
from refvid.hosts.comfy import wire
from refvid.hosts.comfy.backbone import load_model
from refvid.hosts.comfy.install import install
from refvid.hosts.comfy.source.modules import load_editing_adapter, modules_of
from refvid.hosts.comfy.source.rider import Source, attach
from refvid.hosts.plain.edit_film import with_editing_adapter
from refvid.hosts.plain.pipeline import load_pipeline

pytestmark = pytest.mark.comfy


def graph(dit: str = "sama.safetensors", frames: int = 7) -> dict:
    """The first pictures of the sample film, at 64 x 64, edited in two steps."""
    return {
        "backbone": node(
            "RefVidLoadBackbone", diffusion_model=dit, weight_dtype="default", shift=5.0,
            text_encoder="refvid_demo_text_encoder.safetensors", vae="refvid_demo_vae.safetensors",
        ),
        "film": node("LoadVideo", file="refvid_film.mp4"),
        "parts": node("GetVideoComponents", video=["film", 0]),
        "cut": node("ImageFromBatch", image=["parts", 0], batch_index=0, length=frames),
        "scaled": node("ImageScale", image=["cut", 0], upscale_method="bilinear", width=64, height=64, crop="disabled"),
        "edit": node(
            "RefVidInstructionEdit", model=["backbone", 0], clip=["backbone", 1], vae=["backbone", 2], source=["scaled", 0],
            instruction="make the toy red", window=81, overlap=32, recipe="auto",
        ),
        "guider": node("RefVidJointGuider", model=["edit", 0], positive=["edit", 1], negative=["edit", 2], scale=3.0),
        "denoise": node(
            "RefVidDenoiseSteps", guider=["guider", 0], latent=["edit", 3], add_noise="enable", noise_seed=0, steps=2,
            sampler_name="euler", scheduler="simple", start_at_step=0, end_at_step=10000,
            return_with_leftover_noise="disable",
        ),
        "decode": node("VAEDecode", samples=["denoise", 0], vae=["backbone", 2]),
        "whole": node("ImageFromBatch", image=["decode", 0], batch_index=0, length=["edit", 4]),
        "save": node("SaveImage", images=["whole", 0], filename_prefix="edit"),
    }  # fmt: skip


def pictures(files) -> np.ndarray:
    return np.stack([np.asarray(Image.open(file), dtype=int) for file in sorted(files)])


def test_a_film_is_edited_to_its_own_length(server):
    with av.open(str(server.base / "input" / "refvid_film.mp4")) as film:
        assert len(list(film.decode(video=0))) >= 9
    made = pictures(server.outputs(graph()))
    assert made.shape == (7, 64, 64, 3)
    other = pictures(server.outputs(edited(graph(), {"edit.instruction": "make the toy spotted"})))
    assert (made != other).any()


@pytest.mark.parametrize(("fit", "same"), [("crop", True), ("stretch", False)])
def test_a_film_of_any_size_is_fitted_to_whole_tokens(server, fit, same):
    """90x72 becomes 96x64; what crop makes of it, its middle makes too."""
    odd = {"scaled.width": 90, "scaled.height": 72}
    made = pictures(
        server.outputs(edited(graph(), {**odd, "edit.fit": fit, "save.filename_prefix": f"odd_{fit}"}))
    )
    middle = {"middle": node("ImageCrop", image=["scaled", 0], width=90, height=60, x=0, y=6)}
    cut = edited(graph(), {**odd, "edit.source": ["middle", 0], "save.filename_prefix": f"cut_{fit}"}, middle)
    assert made.shape == (7, 64, 96, 3)
    assert (pictures(server.outputs(cut)) == made).all() == same


def test_the_adapter_on_the_plain_base_makes_what_the_whole_file_makes(server):
    adapter = {
        "adapter": node(
            "RefVidLoadEditingAdapter",
            model=["backbone", 0],
            adapter="refvid_demo_sama.safetensors",
            strength=1.0,
        )
    }
    behind = edited(graph("plain.safetensors"), {"edit.model": ["adapter", 0]}, adapter)
    assert (pictures(server.outputs(behind)) == pictures(server.outputs(graph()))).all()


def test_core_samplers_and_ranges_take_an_edit(server):
    """KSampler (Advanced) in two ranges makes what it makes in one, to a step of rounding."""
    common = {
        "model": ["edit", 0], "noise_seed": 0, "steps": 4, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple",
        "positive": ["edit", 1], "negative": ["edit", 2],
    }  # fmt: skip
    sampler = "KSamplerAdvanced"
    one = node(sampler, **common, add_noise="enable", latent_image=["edit", 3], start_at_step=0, end_at_step=99, return_with_leftover_noise="disable")  # fmt: skip
    first = node(sampler, **common, add_noise="enable", latent_image=["edit", 3], start_at_step=0, end_at_step=2, return_with_leftover_noise="enable")  # fmt: skip
    second = node(sampler, **common, add_noise="disable", latent_image=["first", 0], start_at_step=2, end_at_step=99, return_with_leftover_noise="disable")  # fmt: skip
    whole = edited(graph(), {"decode.samples": ["one", 0]}, {"one": one})
    halves = edited(graph(), {"decode.samples": ["second", 0]}, {"first": first, "second": second})
    assert abs(pictures(server.outputs(whole)) - pictures(server.outputs(halves))).max() <= 1


REFUSED = {
    "no instruction": ({"edit.instruction": " "}, {}, r"instruction is empty"),
    "one picture": ({"cut.length": 1}, {}, r"source has 1 pictures; needed 2 to 961"),
    "ten thousand": (
        {"edit.source": ["many", 0]},
        {"many": node("RepeatImageBatch", image=["small", 0], amount=4096),
         "small": node("EmptyImage", width=16, height=16, batch_size=4, color=0)},
        r"source has 16384 pictures; needed 2 to 961",
    ),
    "a window of another length": ({"edit.window": 81, "edit.overlap": 84}, {}, r"overlap is 84"),
    "plain Wan": ({"edit.recipe": "sama", "backbone.diffusion_model": "plain.safetensors"}, {}, r"segment_embedding, siglip_feat_mlp and semantic_head"),
    "plain Wan, auto": ({"backbone.diffusion_model": "plain.safetensors"}, {}, r"choose one of sama, in_context"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_by_name_and_the_server_lives(server, case):
    inputs, nodes, says = REFUSED[case]
    said = failure(server.run(edited(graph(), inputs, nodes)))
    assert said is not None and said.node == "edit"
    assert said.kind.endswith("ValueError")
    assert re.search(says, said.message)


@pytest.fixture(scope="module")
def editor(tmp_path_factory) -> Editor:
    return Editor.make(tmp_path_factory.mktemp("sama"))


def made(editor, model):
    words = [attach([[run.text(seed), {}]], editor.source, recipe_named("sama")) for seed in (1, 2)]
    return run.sample(install(model, Source), *words, run.empty_latent(FRAMES, SIDE, SIDE))


def adapter_file(folder, sizes):
    """Modules and a LoRA on both attentions, strong enough to be seen."""
    torch.manual_seed(7)
    low = {
        lora_key(block, "v", part, attention): value
        for block in range(sizes.layers)
        for attention in ("self_attn", "cross_attn")
        for part, value in (
            ("lora_A.weight", torch.randn(2, sizes.width) / sizes.width**0.5),
            ("lora_B.weight", 0.3 * torch.randn(sizes.width, 2)),
        )
    }
    path = folder / "editing.safetensors"
    save_model({**tiny.semantic_state(sizes.width), **low}, path, dtype=torch.float32)
    return path, low


def test_an_adapters_lora_acts_in_comfyui_as_merged_in_the_plain_host(editor, tmp_path):
    sizes = tiny.config()
    path, low = adapter_file(tmp_path, sizes)
    plain = tiny.save_dit(tmp_path, "plain.safetensors", sizes, tiny.dit_state(sizes))
    base = load_model(str(plain), None)
    got = made(editor, load_editing_adapter(base, str(path), 1.0))
    dit, _ = load_dit(plain)
    merge_lora(dit, low)
    merged = tiny.save_dit(
        tmp_path, "merged.safetensors", sizes, {**dict(dit.state_dict()), **tiny.semantic_state(sizes.width)}
    )
    assert run.worst(got, made(editor, load_model(str(merged), None))) < 1e-4
    without = made(editor, load_editing_adapter(base, str(path), 0.0))
    assert run.worst(got, without) > 1e-2
    assert modules_of(base) is None
    with pytest.raises(ValueError, match=r"has no segment_embedding\.weight"):
        load_editing_adapter(base, str(plain), 1.0)


def halved(low):
    return {
        key: value[:1] if key.endswith("0.self_attn.v.lora_B.weight") else value for key, value in low.items()
    }


ADAPTERS = {
    "a partner is missing": (
        lambda low: {key: value for key, value in low.items() if not key.endswith("0.self_attn.v.lora_A.weight")}, {},
        r"holds diffusion_model\.blocks\.0\.self_attn\.v\.lora_B\.weight for .*, which together make no change",
    ),
    "another size": (halved, {}, r"blocks\.0\.self_attn\.v\.lora_B\.weight changes .* by \[1, 96\]; in this DiT it is \[96, 96\]"),
    "a block too many": (
        lambda low: {key.replace("blocks.1", "blocks.7"): value for key, value in low.items()}, {},
        r"changes blocks\.7\.\S+\.weight, which is missing",
    ),
    "a key of nothing": (lambda low: {**low, "colour": torch.ones(1)}, {}, "holds colour, which cannot be merged"),
    "NaN": (
        lambda low: {key: value * float("nan") if key.endswith("1.self_attn.v.lora_A.weight") else value for key, value in low.items()},
        {}, r"NaN or infinite values in diffusion_model\.blocks\.1\.self_attn\.v\.lora_A\.weight",
    ),
    "another kind": (dict, {"refvid.kind": "slot_id", "refvid.version": "1"}, "is no sama file"),
    "another version": (dict, {"refvid.kind": "sama", "refvid.version": "2"}, "has version 2, this refvid reads 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", ADAPTERS)
def test_an_editing_adapter_is_taken_whole_or_refused_in_both_hosts(editor, tmp_path, case):
    change, metadata, says = ADAPTERS[case]
    sizes = tiny.config()
    path, low = adapter_file(tmp_path, sizes)
    save_model({**tiny.semantic_state(sizes.width), **change(low)}, path, metadata, dtype=torch.float32)
    plain = tiny.save_models(tmp_path / "plain", sizes)
    before, backbone = load_model(str(plain[0]), None), load_pipeline(*plain)
    with pytest.raises(ValueError, match=rf"^adapter: editing\.safetensors.*{says}"):
        load_editing_adapter(before, str(path), 1.0)
    with pytest.raises(ValueError, match=rf"^adapter: editing\.safetensors.*{says}"):
        with_editing_adapter(backbone, path, 1.0, "adapter")
    assert not before.patches and modules_of(before) is None


def test_an_adapters_modules_of_another_width_are_refused(editor, tmp_path):
    base = load_model(str(tiny.save_models(tmp_path / "plain", tiny.config())[0]), None)
    save_model(tiny.semantic_state(192), tmp_path / "wide.safetensors", {}, torch.float32)
    with pytest.raises(ValueError, match="a Wan of width 192, the model has 96"):
        load_editing_adapter(base, str(tmp_path / "wide.safetensors"), 1.0)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "model.", "lora_unet_"])
def test_a_lora_under_other_names_acts_as_under_comfyuis(editor, tmp_path, prefix):
    """Core drops names that it does not know."""
    sizes = tiny.config()
    path, low = adapter_file(tmp_path, sizes)
    base = load_model(str(tiny.save_dit(tmp_path, "plain.safetensors", sizes, tiny.dit_state(sizes))), None)
    wanted = load_editing_adapter(base, str(path), 1.0)
    flat = prefix == "lora_unet_"
    renamed = {}
    for key, value in low.items():
        layer, end = key.removeprefix("diffusion_model.").split(".lora_")
        renamed[f"{prefix}{layer.replace('.', '_') if flat else layer}.lora_{end}"] = value
    save_model({**tiny.semantic_state(sizes.width), **renamed}, path, dtype=torch.float32)
    got = load_editing_adapter(base, str(path), 1.0)
    assert got.patches.keys() == wanted.patches.keys() and len(got.patches) == len(low) // 2
    assert run.worst(made(editor, got), made(editor, wanted)) == 0


def test_on_an_fp8_base_an_edit_is_that_of_its_weights_in_fp32(editor, tmp_path):
    sizes = tiny.config()
    path = tiny.save_dit(tmp_path, "sama.safetensors", sizes, tiny.sama_state(sizes))
    quantised = load_model(str(path), torch.float8_e4m3fn)
    state = quantised.model.diffusion_model.state_dict()
    assert state["blocks.0.cross_attn.k.weight"].dtype == torch.float8_e4m3fn
    rounded = {key: value.float() for key, value in state.items()} | tiny.semantic_state(sizes.width)
    twin = load_model(str(tiny.save_dit(tmp_path, "rounded.safetensors", sizes, rounded)), None)
    assert run.worst(made(editor, quantised), made(editor, twin)) < 1e-4


def test_the_modules_of_a_model_are_loaded_and_moved_with_it(editor):
    (patcher,) = editor.comfy.get_additional_models_with_key(wire.SEMANTIC)
    assert patcher in editor.comfy.get_nested_additional_models()
    assert isinstance(patcher, comfy.model_patcher.ModelPatcher) and patcher.model_size() > 0


def test_the_loader_says_what_it_found_and_names_what_a_torn_file_lacks(server):
    entry = server.run(edited(graph(), {"edit.instruction": "make the toy halved"}))
    (said,) = entry["outputs"]["backbone"]["text"]
    assert "trained for sama (its modules are in the file)" in said
    state = {
        key: value
        for key, value in tiny.sama_state(tiny.config()).items()
        if "siglip_feat_mlp.fc1" not in key
    }
    tiny.save_dit(server.base / "models/diffusion_models", "torn.safetensors", tiny.config(), state)
    lacking = failure(server.run(graph("torn.safetensors")))
    assert lacking is not None and lacking.node == "backbone"
    assert "has no siglip_feat_mlp.fc1.weight, siglip_feat_mlp.fc1.bias" in lacking.message
