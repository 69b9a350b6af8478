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

from ...backbones.wan.files import XXL
from .families import wan
from .files import (
    core_sizes,
    file_recipe,
    model_file,
    recognised,
    require_dit,
    require_umt5,
    require_vae_file,
)
from .source.modules import attach_from_model_file, modules_of

logger = logging.getLogger(__name__)

DIT_DTYPES = {
    "default": None,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8_e4m3fn": torch.float8_e4m3fn,
}
# Core recognises UMT5-XXL, the only size it knows, by the shape of this tensor of its last layer. A smaller
# encoder is given an empty one, which is not loaded.
UMT5_MARK = "encoder.block.23.layer.1.DenseReluDense.wi_1.weight"


@dataclass(frozen=True)
class LoadedBackbone:
    """A loaded Wan: model, text encoder and VAE, and one line that says what they are."""

    model: ModelPatcher
    clip: comfy.sd.CLIP
    vae: comfy.sd.VAE
    description: str


def load_backbone(
    diffusion_model: str, text_encoder: str, vae: str, weight_dtype: str, shift: float
) -> LoadedBackbone:
    """Load a backbone by file names. ValueError names the input whose file is not what is needed."""
    model = load_model(
        model_file("diffusion_models", diffusion_model, "diffusion_model"), DIT_DTYPES[weight_dtype]
    )
    wan_vae = load_comfy_vae(model_file("vae", vae, "vae"))
    wan.require_vae(wan_vae, model)
    clip = load_comfy_text_encoder(model_file("text_encoders", text_encoder, "text_encoder"))
    described = f"{diffusion_model}: {wan.describe(model)}; {_known(model)}"
    logger.info("refvid: %s", described)
    return LoadedBackbone(with_shift(model, shift), clip, wan_vae, described)


def _known(model: ModelPatcher) -> str:
    """Half a sentence on what the model was trained for, as far as its file says."""
    if modules_of(model) is not None:
        return "trained for sama (its modules are in the file)"
    trained, found = file_recipe(model), recognised(model)
    if trained is None and found is not None:
        return found.said + (f": {found.weights.refusal}" if found.weights.refusal else "")
    return f"trained for {trained or 'no recipe named in the file'}"


def load_model(path: str, dtype: torch.dtype | None) -> ModelPatcher:
    """A Wan diffusion model through core's loader, with the modules of SAMA where its file holds them."""
    require_dit(path)
    model = comfy.sd.load_diffusion_model(path, model_options={} if dtype is None else {"dtype": dtype})
    wan.require(model, f"diffusion_model: {Path(path).name}")
    return attach_from_model_file(model, path)


def load_comfy_vae(path: str) -> comfy.sd.VAE:
    """A VAE through core's loader."""
    require_vae_file(path)
    state, metadata = comfy.utils.load_torch_file(path, return_metadata=True)
    vae = comfy.sd.VAE(sd=state, metadata=metadata)
    if hasattr(comfy.sd, "load_vae_patcher"):  # lets core make the VAE anew on another device
        vae.patcher.cached_patcher_init = (comfy.sd.load_vae_patcher, (path, metadata, None))
    return vae


def load_comfy_text_encoder(path: str) -> comfy.sd.CLIP:
    """UMT5 of any size. Core's loader knows the published one; the sizes of others are read from their
    tensors."""
    sizes = require_umt5(path)
    embeddings, wan = folder_paths.get_folder_paths("embeddings"), comfy.sd.CLIPType.WAN
    if sizes.layers == XXL.layers:
        return comfy.sd.load_clip([path], embeddings, wan)
    state, metadata = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
    state, _ = comfy.utils.convert_old_quants(state, metadata=metadata)
    marked = {**state, UMT5_MARK: torch.zeros(XXL.ffn_width, 1)}
    return comfy.sd.load_text_encoder_state_dicts(
        [marked], embeddings, wan, model_options={"umt5xxl_model_config": core_sizes(sizes)}
    )


def with_shift(model: ModelPatcher, shift: float) -> ModelPatcher:
    """A clone whose flow schedule is shifted, as core's ModelSamplingSD3 does it."""

    class ShiftedFlow(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
        pass

    sampling = ShiftedFlow(model.model.model_config)
    sampling.set_parameters(shift=shift, multiplier=wan.geometry(model).clock)
    model = model.clone()
    model.add_object_patch("model_sampling", sampling)
    return model
