"""A LoRA on reference tokens beside the rest of ComfyUI: its node, two experts, context windows, VACE,
quantised layers, and runs in two ranges."""

import importlib.util
from dataclasses import replace

import comfy.context_windows
import folder_paths
import pytest
import refvid_gguf
import refvid_in_process as run
import refvid_stand_in as published
import refvid_tiny as tiny
import torch
from refvid_folder import import_folder
from torch import Tensor

from refvid.core.guidance import Scale, joint
from refvid.core.recipes import RECIPES
from refvid.core.references import make_reference
from refvid.core.token_lora import TokenChange
from refvid.hosts.comfy.files import file_recipe
from refvid.hosts.comfy.guiders import table_guider
from refvid.hosts.comfy.references import apply_references
from refvid.hosts.comfy.steps import StepRange, denoise_steps
from refvid.hosts.comfy.token_lora import load_reference_adapter
from refvid.nodes.reference_adapter import RefVidLoadReferenceAdapter as Loader

pytestmark = pytest.mark.comfy
SIZES = tiny.config()
TOKENS = 12


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(RECIPES, "stand_in", published.small)


@pytest.fixture(scope="module")
def loras(folder):
    """Adapters for the high and the low noise model, among models/loras."""
    (folder / "loras").mkdir()
    for seed, name in enumerate(("high", "low")):
        state = published.adapter_state(SIZES, seed=20 + seed)
        published.save_adapter(folder / "loras", state, f"{name}.safetensors")
    folder_paths.add_model_folder_path("loras", str(folder / "loras"))
    return folder / "loras"


@pytest.fixture(scope="module")
def experts(folder, loras):
    high, low = (
        run.load_model(tiny.save_dit(folder, f"{name}.safetensors", SIZES, tiny.dit_state(SIZES, seed)))
        for seed, name in enumerate(("high", "low"))
    )
    return high, low


def latent(frames: int = 2):
    return run.empty_latent(frames, 6, 8)


def applied(model, vae, low=None, texts=None, frames: int = 2):
    texts = texts or [[[run.text(seed), {}]] for seed in (1, 2)]
    given = [make_reference(run.picture(3, 40, 30))]
    return apply_references(model, low, *texts, vae, latent(frames), given)


def made(out, model=None, **how) -> Tensor:
    return run.sample(model or out.model, out.positive, out.negative, how.pop("given", latent()), **how)


@pytest.fixture
def counts(monkeypatch) -> list[int]:
    """Numbers of tokens that were changed, change by change."""
    found, forward = [], TokenChange.forward
    monkeypatch.setattr(TokenChange, "forward", lambda *given: found.append(given[3]) or forward(*given))
    return found


def test_the_node_gives_each_expert_its_own_adapter_which_is_worked_out_once_in_its_run(
    experts, loras, vae, counts
):
    high, low = Loader.execute(experts[0], "high.safetensors", experts[1], "low.safetensors").result
    assert file_recipe(high) == file_recipe(low) == "stand_in" and file_recipe(experts[0]) is None
    out = applied(high, vae, low)
    guiders = [
        table_guider(one, out.positive, out.negative, joint(Scale(4.0)))
        for one in (out.model, out.low_noise_model)
    ]
    first, _ = denoise_steps(guiders[0], latent(), StepRange(6, "euler", "simple", 0, 3, True), 5, True)
    assert counts == [TOKENS] * 3 * SIZES.layers
    second, _ = denoise_steps(guiders[1], first, StepRange(6, "euler", "simple", 3, 99, False), 5, False)
    assert counts == [TOKENS] * 6 * SIZES.layers
    for index, name in enumerate(("high", "low")):
        alone = load_reference_adapter(experts[index], str(loras / f"{name}.safetensors"))
        model = out.low_noise_model if index else out.model
        assert torch.equal(made(out, model), made(applied(alone, vae)))
    assert torch.isfinite(second["samples"]).all()


def test_one_model_needs_one_file_and_two_need_two(experts, loras):
    high, none = Loader.execute(experts[0], "high.safetensors").result
    assert none is None and file_recipe(high) == "stand_in"
    for more in ({"low_noise_model": experts[1]}, {"low_noise_adapter": "low.safetensors"}):
        with pytest.raises(ValueError, match=f"{next(iter(more))} came alone"):
            Loader.execute(experts[0], "high.safetensors", **more)
    with pytest.raises(ValueError, match="low_noise_adapter: there is no gone"):
        Loader.execute(experts[0], "high.safetensors", experts[1], "gone.safetensors")


