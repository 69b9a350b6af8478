"""The Triton kernels against float64, and as operators of torch."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.library import opcheck

from refvid.kernels.eager import eager_attention, masked_attention
from refvid.kernels.grouped import Groups
from refvid.kernels.segment_attention import segment_attention, triton_attention
from refvid.kernels.segments import Segments, everyone, visits

pytestmark = pytest.mark.interpreted
# The relative error a result and a gradient may have, in eps of the type. In halves the weights and their steps are
# rounded too before they multiply, as in every fused GPU kernel (torch's CPU kernel keeps them in fp32), and one query
# has few roundings to average over: 60 seeds of one query reached half of these.
CAPS = {torch.float32: (8, 8), torch.float16: (1.5, 3), torch.bfloat16: (1.5, 3)}
# A call takes a second in the interpreter: a failure is reported as it was drawn, not shrunk.
QUICK = settings(
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
LIKE_TORCH = 1.25  # times the error of torch's own attention, or a few roundings of fp32


def values_of(dtype: torch.dtype, queries: int, keys: int, size: int, seed: int = 0) -> list[Tensor]:
    """query, key, value as ComfyUI hands them, tokens before heads, with gradients."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, length, 3, size) for length in (queries, keys, keys)]
    drawn = [torch.randn(shape, generator=generator).transpose(1, 2).to(dtype) for shape in shapes]
    return [one.detach().requires_grad_() for one in drawn]


def segments(queries: int, keys: int, seed: int = 0, blind: bool = True) -> Segments:
    """In order, so that blocks are seen whole, in part and not at all; blind: with keys that nobody sees and queries that
    see nothing."""
    generator = torch.Generator().manual_seed(seed)
    of = torch.randint(-1 if blind else 0, 4, (2, keys), generator=generator, dtype=torch.int32)
    sees = torch.randint(0 if blind else 1, 16, (2, queries), generator=generator, dtype=torch.int32)
    if not blind:
        of[:, :4] = torch.arange(4)
    return Segments(sees.sort(1).values, of.sort(1).values)


def ours(seen: Segments):
    return lambda query, key, value, bias: segment_attention(query, key, value, seen, bias)[0]


def exact(seen: Segments):
    return lambda query, key, value, bias: masked_attention(query, key, value, seen.dense(), bias)


def torchs(seen: Segments):
    def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        mask = torch.zeros(seen.dense().shape).masked_fill(~seen.dense(), -math.inf)[:, None]
        mask = mask if bias is None else mask + bias[:, None, None]
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask.to(query.dtype))

    return attend


def results(attend, values: list[Tensor], bias: Tensor | None, weight: Tensor) -> list[Tensor]:
    """The output and the gradients of query, key, value and bias."""
    out = attend(*values, bias)
    wanted = [*values, *([] if bias is None else [bias])]
    return [out, *torch.autograd.grad((out.double() * weight).sum(), wanted)]


def doubled(values: list[Tensor]) -> list[Tensor]:
    return [value.detach().double().requires_grad_() for value in values]


def error(found: Tensor, right: Tensor) -> float:
    """Relative to the whole, and to 0.1 an entry where that is smaller: gradients may vanish."""
    return ((found.double() - right).norm() / right.norm().clamp_min(0.1 * right.numel() ** 0.5)).item()


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
    torch.manual_seed(seed)
    bias = torch.randn(biased, keys, requires_grad=True) if biased else None
    weight = torch.randn(values[0].shape).double()
    found = results(ours(seen), values, bias, weight)
    wide = None if bias is None else bias.detach().double().requires_grad_()
    right = results(exact(seen), doubled(values), wide, weight)
    for place, (one, other) in enumerate(zip(found, right, strict=True)):
        assert one.isfinite().all() and one.shape == other.shape
        cap = CAPS[dtype][place > 0] * torch.finfo(dtype).eps
        assert error(one, other) <= cap, ("out", "query", "key", "value", "bias")[place]
    blind = ~seen.dense().any(2)
    assert not found[0].transpose(1, 2)[blind].any() and not found[1].transpose(1, 2)[blind].any()


