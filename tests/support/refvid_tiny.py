"""Tiny Wan files with random weights, in original format, for both hosts. Written with the plain modules' own
key names, which are the original ones."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from refvid.backbones.wan.dit import Block, DiTConfig, WanDiT
from refvid.backbones.wan.vae import WanVAE
from refvid.backbones.wan.vae22 import Wan22VAE
from refvid.core.adapter import save_adapter as save_adapter_file
from refvid.core.checkpoint import save_model
from refvid.core.lora import CROSS, PROJECTIONS, lora_key
from refvid.core.semantic import SemanticConfig, SemanticModules
from refvid.core.slots import SlotEncoder, SlotsConfig
from refvid.demo import captions
from refvid.hosts.plain.pipeline import SETTINGS
from refvid.training.base.text import fresh_text_encoder

TEXT_WIDTH = 32


def config(
    in_channels: int = 16, out_channels: int = 16, image_width: int | None = None, layers: int = 2
) -> DiTConfig:
    return DiTConfig(96, 128, 2, layers, in_channels, out_channels, TEXT_WIDTH, image_width=image_width)


def dit_state(sizes: DiTConfig, seed: int = 0) -> dict[str, Tensor]:
    """Random weights, modulation and biases included, of a scale that keeps activations near one."""
    generator = torch.Generator().manual_seed(seed)
    state = WanDiT(sizes).state_dict()
    return {key: _random(key, value, generator) for key, value in state.items()}


def vace_state(sizes: DiTConfig, seed: int = 0) -> dict[str, Tensor]:
    """A VACE model: one more control block for every block of the backbone."""
    generator, state = torch.Generator().manual_seed(seed + 1), dit_state(sizes, seed)
    extra: dict[str, Tensor] = {}
    width = sizes.width
    for index in range(sizes.layers):
        block = {
            **Block(sizes).state_dict(),
            "after_proj.weight": torch.empty(width, width),
            "after_proj.bias": torch.empty(width),
        }
        if index == 0:
            block |= {"before_proj.weight": torch.empty(width, width), "before_proj.bias": torch.empty(width)}
        extra |= {f"vace_blocks.{index}.{key}": value for key, value in block.items()}
    patch = nn.Conv3d(96, width, (1, 2, 2), (1, 2, 2)).state_dict()
    extra |= {f"vace_patch_embedding.{key}": value for key, value in patch.items()}
    return state | {key: _random(key, value, generator) for key, value in extra.items()}


def semantic_state(width: int, features: int = 24, hidden: int = 20, seed: int = 4) -> dict[str, Tensor]:
    """SAMA's modules for a DiT of this width, every weight random."""
    generator = torch.Generator().manual_seed(seed)
    state = SemanticModules(SemanticConfig(width, features, hidden)).state_dict()
    return {key: _random(key, value, generator) for key, value in state.items()}


def sama_state(sizes: DiTConfig, seed: int = 0) -> dict[str, Tensor]:
    """A whole file in SAMA-14B's layout: the text-to-video DiT in original names, and the modules beside
    it."""
    return dit_state(sizes, seed) | semantic_state(sizes.width)


def _random(key: str, value: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(value.shape, generator=generator)
    if (
        key.endswith(("norm_q.weight", "norm_k.weight", "norm3.weight", "norm_k_img.weight"))
        or ".norm" in key
    ):
        return 1 + 0.1 * noise
    if value.ndim < 2:
        return 0.1 * noise
    fan = value[0].numel() if "modulation" not in key else value.shape[-1]
    return noise / fan**0.5


def save_dit(
    folder: Path,
    name: str,
    sizes: DiTConfig,
    state: dict[str, Tensor],
    recipe: str | None = None,
    settings: dict | None = None,
) -> Path:
    transformer = {"num_heads": sizes.heads, "text_dim": sizes.text_width}
    metadata = {"config": json.dumps({"transformer": transformer})}
    if recipe is not None:
        metadata["refvid.recipe"] = recipe
    if settings is not None:
        metadata[SETTINGS] = json.dumps(settings)
    save_model(state, folder / name, metadata, dtype=torch.float32)
    return folder / name


def save_vae(folder: Path, name: str = "vae.safetensors", width: int = 8) -> Path:
    """Width 8: below that a position's few channels can all be near zero, and normalising them amplifies
    rounding."""
    torch.manual_seed(1)
    save_model(dict(WanVAE(width).state_dict()), folder / name, dtype=torch.float32)
    return folder / name


def vae22(width: int = 8, decoder_width: int | None = None) -> Wan22VAE:
    """A Wan 2.2 VAE, every weight random, of a scale that keeps activations near one."""
    vae, generator = Wan22VAE(width, decoder_width), torch.Generator().manual_seed(7)
    vae.load_state_dict({key: _random(key, value, generator) for key, value in vae.state_dict().items()})
    return vae.eval().requires_grad_(False)


def save_vae22(folder: Path, name: str = "vae22.safetensors", *widths: int) -> Path:
    save_model(dict(vae22(*widths).state_dict()), folder / name, dtype=torch.float32)
    return folder / name


def save_text_encoder(folder: Path, name: str = "text.safetensors", width: int = TEXT_WIDTH) -> Path:
    torch.manual_seed(2)
    save_model(fresh_text_encoder(width, captions.vocabulary()).tensors(), folder / name, dtype=torch.float32)
    return folder / name


def save_tower(folder: Path, seed: int, size: int = 16, patch: int = 2) -> Path:
    """A small SigLIP of 24 features, in transformers' format."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    torch.manual_seed(seed)
    sizes = SiglipVisionConfig(
        hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=size, patch_size=patch
    )  # fmt: skip
    SiglipVisionModel(sizes).save_pretrained(folder)
    return folder


def save_models(folder: Path, sizes: DiTConfig, **settings) -> tuple[Path, Path, Path]:
    """DiT, which says how it likes to be run, the VAE of its latents and text encoder: a base for adapters to
    be trained on."""
    dit = save_dit(folder, "dit.safetensors", sizes, dit_state(sizes), settings=settings or None)
    vae = save_vae(folder, width=2) if sizes.out_channels == 16 else save_vae22(folder, "vae.safetensors", 2)
    return dit, vae, save_text_encoder(folder, width=sizes.text_width)


def lora_of(sizes: DiTConfig, attention: str, rank: int = 2) -> dict[str, torch.Tensor]:
    """A LoRA in ComfyUI's names on one of a DiT's two attentions, random, strong enough to be seen."""
    return {
        lora_key(block, projection, part, attention): value
        for block in range(sizes.layers)
        for projection in PROJECTIONS
        for part, value in (
            ("lora_A.weight", torch.randn(rank, sizes.width) / sizes.width**0.5),
            ("lora_B.weight", 0.3 * torch.randn(sizes.width, rank)),
            ("alpha", torch.tensor(float(rank))),
        )
    }


def save_adapter(
    folder: Path, sizes: DiTConfig, name: str = "slot_id.safetensors", seed: int = 3, rank: int = 2
) -> Path:
    """A Slot-ID adapter of this DiT's width, every weight random, the LoRA strong enough to be seen."""
    torch.manual_seed(seed)
    config = SlotsConfig(
        channels=sizes.out_channels,
        context=sizes.width,
        width=16,
        place_width=4,
        slots=3,
        anchors=2,
        frames=9,
        size=64,
    )
    encoder = SlotEncoder(config, 2)
    encoder.start()
    lora = lora_of(sizes, CROSS, rank)
    save_adapter_file(config, encoder.state_dict(), lora, folder / name, torch.float32)
    return folder / name
