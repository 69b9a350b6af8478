"""LoRA files in ComfyUI's key names on the plain Wan DiT: every key is merged, or the file is refused."""

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..core.adapter import ADAPTER, ENCODER, LORA, lora_key
from ..core.checkpoint import KIND, read_safetensors
from ..core.identity import IDENTITY
from ..core.recipes import TRAINED_FOR
from ..core.semantic import KEYS, bare
from .dit import WanDiT

# What the end of a key says its tensor is; the names of pairs are those that ComfyUI merges alike.
PAIRS = {
    ".lora_B.weight": ".lora_A.weight",
    ".lora_up.weight": ".lora_down.weight",
    ".lora_B.default.weight": ".lora_A.default.weight",
    ".lora_B": ".lora_A",
    ".lora.up.weight": ".lora.down.weight",
}
ENDS = {
    **dict.fromkeys(PAIRS, "up"),
    **dict.fromkeys(PAIRS.values(), "down"),
    ".alpha": "alpha",
    ".dora_scale": "dora",
    ".diff": "diff",
    ".diff_b": "diff",  # of the layer's bias
}
BIAS = ".diff_b"
WHOLE = ({"diff"}, *({"up", "down"} | more for more in ({*()}, {"alpha"}, {"dora"}, {"alpha", "dora"})))
FLAT = ("lora_unet_", "lora_unet__")  # before a layer's name with _ for every dot
NEEDED = (
    "needed pairs of lora_A and lora_B (or lora_down and lora_up) with alpha and dora_scale, diff or diff_b, "
    f"such as {lora_key(0, 'q', 'lora_A.weight')}"
)


@dataclass(frozen=True)
class Other:
    """A kind of file that is no LoRA: how its keys begin without their prefix, its metadata's kind, and where
    it belongs."""

    name: str
    begins: tuple[str, ...]
    kind: str | None
    belongs: str


OTHERS = (
    Other("a whole DiT", ("patch_embedding.weight",), None, "--dit takes it"),
    Other("a VAE", ("decoder.",), None, "--vae takes it"),
    Other("a text encoder", ("shared.weight", "encoder.block."), None, "--text-encoder takes it"),
    Other(
        "a Slot-ID adapter, whose LoRA reads what its encoder read of a video",
        (ENCODER,),
        ADAPTER,
        "give it to --adapter, with --identity",
    ),
    Other("an editing adapter with SAMA's modules", KEYS, None, "`refvid edit` takes it as --adapter"),
    Other("an identity", (), IDENTITY, "--identity takes it"),
    Other(
        "a LoRA for a text encoder too",
        ("lora_te", "text_encoder"),
        None,
        "here only the DiT's part can be merged; ComfyUI's Load LoRA takes both",
    ),
)


@torch.no_grad()
def merge_lora(dit: WanDiT, lora: dict[str, Tensor], strength: float = 1.0, what: str = "--lora") -> None:
    """Add strength · alpha / rank · B A to the weights it names, in place, alpha being the rank where a file
    has none; or what `diff` and `diff_b` say; with `dora_scale` bring the rows or columns to the norms it
    gives, as ComfyUI does. ValueError where a key is none of these, names no weight of the DiT, does not fit
    it, or stands alone, and for a strength that is no number: nothing is changed then."""
    if not math.isfinite(strength):
        raise ValueError(f"{what}: strength is {strength}; needed a number")
    if not lora:
        raise ValueError(f"{what} holds nothing to merge; {NEEDED}")
    weights: dict[str, Tensor] = dict(dit.named_parameters())
    changes = {
        name: {part: lora[key] for part, key in parts.items()}
        for name, parts in _parts_by_weight(lora, weights, what).items()
    }
    for name, parts in changes.items():
        _require_fit(name, weights[name], parts, what)
    for name, parts in changes.items() if strength else ():
        weight = weights[name]
        exact = torch.promote_types(weight.dtype, torch.float32)
        moved = {part: value.to(weight.device, exact) for part, value in parts.items()}
        weight.copy_(_changed(weight.to(exact), moved, strength))


def merge_lora_file(dit: WanDiT, path: str | Path, strength: float, what: str) -> str | None:
    """The LoRA in a file into the weights, in place. -> the recipe that the file was trained for, if it says
    so. ValueError as `merge_lora` says, and for a file of another kind, with the place where that belongs."""
    state, metadata = read_safetensors(path, what)
    name = f"{what}: {Path(path).name}"
    for other in OTHERS:
        if metadata.get(KIND, "") == other.kind or any(bare(key).startswith(other.begins) for key in state):
            raise ValueError(f"{name} is {other.name}, not a LoRA alone: {other.belongs}")
    merge_lora(dit, state, strength, name)
    return metadata.get(TRAINED_FOR)


