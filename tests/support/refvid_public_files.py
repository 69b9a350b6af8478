"""Tiny files in the layout of public weights, under the names that the workflows ask for. Nothing in them
says what they are: their metadata are empty, and their keys and shapes are those of Wan."""

from pathlib import Path

import refvid_stand_in as stand_in
import refvid_tiny as tiny
import torch
from refvid_client import Graph, edited
from refvid_templates import PUBLIC, model_files

from refvid.backbones.wan.dit import DiTConfig
from refvid.backbones.wan.text import TextEncoder, umt5
from refvid.core.checkpoint import save_model
from refvid.core.recognition import recognise
from refvid.demo import captions
from refvid.training.base.text import word_pieces

# Without metadata ComfyUI takes heads of 128 and a text encoder 4096 wide.
SIZES = DiTConfig(128, 128, 1, 2, 16, 16, 4096)
SMALL = {"width": 64, "height": 64, "length": 5}
STEPS = 2


def fill(base: Path) -> None:
    """Write into a server's folder every model file that the workflows of public weights name."""
    for file, folder in {
        name: at for graph in PUBLIC.values() for name, at in model_files(graph).items()
    }.items():
        target = base / "models" / folder
        target.mkdir(parents=True, exist_ok=True)
        save_model(_tensors(file, folder), target / file, dtype=torch.float32)


def _tensors(file: str, folder: str) -> dict[str, torch.Tensor]:
    if folder == "diffusion_models":
        return (tiny.vace_state if "vace" in file else tiny.dit_state)(SIZES)
    return {"text_encoders": _text_encoder, "vae": _vae, "loras": _token_lora}[folder]()


def _text_encoder() -> dict[str, torch.Tensor]:
    words = captions.vocabulary()
    torch.manual_seed(2)
    return TextEncoder(umt5(len(words) + 3, SIZES.text_width, 1, 1, 8, 8), word_pieces(list(words))).tensors()


def _token_lora() -> dict[str, torch.Tensor]:
    """Stand-In's keys as Kijai's files have them."""
    return {f"diffusion_model.{key}": value for key, value in stand_in.adapter_state(SIZES).items()}


def _vae() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return dict(tiny.WanVAE(8).state_dict())


def recipe_by_files(graph: Graph) -> str:
    """The recipe that a workflow's files are for, by their keys, else by their names."""
    found = [recognise(file, _tensors(file, folder)) for file, folder in model_files(graph).items()]
    (recipe,) = {one.weights.recipe for one in found if one is not None and not one.weights.beside}
    return recipe or ""


def made_small(graph: Graph) -> Graph:
    """A workflow at another size and length, and with fewer steps; nothing else is changed."""
    changed: dict[str, int] = {}
    widest = max(one["inputs"].get("width", 0) for one in graph.values())
    steps = max(one["inputs"].get("steps", 0) for one in graph.values())
    for name, one in graph.items():
        given = one["inputs"]
        for label in given.keys() & SMALL.keys():
            share = given["width"] / widest if label == "width" else 1
            changed[f"{name}.{label}"] = round(SMALL[label] * share)
        changed |= {f"{name}.{label}": STEPS for label in given.keys() & {"steps"}}
        for label in given.keys() & {"start_at_step", "end_at_step"}:
            if 0 < given[label] < steps:  # where a second expert takes over
                changed[f"{name}.{label}"] = STEPS // 2
    return edited(graph, changed)
