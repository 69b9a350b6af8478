"""LoRA files in ComfyUI's key names on the plain Wan DiT: every key is merged, or the file is refused."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...core.adapter import _ADAPTER_KIND, ENCODER
from ...core.checkpoint import KIND, read_safetensors, read_shapes, require_kind
from ...core.identity import IDENTITY
from ...core.lora import VIDEOMAKER_FORMAT, VIDEOMAKER_KIND, changes, matrices
from ...core.recipes import TRAINED_FOR
from ...core.recognition import require_runnable
from ...core.semantic import SEMANTIC_KEYS, bare
from .dit import WanDiT


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
        _ADAPTER_KIND,
        "give it to --adapter, with --identity",
    ),
    Other(
        "an editing adapter with SAMA's modules", SEMANTIC_KEYS, None, "`refvid edit` takes it as --adapter"
    ),
    Other(
        "a LoRA on reference tokens alone",
        ("blocks.0.self_attn.q_loras.",),
        None,
        "give it to --reference-adapter, with --reference",
    ),
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
    """Merge a LoRA in place: add strength · alpha / rank · B A to the weights it names, alpha being the rank
    where a file has none. `diff` and `diff_b` are added as they are. `dora_scale` brings the rows or columns
    to the norms it gives, as ComfyUI does. ValueError as `changes` says, and for a strength that is no
    number: nothing is changed then."""
    if not math.isfinite(strength):
        raise ValueError(f"{what}: strength is {strength}; needed a number")
    weights: dict[str, Tensor] = dict(dit.named_parameters())
    changed = changes(lora, weights, what)
    for name, parts in changed.items() if strength else ():
        weight = weights[name]
        exact = torch.promote_types(weight.dtype, torch.float32)
        moved = {part: value.to(weight.device, exact) for part, value in parts.items()}
        weight.copy_(_changed(weight.to(exact), moved, strength))


def merge_lora_file(dit: WanDiT, path: str | Path, strength: float, what: str) -> str | None:
    """The LoRA in a file into the weights, in place. -> the recipe that the file was trained for, if it says
    so. ValueError as `merge_lora` says, and for a file of another kind, with the place where that belongs."""
    shapes, metadata = read_shapes(path, what)
    name = f"{what}: {Path(path).name}"
    for other in OTHERS:
        if metadata.get(KIND, "") == other.kind or any(bare(key).startswith(other.begins) for key in shapes):
            raise ValueError(f"{name} is {other.name}, not a LoRA alone: {other.belongs}")
    require_runnable(shapes, name)
    if KIND in metadata:
        require_kind(metadata, VIDEOMAKER_KIND, VIDEOMAKER_FORMAT, name, "give a LoRA file")
    changes(shapes, dict(dit.named_parameters()), name)
    merge_lora(dit, read_safetensors(path, what)[0], strength, name)
    return metadata.get(TRAINED_FOR)


def _changed(weight: Tensor, parts: dict[str, Tensor], strength: float) -> Tensor:
    """A weight as a change of these parts leaves it."""
    if "diff" in parts:
        return weight + strength * parts["diff"]
    up, down = matrices(parts)
    scale = float(parts["alpha"]) / len(down) if "alpha" in parts else 1.0
    low = (up @ down).reshape(weight.shape)
    if "dora" not in parts:
        return weight + strength * scale * low
    return weight + strength * (_decomposed(weight, scale * low, parts["dora"]) - weight)


def _decomposed(weight: Tensor, low: Tensor, norms: Tensor) -> Tensor:
    """DoRA (arXiv 2402.09353) as ComfyUI computes it. Over the outputs the norms are those of the weight as
    it was, over the inputs those of the changed one."""
    changed = weight + low
    over_outputs = len(norms) == len(weight)
    of, axis = (weight, 0) if over_outputs else (changed, 1)
    others = [dim for dim in range(weight.ndim) if dim != axis]
    now = torch.linalg.vector_norm(of, dim=others, keepdim=True) + torch.finfo(weight.dtype).eps
    return changed * (norms / now)
