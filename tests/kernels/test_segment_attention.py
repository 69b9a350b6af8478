"""The Triton kernels against float64, and as operators of torch."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from refvid_gpu import COMPILER, DEVICE, DRY
from refvid_gpu_attention import (
    CAPS,
    LIKE_TORCH,
    LOOSE,
    ROUNDINGS,
    doubled,
    drawn,
    error,
    ours,
    results,
    segments,
    torchs,
    truth,
    values_of,
)
from torch import Tensor
from torch.library import opcheck

from refvid.kernels import segment_attention as operator
from refvid.kernels.eager import eager_attention
from refvid.kernels.grouped import Groups
from refvid.kernels.segment_attention import segment_attention, triton_attention
from refvid.kernels.segments import Segments, everyone

pytestmark = pytest.mark.gpu
# A call takes a second in the interpreter: a failure is reported as it was drawn, not shrunk.
QUICK = settings(
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NAMES = ("out", "query", "key", "value", "bias")


@settings(QUICK, max_examples=16)
@given(
    queries=st.sampled_from([1, 17, 63, 64, 131]),
    keys=st.sampled_from([31, 64, 97, 200]),
    size=st.sampled_from([48, 64, 128]),
    dtype=st.sampled_from(list(CAPS)),
    biased=st.sampled_from([0, 1, 2]),
    seed=st.integers(0, 1000),
)
def test_every_result_is_within_a_few_roundings_of_float64(queries, keys, size, dtype, biased, seed):
    values, seen = values_of(dtype, queries, keys, size, seed), segments(queries, keys, seed)
    bias = drawn(biased, keys, seed=seed + 1).requires_grad_() if biased else None
    weight = drawn(*values[0].shape, seed=seed + 2).double()
    found = results(ours(seen), values, bias, weight)
    right = truth(seen, values, bias, weight)
    for place, (one, other) in enumerate(zip(found, right, strict=True)):
        assert one.isfinite().all() and one.shape == other.shape
        assert error(one, other) <= CAPS[dtype][place > 0] * torch.finfo(dtype).eps, NAMES[place]
    blind = ~seen.dense().any(2)
    assert not found[0].transpose(1, 2)[blind].any() and not found[1].transpose(1, 2)[blind].any()


def test_one_key_is_its_own_average():
    values = values_of(torch.float32, 5, 1, 64)
    weight = drawn(*values[0].shape, seed=3).double()
    found = results(ours(everyone(5, 1, DEVICE)), values, None, weight)
    torch.testing.assert_close(found[0], values[2].expand_as(found[0]), rtol=0, atol=0)
    # the softmax of one number is constant
    assert max(found[1].abs().max(), found[2].abs().max()) < LOOSE * 1e-5
    torch.testing.assert_close(found[3].double(), weight.sum(2, keepdim=True), rtol=0, atol=LOOSE * 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("size", [64, 128])
def test_no_worse_than_torchs_own_attention(dtype, size):
    values, seen = values_of(dtype, 131, 200, size), segments(131, 200, blind=False)
    bias, weight = drawn(2, 200, seed=3).requires_grad_(), drawn(*values[0].shape, seed=4).double()
    found = results(ours(seen), values, bias, weight)
    torch.use_deterministic_algorithms(False)  # which torch's own may not know
    theirs, wanted = results(torchs(seen), values, bias, weight), truth(seen, values, bias, weight)
    for one, other, right in zip(found, theirs, wanted, strict=True):
        assert error(one, right) <= max(LIKE_TORCH * error(other, right), ROUNDINGS)


def test_the_log_sum_exp_is_natural_and_carries_gradients():
    values, seen = values_of(torch.float32, 70, 90, 64), segments(70, 90)
    bias = drawn(1, 90, seed=3).requires_grad_()
    _, lse = segment_attention(*values, seen, bias)
    wide, biases = doubled(values), bias.detach().double().requires_grad_()
    logits = wide[0] @ wide[1].mT / 8 + biases[:, None, None]
    right = logits.masked_fill(~seen.dense()[:, None], -math.inf).logsumexp(-1)
    some = right.isfinite()
    assert torch.equal(some, lse.isfinite()) and (lse[~some] == -math.inf).all() and (~some).any()
    assert (lse[some] - right[some]).abs().max() < LOOSE * 2e-6
    weight = drawn(*lse.shape, seed=4)
    found = torch.autograd.grad((lse.where(some, 0.0) * weight).sum(), [*values[:2], bias])
    wanted = torch.autograd.grad((right.where(some, 0.0) * weight.double()).sum(), [*wide[:2], biases])
    for one, other in zip(found, wanted, strict=True):
        assert error(one, other) < LOOSE * 1e-6


def test_keys_whose_bias_is_minus_infinity_are_as_if_removed():
    values, all_see = values_of(torch.float32, 40, 70, 64), everyone(40, 70, DEVICE)
    bias = torch.zeros(2, 70, device=DEVICE)
    bias[0, 20:], bias[1] = -math.inf, -math.inf  # row 1: no key is left
    weight = drawn(*values[0].shape, seed=3).double()
    found = results(ours(all_see), values, bias.requires_grad_(), weight)
    assert all(one.isfinite().all() for one in found)
    alone = [value[:1, :, :20].detach().requires_grad_() for value in values[1:]]
    query = values[0][:1].detach().requires_grad_()
    cut = results(ours(everyone(40, 20, DEVICE)), [query, *alone], None, weight[:1])
    torch.testing.assert_close(found[0][:1], cut[0], rtol=0, atol=LOOSE * 1e-6)
    torch.testing.assert_close(found[2][:1, :, :20], cut[2], rtol=0, atol=LOOSE * 1e-6)
    assert not found[0][1].any() and not any(grad[1].any() for grad in found[1:])


def test_the_same_call_gives_the_same_bits():
    values, seen = values_of(torch.bfloat16, 70, 130, 64), segments(70, 130)
    bias, weight = drawn(1, 130, seed=3).requires_grad_(), drawn(2, 3, 70, 64, seed=4).double()
    first, second = (results(ours(seen), values, bias, weight) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_any_strides_give_what_dense_tensors_give():
    values, seen = values_of(torch.float32, 33, 65, 64), segments(33, 65)
    dense = segment_attention(*(v.contiguous() for v in values), seen)[0]
    across = [v.detach().mT.contiguous().mT for v in values]  # the features are not neighbours
    wide = [F.pad(v.detach(), (0, 7))[..., :64] for v in values]
    for other in (values, across, wide):
        found = segment_attention(*other, seen)[0]
        # A GPU may sum in another order where it may not load in pairs.
        torch.testing.assert_close(found, dense, rtol=0, atol=0 if DRY else 2e-6)
    shared = [v.detach()[:1].expand(2, -1, -1, -1) for v in values]  # one row of a batch twice
    twice = segment_attention(*(v.contiguous() for v in shared), seen)[0]
    torch.testing.assert_close(segment_attention(*shared, seen)[0], twice, rtol=0, atol=0 if DRY else 2e-6)


def test_torch_accepts_the_operator():
    values, seen = values_of(torch.float32, 20, 30, 64), segments(20, 30)
    table = operator._table(seen, values[0])
    for bias in (drawn(1, 30, seed=3).requires_grad_(), None):
        given = (*values, bias, seen.sees, seen.of, table, 0.125)
        opcheck(torch.ops.refvid.segment_attention.default, given)


def test_a_compiled_model_keeps_one_graph_and_its_gradients():
    values, seen = values_of(torch.float32, 40, 50, 64), segments(40, 50)
    torch.use_deterministic_algorithms(False)  # what is compiled allocates its own memory

    def model(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return segment_attention(query * 1.5, key, value, seen)[0].sin().sum()

    compiled = torch.compile(model, fullgraph=True, backend=COMPILER)
    found = torch.autograd.grad(compiled(*values), values)
    for one, other in zip(found, torch.autograd.grad(model(*values), values), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=LOOSE * 1e-6)


@settings(QUICK, max_examples=8)
@given(seed=st.integers(0, 10_000))
def test_groups_see_what_they_see_in_plain_torch(seed):
    generator = torch.Generator().manual_seed(seed)
    cuts = [0, *torch.randint(1, 20, (4,), generator=generator).cumsum(0).tolist()]
    spans = list(pairwise(cuts))
    rows = [part.to(DEVICE) for part in torch.randperm(cuts[-1], generator=generator).tensor_split(3)]
    keys = tuple(
        tuple(span for span in spans if span[0] == 0 or torch.rand(1, generator=generator) < 0.5)
        for _ in rows
    )
    groups = Groups(keys, tuple(rows), torch.cat(rows).argsort(), cuts[1])
    values = [drawn(2, 2, cuts[-1], 64, seed=seed + k) for k in range(3)]
    attend = triton_attention(groups)
    for bias in (None, drawn(1, cuts[-1], seed=seed + 3)):
        torch.testing.assert_close(
            attend(*values, bias), eager_attention(groups)(*values, bias), rtol=0, atol=LOOSE * 2e-6
        )


def test_a_call_that_does_not_fit_is_refused_by_name():
    query, key, value = (v.detach() for v in values_of(torch.float32, 20, 30, 64))
    seen = segments(20, 30)
    with pytest.raises(ValueError, match=r"value is \(2, 3, 29, 64\)"):
        segment_attention(query, key, value[:, :, 1:], seen)
    with pytest.raises(ValueError, match=r"of is \(2, 29\); needed \(2 or 1, 30\)"):
        segment_attention(query, key, value, Segments(seen.sees, seen.of[:, 1:]))
    with pytest.raises(ValueError, match=r"bias is \(3, 30\); needed \(2 or 1, 30\)"):
        segment_attention(query, key, value, seen, torch.zeros(3, 30, device=DEVICE))
    long = [torch.zeros(1, 1, 20, 160, device=DEVICE) for _ in range(3)]
    with pytest.raises(ValueError, match="heads of up to 128 features, not 160"):
        segment_attention(*long, everyone(20, 20, DEVICE))
    with pytest.raises(ValueError, match="takes bf16, fp16 or fp32, not float64"):
        segment_attention(query.double(), key.double(), value.double(), seen)
