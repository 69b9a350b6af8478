"""Slot-ID's adapters in ComfyUI: an adapter from its file, and an identity that its encoder reads from a
reference video."""

from dataclasses import dataclass

import comfy.model_management
import comfy.ops
import torch
from comfy.model_patcher import CoreModelPatcher
from torch import Tensor

from ...backbones.wan.geometry import WAN
from ...core.adapter import SlotAdapter, load_adapter
from ...core.identity import Identity
from ...core.reference_video import ReferenceVideo, cover, make_reference_video
from ...core.slots import Encoded, SlotEncoder
from .families import wan


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter, with its encoder where ComfyUI moves and casts its weights."""

    adapter: SlotAdapter
    encoder: CoreModelPatcher


def load_comfy_adapter(path: str, what: str = "adapter") -> LoadedAdapter:
    """An adapter from its file; ValueError as `core.adapter.load_adapter` says."""
    adapter = load_adapter(path, WAN, what)
    device, offload = (
        comfy.model_management.text_encoder_device(),
        comfy.model_management.text_encoder_offload_device(),
    )
    encoder = SlotEncoder(adapter.config, adapter.geometry.patch, comfy.ops.manual_cast).to(offload)
    patcher = CoreModelPatcher(encoder, load_device=device, offload_device=offload)
    encoder.load_state_dict({k: v.float() for k, v in adapter.encoder.items()}, assign=patcher.is_dynamic())
    return LoadedAdapter(adapter, patcher)


def encode_comfy_identity(
    loaded: LoadedAdapter, vae, clip: Tensor, masks: Tensor | None, anchor: int | None
) -> tuple[Identity, ReferenceVideo, Encoded]:
    """Read the identity in a clip. ValueError for a VAE whose latents the adapter does not read.

    clip    (F, H, W, 3) in [0, 1]
    masks   (F or 1, H, W), 1 = subject; None: all of the pictures
    anchor  the frame that shows the subject best; None: it is looked for

    -> the identity, the clip as it was read, and what each slot read.
    """
    config, geometry = loaded.adapter.config, loaded.adapter.geometry
    if vae.latent_channels != geometry.channels:
        raise ValueError(
            f"vae makes latents of {vae.latent_channels} channels, the adapter reads {geometry.channels}; "
            "connect the VAE of the model it "
            "was trained with"
        )
    video = make_reference_video(clip, masks, config.frames, config.size, geometry, anchor)
    picture, seen = slice(video.anchor, video.anchor + 1), wan.LATENT_FORMATS[geometry.channels]()
    inputs = [
        seen.process_in(vae.encode(video.pictures)),
        cover(video.masks, geometry)[None],
        seen.process_in(vae.encode(video.pictures[picture])),
        cover(video.masks[picture], geometry)[None],
    ]
    comfy.model_management.load_models_gpu([loaded.encoder])
    device = loaded.encoder.load_device
    with torch.no_grad():
        encoded = loaded.encoder.model(*(one.to(device, torch.float32) for one in inputs))
    anchors, slots = (one[0].float().cpu() for one in (encoded.anchors, encoded.slots))
    return Identity(anchors, slots, loaded.adapter.fingerprint, video.pictures[video.anchor]), video, encoded


def encode_phrase(clip, phrase: str) -> Tensor | None:
    """States (1, S, text width) of a phrase; None for an empty one. ValueError without a text encoder."""
    if not phrase.strip():
        return None
    if clip is None:
        raise ValueError(f"phrase is {phrase!r}, which needs the text encoder: connect clip")
    return clip.encode_from_tokens_scheduled(clip.tokenize(phrase))[0][0]
