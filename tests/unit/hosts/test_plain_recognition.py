"""Public weights are recognised without ComfyUI, by the same table: as a DiT, and as a LoRA that is none."""

from dataclasses import replace

import pytest
import refvid_tiny as tiny
import torch

from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.loading import load_dit
from refvid.backbones.wan.lora import merge_lora_file
from refvid.core.checkpoint import save_model
from refvid.core.controls import Controls
from refvid.core.references import make_reference
from refvid.hosts.plain.pipeline import Request, Settings, generate, inspect_references, load_pipeline

SIZES = tiny.config()
SETTINGS = Settings(width=32, height=32, frames=5, steps=1, scale=1.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny.save_models(tmp_path_factory.mktemp("models"), SIZES)


def named(files, name: str, more=None, recipe=None):
    """The DiT under another name, and the other two files."""
    state = tiny.dit_state(SIZES) | (more or {})
    return (tiny.save_dit(files[0].parent, name, SIZES, state, recipe=recipe), *files[1:])


def picture():
    return make_reference(torch.rand(32, 32, 3, generator=torch.Generator().manual_seed(1)), None, Controls())


def test_the_files_name_chooses_for_auto_and_never_against_a_choice(files):
    phantom, other = (
        load_pipeline(*named(files, f"{name}.safetensors")) for name in ("Phantom-Wan", "other")
    )
    asked = Request("a toy", SETTINGS, (picture(),))
    made = generate(phantom, asked)
    assert torch.equal(made, generate(other, replace(asked, recipe="phantom")))
    assert not torch.equal(made, generate(phantom, replace(asked, recipe="bernini")))
    assert torch.equal(*(generate(one, replace(asked, recipe="saber")) for one in (phantom, other)))
    with pytest.raises(ValueError, match="does not say what it was trained for"):
        generate(other, asked)


def test_metadata_comes_before_the_name(files):
    backbone = load_pipeline(*named(files, "Phantom-and-metadata.safetensors", recipe="saber"))
    asked = Request("a toy", SETTINGS, (picture(),))
    assert torch.equal(generate(backbone, asked), generate(backbone, replace(asked, recipe="saber")))


def test_an_inspection_reads_the_name_too(files):
    dit = named(files, "Kaleido-14B-S2V.safetensors")[0]
    inspection, _ = inspect_references(dit, [picture()], SETTINGS)
    assert inspection.layout.recipe.name == "kaleido"


def test_magref_is_refused_by_name_where_nothing_is_chosen(files):
    backbone = load_pipeline(*named(files, "wan2.1_magref.safetensors"))
    with pytest.raises(ValueError, match=r"the model is MAGREF by the name of its file, .*; use Phantom"):
        generate(backbone, Request("a toy", SETTINGS, (picture(),)))


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("audio_proj.audio_proj_glob_1.layer.bias", "HuMo"),
        ("condition_embedder.text_projector.linear_1.weight", "BindWeave"),
        ("face_adapter.fuser_blocks.0.k_norm.weight", "Animate"),
    ],
)
def test_a_dit_that_no_recipe_runs_is_refused_at_load_with_what_to_use(files, key, title):
    path = named(files, "dit-of-others.safetensors", {key: torch.ones(2)})[0]
    with pytest.raises(
        ValueError, match=rf"^--dit: dit-of-others.safetensors is {title} by its key .*; use Ph"
    ):
        load_dit(path)


def test_a_lynx_adapter_is_no_lora(tmp_path):
    save_model(
        {"0.to_k_ip.weight": torch.ones(2, 2)}, tmp_path / "ip_layers.safetensors", dtype=torch.float32
    )
    with pytest.raises(
        ValueError, match=r"^--lora: ip_layers.safetensors is Lynx by its key 0.to_k_ip.weight: "
    ):
        merge_lora_file(WanDiT(SIZES), tmp_path / "ip_layers.safetensors", 1.0, "--lora")
