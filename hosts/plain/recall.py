"""State that a pass keeps over the steps of a run without ComfyUI.

That is maps of automatic regions, and keys and values of references that read only themselves
(`core.layout.Layout.constant`).
"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ...backbones.base import Tail, attend_all
from ...core.focus import FocusMaps
from ...kernels.grouped import Attend

KeptKeys = list[tuple[Tensor, Tensor]]  # keys and values (B, N, R, D) of the references, block by block


@dataclass(frozen=True)
class Kept:
    """State of one pass: keys, which may not be kept (None) where a window moves, and maps."""

    keys: KeptKeys | None = field(default_factory=list)
    maps: FocusMaps = field(default_factory=FocusMaps)


def recalling(tail: Tail, kept: KeptKeys, attend: Attend = attend_all) -> Tail:
    """A tail that does the same from kept keys: the first time it fills `kept`, after that it has no tokens.
    `attend` is then its attention, every query over every key."""
    return _recalled(tail, kept, attend) if kept else _remembering(tail, kept)


def _remembering(tail: Tail, kept: KeptKeys) -> Tail:
    count, inner = tail.tokens.shape[1], tail.attend or attend_all

    def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        kept.append((key[:, :, -count:].clone(), value[:, :, -count:].clone()))
        return inner(query, key, value, bias)

    return replace(tail, attend=attend)


def _recalled(tail: Tail, kept: KeptKeys, inner: Attend) -> Tail:
    blocks = iter(kept)

    def attend(query: Tensor, key: Tensor, value: Tensor, _: Tensor | None) -> Tensor:
        keys, values = next(blocks)
        bias = None if tail.key_bias is None else F.pad(tail.key_bias.to(key.device), (key.shape[2], 0))
        joined = torch.cat([key, keys], dim=2), torch.cat([value, values], dim=2)
        return inner(query, *joined, bias)

    none = {"tokens": tail.tokens[:, :0], "angles": tail.angles[:, :0], "key_bias": None, "lora": None}
    return replace(tail, attend=attend, **none)
