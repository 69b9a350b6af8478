"""Which of ComfyUI's Wan models the reference path is known to work in; the others are refused by name."""

import comfy.ldm.wan.model
import comfy.model_base
from comfy.model_patcher import ModelPatcher
from torch import Tensor

# Exact classes: a subclass has a forward of its own that would drop our tokens without a word.
DIFFUSION_MODELS = (comfy.ldm.wan.model.WanModel, comfy.ldm.wan.model.VaceWanModel)
BASE_MODELS = (comfy.model_base.WAN21, comfy.model_base.WAN21_Vace, comfy.model_base.WAN22)
VAE_MODULES = ("comfy.ldm.wan.vae", "comfy.ldm.wan.vae2_2")


def require_wan(model: ModelPatcher, what: str = "model") -> None:
    """ValueError unless the model is a Wan variant the reference path works in."""
    base, diffusion = type(model.model), type(model.model.diffusion_model)
    if not isinstance(model.model, comfy.model_base.WAN21):
        raise ValueError(
            f"{what} is {base.__name__}, not a Wan model; connect Wan 2.1 or 2.2 (T2V, I2V, Fun-InP, VACE, TI2V)"
        )
    if base not in BASE_MODELS or diffusion not in DIFFUSION_MODELS:
        raise ValueError(
            f"{what} is the Wan variant {base.__name__} ({diffusion.__name__}), whose forward references do not reach; "
            "connect Wan T2V, I2V, Fun-InP, VACE or TI2V"
        )


def latent_channels(model: ModelPatcher) -> int:
    """Channels of the latents this model makes: 16, or 48 for TI2V-5B."""
    return model.model.latent_format.latent_channels


def input_channels(model: ModelPatcher) -> int:
    """Channels its patch embedding takes: 16, 36 or 48."""
    return model.model.diffusion_model.in_dim


def weights_of(model: ModelPatcher) -> dict[str, Tensor]:
    """The diffusion model's weights by name, of the sizes they act with: what a GGUF file packs, its `state_dict` says packed."""
    return dict(model.model.diffusion_model.named_parameters())


def takes_image_features(model: ModelPatcher) -> bool:
    """True for image-to-video weights with a CLIP branch."""
    return model.model.diffusion_model.img_emb is not None


def require_vae(vae, model: ModelPatcher) -> None:
    """ValueError unless the VAE makes the latents this model was trained on."""
    family, channels, needed = (
        type(vae.first_stage_model).__module__,
        vae.latent_channels,
        latent_channels(model),
    )
    if family not in VAE_MODULES or channels != needed:
        needs = "Wan 2.2 VAE (48 channels)" if needed == 48 else "Wan 2.1 VAE (16 channels)"
        raise ValueError(
            f"vae is of another family ({type(vae.first_stage_model).__name__}, {channels} channels); "
            f"this model needs the {needs}"
        )


def describe(model: ModelPatcher) -> str:
    """One line on what was loaded."""
    base = type(model.model).__name__
    return f"{base}: {input_channels(model)} input channels, latents of {latent_channels(model)} channels"


def makes_one_clock(model: ModelPatcher) -> bool:
    """True where the forward takes no timestep per frame."""
    return type(model.model.diffusion_model) is comfy.ldm.wan.model.VaceWanModel
