"""The tiny model files that a version's kept graphs run on, in half precision, under the names the graphs ask
for."""

from pathlib import Path

import refvid_tiny as tiny
import torch
from refvid_base_folder import DIT, SAMA, SLOT_ID, TEXT, VAE, VIDEOMAKER
from refvid_stand_in import adapter_state
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from refvid.backbones.wan.dit import DiTConfig
from refvid.backbones.wan.vae import WanVAE
from refvid.core.checkpoint import save_model
from refvid.core.lora import SELF

TEXT_WIDTH = 8
REFERENCE_ADAPTER = "refvid_kept_stand_in.safetensors"
INPAINTING = "refvid_kept_inp.safetensors"  # takes masked latents beside the video's: 36 channels


def sizes(in_channels: int = 16) -> DiTConfig:
    """Sizes as small as every feature still shows: two blocks of two heads."""
    return DiTConfig(48, 64, 2, 2, in_channels, 16, TEXT_WIDTH)


def make_models(models: Path) -> None:
    """Backbone, text encoder, VAE, and an adapter of each kind, below a `models` folder."""
    dits, texts, vaes, loras = (
        models / name for name in ("diffusion_models", "text_encoders", "vae", "loras")
    )
    for folder in (dits, texts, vaes, loras):
        folder.mkdir(parents=True, exist_ok=True)
    small, masked = sizes(), sizes(36)
    tiny.save_dit(dits, DIT, small, tiny.dit_state(small), recipe="saber")
    tiny.save_dit(dits, INPAINTING, masked, tiny.dit_state(masked, seed=7), recipe="saber")
    tiny.save_text_encoder(texts, TEXT, TEXT_WIDTH)
    save_model(vae_state(), vaes / VAE)
    tiny.save_adapter(loras, small, SLOT_ID)
    torch.manual_seed(8)
    sama = tiny.semantic_state(small.width) | tiny.lora_of(small, SELF)
    save_model(sama, loras / SAMA)
    save_model(tiny.lora_of(small, SELF), loras / VIDEOMAKER)
    save_model(adapter_state(small), loras / REFERENCE_ADAPTER)
    for file in models.rglob("*.safetensors"):
        _halve(file)


def vae_state(width: int = 4, gain: float = 4.0) -> dict[str, Tensor]:
    """Random weights that let a picture through: with a fresh module's, two pictures have almost one
    latent."""
    generator = torch.Generator().manual_seed(1)
    state = {key: _weight(value, generator) for key, value in WanVAE(width).state_dict().items()}
    return state | {key: gain * state[key] for key in ("conv1.weight", "conv1.bias")}


def _weight(value: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(value.shape, generator=generator)
    if value.ndim > 1 and value[0].numel() > 1:
        return noise / value[0].numel() ** 0.5
    return 0.1 * noise if value.ndim == 1 else 1 + 0.1 * noise  # biases, and the scales of the norms


def _halve(path: Path) -> None:
    """File in half precision, as the shipped ones are."""
    with safe_open(path, "pt") as file:
        state, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    halved = {key: one.half() if one.is_floating_point() else one for key, one in state.items()}
    path.unlink()
    save_file(halved, path, metadata)
