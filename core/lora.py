"""LoRA files in ComfyUI's key names: which weights a file changes by what, every key accounted for, or
refused."""

import difflib
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .header import shown
from .semantic import bare

# What our training says of its plain LoRA files; others say nothing.
VIDEOMAKER_KIND, VIDEOMAKER_FORMAT = "videomaker", "1"
LORA = "diffusion_model."  # before every key
PROJECTIONS = ("q", "k", "v", "o")  # of an attention
CROSS, SELF = "cross_attn", "self_attn"  # the attentions of a block
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
    ".diff_m": "diff",  # of the block's modulation, in lightx2v's files
}
_BIAS, MODULATION = ".diff_b", ".diff_m"
_WHOLE = ({"diff"}, *({"up", "down"} | more for more in ({*()}, {"alpha"}, {"dora"}, {"alpha", "dora"})))
MOST_RANK = 1 << 14
MOST_LAYERS = 256  # blocks of a model; published: up to 40
_TARGETS = "needed self_attn, cross_attn, ffn, or a regular expression such as blocks.3.self_attn.q or ffn.0"
FLAT = ("lora_unet_", "lora_unet__")  # before a layer's name with _ for every dot


def lora_key(block: int, projection: str, part: str, attention: str = CROSS) -> str:
    """A key as ComfyUI's LoRA loader knows it; part is lora_A.weight (rank, in), lora_B.weight (out, rank) or
    alpha."""
    return f"{LORA}blocks.{block}.{attention}.{projection}.{part}"


NEEDED = (
    "needed pairs of lora_A and lora_B (or lora_down and lora_up) with alpha and dora_scale, diff, diff_b or diff_m, "
    f"such as {lora_key(0, 'q', 'lora_A.weight')}"
)


def changes(
    lora: Mapping[str, Tensor], weights: Mapping[str, Tensor], what: str
) -> dict[str, dict[str, Tensor]]:
    """Changes of every weight that is changed, their parts by what they are (`ENDS`). Shapes alone are looked
    at. ValueError where a key is none of these, names no weight, does not fit it or stands alone, and where
    there is none."""
    if not lora:
        raise ValueError(f"{what} holds nothing to merge; {NEEDED}")
    found = _parts_by_weight(lora, weights, what)
    for name, keys in found.items():
        _require_fit(name, list(weights[name].shape), keys, lora, what)
    return {name: {part: lora[key] for part, key in keys.items()} for name, keys in found.items()}


