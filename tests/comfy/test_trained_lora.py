"""LoRA of the Saber trainer inside ComfyUI: core's own loader takes every key of it, it acts as it did in
training, and the workflows beside it run."""

import logging
from pathlib import Path

import av
import folder_paths
import numpy as np
import pytest
import refvid_in_process as run
import refvid_riders as plain
import refvid_tiny as tiny
import torch
from PIL import Image
from refvid_base_folder import TEXT, VAE
from refvid_client import edited, node
from torch import nn

import nodes
from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.loading import load_dit
from refvid.backbones.wan.loading import load_vae as load_plain_vae
from refvid.core.guidance import CONDITIONED
from refvid.core.recipes import recipe_named
from refvid.core.references import make_reference
from refvid.hosts.comfy.references import apply_references
from refvid.hosts.plain.pipeline import Settings
from refvid.training.engine.lora import add_lora, begin_with
from refvid.training.methods.saber.export import LoraFacts, export_lora
from refvid.training.methods.saber.workflow import WorkflowFiles, api_workflow

pytestmark = pytest.mark.comfy

SIZES, RANK, NAME = tiny.config(), 3, "refvid_test_trained.safetensors"
TARGETS = {"attention and feed-forward": ("self_attn", "cross_attn", "ffn"), "every layer": (".*",)}
LATENT = torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(7))
SETTINGS = Settings(width=64, height=48, frames=9, steps=2, scale=2.0, shift=3.0, fps=12, seed=4)
PROMPT = "a toy moving right"


def facts(targets: tuple[str, ...]) -> LoraFacts:
    return LoraFacts("plain.safetensors", "sha256 0", targets, 3.0, (9,), 12.0, ((64, 48),), ("own",), 3)


def trained(targets: tuple[str, ...], path: Path) -> Path:
    """The file of a LoRA that some steps have changed, strong enough to be seen."""
    layers = add_lora(WanDiT(SIZES), RANK, targets)
    torch.manual_seed(0)
    for weight in layers.parameters():
        nn.init.normal_(weight, std=0.15)
    export_lora(layers, facts(targets), path)
    return path


@pytest.fixture(scope="module")
def dit_file(folder):
    return tiny.save_dit(folder, "dit.safetensors", SIZES, tiny.dit_state(SIZES))


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """A folder of LoRAs that core's nodes look into."""
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path)], {".safetensors"}))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path


def by_core(model, strength: float, caplog):
    """The model behind core's node; every key of the file is loaded."""
    with caplog.at_level(logging.DEBUG):
        (changed,) = nodes.LoraLoaderModelOnly().load_lora_model_only(model, NAME, strength)
    for unwanted in ("not loaded", "SHAPE MISMATCH", "ERROR"):
        assert unwanted not in caplog.text
    return changed


def conditioned(model, vae, recipe: str = "auto"):
    given = [make_reference(run.picture(3))]
    texts = ([[run.text(1), {}]], [[run.text(2), {}]])
    return apply_references(model, None, *texts, vae, run.empty_latent(), given, recipe)


def velocity(model, vae, recipe: str = "auto") -> torch.Tensor:
    out = conditioned(model, vae, recipe)
    return run.velocity_at(out.model, out.positive, out.negative, LATENT, 0.6)


@pytest.mark.parametrize("name", TARGETS)
@torch.no_grad()
def test_core_s_loader_makes_of_the_file_what_was_trained(dit_file, folder, vae, offered, caplog, name):
    path = trained(TARGETS[name], offered / NAME)
    model = run.load_model(dit_file)
    changed = by_core(model, 1.0, caplog)
    dit = load_dit(dit_file)[0]
    layers = add_lora(dit, RANK, TARGETS[name])
    assert len(changed.patches) == len(layers)
    begin_with(layers, dit, path)
    texts = {"positive": run.text(1), "negative": run.text(2)}
    encoded = plain.encode_references(
        dit, load_plain_vae(tiny.save_vae(folder)), [make_reference(run.picture(3))], recipe_named("saber"),
        (3, 8, 8),
    )  # fmt: skip
    ours = plain.velocity(dit, LATENT, torch.tensor(0.6), plain.condition(texts, encoded), CONDITIONED)
    got = velocity(changed, vae)  # the recipe is the file's own
    assert run.worst(ours, got) < 2e-5 * float(ours.abs().max())
    assert run.worst(got, velocity(model, vae, "saber")) > 1e-2
    assert torch.equal(got, velocity(changed, vae, "saber"))


def test_at_strength_0_the_model_is_the_base_bit_for_bit(dit_file, vae, offered, caplog):
    trained(TARGETS["every layer"], offered / NAME)
    model = run.load_model(dit_file)
    off = by_core(model, 0.0, caplog)
    assert torch.equal(velocity(off, vae, "saber"), velocity(model, vae, "saber"))


@pytest.fixture(scope="module")
def graph(server):
    """The workflow of a LoRA that lies in the server's folder."""
    models = server.base / "models"
    lora = trained(TARGETS["attention and feed-forward"], models / "loras" / NAME)
    files = WorkflowFiles(
        models / "diffusion_models" / "plain.safetensors", models / "vae" / VAE,
        models / "text_encoders" / TEXT, lora,
    )  # fmt: skip
    yield api_workflow(files, SETTINGS, PROMPT)
    lora.unlink()


def pictures(server, graph) -> np.ndarray:
    """(F, H, W, 3) int"""
    png = {"png": node("SaveImage", images=["decode", 0], filename_prefix="trained")}
    files = sorted(server.outputs(edited(graph, {}, png), "png"))
    return np.stack([np.asarray(Image.open(file)).astype(int) for file in files])


def test_the_workflow_beside_the_lora_runs_in_a_server(server, graph):
    (path,) = server.outputs(graph)
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        frames = sum(1 for _ in file.decode(video=0))
        assert (stream.width, stream.height, stream.average_rate, frames) == (64, 48, 12, 9)
    assert path.name.startswith("refvid_test_trained") and path.parent.name == "refvid"


def test_the_lora_acts_in_the_workflow(server, graph):
    acts, off = (pictures(server, edited(graph, {"lora.strength_model": by})) for by in (1.0, 0.0))
    bare = pictures(server, edited(graph, {"apply.model": ["backbone", 0]}))
    assert np.array_equal(off, bare) and np.abs(acts - off).max() > 2
