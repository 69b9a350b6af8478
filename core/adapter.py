"""An adapter's file: the encoder that reads identities and the LoRA that lets Wan's cross-attention use them,
as one safetensors.

The LoRA has ComfyUI's key names, so core's own LoRA loader reads it from the same file.
"""

import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from .checkpoint import (
    KIND,
    VERSION,
    read_safetensors,
    read_shapes,
    require_kind,
    require_tensors,
    save_model,
)
from .geometry import Geometry
from .header import shown
from .lora import CROSS, LORA, MOST_LAYERS, PROJECTIONS, changes
from .records import read_record
from .slots import SlotEncoder, SlotsConfig

_ADAPTER_KIND, _FORMAT = "slot_id", "2"
ENCODER = "slot_encoder."
_CONFIG = "refvid.config"


@dataclass(frozen=True)
class SlotAdapter:
    """config and weights of a `SlotEncoder`, and the geometry whose latents it reads; the LoRA as in the
    file; fingerprint of all of it."""

    config: SlotsConfig
    geometry: Geometry
    encoder: dict[str, Tensor]
    lora: dict[str, Tensor]
    fingerprint: str

    @property
    def nobody(self) -> Tensor:
        """(A + S, C) float32: the learned tokens that stand for no identity."""
        return self.encoder["null.weight"].float()


def save_adapter(
    config: SlotsConfig,
    encoder: dict[str, Tensor],
    lora: dict[str, Tensor],
    path: str | Path,
    dtype=torch.float16,
) -> None:
    """Write an adapter; `encoder` under SlotEncoder's own names, `lora` under `lora_key`'s."""
    metadata = {KIND: _ADAPTER_KIND, VERSION: _FORMAT, _CONFIG: json.dumps(asdict(config))}
    save_model({**{ENCODER + key: value for key, value in encoder.items()}, **lora}, path, metadata, dtype)


def load_adapter(path: str | Path, known: Mapping[int, Geometry], what: str = "adapter") -> SlotAdapter:
    """Read an adapter that `save_adapter` wrote, for a backbone of one of the known geometries, by the
    channels of its latents. ValueError for a file that is missing, truncated, of another kind or version, or
    for another backbone. ValueError too where it holds more than an encoder and a LoRA, or its sizes are not
    its configuration's."""
    shapes, metadata = read_shapes(path, what)
    name = f"{what}: {Path(path).name}"
    require_kind(metadata, _ADAPTER_KIND, _FORMAT, name, "a plain LoRA goes into a LoRA loader")
    config = read_record(SlotsConfig, metadata, _CONFIG, name)
    geometry = _geometry(config, known, f'{name}: its metadata "{_CONFIG}" cannot be used')
    odd = [key for key in shapes if not key.startswith((ENCODER, LORA))]
    if odd:
        raise ValueError(
            f"{name} holds {shown(min(odd))}, which is neither of its encoder ({ENCODER}…) nor of its LoRA "
            f"({LORA}…); needed these two alone"
        )
    with torch.device("meta"):
        wanted = SlotEncoder(config, geometry.patch).state_dict()
    require_tensors(_encoder(shapes), wanted, f"{name}: its encoder")
    _require_lora(_lora(shapes), config.context, name)
    state, _ = read_safetensors(path, what)
    encoder, lora = _encoder(state), _lora(state)
    return SlotAdapter(config, geometry, encoder, lora, _fingerprint(state))


def require_fit(config: SlotsConfig, width: int, channels: int, what: str) -> None:
    """ValueError where an adapter was trained for another Wan than one of this width and of latents of so
    many channels."""
    if (width, channels) != (config.context, config.channels):
        raise ValueError(
            f"{what} was trained for a Wan of width {config.context} and latents of {config.channels} channels; the model has "
            f"{width} and {channels}"
        )


def _geometry(config: SlotsConfig, known: Mapping[int, Geometry], name: str) -> Geometry:
    """The geometry whose latents an encoder of these sizes reads."""
    if config.channels not in known:
        raise ValueError(f"{name} (channels is {config.channels}; needed {' or '.join(map(str, known))})")
    try:
        config.require(known[config.channels])
    except ValueError as error:
        raise ValueError(f"{name} ({error})") from error
    return known[config.channels]


def _encoder(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(ENCODER): value for key, value in state.items() if key.startswith(ENCODER)}


def _lora(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key.startswith(LORA)}


def _require_lora(lora: dict[str, Tensor], width: int, name: str) -> None:
    """ValueError where the LoRA is none of the cross-attentions of a Wan of this width."""
    shape = torch.empty(width, width, device="meta")
    blocks = itertools.product(range(MOST_LAYERS), PROJECTIONS)
    changes(lora, {f"blocks.{block}.{CROSS}.{one}.weight": shape for block, one in blocks}, name)


def _fingerprint(state: dict[str, Tensor]) -> str:
    """Twelve digits that only this adapter has: from the name, type, shape and bytes of every weight."""
    digest = sha256()
    for key in sorted(state):
        digest.update(f"{key} {state[key].dtype} {tuple(state[key].shape)}".encode())
        digest.update(state[key].contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
