"""Model files, checked before ComfyUI's loaders see them.

Core loads what it finds, and leaves what is missing as it was in memory. So core's own classes say first what
a file has to hold.
"""

import json
import logging
from collections.abc import Mapping, Set
from functools import partial
from pathlib import Path

import comfy.ldm.wan.vae
import comfy.ldm.wan.vae2_2
import comfy.model_detection
import comfy.text_encoders.t5
import comfy.text_encoders.wan
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...backbones.wan.files import (
    TOKENIZER,
    WAN_2_2_VAE,
    WAN_VAE,
    UMT5Sizes,
    bare_dit,
    dit_config,
    encoder_weights,
    is_quantised,
    require_tokenizer,
    umt5_sizes,
    vae_width,
)
from ...backbones.wan.geometry import WAN_2_1, WAN_2_2
from ...core.checkpoint import Shapes, header_of, read_shapes, read_some, require_tensors, require_values
from ...core.header import Header
from ...core.recipes import TRAINED_FOR
from ...core.recognition import Recognised, module_keys, recognise, require_runnable
from ...core.semantic import semantic_config, semantic_state
from . import wire
from .quantised import quantised_layers, require_packed

logger = logging.getLogger(__name__)
INPUT = "input"
LORA_METADATA = "lora_metadata"  # a model's attachment by core's LoRA loaders; older ComfyUIs keep none
UMT5_CONFIG = Path(comfy.text_encoders.wan.__file__).with_name("umt5_config_xxl.json")
VAE_CONFIG = {
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_scales": [],
    "temperal_downsample": [False, True, True],
}


def require_dit(path: str, what: str = "diffusion_model") -> None:
    """ValueError unless a file is a whole Wan DiT of any variant that core knows."""
    shapes, metadata = read_shapes(path, what)
    name = f"{what}: {Path(path).name}"
    require_runnable(shapes, name)
    tensors = bare_dit(shapes, name)
    dit_config(tensors, metadata, name)
    plain = {key: value for key, value in tensors.items() if not is_quantised(key)}
    config = comfy.model_detection.model_config_from_unet(plain, "", metadata=metadata)
    if config is None:
        raise ValueError(f"{name} is not a model ComfyUI knows; needed a Wan DiT")
    # Torch's layers: under DynamicVRAM core's have no parameters before they are loaded.
    config.custom_operations = torch.nn
    model = config.get_model(plain, "", device="meta").diffusion_model
    _require_whole(tensors, model, name, quantised_layers(path, what, tensors, metadata, name))
    modules = semantic_state(shapes)
    if modules:
        semantic_config(modules, name)
    require_values(path, what)


def require_vae_file(path: str, what: str = "vae") -> None:
    """ValueError unless a file is a whole Wan 2.1 or 2.2 VAE."""
    shapes, _ = read_shapes(path, what)
    name = f"{what}: {Path(path).name}"
    width, sides = vae_width(shapes, name), Shapes(shapes, name, WAN_VAE)
    with torch.device("meta"):
        if WAN_2_2_VAE in shapes:
            model = comfy.ldm.wan.vae2_2.WanVAE(dim=160, z_dim=WAN_2_2.channels, **VAE_CONFIG)
        else:
            colours = sides.sides("encoder.conv1.weight", 5)[1], sides.sides("decoder.head.2.weight", 5)[0]
            model = comfy.ldm.wan.vae.WanVAE(
                dim=width, z_dim=WAN_2_1.channels, image_channels=colours[0], conv_out_channels=colours[1],
                **VAE_CONFIG,
            )  # fmt: skip
    _require_whole(shapes, model, name)
    require_values(path, what)


def require_umt5(path: str, what: str = "text_encoder") -> UMT5Sizes:
    """Sizes of a text encoder. ValueError unless a file is a whole UMT5 with its tokenizer."""
    shapes, metadata = read_shapes(path, what)
    name = f"{what}: {Path(path).name}"
    sizes = umt5_sizes(shapes, name)
    config = {**json.loads(UMT5_CONFIG.read_text("utf-8")), **core_sizes(sizes)}
    model = comfy.text_encoders.t5.T5(config, torch.float32, "meta", torch.nn)
    held = encoder_weights(shapes)
    _require_whole(held, model, name, quantised_layers(path, what, held, metadata, name))
    require_values(path, what)
    require_tokenizer(
        read_some(path, what, TOKENIZER.__eq__)[TOKENIZER].numpy().tobytes(), sizes.vocabulary, name
    )
    return sizes


