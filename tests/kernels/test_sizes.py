"""The Triton kernels at sizes that the interpreter cannot afford, far apart in memory, in a CUDA graph."""

import pytest
import torch
from refvid_gpu import DEVICE, DRY
from refvid_gpu_attention import (
    CAPS,
    LIKE_TORCH,
    ROUNDINGS,
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

from refvid.kernels.segment_attention import segment_attention
from refvid.kernels.segments import everyone

pytestmark = pytest.mark.gpu
QUERIES, KEYS = (70, 90) if DRY else (3001, 2903)  # ragged
FAR = 2**31  # elements from the first that a kernel reads to the last: past what 32 bits address
NAMES = ("out", "query", "key", "value", "bias")


@pytest.mark.parametrize("dtype", [torch.float16] if DRY else list(CAPS), ids=str)
@pytest.mark.parametrize("size", [64] if DRY else [64, 128])
def test_long_sequences_are_as_exact_as_short_ones_and_as_torchs_own(dtype, size):
    """Groups of what a video sees and what its references see, an identity's worth of weights on some
    keys."""
    values, seen = values_of(dtype, QUERIES, KEYS, size), segments(QUERIES, KEYS, blind=False)
    bias, weight = drawn(1, KEYS, seed=3).requires_grad_(), drawn(*values[0].shape, seed=4).double()
    right = truth(seen, values, bias, weight)
    found = results(ours(seen), values, bias, weight)
    same = results(ours(seen), values, bias, weight)
    torch.use_deterministic_algorithms(False)  # which torch's own may not know
    theirs = results(torchs(seen), values, bias, weight)
    for place, (one, again, other, true) in enumerate(zip(found, same, theirs, right, strict=True)):
        off, torch_off = error(one, true, 0.0), error(other, true, 0.0)
        assert off <= CAPS[dtype][place > 0] * torch.finfo(dtype).eps, (NAMES[place], off)
        # torch's own keeps weights in fp32 on a CPU
        assert DRY or off <= max(LIKE_TORCH * torch_off, ROUNDINGS), (NAMES[place], off, torch_off)
        assert torch.equal(one, again), NAMES[place]


def apart(axis: int) -> tuple[Tensor, list[Tensor]]:
    """The gradient of an output, and query, key and value, (B, N, L, 64) bf16, side by side in one memory of
    5 GiB.

    The last along `axis` (of tokens, the last block of 64 or 128) begins more than FAR elements after the
    first, though no stride is that long."""
    shape, strides = [1, 1, 40, 64], [256, 256, 256, 1]
    shape[axis], begins = ((3, 2), (3, 2), (140, 128))[axis]
    strides[axis] = 256 * (FAR // begins // 256 + 1)
    last = strides[axis] * (shape[axis] - 1)
    assert strides[axis] < FAR < strides[axis] * begins
    torch.utils.deterministic.fill_uninitialized_memory = False  # untouched pages take no room on a CPU
    memory = torch.empty(last + 40 * 256, dtype=torch.bfloat16, device=DEVICE)
    torch.utils.deterministic.fill_uninitialized_memory = True
    views = [memory[64 * k :].as_strided(shape, strides) for k in range(4)]
    for k, view in enumerate(views):
        view.copy_(drawn(*shape, seed=k, dtype=torch.bfloat16))
    return views[0], [view.detach().requires_grad_() for view in views[1:]]


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["batch", "heads", "tokens"])
def test_what_lies_more_than_32_bits_apart_is_read_where_it_is(axis):
    grad, values = apart(axis)
    seen = everyone(grad.shape[2], grad.shape[2], DEVICE)
    near = [value.detach().contiguous().requires_grad_() for value in values]
    for one, other in zip(_called(seen, values, grad), _called(seen, near, grad.contiguous()), strict=True):
        torch.testing.assert_close(one, other, rtol=0 if DRY else 0.02, atol=0 if DRY else 0.02)


def _called(seen, values: list[Tensor], grad: Tensor) -> list[Tensor]:
    out = ours(seen)(*values, None)
    return [out.detach(), *torch.autograd.grad(out, values, grad)]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU or none")
def test_a_gpu_that_is_not_the_current_one_runs_its_own_calls():
    other, here = torch.device("cuda", 1), torch.device("cuda", 0)
    assert torch.cuda.current_device() == 0
    values = [value.detach() for value in values_of(torch.float16, 70, 90, 64)]
    pair = [
        [one.cpu() for one in segment_attention(*(v.to(at) for v in values), everyone(70, 90, at))]
        for at in (other, here)
    ]
    assert all(torch.equal(*both) for both in zip(*pair, strict=True))


@pytest.mark.skipif(DRY, reason="graphs are of CUDA's")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_graph_replays_a_call_and_its_gradients(dtype):
    values, seen = values_of(dtype, 300, 400, 128), segments(300, 400)
    bias, weight = drawn(1, 400, seed=3).requires_grad_(), drawn(*values[0].shape, seed=4).double()
    torch.use_deterministic_algorithms(False)
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # compiles the kernels, which a capture may not
        results(ours(seen), values, bias, weight)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = results(ours(seen), values, bias, weight)
    with torch.no_grad():
        for k, value in enumerate(values):
            value.copy_(drawn(*value.shape, seed=50 + k))
    graph.replay()
    torch.cuda.synchronize()
    for one, other in zip(captured, results(ours(seen), values, bias, weight), strict=True):
        assert one.isfinite().all() and torch.equal(one, other)
