"""Loading a Wan backbone from ComfyUI's registered folders."""

import logging
from dataclasses import dataclass
from pathlib import Path

import comfy.model_sampling
import comfy.sd
import comfy.utils
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .apply import file_recipe
from .semantic import attach_from_model_file, modules_of
from .variants import describe, require_vae, require_wan

logger = logging.getLogger(__name__)

DTYPES = {
    "default": None,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8_e4m3fn": torch.float8_e4m3fn,
}
CLOCK = 1000  # Wan's timesteps run 0…1000
UMT5_FIRST = "encoder.block.0.layer."
UMT5_KEYS = ("shared.weight", "spiece_model", UMT5_FIRST + "0.SelfAttention.relative_attention_bias.weight")
# Core recognises UMT5-XXL, the only size it knows, by the shape of this tensor of its last layer; a smaller encoder is
# given an empty one, which is not loaded.
UMT5_MARK, UMT5_MARK_ROWS = "encoder.block.23.layer.1.DenseReluDense.wi_1.weight", 10240


@dataclass(frozen=True)
class Backbone:
    """The three parts, and one line that says what they are."""

    model: ModelPatcher
    clip: comfy.sd.CLIP
    vae: comfy.sd.VAE
    description: str


def load_backbone(
    diffusion_model: str, text_encoder: str, vae: str, weight_dtype: str, shift: float
) -> Backbone:
    """Load by file name. ValueError names the input whose file is not what is needed."""
    model = load_model(_file("diffusion_models", diffusion_model, "diffusion_model"), DTYPES[weight_dtype])
    wan_vae = load_vae(_file("vae", vae, "vae"))
    require_vae(wan_vae, model)
    clip = load_text_encoder(_file("text_encoders", text_encoder, "text_encoder"))
    known = "sama (its modules are in the file)" if modules_of(model) is not None else file_recipe(model)
    described = f"{diffusion_model}: {describe(model)}; trained for {known or 'no recipe named in the file'}"
    logger.info("refvid: %s", described)
    return Backbone(with_shift(model, shift), clip, wan_vae, described)


def load_model(path: str, dtype: torch.dtype | None) -> ModelPatcher:
    """A Wan diffusion model through core's loader, with the modules of SAMA where its file holds them."""
    require_safetensors(path, "diffusion_model")
    try:
        model = comfy.sd.load_diffusion_model(path, model_options={} if dtype is None else {"dtype": dtype})
    except RuntimeError as error:
        raise ValueError(
            f"diffusion_model: {Path(path).name} is not a model ComfyUI knows ({error})"
        ) from error
    require_wan(model, f"diffusion_model: {Path(path).name}")
    return attach_from_model_file(model, path)


def load_vae(path: str) -> comfy.sd.VAE:
    """A VAE through core's loader."""
    require_safetensors(path, "vae")
    state, metadata = comfy.utils.load_torch_file(path, return_metadata=True)
    vae = comfy.sd.VAE(sd=state, metadata=metadata)
    if vae.first_stage_model is None:
        raise ValueError(f"vae: {Path(path).name} is not a VAE ComfyUI knows; give a Wan VAE")
    if hasattr(comfy.sd, "load_vae_patcher"):  # lets core make the VAE anew on another device
        vae.patcher.cached_patcher_init = (comfy.sd.load_vae_patcher, (path, metadata, None))
    return vae


def load_text_encoder(path: str) -> comfy.sd.CLIP:
    """UMT5 of any size: core's loader knows the published one, the sizes of others are read from their tensors."""
    require_safetensors(path, "text_encoder")
    with safe_open(path, framework="pt") as file:
        keys = set(file.keys())
    missing = [key for key in UMT5_KEYS if key not in keys]
    if missing:
        raise ValueError(
            f"text_encoder: {Path(path).name} has no {missing[0]}; give a UMT5 in ComfyUI's format"
        )
    embeddings, wan = folder_paths.get_folder_paths("embeddings"), comfy.sd.CLIPType.WAN
    if UMT5_MARK in keys:
        return comfy.sd.load_clip([path], embeddings, wan)
    state = comfy.utils.load_torch_file(path, safe_load=True)
    options = {"umt5xxl_model_config": _umt5_sizes(state)}
    marked = {**state, UMT5_MARK: torch.zeros(UMT5_MARK_ROWS, 1)}
    return comfy.sd.load_text_encoder_state_dicts([marked], embeddings, wan, model_options=options)


def _umt5_sizes(state: dict[str, Tensor]) -> dict[str, int]:
    """The entries of core's UMT5 configuration that differ from the published model's."""
    heads = state[UMT5_FIRST + "0.SelfAttention.relative_attention_bias.weight"].shape[1]
    return {
        "num_layers": len({key.split(".")[2] for key in state if key.startswith("encoder.block.")}),
        "num_heads": heads,
        "vocab_size": state["shared.weight"].shape[0],
        "d_model": state["shared.weight"].shape[1],
        "d_kv": state[UMT5_FIRST + "0.SelfAttention.q.weight"].shape[0] // heads,
        "d_ff": state[UMT5_FIRST + "1.DenseReluDense.wi_0.weight"].shape[0],
    }


def with_shift(model: ModelPatcher, shift: float) -> ModelPatcher:
    """A clone whose flow schedule is shifted, as core's ModelSamplingSD3 does it."""

    class ShiftedFlow(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
        pass

    sampling = ShiftedFlow(model.model.model_config)
    sampling.set_parameters(shift=shift, multiplier=CLOCK)
    model = model.clone()
    model.add_object_patch("model_sampling", sampling)
    return model


def require_safetensors(path: str, what: str) -> None:
    """ValueError unless the file is a whole safetensors file: other formats can run code when they are read."""
    name = Path(path).name
    if Path(path).suffix not in (".safetensors", ".sft"):
        raise ValueError(
            f"{what}: {name} is not a .safetensors file; pickled weights can run code and are refused"
        )
    try:
        with safe_open(path, framework="pt"):
            pass
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{what}: {name} is truncated or not a safetensors file ({error})") from error


def _file(folder: str, name: str, what: str) -> str:
    path = folder_paths.get_full_path(folder, name)
    if path is None:
        raise ValueError(f"{what}: there is no {name} in models/{folder}")
    return path
