"""Attention over segments three ways, on the device of the tests marked `gpu`: ours, float64's and torch's
own."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from refvid_gpu import DEVICE, DRY
from torch import Tensor

from refvid.kernels.eager import masked_attention
from refvid.kernels.grouped import Attend
from refvid.kernels.segment_attention import segment_attention
from refvid.kernels.segments import Segments

# The relative error a result and a gradient may have, in eps of the type. In halves the weights and their
# steps are rounded too before they multiply, as in every fused GPU kernel (torch's CPU kernel keeps them in
# fp32), and one query has few roundings to average over: 60 seeds of one query reached half of these. A GPU
# sums fp32 in longer chains and has an approximate exp2; tf32 would be thousands of eps away.
CAPS = {
    torch.float32: (8, 8) if DRY else (32, 32),
    torch.float16: (1.5, 3),
    torch.bfloat16: (1.5, 3),
}
LIKE_TORCH = 1.25  # times the error of torch's own attention, or a few roundings of fp32:
ROUNDINGS = 6e-7 if DRY else 4e-6
LOOSE = 1 if DRY else 5  # times what two orders of the same sums in fp32 may differ by


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(DEVICE, dtype)


def values_of(
    dtype: torch.dtype, queries: int, keys: int, size: int, seed: int = 0, batch: int = 2, heads: int = 3
) -> list[Tensor]:
    """query, key, value as both hosts hand them, tokens before heads, with gradients."""
    lengths = enumerate((queries, keys, keys))
    made = [drawn(batch, n, heads, size, seed=7 * seed + k, dtype=dtype).transpose(1, 2) for k, n in lengths]
    return [one.detach().requires_grad_() for one in made]


def segments(queries: int, keys: int, seed: int = 0, blind: bool = True) -> Segments:
    """Groups in order, so that blocks are seen whole, in part and not at all; blind: with keys that nobody
    sees and queries that see nothing."""
    generator = torch.Generator().manual_seed(seed)
    of = torch.randint(-1 if blind else 0, 4, (2, keys), generator=generator, dtype=torch.int32)
    sees = torch.randint(0 if blind else 1, 16, (2, queries), generator=generator, dtype=torch.int32)
    if not blind:
        of[:, :4] = torch.arange(4)
    return Segments(sees.sort(1).values.to(DEVICE), of.sort(1).values.to(DEVICE))


def ours(seen: Segments) -> Attend:
    return lambda query, key, value, bias: segment_attention(query, key, value, seen, bias)[0]


def exact(seen: Segments) -> Attend:
    return lambda query, key, value, bias: masked_attention(query, key, value, seen.dense(), bias)


def torchs(seen: Segments) -> Attend:
    def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        hidden = ~seen.dense()
        mask = torch.zeros(hidden.shape, device=hidden.device).masked_fill(hidden, -math.inf)[:, None]
        mask = mask if bias is None else mask + bias[:, None, None]
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask.to(query.dtype))

    return attend


def results(attend: Callable, values: list[Tensor], bias: Tensor | None, weight: Tensor) -> list[Tensor]:
    """The output and the gradients of query, key, value and bias."""
    out = attend(*values, bias)
    wanted = [*values, *([] if bias is None else [bias])]
    return [out, *torch.autograd.grad((out.double() * weight).sum(), wanted)]


def doubled(values: list[Tensor]) -> list[Tensor]:
    return [value.detach().double().requires_grad_() for value in values]


def truth(seen: Segments, values: list[Tensor], bias: Tensor | None, weight: Tensor) -> list[Tensor]:
    """Oracle of `results`, in float64."""
    wide = None if bias is None else bias.detach().double().requires_grad_()
    return results(exact(seen), doubled(values), wide, weight)


def error(found: Tensor, right: Tensor, least: float = 0.1) -> float:
    """Relative to the whole, and to `least` an entry where that is smaller: gradients may vanish."""
    return ((found.double() - right).norm() / right.norm().clamp_min(least * right.numel() ** 0.5)).item()
