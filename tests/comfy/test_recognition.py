"""Public weights are recognised in ComfyUI: tiny files in published layouts and names, by both loaders."""

import importlib.util
import logging
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import comfy.ldm.wan.model as core_models
import comfy.sd
import comfy.utils
import folder_paths
import pytest
import refvid_gguf
import refvid_in_process as run
import refvid_tiny as tiny
import torch
from comfy.ldm.wan.model_animate import AnimateWanModel
from comfy_api.latest import io
from comfy_execution.utils import CurrentNodeContext
from refvid_folder import import_folder
from server import PromptServer

from refvid.core import recipes, recognition
from refvid.core.checkpoint import save_model
from refvid.core.references import make_reference
from refvid.hosts.comfy import backbone, wire
from refvid.hosts.comfy.files import recognised
from refvid.hosts.comfy.recognition import loaded_file
from refvid.hosts.comfy.references import AttachedReferences, apply_references
from refvid.nodes.reference import RefVidApplyReferences

pytestmark = pytest.mark.comfy
SIZES = tiny.config()
MASKED = tiny.config(in_channels=36)
BINDWEAVE = {"text_projector.linear_1.weight": torch.ones(4, 4)}
PHANTOM = "Phantom-Wan-14B_fp16.safetensors"
LOADERS = {"core": run.load_model, "ours": lambda path: backbone.load_model(str(path), None)}


@pytest.fixture(autouse=True)
def told(caplog, monkeypatch):
    monkeypatch.setattr(recipes, "_told", set())
    monkeypatch.setattr(recognition, "_told", set())
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records if "refvid: " in record.getMessage()]


def saved(folder, name: str, sizes=SIZES, more=None, recipe=None):
    return tiny.save_dit(folder, name, sizes, tiny.dit_state(sizes) | (more or {}), recipe=recipe)


def applied(model, vae, recipe="auto", low=None, files=()):
    words = [[[run.text(seed), {}]] for seed in (1, 2)]
    given = [make_reference(run.picture(3))]
    return apply_references(model, low, *words, vae, run.empty_latent(), given, recipe, files=files)


def carried(out) -> str:
    return out.positive[0][1][wire.key(AttachedReferences, "recipe")]


@pytest.mark.parametrize("loader", LOADERS)
def test_the_files_name_chooses_the_recipe_for_auto_and_the_line_says_so(folder, vae, told, loader):
    out = applied(LOADERS[loader](saved(folder, PHANTOM)), vae)
    assert carried(out) == "phantom"
    said = "references that act: 1; recipe phantom, by the name of its file, Phantom-Wan-14B_fp16"
    assert out.lines == (said,)
    assert [said for said in told() if "recipe phantom, by the name of its file" in said] != []


@pytest.mark.parametrize("loader", LOADERS)
def test_a_chosen_recipe_makes_the_same_video_whatever_the_file_is_called(folder, vae, loader):
    outs = [
        applied(LOADERS[loader](saved(folder, name)), vae, "saber") for name in (PHANTOM, "some.safetensors")
    ]
    made = [run.sample(out.model, out.positive, out.negative, run.empty_latent()) for out in outs]
    assert torch.equal(*made)
    assert len(outs[0].lines) == 2 and len(outs[1].lines) == 1
    assert (
        outs[0].lines[0].startswith("the recipe is saber, but the model is Phantom by the name of its file")
    )


def test_metadata_comes_before_the_name_and_the_last_lora_before_both(folder, vae, told):
    model = run.load_model(saved(folder, "Phantom-x.safetensors", recipe="saber"))
    out = applied(model, vae)
    assert carried(out) == "saber" and out.lines[0].endswith("; recipe saber, as the model's file says")
    path = folder / "lora.safetensors"
    save_model(tiny.lora_of(SIZES, "self_attn"), path, {"refvid.recipe": "videomaker"}, torch.float32)
    state, metadata = comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
    model = comfy.sd.load_lora_for_models(model, None, state, 1.0, 0.0, lora_metadata=metadata)[0]
    assert carried(applied(model, vae)) == "videomaker"
    assert not [said for said in told() if "but the model" in said]


