"""Attention over segments, backward: FlashAttention-2 (arXiv 2307.08691, algorithm 2) in two kernels, one for
queries and one for keys, values and the keys' bias. Each result is summed by one program in one order: no
atomics, the same bits every time. The gradient of the log-sum-exp enters through `Delta` = rowsum(dOut Out) -
dLse."""

import triton
import triton.language as tl

from .common import LOG2_E, dot, load_inside, seen_pairs


@triton.jit
def _logs(at, inside):
    """Log-sum-exp of queries, of base 2. What saw nothing gets +inf, which makes its weights 0, not a NaN."""
    lse = tl.load(at, mask=inside, other=float("inf"))
    return tl.where(lse == float("-inf"), float("inf"), lse)


@triton.jit
def _visit_keys(
    grad, query, grad_out, logs, delta, words, keys, values, bias, segments, blocks, count, key_step, value_step,
    length, scale, IN_PART: tl.constexpr, HAS_BIAS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    column = tl.arange(0, COLUMNS)
    for turn in range(count):
        first = tl.load(blocks + turn) * COLUMNS
        place = first + column
        inside = place < length
        key = load_inside(keys + first.to(tl.int64) * key_step, inside[None, :], IN_PART)
        value = load_inside(values + first.to(tl.int64) * value_step, inside[None, :], IN_PART)
        logits = dot(query, key, tl.zeros([query.shape[0], COLUMNS], tl.float32)) * scale
        if HAS_BIAS:
            logits += load_inside(bias + place, inside, IN_PART)[None, :] * LOG2_E
        weights = tl.math.exp2(logits - logs[:, None])
        if IN_PART:
            segment = tl.load(segments + place, mask=inside, other=-1)
            weights = tl.where(seen_pairs(words[:, None], segment[None, :]), weights, 0.0)
        pull = dot(grad_out, value, tl.zeros([query.shape[0], COLUMNS], tl.float32))
        step = weights * (pull - delta[:, None])
        grad = dot(step.to(key.dtype), tl.trans(key), grad)
    return grad


@triton.jit
def backward_queries(
    Query, Key, Value, Bias, GradOut, Lse, Delta, Sees, Of, Visits, GradQuery,
    qb, qn, ql, kb, kn, ks, vb, vn, vs, gb, gn, gl, bias_b, sees_b, of_b, visits_b,
    heads, queries, keys, visits_row, scale,
    HAS_BIAS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Gradient of one block of queries of one head; GradQuery (B, N, L, D) contiguous."""
    block, b, n = tl.program_id(0), tl.program_id(1) // heads, tl.program_id(1) % heads
    b, n = b.to(tl.int64), n.to(tl.int64)
    row, column, feature = block * ROWS + tl.arange(0, ROWS), tl.arange(0, COLUMNS), tl.arange(0, D)
    real = row < queries
    far = row.to(tl.int64)[:, None]
    query = tl.load(Query + b * qb + n * qn + far * ql + feature[None, :], mask=real[:, None], other=0.0)
    grad_out = tl.load(GradOut + b * gb + n * gn + far * gl + feature[None, :], mask=real[:, None], other=0.0)
    line = (b * heads + n) * queries + row
    logs, delta = _logs(Lse + line, real), tl.load(Delta + line, mask=real, other=0.0)
    words = tl.load(Sees + b * sees_b + row, mask=real, other=0)
    key_at = Key + b * kb + n * kn + column[None, :].to(tl.int64) * ks + feature[:, None]
    value_at = Value + b * vb + n * vn + column[None, :].to(tl.int64) * vs + feature[:, None]
    bias, segments = Bias + b * bias_b, Of + b * of_b
    plan = Visits + b * visits_b + block.to(tl.int64) * visits_row
    whole, part = tl.load(plan), tl.load(plan + 1)
    grad = tl.zeros([ROWS, D], tl.float32)
    grad = _visit_keys(
        grad, query, grad_out, logs, delta, words, key_at, value_at, bias, segments, plan + 2, whole, ks, vs, keys,
        scale * LOG2_E, False, HAS_BIAS, COLUMNS,
    )  # fmt: skip
    grad = _visit_keys(
        grad, query, grad_out, logs, delta, words, key_at, value_at, bias, segments, plan + 2 + whole, part, ks, vs,
        keys, scale * LOG2_E, True, HAS_BIAS, COLUMNS,
    )  # fmt: skip
    out = GradQuery + ((b * heads + n) * queries + far) * D + feature[None, :]
    tl.store(out, (grad * scale).to(GradQuery.dtype.element_ty), mask=real[:, None])


@triton.jit
def _visit_queries(
    grad_key, grad_value, grad_bias, key, value, bias, segments, queries, grads, logs, deltas, words, blocks, count,
    query_step, grad_step, length, scale, IN_PART: tl.constexpr, HAS_BIAS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Keys are rows here, which keeps the products with weights free of transposed registers."""
    row = tl.arange(0, ROWS)
    for turn in range(count):
        first = tl.load(blocks + turn) * ROWS
        place = first + row
        inside = place < length
        query = tl.load(queries + first.to(tl.int64) * query_step, mask=inside[None, :], other=0.0)
        logits = dot(key, query, tl.zeros([key.shape[0], ROWS], tl.float32)) * scale
        if HAS_BIAS:
            logits += bias[:, None] * LOG2_E
        weights = tl.math.exp2(logits - _logs(logs + place, inside)[None, :])
        if IN_PART:
            word = tl.load(words + place, mask=inside, other=0)
            weights = tl.where(seen_pairs(word[None, :], segments[:, None]), weights, 0.0)
        grad_out = tl.load(grads + first.to(tl.int64) * grad_step, mask=inside[:, None], other=0.0)
        grad_value = dot(weights.to(grad_out.dtype), grad_out, grad_value)
        pull = dot(value, tl.trans(grad_out), tl.zeros([key.shape[0], ROWS], tl.float32))
        step = weights * (pull - tl.load(deltas + place, mask=inside, other=0.0)[None, :])
        if HAS_BIAS:
            grad_bias += tl.sum(step, 1)
        grad_key = dot(step.to(query.dtype), tl.trans(query), grad_key)
    return grad_key, grad_value, grad_bias


@triton.jit
def backward_keys(
    Query, Key, Value, Bias, GradOut, Lse, Delta, Sees, Of, Visitors, GradKey, GradValue, GradBias,
    qb, qn, ql, kb, kn, ks, vb, vn, vs, gb, gn, gl, bias_b, sees_b, of_b, visitors_b,
    heads, queries, keys, visitors_row, scale,
    HAS_BIAS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Gradients of one block of keys of one head; GradKey, GradValue (B, N, S, D) and GradBias (B, N, S)
    contiguous."""
    block, b, n = tl.program_id(0), tl.program_id(1) // heads, tl.program_id(1) % heads
    b, n = b.to(tl.int64), n.to(tl.int64)
    column, row, feature = block * COLUMNS + tl.arange(0, COLUMNS), tl.arange(0, ROWS), tl.arange(0, D)
    real = column < keys
    far = column.to(tl.int64)[:, None]
    key = tl.load(Key + b * kb + n * kn + far * ks + feature[None, :], mask=real[:, None], other=0.0)
    value = tl.load(Value + b * vb + n * vn + far * vs + feature[None, :], mask=real[:, None], other=0.0)
    segments = tl.load(Of + b * of_b + column, mask=real, other=-1)
    bias = tl.load(Bias + b * bias_b + column, mask=real, other=0.0) if HAS_BIAS else segments.to(tl.float32)
    query_at = Query + b * qb + n * qn + row[None, :].to(tl.int64) * ql + feature[:, None]
    grad_at = GradOut + b * gb + n * gn + row[:, None].to(tl.int64) * gl + feature[None, :]
    line, words = (b * heads + n) * queries, Sees + b * sees_b
    plan = Visitors + b * visitors_b + block.to(tl.int64) * visitors_row
    whole, part = tl.load(plan), tl.load(plan + 1)
    grad_key = tl.zeros([COLUMNS, D], tl.float32)
    grad_value = tl.zeros([COLUMNS, D], tl.float32)
    grad_bias = tl.zeros([COLUMNS], tl.float32)
    grad_key, grad_value, grad_bias = _visit_queries(
        grad_key, grad_value, grad_bias, key, value, bias, segments, query_at, grad_at, Lse + line, Delta + line, words,
        plan + 2, whole, ql, gl, queries, scale * LOG2_E, False, HAS_BIAS, ROWS,
    )  # fmt: skip
    grad_key, grad_value, grad_bias = _visit_queries(
        grad_key, grad_value, grad_bias, key, value, bias, segments, query_at, grad_at, Lse + line, Delta + line, words,
        plan + 2 + whole, part, ql, gl, queries, scale * LOG2_E, True, HAS_BIAS, ROWS,
    )  # fmt: skip
    out = ((b * heads + n) * keys + far) * D + feature[None, :]
    tl.store(GradKey + out, (grad_key * scale).to(GradKey.dtype.element_ty), mask=real[:, None])
    tl.store(GradValue + out, grad_value.to(GradValue.dtype.element_ty), mask=real[:, None])
    if HAS_BIAS:
        tl.store(GradBias + (b * heads + n) * keys + column, grad_bias, mask=real)
