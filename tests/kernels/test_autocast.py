"""The kernel under autocast: on CUDA that makes normalised queries and keys fp32 and leaves values in
halves."""

import pytest
import torch
from refvid_gpu import DEVICE, DRY
from torch import Tensor

from refvid.kernels import segment_attention as kernel
from refvid.kernels.segment_attention import attention_over, segment_attention
from refvid.kernels.segments import Segments
from refvid.kernels.tiles import INTERPRETER_TILES, WIDE_TILES

pytestmark = pytest.mark.gpu
TYPES = (torch.float32, torch.float32, torch.bfloat16)  # of query, key and value


def values(*types: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(1, 2, 150, 64, generator=generator) for _ in types]
    return [one.to(DEVICE, dtype).requires_grad_() for one, dtype in zip(drawn, types, strict=True)]


def segments() -> Segments:
    of = torch.randint(0, 3, (1, 150), generator=torch.Generator().manual_seed(1)).int().sort(1).values
    return Segments((1 + of).to(DEVICE), of.to(DEVICE))


@pytest.mark.parametrize("planned", [True, False], ids=["planned", "one call"])
def test_what_autocast_mixes_is_taken_as_torchs_own_attention_takes_it(monkeypatch, planned):
    if DRY:  # as on a GPU, where fp32 has tiles of its own: blocks are counted in those of the type that runs
        monkeypatch.setattr(
            kernel, "_plan", lambda query: WIDE_TILES if query.dtype == torch.float32 else INTERPRETER_TILES
        )
    mixed, halves = values(*TYPES), values(*3 * (torch.bfloat16,))
    attend = attention_over(segments())
    with torch.autocast(DEVICE.type, torch.bfloat16):
        out = attend(*mixed, None) if planned else segment_attention(*mixed, segments())[0]
    right = segment_attention(*halves, segments())[0]
    assert out.dtype == torch.bfloat16 and torch.equal(out, right)
    pull = torch.randn_like(right)
    found, wanted = (torch.autograd.grad(one, own, pull) for one, own in ((out, mixed), (right, halves)))
    assert [grad.dtype for grad in found] == list(TYPES)
    assert all(torch.equal(one.to(other.dtype), other) for one, other in zip(found, wanted, strict=True))


def test_without_autocast_types_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"value is .* torch\.bfloat16; needed .* torch\.float32"):
        segment_attention(*values(*TYPES), segments())
