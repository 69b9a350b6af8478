"""Readers of files inside ComfyUI, beside those that read the same ones without it."""

import importlib
from collections.abc import Mapping
from pathlib import Path

import folder_paths
from refvid_refused import Reader

from refvid.hosts.comfy import adapters, backbone
from refvid.hosts.comfy.source import modules

TWINS = {
    "diffusion_model": "--dit",
    "diffusion_model with modules": "modules of --dit",
    "vae": "--vae",
    "text_encoder": "--text-encoder",
    "adapter": "--adapter",
    "editing adapter": "--adapter of edit",
    "Load Identity": "--identity",
}


def comfy_readers(files: Mapping[str, Path]) -> dict[str, Reader]:
    """Loaders inside ComfyUI; `TWINS` names for each the one that reads the same files without."""
    # Under the pack's own name: ComfyUI has a module `nodes`.
    load = importlib.import_module("refvid.nodes.identity").RefVidLoadIdentity

    def from_inputs(path: Path) -> object:
        folder_paths.set_input_directory(str(path.parent))
        return load.execute(path.name)

    model = backbone.load_model(str(files["dit"]), None)
    return {
        "diffusion_model": Reader("dit", lambda path: backbone.load_model(str(path), None)),
        "diffusion_model with modules": Reader("sama", lambda path: backbone.load_model(str(path), None)),
        "vae": Reader("vae", lambda path: backbone.load_comfy_vae(str(path))),
        "text_encoder": Reader("text", lambda path: backbone.load_comfy_text_encoder(str(path))),
        "adapter": Reader("adapter", lambda path: adapters.load_comfy_adapter(str(path))),
        "editing adapter": Reader(
            "editing", lambda path: modules.load_editing_adapter(model, str(path), 1.0)
        ),
        "Load Identity": Reader("identity", from_inputs),
    }
