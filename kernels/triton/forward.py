"""Attention over segments, forward: FlashAttention-2's online softmax (arXiv 2307.08691, algorithm 1) over
the blocks of keys that a block of queries sees. Blocks seen whole need no test of their pairs."""

import triton
import triton.language as tl

from .common import LOG2_E, UNSEEN, dot, load_inside, seen_pairs


@triton.jit
def _visit(
    acc, top, total, query, words, keys, values, bias, segments, blocks, count, key_step, value_step, length, scale,
    IN_PART: tl.constexpr, HAS_BIAS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Take `count` blocks of keys into the running maximum, sum and weighted values."""
    column = tl.arange(0, COLUMNS)
    for turn in range(count):
        first = tl.load(blocks + turn) * COLUMNS
        place = first + column
        inside = place < length
        key = load_inside(keys + first.to(tl.int64) * key_step, inside[None, :], IN_PART)
        logits = dot(query, key, tl.zeros([query.shape[0], COLUMNS], tl.float32)) * scale
        if HAS_BIAS:
            logits += load_inside(bias + place, inside, IN_PART)[None, :] * LOG2_E
        if IN_PART:
            segment = tl.load(segments + place, mask=inside, other=-1)
            seen = seen_pairs(words[:, None], segment[None, :])
            logits = tl.where(seen, logits, UNSEEN)
        higher = tl.maximum(top, tl.max(logits, 1))
        weights = tl.math.exp2(logits - higher[:, None])
        if IN_PART:
            weights = tl.where(seen, weights, 0.0)
        shrink = tl.math.exp2(top - higher)
        total = total * shrink + tl.sum(weights, 1)
        value = load_inside(values + first.to(tl.int64) * value_step, inside[:, None], IN_PART)
        acc = dot(weights.to(value.dtype), value, acc * shrink[:, None])
        top = higher
    return acc, top, total


@triton.jit
def forward(
    Query, Key, Value, Bias, Sees, Of, Visits, Out, Lse,
    qb, qn, ql, kb, kn, ks, vb, vn, vs, ob, on, ol, bias_b, sees_b, of_b, visits_b,
    heads, queries, keys, visits_row, scale,
    HAS_BIAS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """One block of queries of one head. Out in its own type, Lse (B, N, L) fp32, of base 2; 0 and -inf where
    a query sees nothing."""
    block, b, n = tl.program_id(0), tl.program_id(1) // heads, tl.program_id(1) % heads
    b, n = b.to(tl.int64), n.to(tl.int64)
    row, column, feature = block * ROWS + tl.arange(0, ROWS), tl.arange(0, COLUMNS), tl.arange(0, D)
    real = row < queries
    far = row.to(tl.int64)
    at = Query + b * qb + n * qn + far[:, None] * ql + feature[None, :]
    query = tl.load(at, mask=real[:, None], other=0.0)
    words = tl.load(Sees + b * sees_b + row, mask=real, other=0)
    key_at = Key + b * kb + n * kn + column[None, :].to(tl.int64) * ks + feature[:, None]
    value_at = Value + b * vb + n * vn + column[:, None].to(tl.int64) * vs + feature[None, :]
    bias, segments = Bias + b * bias_b, Of + b * of_b
    plan = Visits + b * visits_b + block.to(tl.int64) * visits_row
    whole, part = tl.load(plan), tl.load(plan + 1)
    top = tl.full([ROWS], UNSEEN, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    acc = tl.zeros([ROWS, D], tl.float32)
    acc, top, total = _visit(
        acc, top, total, query, words, key_at, value_at, bias, segments, plan + 2, whole, ks, vs, keys,
        scale * LOG2_E, False, HAS_BIAS, COLUMNS,
    )  # fmt: skip
    acc, top, total = _visit(
        acc, top, total, query, words, key_at, value_at, bias, segments, plan + 2 + whole, part, ks, vs, keys,
        scale * LOG2_E, True, HAS_BIAS, COLUMNS,
    )  # fmt: skip
    blind = total == 0.0
    total = tl.where(blind, 1.0, total)
    lse = tl.where(blind, float("-inf"), top + tl.math.log2(total))
    tl.store(Lse + (b * heads + n) * queries + row, lse, mask=real)
    out = Out + b * ob + n * on + far[:, None] * ol + feature[None, :]
    tl.store(out, (acc / total[:, None]).to(Out.dtype.element_ty), mask=real[:, None])
