"""Attention of a block with automatic regions: layouts of heads, maps that are measured, and whether an
attention takes wider heads."""

import logging
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from comfy.ldm.modules import attention as core_attention
from torch import Tensor

from ...kernels.focus import Focus, measure_maps, widened
from ...kernels.grouped import Groups, in_groups

_PROBE = (1, 64)  # batch, tokens
_HEADS = 2
_ERROR = 0.05  # of the result, that an attention of few bits may be off by
_known: dict[Hashable, str | None] = {}


@dataclass(frozen=True)
class HeadsLayout:
    """Layout of the tensors that ComfyUI hands to an attention: (B, N, L, D) where heads are apart, else
    (B, L, N * D), and its result likewise."""

    heads: int
    apart: bool
    result_apart: bool

    @classmethod
    def of(cls, args: Any, kwargs: dict[str, Any]) -> "HeadsLayout":
        """The layout that a call's other arguments say."""
        heads = kwargs["heads"] if "heads" in kwargs else args[0]
        return cls(heads, bool(kwargs.get("skip_reshape")), bool(kwargs.get("skip_output_reshape")))

    def size(self, tensor: Tensor) -> int:
        """Features of a head."""
        return tensor.shape[-1] // (1 if self.apart else self.heads)

    def split(self, *tensors: Tensor) -> list[Tensor]:
        """(B, N, L, D), views."""
        if self.apart:
            return list(tensors)
        return [one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in tensors]

    def widened(
        self, focus: Focus, query: Tensor, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values with the focus in wider heads, in the same layout."""
        if self.apart:
            return widened(focus, query, key, value)
        query, key, value = (one.unflatten(-1, (self.heads, -1)) for one in (query, key, value))
        query, key, value = widened(focus, query, key, value, axis=-3)
        return query.flatten(2), key.flatten(2), value.flatten(2)

    def narrowed(self, out: Tensor, size: int) -> Tensor:
        """A result without the features of heads beyond the first `size`."""
        if self.result_apart:
            return out[..., :size]
        return out.unflatten(-1, (self.heads, -1))[..., :size].flatten(2)


def measure_block(
    focus: Focus, groups: Groups | None, given: HeadsLayout, query: Tensor, key: Tensor, row: Tensor | None
) -> None:
    """Measure the maps of a block, by torch's own attention: overrides of other packs may count their
    calls. row (1 or B, S), added to the logits of the keys."""

    def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        mask = None if bias is None else bias.to(query.dtype)[:, None, None, :]
        return core_attention.attention_pytorch(
            query, key, value, query.shape[1], mask=mask, skip_reshape=True, skip_output_reshape=True
        )

    query, key = given.split(query, key)
    measure_maps(focus, in_groups(attend, groups), query, key, row)


def refuses_heads(
    kind: Hashable, attend: Callable[..., Tensor], size: int, device: torch.device, dtype: torch.dtype
) -> str | None:
    """Reason why an attention does not take heads of `size` features, or None where it does.

    A small call finds it out. What falls back to another attention, and logs that each time, does not take
    them either. The answer is remembered for each kind of attention.
    """
    place = (kind, size, device, dtype)
    if place not in _known:
        _known[place] = _refuses(attend, size, device, dtype)
    return _known[place]


@torch.no_grad()
def _refuses(attend: Callable, size: int, device: torch.device, dtype: torch.dtype) -> str | None:
    batch, tokens = _PROBE
    generator = torch.Generator().manual_seed(0)  # nobody else's random numbers are used up
    drawn = torch.randn(3, batch, tokens, _HEADS * size, generator=generator).to(device, dtype)
    right = core_attention.attention_pytorch(*drawn, heads=_HEADS)
    with _complaints() as said:
        try:
            found = attend(*drawn, heads=_HEADS)
        except Exception as error:  # noqa: BLE001 - an attention may raise anything
            return f"the host's attention does not take heads of {size} features ({type(error).__name__})"
    off = found.shape != right.shape or not (found - right).norm() <= _ERROR * right.norm()
    return f"the host's attention does not take heads of {size} features" if said or off else None


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Warnings and errors that core logs meanwhile: it does so where it falls back."""
    said: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            said.append(record.getMessage())
        return True

    root = logging.getLogger()
    root.addFilter(keep)
    try:
        yield said
    finally:
        root.removeFilter(keep)
