"""LoRA files of every form that both hosts merge, on a tiny DiT."""

import torch
from torch import Tensor

PREFIX, RANK = "diffusion_model.", 3
PAIR_NAMES = {  # up, down
    "lora_A and lora_B": (".lora_B.weight", ".lora_A.weight"),
    "down and up": (".lora_up.weight", ".lora_down.weight"),
    "default": (".lora_B.default.weight", ".lora_A.default.weight"),
    "without weight": (".lora_B", ".lora_A"),
    "with dots": (".lora.up.weight", ".lora.down.weight"),
}
LAYERS = ("blocks.0.self_attn.q", "blocks.1.cross_attn.k", "blocks.0.ffn.0", "text_embedding.0", "head.head")
CONVOLUTION = "patch_embedding"


def forms(weights: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """States of files by what they show, for a DiT with these parameters."""
    make = torch.Generator().manual_seed(11)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=make)

    def pair(
        layer: str, names: tuple[str, str], prefix: str = PREFIX, flat: bool = False
    ) -> dict[str, Tensor]:
        weight, ones = weights[layer + ".weight"], [1] * (weights[layer + ".weight"].ndim - 2)
        named = prefix + (layer.replace(".", "_") if flat else layer)
        return {
            named + names[0]: noise(weight.shape[0], RANK, *ones),
            named + names[1]: noise(RANK, *weight.shape[1:]) / weight[0].numel() ** 0.5,
        }

    usual = PAIR_NAMES["lora_A and lora_B"]
    low = {layer: pair(layer, usual) for layer in (*LAYERS, CONVOLUTION)}
    found = {
        name: {key: value for layer in LAYERS for key, value in pair(layer, names).items()}
        for name, names in PAIR_NAMES.items()
    }
    for prefix in ("lora_unet_", "lora_unet__"):
        named = [
            pair(layer, PAIR_NAMES["down and up"], prefix, True)
            for layer in ("blocks.0.cross_attn.k", *LAYERS)
        ]
        found[prefix] = {key: value for one in named for key, value in one.items()}
    alpha = {f"{PREFIX}{layer}.alpha": torch.tensor(1.5) for layer in low}
    found["alpha"] = {key: value for one in low.values() for key, value in one.items()} | alpha
    found["a convolution"] = low[CONVOLUTION]
    full = (*LAYERS, CONVOLUTION, "blocks.1.self_attn.norm_q")
    found["diff"] = {f"{PREFIX}{layer}.diff": noise(*weights[layer + ".weight"].shape) for layer in full}
    found["diff of a parameter"] = {
        f"{PREFIX}{name}.diff": noise(*weights[name].shape)
        for name in ("blocks.1.modulation", "head.head.bias")
    }
    found["diff_b"] = {f"{PREFIX}{layer}.diff_b": noise(*weights[layer + ".bias"].shape) for layer in LAYERS}
    found["a pair, a bias and a norm"] = (
        low[LAYERS[0]] | {f"{PREFIX}{LAYERS[0]}.diff_b": noise(*weights[LAYERS[0] + ".bias"].shape)}
        | {f"{PREFIX}blocks.1.norm3.diff": noise(*weights["blocks.1.norm3.weight"].shape)}
    )  # fmt: skip
    for name, axis in (("outputs", 0), ("inputs", 1)):
        scales = {}
        for layer in low:
            shape = [side if at == axis else 1 for at, side in enumerate(weights[layer + ".weight"].shape)]
            scales[f"{PREFIX}{layer}.dora_scale"] = 0.5 + noise(*shape).abs()
        found[f"dora_scale over {name}"] = found["alpha"] | scales
    return found


# The names under which one LoRA is published: before a layer's name, with `_` for its dots or not, and ends.
_FLAT, _PAIR, _PEFT = ("lora_unet_", True), PAIR_NAMES["down and up"], PAIR_NAMES["lora_A and lora_B"]
NAMING = {
    "ComfyUI": ((PREFIX, False), _PEFT),
    "lightx2v and musubi": ((PREFIX, False), _PAIR),
    "kohya": (_FLAT, _PAIR),
    "VideoX-Fun": (("lora_unet__", True), _PAIR),
    "DiffSynth with a prefix": ((PREFIX, False), PAIR_NAMES["default"]),
    "DiffSynth": (("", False), PAIR_NAMES["default"]),
    "bare": (("", False), _PEFT),
    "bare, down and up": (("", False), _PAIR),
    "a checkpoint's prefix": (("model.diffusion_model.", False), _PEFT),
    "without weight": ((PREFIX, False), PAIR_NAMES["without weight"]),
    "diffusers' ends": ((PREFIX, False), PAIR_NAMES["with dots"]),
}
NOT_READ_BY_CORE = ("DiffSynth", "bare", "bare, down and up", "a checkpoint's prefix")  # it logs each key


def named(weights: dict[str, Tensor], how: str) -> dict[str, Tensor]:
    """One LoRA of rank `RANK` on `LAYERS` and on the first block's text attention, alpha 1.5, under one of
    the names of `NAMING`."""
    (prefix, flat), (up, down) = NAMING[how]
    make, found = torch.Generator().manual_seed(12), {}
    for layer in ("blocks.0.cross_attn.k", *LAYERS):
        out, width = weights[layer + ".weight"].shape
        stem = prefix + (layer.replace(".", "_") if flat else layer)
        found[stem + up] = torch.randn(out, RANK, generator=make)
        found[stem + down] = torch.randn(RANK, width, generator=make) / width**0.5
        found[stem + ".alpha"] = torch.tensor(1.5)
    return found