def core_sizes(sizes: UMT5Sizes) -> dict[str, int]:
    """The entries of core's UMT5 configuration that differ from the published model's."""
    return {
        "num_layers": sizes.layers,
        "num_heads": sizes.heads,
        "vocab_size": sizes.vocabulary,
        "d_model": sizes.width,
        "d_kv": sizes.head_size,
        "d_ff": sizes.ffn_width,
    }


def model_file(folder: str, name: str, what: str) -> str:
    """The path of a model file; ValueError where there is none, which names the input `what`."""
    path = folder_paths.get_full_path(folder, name)
    if path is None:
        raise ValueError(f"{what}: there is no {name} in models/{folder}")
    return path


def stamp(folder: str, name: str | None) -> tuple[str, int, int] | None:
    """Path, size in bytes and time of writing in nanoseconds of a file; a node whose file has another stamp
    is run anew.

    folder  one of ComfyUI's: `INPUT`, or that of a kind of model
    name    of the file

    -> None for a file that is not there. None too for a name that comes by a link, which the server learns
    only when the node runs.
    """
    if name is None:
        return None
    find = (
        folder_paths.get_annotated_filepath
        if folder == INPUT
        else partial(folder_paths.get_full_path, folder)
    )
    try:
        path = find(name)
        found = None if path is None else Path(path).stat()
    except (OSError, ValueError):
        return None
    return None if path is None or found is None else (path, found.st_size, found.st_mtime_ns)


def _require_whole(
    tensors: Mapping[str, Tensor], model: torch.nn.Module, name: str, quantised: Set[str] | None = None
) -> None:
    """ValueError unless a file's tensors are the model's parameters. Tensors that say how layers of
    `quantised` are packed may stand beside them; None: core unpacks none."""
    wanted, plain = dict(model.named_parameters()), {}
    for key, value in tensors.items():
        packed = quantised is not None and key in wanted and key.removesuffix(".weight") in quantised
        if packed:
            require_packed(key, value, wanted[key], name)
        if quantised is None or not is_quantised(key):
            plain[key] = wanted[key] if packed else value
    require_tensors(plain, wanted, name, "; ComfyUI's own loaders may know the variant")


def file_recipe(model: ModelPatcher) -> str | None:
    """The recipe that a model was trained for. Its LoRA on reference tokens says it, else the metadata of the
    last LoRA that core's loader put on it. Else the file says it that a loader of core's or ours read."""
    lora = (model.get_attachment(LORA_METADATA) or {}).get(TRAINED_FOR)
    said = model.get_attachment(wire.ADAPTED_TO) or lora
    header = None if said else _own_header(model)
    return said or (None if header is None else header.metadata.get(TRAINED_FOR))


def recognised(model: ModelPatcher, file: str | None = None) -> Recognised | None:
    """Weights that a model is recognised as, by its keys, else by the file's name. Keys are those of its file
    too, since core leaves some out. `file` is a name where the loader keeps none (GGUF)."""
    header = _own_header(model)
    keys = [*module_keys(model.model.diffusion_model), *(header.tensors if header is not None else ())]
    return recognise(_own_path(model) or file, keys)


def _own_path(model: ModelPatcher) -> str | None:
    source = getattr(model, "cached_patcher_init", None)
    path = source[1][0] if source and source[1] else None
    return path if isinstance(path, str) else None


def _own_header(model: ModelPatcher) -> Header | None:
    path = _own_path(model)
    if path is None or not path.endswith(".safetensors"):
        return None
    try:
        return header_of(path, "model")[1]
    except ValueError as error:
        logger.info("refvid: cannot read the metadata of the model's file (%s)", error)
        return None
