"""Slot-ID in ComfyUI: an adapter from its file, an identity from a reference video, and identities onto a model."""

from dataclasses import dataclass
from pathlib import Path

import comfy.model_management
import comfy.ops
import comfy.sd
import folder_paths
import torch
from comfy.model_patcher import CoreModelPatcher, ModelPatcher
from torch import Tensor

from ...backbones.wan.geometry import WAN
from ...core.adapter import Adapter, load_adapter
from ...core.controls import FrameWindow
from ...core.identity import Bound, Identity, require_adapter
from ...core.lora import changes
from ...core.reach import reach
from ...core.reference_video import ReferenceVideo, cover, make_reference_video
from ...core.slots import Encoded, SlotEncoder
from . import halves, sidecar
from .apply import video_latent
from .conditioning import IDENTITIES, AttachedIdentity, Conditioning, attach_identity
from .families import wan


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter with its encoder where ComfyUI moves and casts its weights."""

    adapter: Adapter
    encoder: CoreModelPatcher


def load(path: str, what: str = "adapter") -> LoadedAdapter:
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


def encode_identity(
    loaded: LoadedAdapter, vae, clip: Tensor, masks: Tensor | None, anchor: int | None
) -> tuple[Identity, ReferenceVideo, Encoded]:
    """Who is in a clip (F, H, W, 3) with masks (F or 1, H, W) or none -> the identity, the clip as it was read, and what each
    slot read."""
    config, geometry = loaded.adapter.config, loaded.adapter.geometry
    if vae.latent_channels != geometry.channels:
        raise ValueError(
            f"vae makes latents of {vae.latent_channels} channels, the adapter reads {geometry.channels}; connect the VAE of the model it "
            "was trained with"
        )
    video = make_reference_video(clip, masks, config.frames, config.size, geometry, anchor)
    picture, seen = slice(video.anchor, video.anchor + 1), wan.LATENT_FORMATS[geometry.channels]()
    given = [
        seen.process_in(vae.encode(video.pictures)),
        cover(video.masks, geometry)[None],
        seen.process_in(vae.encode(video.pictures[picture])),
        cover(video.masks[picture], geometry)[None],
    ]
    comfy.model_management.load_models_gpu([loaded.encoder])
    device = loaded.encoder.load_device
    with torch.no_grad():
        encoded = loaded.encoder.model(*(one.to(device, torch.float32) for one in given))
    anchors, slots = (one[0].float().cpu() for one in (encoded.anchors, encoded.slots))
    return Identity(anchors, slots, loaded.adapter.fingerprint, video.pictures[video.anchor]), video, encoded


def apply_identity(
    models: list[ModelPatcher], positive: Conditioning, negative: Conditioning, loaded: LoadedAdapter,
    identity: Identity, strength: float = 1.0, parts: str = "both", phrase: Tensor | None = None,
    region: Tensor | None = None, latent: dict[str, Tensor] | None = None,
) -> tuple[list[ModelPatcher], Conditioning, Conditioning]:  # fmt: skip
    """The models with the adapter's LoRA, and conditioning that carries the identity: in the positive after those it has, in the negative as
    the learned nobody. Strength 0 gives everything back as it came. Everything that may be refused is refused first.

    phrase  states (1, S, text width) of the words that name this person, from the model's text encoder
    region  (H, W) or (pictures, H, W), where in the video of `latent` the identity is read
    """
    for model, what in zip(models, ("model", "low_noise_model"), strict=False):
        wan.require(model, what)
    require_adapter(identity, loaded.adapter.fingerprint, "identity")
    tokens = identity.tokens(parts)
    for model in models:
        _require_fit(model, loaded)
    if strength == 0:
        return models, positive, negative
    Bound(len(tokens), strength)  # refuses a strength that is out of bounds
    everywhere = torch.ones(1, 1, 1, dtype=torch.bool)
    cells = everywhere if region is None else _cells(region, latent, models[0])
    states = None if phrase is None else words(phrase)
    adapter = loaded.adapter.fingerprint
    named = AttachedIdentity(tokens[None], strength, states, cells, adapter)
    nobody = AttachedIdentity(loaded.adapter.nobody[None], 1.0, None, everywhere, adapter)
    return (
        [_with_lora(sidecar.install(model, halves.IDENTITIES), loaded.adapter) for model in models],
        attach_identity(positive, named),
        [one for entry in negative for one in _once(entry, nobody)],
    )


def encode_phrase(clip, phrase: str) -> Tensor | None:
    """States (1, S, text width) of a phrase; None for an empty one. ValueError without a text encoder."""
    if not phrase.strip():
        return None
    if clip is None:
        raise ValueError(f"phrase is {phrase!r}, which needs the text encoder: connect clip")
    return clip.encode_from_tokens_scheduled(clip.tokenize(phrase))[0][0]


def input_file(name: str) -> str:
    """The path of a file in ComfyUI's input folder; ValueError where there is none."""
    needed = "needed a file that Save Identity made"
    try:
        path = folder_paths.get_annotated_filepath(name)
    except ValueError as error:  # core follows no link that leads out of the folder
        raise ValueError(f"file: {name} cannot be read ({error}); {needed}") from error
    if not Path(path).is_file():
        raise ValueError(f"file: there is no {name} in ComfyUI's input folder; {needed}")
    return path


def words(states: Tensor) -> Tensor:
    """States (1, S, C) of a phrase alone, without the padding, which is zero, and without the closing token. ValueError where nothing
    is left."""
    spoken = states[:, states[0].ne(0).any(-1)][:, :-1]
    if not spoken.shape[1]:
        raise ValueError("phrase has no words; name the person as the prompt does, or leave it empty")
    return spoken


def _once(entry: list, nobody: AttachedIdentity) -> Conditioning:
    """A condition that carries nobody once, however many people are applied."""
    return [entry] if IDENTITIES in entry[1] else attach_identity([entry], nobody)


def _cells(region: Tensor, latent: dict[str, Tensor] | None, model: ModelPatcher) -> Tensor:
    if latent is None:
        raise ValueError("region needs the latent of the video it lies in; connect the empty latent")
    frames, rows, columns = video_latent(latent, model).shape[2:]
    # A mask of any whole number of pixels to a cell will do: there is no VAE here to ask.
    stride = max(1, region.shape[-2] // rows)
    return reach(FrameWindow(), region, (frames, rows, columns), wan.geometry(model), stride)


def _require_fit(model: ModelPatcher, loaded: LoadedAdapter) -> None:
    config, width, channels = loaded.adapter.config, wan.width(model), wan.geometry(model).channels
    if width != config.context or channels != config.channels:
        raise ValueError(
            f"adapter was trained for a Wan of width {config.context} and latents of {config.channels} channels; the model has "
            f"{width} and {channels}"
        )
    changes(loaded.adapter.lora, wan.weights_of(model), "adapter")
    present = model.attachments.get(halves.LORA)
    if present not in (None, loaded.adapter.fingerprint):
        raise ValueError(
            f"model carries adapter {present} already, this is {loaded.adapter.fingerprint}; use one adapter for all people"
        )


def _with_lora(model: ModelPatcher, adapter: Adapter) -> ModelPatcher:
    """A model with the adapter's LoRA once, through ComfyUI's own weight adapters."""
    if model.attachments.get(halves.LORA) is not None:
        return model
    patched, _ = comfy.sd.load_lora_for_models(model, None, adapter.lora, 1.0, 0.0)
    patched.set_attachments(halves.LORA, adapter.fingerprint)
    return patched
