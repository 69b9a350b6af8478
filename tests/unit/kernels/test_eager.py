"""Eager attention against a float64 loop, and the equalities that the whole pack leans on."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from refvid.kernels.eager import masked_attention

quick = settings(max_examples=20)
INF = float("inf")


def draw(
    seed: int,
    batch: int = 2,
    heads: int = 2,
    queries: int = 3,
    keys: int = 7,
    size: int = 5,
    dtype=torch.float64,
):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((batch, heads, queries, size), (batch, heads, keys, size), (batch, heads, keys, size))
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def looped(query: Tensor, key: Tensor, value: Tensor, keep=None, bias=None) -> Tensor:
    """Attention one query at a time, in Python floats."""
    out = torch.zeros(query.shape, dtype=torch.float64)
    batch, heads, queries, size = query.shape
    for b in range(batch):
        for n in range(heads):
            for i in range(queries):
                weights = []
                for j in range(key.shape[2]):
                    dot = sum(float(query[b, n, i, d]) * float(key[b, n, j, d]) for d in range(size))
                    logit = dot / math.sqrt(size) + (0 if bias is None else float(bias[b % len(bias), j]))
                    seen = keep is None or bool(keep[b % len(keep), j])
                    weights.append(math.exp(logit) if seen else 0.0)
                total = sum(weights)
                for j, weight in enumerate(weights):
                    if total:
                        out[b, n, i] += weight / total * value[b, n, j].double()
    return out


@settings(max_examples=8)
@given(st.integers(0, 999), st.sampled_from([1, 2]), st.booleans(), st.booleans())
def test_it_is_the_formula(seed, rows, masked, biased):
    inputs = draw(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    keep = torch.rand(rows, 7, generator=generator) < 0.6 if masked else None
    bias = torch.randn(rows, 7, generator=generator, dtype=torch.float64) if biased else None
    torch.testing.assert_close(
        masked_attention(*inputs, keep, bias), looped(*inputs, keep, bias), rtol=0, atol=1e-12
    )


@quick
@given(st.integers(0, 999), st.sets(st.integers(0, 6), min_size=1))
def test_removing_keys_masking_them_and_an_infinite_bias_are_the_same(seed, kept):
    query, key, value = draw(seed)
    index = torch.tensor(sorted(kept))
    keep = torch.zeros(1, 7, dtype=torch.bool).index_fill(1, index, True)
    bias = torch.zeros(1, 7).masked_fill(~keep, -INF)
    removed = masked_attention(query, key[:, :, index], value[:, :, index])
    for other in (
        masked_attention(query, key, value, keep),
        masked_attention(query, key, value, key_bias=bias),
    ):
        torch.testing.assert_close(other, removed, rtol=0, atol=1e-13)


@quick
@given(st.integers(0, 999), st.integers(0, 6), st.integers(1, 6))
def test_a_bias_of_log_s_counts_a_key_s_times(seed, which, count):
    query, key, value = draw(seed)
    times = torch.ones(7, dtype=torch.long)
    times[which] = count
    repeated = masked_attention(query, key.repeat_interleave(times, 2), value.repeat_interleave(times, 2))
    biased = masked_attention(query, key, value, key_bias=times.double().log()[None])
    torch.testing.assert_close(biased, repeated, rtol=0, atol=1e-13)


@pytest.mark.parametrize("how", ["keep", "bias"])
def test_a_query_that_may_see_nothing_returns_zeros_and_its_neighbours_are_untouched(how):
    inputs = draw(0)
    keep = torch.ones(2, 7, dtype=torch.bool)
    keep[0] = False
    bias = torch.zeros(2, 7).masked_fill(~keep, -INF)
    got = masked_attention(*inputs, keep) if how == "keep" else masked_attention(*inputs, key_bias=bias)
    assert got[0].eq(0).all()
    assert torch.equal(got[1], masked_attention(*inputs)[1])


def test_nothing_reaches_the_result_from_a_masked_value():
    query, key, value = draw(0)
    keep = torch.tensor([[True, False, True, True, False, True, True]])
    loud_key, loud_value = key.clone(), value.clone()
    loud_key[:, :, ~keep[0]], loud_value[:, :, ~keep[0]] = 1e9, -1e9
    assert torch.equal(
        masked_attention(query, loud_key, loud_value, keep), masked_attention(query, key, value, keep)
    )


@quick
@given(st.integers(0, 999), st.floats(-50, 50))
def test_a_bias_common_to_all_keys_changes_nothing(seed, shift):
    inputs = draw(seed)
    torch.testing.assert_close(
        masked_attention(*inputs, key_bias=torch.full((1, 7), shift).double()), masked_attention(*inputs)
    )


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 1.6e-2), (torch.float32, 1e-6)]
)
def test_narrow_inputs_are_computed_wide_and_come_back_in_their_dtype(dtype, tolerance):
    inputs = draw(3, keys=65, dtype=dtype)
    bias = torch.randn(1, 65)
    got = masked_attention(*inputs, key_bias=bias)
    assert got.dtype == dtype
    wide = masked_attention(*(tensor.double() for tensor in inputs), key_bias=bias)
    # Only the last rounding is narrow: a unit in the last place of values up to 4 (2 ** -9 and 2 ** -6).
    torch.testing.assert_close(got.double(), wide, rtol=0, atol=tolerance)


def test_large_logits_do_not_overflow_in_half_precision():
    query = torch.full((1, 1, 1, 4), 200.0, dtype=torch.float16)  # 4 * 200 * 200 / 2 is beyond fp16's 65504
    key = torch.stack([query[0, 0, 0], -query[0, 0, 0]])[None, None]
    value = torch.tensor([[3.0], [5.0]], dtype=torch.float16)[None, None]
    assert masked_attention(query, key, value).item() == 3
