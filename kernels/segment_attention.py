"""Masked attention by this package's Triton kernels, as operators of torch: one graph under torch.compile,
gradients of queries, keys, values and bias."""

import importlib.util
import math
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .grouped import Attend, Groups
from .segments import Segments, everyone, segments_of, visitors, visits
from .tiles import HEAD_SIZES, INTERPRETER_TILES, TilePlan, Tiles, plan_for

_TYPES = (torch.bfloat16, torch.float16, torch.float32)
INSTALLED = importlib.util.find_spec("triton") is not None
OLDEST = (8, 0)  # compute capability: bf16 products


def _constant(asked: Callable[..., Any]) -> Callable[..., Any]:
    """Mark of a question that a compiled model asks once: `torch.compiler.assume_constant_result`, which
    imports the whole compiler for it, seconds in every process that never compiles."""
    asked._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]
    return asked


def why_not(device: torch.device, dtype: torch.dtype, head_size: int = HEAD_SIZES[-1]) -> str | None:
    """Reason why the kernels cannot run here, or None where they can."""
    if dtype not in _TYPES:
        return f"the Triton kernel takes bf16, fp16 or fp32, not {str(dtype).removeprefix('torch.')}"
    if head_size > HEAD_SIZES[-1]:
        return f"the Triton kernel takes heads of up to {HEAD_SIZES[-1]} features, not {head_size}"
    return _machine(device.type)


@_constant
def _machine(device: str) -> str | None:
    if not INSTALLED:
        return "Triton is not installed"
    if _interpreted():
        return None if device == "cpu" else f"Triton's interpreter was asked for, which has no {device}"
    if sys.platform == "win32":
        return "the Triton kernel was never tried on Windows"
    if device != "cuda":
        return f"the Triton kernel needs a CUDA device, not {device}"
    if torch.version.hip is not None:
        return "the Triton kernel was never tried on an AMD GPU"
    found = _capability()
    if found < OLDEST:
        return f"the Triton kernel needs compute capability 8.0, this GPU has {found[0]}.{found[1]}"
    return None


@_constant
def _capability() -> tuple[int, int]:
    return torch.cuda.get_device_capability()


@_constant
def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def triton_attention(groups: Groups | None) -> Attend:
    """Attention of (B, N, L, D) over what the groups see, every query over every key where there are none."""
    return _planned(
        lambda query, key: (
            everyone(query.shape[2], key.shape[2], query.device) if groups is None else segments_of(groups)
        )
    )


def attention_over(segments: Segments) -> Attend:
    """Attention of (B, N, L, D) over these segments."""
    return _planned(lambda _, __: segments)


def _planned(segments_for: Callable[[Tensor, Tensor], Segments]) -> Attend:
    """Table of what is seen, worked out at the first call, which gives the lengths; it serves all layers."""
    known: list[tuple[Segments, Tensor]] = []

    def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        query, key, value = _of_autocast(query, key, value)
        if not known:
            segments = segments_for(query, key)
            known.append((segments, _table(segments, query)))
        return segment_attention(query, key, value, known[0][0], bias, known[0][1])[0]

    return attend


def segment_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Segments,
    bias: Tensor | None = None,
    table: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """softmax(query keyᵀ / √D + bias) value over the keys that each query sees -> the result (B, N, L, D) and
    the natural log-sum-exp of its logits (B, N, L) fp32.

    query (B, N, L, D), key and value (B, N, S, D), of any strides, bf16, fp16 or fp32. bias (B or 1, S);
    table, the blocks to visit, where known from a call with the same segments. A query that sees nothing gets
    0 and -inf. Under autocast query, key and value are taken in its type. ValueError where shapes do not fit
    or the kernels cannot run.
    """
    query, key, value = _of_autocast(query, key, value)
    _check(query, key, value, segments, bias)
    size = query.shape[-1]
    table = _table(segments, query) if table is None else table
    padding = min(fit for fit in HEAD_SIZES if fit >= size) - size
    query, key, value = (
        _last_is_dense(F.pad(t, (0, padding)) if padding else t) for t in (query, key, value)
    )
    out, lse = _attention(
        query, key, value, bias, segments.sees.contiguous(), segments.of.contiguous(), table, size**-0.5
    )
    return (out[..., :size] if padding else out), lse * math.log(2)


