"""An adapter's file: the encoder that reads identities and the LoRA that lets Wan's cross-attention use them, as one safetensors.

The LoRA has ComfyUI's key names, so core's own LoRA loader reads it from the same file.
"""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from .checkpoint import KIND, VERSION, read_safetensors, require_kind, save_model
from .slots import SlotEncoder, SlotsConfig

ADAPTER, FORMAT = "slot_id", "2"
ENCODER, LORA = "slot_encoder.", "diffusion_model."
PROJECTIONS = ("q", "k", "v", "o")  # of an attention
CROSS, SELF = "cross_attn", "self_attn"  # the attentions of a block
_CONFIG = "refvid.config"


@dataclass(frozen=True)
class Adapter:
    """config and weights of a `SlotEncoder`; the LoRA as in the file; fingerprint of all of it."""

    config: SlotsConfig
    encoder: dict[str, Tensor]
    lora: dict[str, Tensor]
    fingerprint: str

    @property
    def nobody(self) -> Tensor:
        """(A + S, C) float32: the learned tokens that stand for no identity."""
        return self.encoder["null.weight"].float()


def lora_key(block: int, projection: str, part: str, attention: str = CROSS) -> str:
    """A key as ComfyUI's LoRA loader knows it; part is lora_A.weight (rank, in), lora_B.weight (out, rank) or alpha."""
    return f"{LORA}blocks.{block}.{attention}.{projection}.{part}"


def save_adapter(
    config: SlotsConfig,
    encoder: dict[str, Tensor],
    lora: dict[str, Tensor],
    path: str | Path,
    dtype=torch.float16,
) -> None:
    """Write an adapter; `encoder` under SlotEncoder's own names, `lora` under `lora_key`'s."""
    metadata = {KIND: ADAPTER, VERSION: FORMAT, _CONFIG: json.dumps(asdict(config))}
    save_model({**{ENCODER + key: value for key, value in encoder.items()}, **lora}, path, metadata, dtype)


def load_adapter(path: str | Path, what: str = "adapter") -> Adapter:
    """What `save_adapter` wrote. ValueError for a file that is missing, truncated, of another kind or
    version, that holds more than an encoder and a LoRA, or whose encoder is not of its configuration's
    sizes."""
    state, metadata = read_safetensors(path, what)
    name = f"{what}: {Path(path).name}"
    require_kind(metadata, ADAPTER, FORMAT, name, "a plain LoRA goes into a LoRA loader")
    config = _config(metadata.get(_CONFIG, ""), name)
    odd = [key for key in state if not key.startswith((ENCODER, LORA))]
    if odd:
        raise ValueError(
            f"{name} holds {min(odd)}, which is neither of its encoder ({ENCODER}…) nor of its LoRA ({LORA}…)"
        )
    encoder = {key.removeprefix(ENCODER): value for key, value in state.items() if key.startswith(ENCODER)}
    lora = {key: value for key, value in state.items() if key.startswith(LORA)}
    _require_sizes(config, encoder, name)
    return Adapter(config, encoder, lora, _fingerprint(state))


def _config(text: str, name: str) -> SlotsConfig:
    try:
        return SlotsConfig(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: its metadata {_CONFIG} does not describe an encoder ({error})") from error


def _require_sizes(config: SlotsConfig, encoder: dict[str, Tensor], name: str) -> None:
    with torch.device("meta"):
        wanted = SlotEncoder(config).state_dict()
    odd = wanted.keys() ^ encoder.keys()
    if odd:
        raise ValueError(
            f"{name}: encoder keys differ from its configuration's, {min(odd)} first ({len(odd)} such keys)"
        )
    for key, value in wanted.items():
        if value.shape != encoder[key].shape:
            raise ValueError(f"{name}: {key} is {list(encoder[key].shape)}, needed {list(value.shape)}")


def _fingerprint(state: dict[str, Tensor]) -> str:
    """Twelve digits that only this adapter has: from the name, type, shape and bytes of every weight."""
    digest = sha256()
    for key in sorted(state):
        digest.update(f"{key} {state[key].dtype} {tuple(state[key].shape)}".encode())
        digest.update(state[key].contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