def test_a_file_that_is_written_anew_is_read_anew(loras):
    before = Loader.fingerprint_inputs("high.safetensors", "low.safetensors")
    assert before == Loader.fingerprint_inputs("high.safetensors", "low.safetensors", model=1)
    published.save_adapter(loras, published.adapter_state(SIZES, rank=3, seed=21), "low.safetensors")
    after = Loader.fingerprint_inputs("high.safetensors", "low.safetensors")
    assert before[0] == after[0] and before[1] != after[1]


def windowed(out, frames: int):
    out.model.model_options["context_handler"] = comfy.context_windows.IndexListContextHandler(
        context_schedule=comfy.context_windows.get_matching_context_schedule("standard_static"),
        fuse_method=comfy.context_windows.get_matching_fuse_method("pyramid"),
        context_length=frames, context_overlap=1, dim=2,
    )  # fmt: skip
    return out


def test_in_context_windows_every_window_has_the_reference_as_it_is_in_a_whole_video(
    experts, loras, vae, counts
):
    """A window of all frames is the whole video; shorter ones still keep the reference's keys."""
    model = load_reference_adapter(experts[0], str(loras / "high.safetensors"))
    whole = made(applied(model, vae, frames=5), given=latent(5))
    counts.clear()
    got = made(windowed(applied(model, vae, frames=5), 3), given=latent(5))
    assert set(counts) == {TOKENS} and len(counts) % (3 * SIZES.layers) == 0
    bare = run.sample(windowed(applied(model, vae, frames=5), 3).model, *words(), latent(5))
    assert torch.isfinite(got).all() and run.worst(got, bare) > 1e-3
    assert torch.equal(made(windowed(applied(model, vae, frames=5), 5), given=latent(5)), whole)


def words():
    return [[[run.text(seed), {}]] for seed in (1, 2)]


def test_beside_vace_its_control_is_added_to_the_video_alone(folder, experts, loras, vae):
    """With hints that say nothing it is text-to-video; with others the adapter acts too."""
    state = tiny.vace_state(SIZES)
    silent = {key: value * ("after_proj" not in key) for key, value in state.items()}
    control = {
        "vace_frames": [torch.rand(1, 32, 2, 6, 8)], "vace_mask": [torch.ones(1, 64, 2, 6, 8)],
        "vace_strength": [0.7],
    }  # fmt: skip
    texts = [run.with_values(one, control) for one in words()]
    results = {}
    for name, weights in (("vace", state), ("silent", silent)):
        model = run.load_model(tiny.save_dit(folder, f"{name}.safetensors", SIZES, weights))
        adapted = load_reference_adapter(model, str(loras / "high.safetensors"))
        results[name] = made(applied(adapted, vae, texts=texts))
        assert run.worst(results[name], run.sample(model, *texts, latent())) > 1e-3
    plain = load_reference_adapter(experts[0], str(loras / "high.safetensors"))
    assert run.worst(results["silent"], made(applied(plain, vae))) < 1e-4
    assert run.worst(results["silent"], results["vace"]) > 1e-3


def test_on_quantised_layers_it_adds_to_what_they_make(tmp_path, vae):
    pack = refvid_gguf.find_pack()
    if pack is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("NOT RUN, GGUF was not tested: no ComfyUI-GGUF, or no package gguf")
    sizes = replace(SIZES, width=256, text_width=4096)
    held = refvid_gguf.write(tmp_path / "adapted.gguf", tiny.dit_state(sizes))
    folder_paths.add_model_folder_path("unet", str(tmp_path))
    loader = import_folder("comfyui_gguf", pack).NODE_CLASS_MAPPINGS["UnetLoaderGGUFAdvanced"]()
    (quantised,) = loader.load_unet("adapted.gguf", "float32", "float32", False)
    twin = run.load_model(tiny.save_dit(tmp_path, "twin.safetensors", sizes, held))
    path = published.save_adapter(tmp_path, published.adapter_state(sizes))
    texts = [[[run.text(seed, width=4096), {}]] for seed in (1, 2)]
    both = [
        made(applied(load_reference_adapter(one, str(path)), vae, texts=texts)) for one in (quantised, twin)
    ]
    assert run.worst(*both) < 1e-4 and run.worst(both[0], run.sample(quantised, *texts, latent())) > 1e-2