def test_a_wrong_pairing_is_a_line_of_the_node(folder, vae):
    model = run.load_model(saved(folder, "s.safetensors", recipe="saber"))
    (said, _) = applied(model, vae, "phantom").lines
    assert said.startswith("the recipe is phantom, but the model's file says it was trained for saber")


def test_the_second_expert_is_asked_too(folder, vae):
    plain, named = (run.load_model(saved(folder, name)) for name in ("high.safetensors", PHANTOM))
    assert carried(applied(plain, vae, low=named)) == "phantom"
    bernini = run.load_model(saved(folder, "wan2.2_bernini_r_high_noise.safetensors"))
    out = applied(bernini, vae, low=named)
    assert carried(out) == "bernini" and "but the model is Phantom by the name" in out.lines[0]


def test_a_second_expert_that_no_recipe_runs_is_refused(folder, vae):
    plain = run.load_model(saved(folder, "phantom_high.safetensors", MASKED))
    second = run.load_model(saved(folder, "low_i2v.safetensors", MASKED, BINDWEAVE))
    with pytest.raises(ValueError, match=r"^the model is BindWeave by its key text_projector"):
        applied(plain, vae, "saber", low=second)


def test_nothing_said_is_the_error_that_it_was(folder, vae):
    with pytest.raises(
        ValueError, match="recipe is auto, but the model's file does not say what it was trained"
    ):
        applied(run.load_model(saved(folder, "wan2.1_t2v.safetensors")), vae)


@pytest.mark.parametrize("recipe", ["auto", "saber"])
def test_bindweave_is_refused_by_keys_that_cores_loader_leaves_out(folder, vae, recipe):
    path = saved(folder, "anything.safetensors", MASKED, BINDWEAVE)
    model = run.load_model(path)
    assert not [key for key in model.model.diffusion_model.state_dict() if "text_projector" in key]
    with pytest.raises(ValueError, match=r"^the model is BindWeave by its key text_projector.*; use Phantom"):
        applied(model, vae, recipe)
    with pytest.raises(ValueError, match=r"^diffusion_model: anything.safetensors is BindWeave by its key"):
        LOADERS["ours"](path)


def test_magref_is_refused_by_name_under_auto_and_said_to_who_chooses(folder, vae):
    model = run.load_model(saved(folder, "Wan2_1-Wan-I2V-MAGREF-14B_fp8.safetensors", MASKED))
    with pytest.raises(ValueError, match=r"^the model is MAGREF by the name of its file.* one collage"):
        applied(model, vae)
    assert "but the model is MAGREF by the name of its file" in applied(model, vae, "saber").lines[0]


def test_our_loader_says_what_it_recognised(folder):
    models = {
        name: LOADERS["ours"](saved(folder, name, sizes))
        for name, sizes in ((PHANTOM, SIZES), ("magref.safetensors", MASKED), ("wan.safetensors", SIZES))
    }
    said = {name: backbone._known(model) for name, model in models.items()}
    assert said[PHANTOM] == "the model is Phantom by the name of its file, Phantom-Wan-14B_fp16"
    assert said["magref.safetensors"].startswith(
        "the model is MAGREF by the name of its file, magref: it reads"
    )
    assert said["wan.safetensors"] == "trained for no recipe named in the file"


# ---- loaders that keep no name


def test_the_name_of_a_gguf_file_is_that_of_the_graphs_loader(tmp_path, vae, monkeypatch):
    pack = refvid_gguf.find_pack()
    if pack is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("NOT RUN, GGUF was not tested: no ComfyUI-GGUF, or no package gguf")
    sizes = replace(SIZES, width=128, text_width=4096)
    refvid_gguf.write(tmp_path / "Phantom_Wan_14B-Q8_0.gguf", tiny.dit_state(sizes))
    folder_paths.add_model_folder_path("unet", str(tmp_path))
    loader = import_folder("comfyui_gguf", pack).NODE_CLASS_MAPPINGS["UnetLoaderGGUF"]()
    (model,) = loader.load_unet("Phantom_Wan_14B-Q8_0.gguf")
    assert recognised(model) is None
    found = recognised(model, loaded_file(GRAPH, "5", "model"))
    assert found is not None and found.weights.recipe == "phantom"