def canonical(changes: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Rename changes to the names that every ComfyUI knows: it drops those of others without an error."""
    ends = {
        "up": ".lora_B.weight",
        "down": ".lora_A.weight",
        "alpha": ".alpha",
        "dora": ".dora_scale",
        "diff": ".diff",
    }
    named = {}
    for name, parts in changes.items():
        layer = LORA + name.removesuffix(".weight")
        for part, value in parts.items():
            of_bias = part == "diff" and name.endswith(".bias")
            named[layer.removesuffix(".bias") + _BIAS if of_bias else layer + ends[part]] = value
    return named


def _parts_by_weight(
    lora: Mapping[str, Tensor], weights: Mapping[str, Tensor], what: str
) -> dict[str, dict[str, str]]:
    """Keys of the parts of each weight's change. ValueError for keys that say nothing known, or not all of
    it."""
    layers, found = _layers(weights), defaultdict(dict)
    for key in sorted(lora):
        end = next((end for end in ENDS if key.endswith(end)), None)
        if end is None:
            raise ValueError(f"{what} holds {shown(key)}, which cannot be merged here; {NEEDED}")
        layer = key.removesuffix(end)
        named = layers.get(layer, bare(layer) + ".weight")
        name = named.removesuffix(".weight") + ".bias" if end == _BIAS else named
        name = f"{bare(layer)}.modulation" if end == MODULATION else name
        if name not in weights:
            raise ValueError(f"{what}: {shown(key)} changes {shown(name)}, which is missing in this DiT")
        if ENDS[end] in found[name]:
            raise ValueError(f"{what} says twice how {name} changes: {found[name][ENDS[end]]} and {key}")
        found[name][ENDS[end]] = key
    for name, parts in found.items():
        if set(parts) not in _WHOLE:
            raise ValueError(
                f"{what} holds {' and '.join(parts.values())} for {name}, which together make no change; "
                f"{NEEDED}"
            )
    return found


def _layers(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Names that a file may call a weight by: with ComfyUI's prefix, the flat one, or none. They are its
    layer's, or its own where it is no `.weight`."""
    layers = {name.removesuffix(".weight"): name for name in weights}
    flat = {layer.replace(".", "_"): name for layer, name in layers.items() if name.endswith(".weight")}
    return {
        **{prefix + layer: name for prefix in (LORA, "") for layer, name in layers.items()},
        **{prefix + layer: name for prefix in FLAT for layer, name in flat.items()},
    }


def _require_fit(
    name: str, shape: list[int], keys: Mapping[str, str], lora: Mapping[str, Tensor], what: str
) -> None:
    """ValueError where the parts of a change have other sizes than the weight, or than each other, or are no
    floating numbers."""
    parts = {part: lora[key] for part, key in keys.items()}
    for part, value in parts.items():
        if part == "alpha" and (value.is_complex() or value.dtype == torch.bool):
            raise ValueError(f"{what}: {keys[part]} is {value.dtype}; needed a number")
        if part != "alpha" and not (value.is_floating_point() and value.element_size() > 1):
            raise ValueError(f"{what}: {keys[part]} is {value.dtype}; needed fp32, fp16 or bf16")
        if part in ("up", "down") and not (
            value.ndim > 1 and 0 < value.shape[1 if part == "up" else 0] <= MOST_RANK
        ):
            raise ValueError(
                f"{what}: {keys[part]} is {list(value.shape)}; needed a matrix of rank 1 to {MOST_RANK}, as a "
                f"change of {name}"
            )
    if "diff" in parts:
        changed, comes, fits = "diff", list(parts["diff"].shape), list(parts["diff"].shape) == shape
    else:
        up, down = matrices(parts)
        changed, comes = "up", [up.shape[0], down.shape[1]]
        fits = comes[0] == shape[0] and math.prod(comes) == math.prod(shape)
        if up.shape[1] != len(down):
            raise ValueError(
                f"{what}: {keys['up']} and {keys['down']} have ranks {up.shape[1]} and {len(down)}; needed one rank"
            )
    if not fits:
        raise ValueError(f"{what}: {keys[changed]} changes {name} by {comes}; in this DiT it is {shape}")
    if "alpha" in parts and parts["alpha"].numel() != 1:
        raise ValueError(f"{what}: {keys['alpha']} is {list(parts['alpha'].shape)}; needed one number")
    norms = [[shape[0], *[1] * (len(shape) - 1)], [1, *shape[1:2], *[1] * (len(shape) - 2)]]
    if "dora" in parts and list(parts["dora"].shape) not in norms:
        came = list(parts["dora"].shape)
        raise ValueError(f"{what}: {keys['dora']} is {came}; needed {norms[0]} or {norms[1]}")


def matrices(parts: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """A pair as (outputs, rank) and (rank, inputs), whatever a convolution has behind them."""
    return parts["up"].flatten(1), parts["down"].flatten(1)


def matched_layers(names: Sequence[str], targets: Sequence[str]) -> list[str]:
    """Names of linear layers that targets match: target by target, each in the order of `names`.

    A target is a regular expression, and matches whole parts of a layer's name, one or several in a row.
    `self_attn` is every layer below that name in every block, `ffn.0` the first of every feed-forward,
    `head.head` one layer. ValueError for a target that is no expression or matches no layer, and for
    none."""
    if not targets:
        raise ValueError(f"targets: there is none; {_TARGETS}")
    found: dict[str, None] = {}  # in order, each once
    for target in targets:
        try:
            whole_parts = re.compile(rf"(?:.*\.)?(?:{target})(?:\..*)?")
        except re.error as error:
            raise ValueError(f"targets: {target!r} is no regular expression ({error}); {_TARGETS}") from error
        matched = [name for name in names if whole_parts.fullmatch(name)]
        if not matched:
            raise ValueError(f"targets: {target!r} matches no linear layer; {_nearest(target, names)}")
        found |= dict.fromkeys(matched)
    return list(found)


def _nearest(target: str, names: Sequence[str]) -> str:
    """The nearest known target, or examples."""
    known = [*dict.fromkeys(part for name in names for part in name.split(".")), *names]
    near = difflib.get_close_matches(target, known, 1)
    return f"the nearest is {near[0]}" if near else _TARGETS