def test_one_key_is_its_own_average():
    values = values_of(torch.float32, 5, 1, 64)
    weight = torch.randn(values[0].shape).double()
    found = results(ours(everyone(5, 1, weight.device)), values, None, weight)
    torch.testing.assert_close(found[0], values[2].expand_as(found[0]), rtol=0, atol=0)
    assert max(found[1].abs().max(), found[2].abs().max()) < 1e-5  # the softmax of one number is constant
    torch.testing.assert_close(found[3].double(), weight.sum(2, keepdim=True), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("size", [64, 128])
def test_no_worse_than_torchs_own_attention(dtype, size):
    values, seen = values_of(dtype, 131, 200, size), segments(131, 200, blind=False)
    bias = torch.randn(2, 200, requires_grad=True)
    weight = torch.randn(values[0].shape).double()
    right = results(exact(seen), doubled(values), bias.detach().double().requires_grad_(), weight)
    pairs = zip(
        results(ours(seen), values, bias, weight), results(torchs(seen), values, bias, weight), strict=True
    )
    for (one, other), truth in zip(pairs, right, strict=True):
        assert error(one, truth) <= max(LIKE_TORCH * error(other, truth), 6e-7)


def test_the_log_sum_exp_is_natural_and_carries_gradients():
    values, seen = values_of(torch.float32, 70, 90, 64), segments(70, 90)
    bias = torch.randn(1, 90, requires_grad=True)
    _, lse = segment_attention(*values, seen, bias)
    wide, biases = doubled(values), bias.detach().double().requires_grad_()
    logits = wide[0] @ wide[1].mT / 8 + biases[:, None, None]
    right = logits.masked_fill(~seen.dense()[:, None], -math.inf).logsumexp(-1)
    some = right.isfinite()
    assert torch.equal(some, lse.isfinite()) and (lse[~some] == -math.inf).all() and (~some).any()
    assert (lse[some] - right[some]).abs().max() < 2e-6
    weight = torch.randn(lse.shape)
    found = torch.autograd.grad((lse.where(some, 0.0) * weight).sum(), [*values[:2], bias])
    truth = torch.autograd.grad((right.where(some, 0.0) * weight.double()).sum(), [*wide[:2], biases])
    for one, other in zip(found, truth, strict=True):
        assert error(one, other) < 1e-6


def test_keys_whose_bias_is_minus_infinity_are_as_if_removed():
    values, nobody = values_of(torch.float32, 40, 70, 64), everyone(40, 70, torch.device("cpu"))
    bias = torch.zeros(2, 70)
    bias[0, 20:], bias[1] = -math.inf, -math.inf  # row 1: no key is left
    weight = torch.randn(values[0].shape).double()
    found = results(ours(nobody), values, bias.requires_grad_(), weight)
    assert all(one.isfinite().all() for one in found)
    alone = [value[:1, :, :20].detach().requires_grad_() for value in values[1:]]
    query = values[0][:1].detach().requires_grad_()
    cut = results(ours(everyone(40, 20, query.device)), [query, *alone], None, weight[:1])
    torch.testing.assert_close(found[0][:1], cut[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(found[2][:1, :, :20], cut[2], rtol=0, atol=1e-6)
    assert not found[0][1].any() and not any(grad[1].any() for grad in found[1:])


def test_the_same_call_gives_the_same_bits():
    values, seen = values_of(torch.bfloat16, 131, 200, 64), segments(131, 200)
    bias, weight = torch.randn(1, 200, requires_grad=True), torch.randn(2, 3, 131, 64).double()
    first, second = (results(ours(seen), values, bias, weight) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_any_strides_give_what_dense_tensors_give():
    values, seen = values_of(torch.float32, 33, 65, 64), segments(33, 65)
    dense = segment_attention(*(v.contiguous() for v in values), seen)[0]
    across = [v.detach().mT.contiguous().mT for v in values]  # the features are not neighbours
    wide = [F.pad(v.detach(), (0, 7))[..., :64] for v in values]
    for other in (values, across, wide):
        assert torch.equal(segment_attention(*other, seen)[0], dense)


def test_torch_accepts_the_operator():
    values, seen = values_of(torch.float32, 20, 30, 64), segments(20, 30)
    bias = torch.randn(1, 30, requires_grad=True)
    table = visits(seen, 64, 64)
    opcheck(torch.ops.refvid.segment_attention.default, (*values, bias, seen.sees, seen.of, table, 0.125))
    opcheck(torch.ops.refvid.segment_attention.default, (*values, None, seen.sees, seen.of, table, 0.125))


def test_a_compiled_model_keeps_one_graph_and_its_gradients():
    values, seen = values_of(torch.float32, 40, 50, 64), segments(40, 50)

    def model(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return segment_attention(query * 1.5, key, value, seen)[0].sin().sum()

    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(compiled(*values), values)
    for one, other in zip(found, torch.autograd.grad(model(*values), values), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@settings(QUICK, max_examples=8)
@given(seed=st.integers(0, 10_000))
def test_groups_see_what_they_see_in_plain_torch(seed):
    generator = torch.Generator().manual_seed(seed)
    cuts = [0, *torch.randint(1, 20, (4,), generator=generator).cumsum(0).tolist()]
    spans = list(pairwise(cuts))
    rows = torch.randperm(cuts[-1], generator=generator).tensor_split(3)
    keys = tuple(
        tuple(span for span in spans if span[0] == 0 or torch.rand(1, generator=generator) < 0.5)
        for _ in rows
    )
    groups = Groups(keys, rows, torch.cat(rows).argsort(), cuts[1])
    values = [torch.randn(2, 2, cuts[-1], 64, generator=generator) for _ in range(3)]
    bias = torch.randn(1, cuts[-1], generator=generator)
    attend = triton_attention(groups)
    for given_bias in (None, bias):
        torch.testing.assert_close(
            attend(*values, given_bias), eager_attention(groups)(*values, given_bias), rtol=0, atol=2e-6
        )


def test_a_call_that_does_not_fit_is_refused_by_name():
    query, key, value = (v.detach() for v in values_of(torch.float32, 20, 30, 64))
    seen = segments(20, 30)
    with pytest.raises(ValueError, match=r"value is \(2, 3, 29, 64\)"):
        segment_attention(query, key, value[:, :, 1:], seen)
    with pytest.raises(ValueError, match=r"of is \(2, 29\); needed \(2 or 1, 30\)"):
        segment_attention(query, key, value, Segments(seen.sees, seen.of[:, 1:]))
    with pytest.raises(ValueError, match=r"bias is \(3, 30\); needed \(2 or 1, 30\)"):
        segment_attention(query, key, value, seen, torch.zeros(3, 30))
    with pytest.raises(ValueError, match="heads of up to 128 features, not 160"):
        segment_attention(*(torch.zeros(1, 1, 20, 160) for _ in range(3)), everyone(20, 20, query.device))
    with pytest.raises(ValueError, match="takes bf16, fp16 or fp32, not float64"):
        segment_attention(query.double(), key.double(), value.double(), seen)