GRAPH = {
    "1": {"class_type": "UnetLoaderGGUF", "inputs": {"unet_name": "Phantom_Wan_14B-Q8_0.gguf"}},
    "2": {"class_type": "LoraLoaderModelOnly", "inputs": {"model": ["1", 0], "lora_name": "a.safetensors"}},
    "3": {"class_type": "ModelSamplingSD3", "inputs": {"model": ["2", 0], "shift": 5.0}},
    "4": {"class_type": "Loads", "inputs": {"model": "sub/low.gguf", "dtype": "fp8"}},
    "5": {"class_type": "RefVidApplyReferences", "inputs": {"model": ["3", 0], "low_noise_model": ["4", 0]}},
    "6": {"class_type": "Both", "inputs": {"ckpt": "a.safetensors", "vae": "b.safetensors"}},
    "7": {"class_type": "Circle", "inputs": {"model": ["7", 0], "name": "a.gguf"}},
    "8": {"inputs": {"one": ["6", 0], "two": ["7", 0], "gone": ["99", 0], "none": None, "text": "x.gguf"}},
}


def test_the_name_comes_through_loras_and_shifts_and_never_from_a_guess():
    assert loaded_file(GRAPH, "5", "model") == "Phantom_Wan_14B-Q8_0.gguf"
    assert loaded_file(GRAPH, "5", "low_noise_model") == "sub/low.gguf"
    for name in ("one", "two", "gone", "none", "text", "absent"):
        assert loaded_file(GRAPH, "8", name) is None, name
    assert loaded_file(None, None, "model") is None


def test_the_node_shows_the_lines_and_reads_the_name_from_the_graph(folder, vae, monkeypatch):
    shown = []
    server = SimpleNamespace(send_progress_text=lambda text, node: shown.append((node, text)))
    monkeypatch.setattr(PromptServer, "instance", server, raising=False)
    model = run.load_model(saved(folder, "unnamed.safetensors"))
    model.cached_patcher_init = None  # as loaders leave it that ComfyUI does not know
    given = {"reference_0": [make_reference(run.picture(3))]}
    words = [[[run.text(seed), {}]] for seed in (1, 2)]
    latent = run.empty_latent()

    def out(graph):
        hidden = {io.Hidden.prompt: graph, io.Hidden.unique_id: "5"}
        node = RefVidApplyReferences.PREPARE_CLASS_CLONE({"hidden_inputs": hidden})
        with CurrentNodeContext("prompt", "5"):
            return node.execute(model, *words, vae, latent, given, "auto", "recipe")

    lines = "references that act: 1; recipe phantom, by the name of its file, Phantom_Wan_14B-Q8_0"
    assert out(GRAPH).ui.as_dict()["text"] == (lines,)
    assert shown == [("5", lines)]
    hidden = {
        io.Hidden.prompt: GRAPH | {"4": GRAPH["4"] | {"inputs": {"model": "Kaleido.gguf"}}},
        io.Hidden.unique_id: "5",
    }
    node = RefVidApplyReferences.PREPARE_CLASS_CLONE({"hidden_inputs": hidden})
    two = node.execute(model, *words, vae, latent, given, "auto", "recipe", low_noise_model=model)
    assert "but the model is Kaleido by the name of its file, Kaleido" in two.ui.as_dict()["text"][0]
    with pytest.raises(ValueError, match="recipe is auto, but the model's file does not say"):
        out({})
    monkeypatch.delattr(PromptServer, "instance")
    assert out(GRAPH).ui.as_dict()["text"] == (lines,)  # without a server, as in a script
    assert RefVidApplyReferences.execute(model, *words, vae, latent, given, "saber", "recipe").ui is not None


@pytest.mark.parametrize(
    ("module", "title"),
    [
        (core_models.HumoWanModel, "HuMo"),
        (core_models.WanModel_S2V, "S2V"),
        (core_models.SCAILWanModel, "SCAIL"),
        (AnimateWanModel, "Animate"),
        (partial(core_models.VaceWanModel, vace_in_dim=96, vace_layers=1), "VACE"),
        (core_models.WanModel, None),
    ],
)
def test_cores_variants_are_known_by_the_names_of_their_modules(module, title):
    made = module(dim=128, ffn_dim=64, num_heads=1, num_layers=1, device="meta", operations=torch.nn)
    found = recognition.by_keys(recognition.module_keys(made))
    assert (found and found.weights.title) == title