def _parts_by_weight(
    lora: dict[str, Tensor], weights: dict[str, Tensor], what: str
) -> dict[str, dict[str, str]]:
    """For every weight that is changed, the key of each part of its change. ValueError for keys that say
    nothing known, or not all of it."""
    layers, found = _layers(weights), defaultdict(dict)
    for key in sorted(lora):
        end = next((end for end in ENDS if key.endswith(end)), None)
        if end is None:
            raise ValueError(f"{what} holds {key}, which cannot be merged here; {NEEDED}")
        layer = key.removesuffix(end)
        named = layers.get(layer, bare(layer) + ".weight")
        name = named.removesuffix(".weight") + ".bias" if end == BIAS else named
        if name not in weights:
            raise ValueError(f"{what}: {key} changes {name} (missing in this DiT)")
        if ENDS[end] in found[name]:
            raise ValueError(f"{what} says twice how {name} changes: {found[name][ENDS[end]]} and {key}")
        found[name][ENDS[end]] = key
    for name, parts in found.items():
        if set(parts) not in WHOLE:
            raise ValueError(
                f"{what} holds {' and '.join(parts.values())} for {name}, which together make no change; "
                f"{NEEDED}"
            )
    return found


def _layers(weights: dict[str, Tensor]) -> dict[str, str]:
    """Names that a file may call a weight by: its layer's, or where it is no `.weight` its own; with
    ComfyUI's prefix, the flat one, or none."""
    layers = {name.removesuffix(".weight"): name for name in weights}
    flat = {layer.replace(".", "_"): name for layer, name in layers.items() if name.endswith(".weight")}
    return {
        **{prefix + layer: name for prefix in (LORA, "") for layer, name in layers.items()},
        **{prefix + layer: name for prefix in FLAT for layer, name in flat.items()},
    }


def _require_fit(name: str, weight: Tensor, parts: dict[str, Tensor], what: str) -> None:
    """ValueError where the parts of a change have other sizes than the weight, or than each other, or are no
    floating numbers."""
    shape, rest = list(weight.shape), [1] * (weight.ndim - 2)
    for part, value in parts.items():
        if part != "alpha" and not value.is_floating_point():
            raise ValueError(f"{what} changes {name} by {value.dtype}; needed fp32, fp16 or bf16")
    if "diff" in parts:
        comes, fits = list(parts["diff"].shape), parts["diff"].shape == weight.shape
    else:
        up, down = _matrices(parts)
        comes = [up.shape[0], down.shape[1]]
        fits = comes[0] == shape[0] and math.prod(comes) == weight.numel()
        if up.shape[1] != len(down):
            ranks = f"{up.shape[1]} and {len(down)}"
            raise ValueError(f"{what} changes {name} by a pair of ranks {ranks}; needed one rank")
    if not fits:
        raise ValueError(f"{what} changes {name} by {comes}; in this DiT it is {shape}")
    if "alpha" in parts and parts["alpha"].numel() != 1:
        raise ValueError(f"{what}: alpha of {name} is {list(parts['alpha'].shape)}; needed one number")
    norms = [[shape[0], *[1] * (len(shape) - 1)], [1, *shape[1:2], *rest]]
    if "dora" in parts and list(parts["dora"].shape) not in norms:
        came = list(parts["dora"].shape)
        raise ValueError(f"{what}: dora_scale of {name} is {came}; needed {norms[0]} or {norms[1]}")


def _matrices(parts: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """A pair as (outputs, rank) and (rank, inputs), whatever a convolution has behind them."""
    return parts["up"].flatten(1), parts["down"].flatten(1)


def _changed(weight: Tensor, parts: dict[str, Tensor], strength: float) -> Tensor:
    """A weight as a change of these parts leaves it."""
    if "diff" in parts:
        return weight + strength * parts["diff"]
    up, down = _matrices(parts)
    scale = float(parts["alpha"]) / len(down) if "alpha" in parts else 1.0
    low = (up @ down).reshape(weight.shape)
    if "dora" not in parts:
        return weight + strength * scale * low
    return weight + strength * (_decomposed(weight, scale * low, parts["dora"]) - weight)


def _decomposed(weight: Tensor, low: Tensor, norms: Tensor) -> Tensor:
    """DoRA (arXiv 2402.09353) as ComfyUI computes it: over the outputs the norms are those of the weight as
    it was, over the inputs those of the changed one."""
    changed = weight + low
    over_outputs = len(norms) == len(weight)
    of, axis = (weight, 0) if over_outputs else (changed, 1)
    others = [dim for dim in range(weight.ndim) if dim != axis]
    now = torch.linalg.vector_norm(of, dim=others, keepdim=True) + torch.finfo(weight.dtype).eps
    return changed * (norms / now)
