"""LoRA files in ComfyUI's key names on the plain Wan DiT."""

import math
from pathlib import Path

import torch
from torch import Tensor

from ..core.adapter import LORA, is_lora_key, lora_key
from ..core.checkpoint import read_safetensors
from ..core.recipes import TRAINED_FOR
from .dit import WanDiT

_DOWN, _UP, _ALPHA = ".lora_A.weight", ".lora_B.weight", ".alpha"
_EXAMPLE = lora_key(0, "q", "lora_A.weight")


@torch.no_grad()
def merge_lora(dit: WanDiT, lora: dict[str, Tensor], strength: float = 1.0, what: str = "--lora") -> None:
    """Add strength · alpha / rank · B A to the weights it names, in place; alpha is the rank where a file has none. Nothing is changed
    where anything is refused: ValueError for a layer the DiT does not have, and for sizes that do not fit."""
    layers, ups = ({key.removesuffix(part) for key in lora if key.endswith(part)} for part in (_DOWN, _UP))
    if not layers or layers != ups or any(not key.endswith((_DOWN, _UP, _ALPHA)) for key in lora):
        raise ValueError(
            f"{what} does not hold pairs of lora_A and lora_B alone; needed keys such as {_EXAMPLE}"
        )
    weights, changes = dict(dit.named_parameters()), {}
    for layer in layers:
        name = layer.removeprefix(LORA) + ".weight"
        down, up = lora[layer + _DOWN].float(), lora[layer + _UP].float()
        if name not in weights or weights[name].shape != (up.shape[0], down.shape[1]):
            shape = list(weights[name].shape) if name in weights else "missing"
            raise ValueError(
                f"{what} changes {name} by {[up.shape[0], down.shape[1]]}; in this DiT it is {shape}"
            )
        scale = float(lora[layer + _ALPHA]) / len(down) if layer + _ALPHA in lora else 1.0
        changes[name] = strength * scale * (up @ down)
    for name, change in changes.items():
        weights[name].add_(change.to(weights[name]))


def merge_lora_file(dit: WanDiT, path: str | Path, strength: float, what: str) -> str | None:
    """The LoRA in a file, whatever else that holds, into the weights, in place. -> the recipe that the file was trained for, if it says so. ValueError as
    `merge_lora` says, for a file without one, and for a strength that is no number."""
    if not math.isfinite(strength):
        raise ValueError(f"{what}: strength is {strength}; needed a number")
    state, metadata = read_safetensors(path, what)
    merge_lora(
        dit, {k: v for k, v in state.items() if is_lora_key(k)}, strength, f"{what}: {Path(path).name}"
    )
    return metadata.get(TRAINED_FOR)