def _of_autocast(*tensors: Tensor) -> list[Tensor]:
    """Tensors in the type of an autocast, as torch's own attention takes them. On CUDA an autocast hands on
    normalised queries and keys in fp32, beside values in halves."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return list(tensors)
    dtype = torch.get_autocast_dtype(device)
    return [tensor.to(dtype) if tensor.dtype in _TYPES else tensor for tensor in tensors]


def _table(segments: Segments, query: Tensor) -> Tensor:
    tiles = _plan(query).forward
    return visits(segments, tiles.rows, tiles.columns)


def _check(query: Tensor, key: Tensor, value: Tensor, segments: Segments, bias: Tensor | None) -> None:
    reason = why_not(query.device, query.dtype, query.shape[-1])
    if reason is not None:
        raise ValueError(f"attention: {reason}")
    batch, heads, length, size = query.shape
    kept = key.shape[2]
    expected = {"key": (batch, heads, kept, size), "value": (batch, heads, kept, size)}
    for name, tensor in (("key", key), ("value", value)):
        if tuple(tensor.shape) != expected[name] or tensor.dtype != query.dtype:
            raise ValueError(
                f"{name} is {tuple(tensor.shape)} {tensor.dtype}; needed {expected[name]} {query.dtype}, as the query"
            )
    wanted = [("sees", segments.sees, length), ("of", segments.of, kept)]
    wanted += [] if bias is None else [("bias", bias, kept)]
    for name, tensor, long in wanted:
        if tensor.ndim != 2 or tensor.shape[0] not in (1, batch) or tensor.shape[1] != long:
            raise ValueError(f"{name} is {tuple(tensor.shape)}; needed ({batch} or 1, {long})")


def _last_is_dense(tensor: Tensor) -> Tensor:
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _plan(query: Tensor) -> TilePlan:
    if _interpreted():
        return INTERPRETER_TILES
    size = min(fit for fit in HEAD_SIZES if fit >= query.shape[-1])
    return plan_for(_capability(), size, query.dtype == torch.float32)


@torch.library.custom_op("refvid::segment_attention", mutates_args=())
def _attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, sees: Tensor, of: Tensor, table: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    from .triton.forward import forward

    batch, heads, length, size = query.shape
    out, lse = torch.empty_like(query), query.new_empty((batch, heads, length), dtype=torch.float32)
    tiles, weights = _plan(query).forward, _bias(bias, query)
    _launch(
        forward, tiles, (table.shape[1], batch * heads), bias is not None, size,
        query, key, value, weights, sees, of, table, out, lse,
        *query.stride()[:3], *key.stride()[:3], *value.stride()[:3], *out.stride()[:3],
        *(_row(t) for t in (weights, sees, of, table)),
        heads, length, key.shape[2], table.shape[2], scale,
    )  # fmt: skip
    return out, lse


@_attention.register_fake
def _(query, *_):
    return torch.empty_like(query), query.new_empty(query.shape[:3], dtype=torch.float32)


@torch.library.custom_op("refvid::segment_attention_backward", mutates_args=())
def _attention_backward(
    grad_out: Tensor, delta: Tensor, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, lse: Tensor,
    sees: Tensor, of: Tensor, scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    from .triton.backward import backward_keys, backward_queries

    batch, heads, length, size = query.shape
    kept, plan, weights = key.shape[2], _plan(query), _bias(bias, query)
    grads = [torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in (query, key, value)]
    grad_bias = query.new_empty((batch, heads, kept if bias is not None else 0), dtype=torch.float32)
    segments = Segments(sees, of)
    shared = (query, key, value, weights, grad_out, lse, delta, sees, of)
    strides = [*query.stride()[:3], *key.stride()[:3], *value.stride()[:3], *grad_out.stride()[:3]]
    jobs = (
        (backward_queries, visits, plan.queries, grads[:1]),
        (backward_keys, visitors, plan.keys, [*grads[1:], grad_bias]),
    )
    for kernel, tabulate, tiles, results in jobs:
        table = tabulate(segments, tiles.rows, tiles.columns)
        _launch(
            kernel, tiles, (table.shape[1], batch * heads), bias is not None, size,
            *shared, table, *results, *strides, *(_row(t) for t in (weights, sees, of, table)),
            heads, length, kept, table.shape[2], scale,
        )  # fmt: skip
    return grads[0], grads[1], grads[2], grad_bias


@_attention_backward.register_fake
def _(_, __, query, key, value, bias, *___):
    grads = [torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in (query, key, value)]
    kept = key.shape[2] if bias is not None else 0
    return *grads, query.new_empty((*query.shape[:2], kept), dtype=torch.float32)


def _remember(ctx, inputs, output) -> None:
    query, key, value, bias, sees, of, _, scale = inputs
    ctx.save_for_backward(query, key, value, bias, sees, of, *output)
    ctx.scale = scale


def _gradients(ctx, grad_out, grad_lse):
    query, key, value, bias, sees, of, out, lse = ctx.saved_tensors
    # The sum is of base 2, which saves gradients a rounding.
    delta = (grad_out.float() * out.float()).sum(-1) - grad_lse / math.log(2)
    grad_query, grad_key, grad_value, grad_bias = _attention_backward(
        _last_is_dense(grad_out), delta.contiguous(), query, key, value, bias, lse, sees, of, ctx.scale
    )
    if bias is not None:
        grad_bias = grad_bias.sum(1).sum_to_size(bias.shape).to(bias.dtype)
    return grad_query, grad_key, grad_value, None if bias is None else grad_bias, None, None, None, None


_attention.register_autograd(_gradients, setup_context=_remember)


def _launch(kernel: Any, tiles: Tiles, grid: tuple[int, int], has_bias: bool, size: int, *arguments) -> Any:
    """-> what was compiled, as Triton gives it: bench/gpu looks at its registers."""
    with torch.cuda.device_of(arguments[0]):  # Triton launches on the current device
        return kernel[grid](
            *arguments,
            HAS_BIAS=has_bias,
            ROWS=tiles.rows,
            COLUMNS=tiles.columns,
            D=size,
            num_warps=tiles.warps,
            num_stages=tiles.stages,
        )


def _bias(bias: Tensor | None, query: Tensor) -> Tensor:
    """fp32 as the kernels read it; without one, a stand-in that is not read."""
    return query.new_zeros((1, 1), dtype=torch.float32) if bias is None else bias.float().contiguous()


def _row(tensor: Tensor) -> int:
    """Stride to the next row of a batch: 0 where one row serves all."""
    return tensor.stride(0) if tensor.shape[0] > 1 else 0
