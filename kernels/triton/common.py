"""Parts that the kernels share. Triton's interpreter, which runs them without a GPU, takes no bf16
products."""

import os

import triton
import triton.language as tl

_INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")
LOG2_E = tl.constexpr(1.4426950408889634)
UNSEEN = tl.constexpr(
    -1.0e30
)  # finite: the difference of two of them is 0, that of two infinities is no number


@triton.jit
def dot(a, b, acc):
    """acc + a b in fp32; fp32 operands are not rounded to tf32. The interpreter would multiply the bits of
    bf16."""
    if _INTERPRETED:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, acc, input_precision="ieee")


@triton.jit
def load_inside(pointer, inside, BOUNDED: tl.constexpr):
    """Values, or 0 where they lie outside; without the check where all lie inside."""
    if BOUNDED:
        return tl.load(pointer, mask=inside, other=0.0)
    else:
        return tl.load(pointer)


@triton.jit
def seen_pairs(words, segments):
    """Pairs of queries (rows) and keys (columns) that see each other: words and segments shaped to
    broadcast."""
    return ((words >> tl.maximum(segments, 0)) & 1 != 0) & (segments >= 0)
