"""Type in which training computes, by what a device has."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from refvid.backbones.wan.geometry import WAN_2_1
from refvid.training.engine.encode import encode_clips
from refvid.training.engine.optimise import Optimiser
from refvid.training.engine.precision import computing_type, mixed, products


@pytest.mark.parametrize(
    ("capability", "wanted"),
    [
        ("DEFAULT", torch.float32),
        ("AVX2", torch.float32),
        ("AVX512", torch.bfloat16),
        ("SVE256", torch.bfloat16),
    ],
)
def test_a_cpu_computes_in_bf16_where_it_has_products_of_it(monkeypatch, capability, wanted):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert computing_type("cpu") == wanted and computing_type("cuda") == torch.bfloat16
    with mixed("cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == wanted
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize(("capability", "half"), [("AVX2", False), ("AVX512", True)])
def test_clips_are_encoded_in_that_type_too(monkeypatch, capability, half):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    seen = []

    def encode(video, chunk):
        seen.append(torch.is_autocast_enabled("cpu"))
        return video

    vae = SimpleNamespace(device=torch.device("cpu"), geometry=WAN_2_1, encode=encode)
    encode_clips(vae, torch.zeros(2, 3, 5, 8, 8))  # type: ignore[arg-type]
    assert seen == [half]


def test_products_of_bf16_are_made_in_fp32_and_rounded(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    draws = torch.Generator().manual_seed(0)
    bias, left, right = (torch.randn(48, 48, generator=draws).bfloat16() for _ in range(3))
    with products("cpu"):
        product, sum_of_both = left @ right, torch.addmm(bias, left, right, beta=-2, alpha=3)
        kept = left.float() @ right.float()
    assert torch.equal(product, kept.bfloat16()) and kept.dtype == torch.float32
    assert torch.equal(
        sum_of_both, torch.addmm(bias.float(), left.float(), right.float(), beta=-2, alpha=3).bfloat16()
    )


class Seen(TorchDispatchMode):
    """Types of the products that are made in the end."""

    def __init__(self):
        super().__init__()
        self.types = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            self.types.add(args[0].dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("capability", "wanted"), [("AVX2", torch.float32), ("AVX512", torch.bfloat16)])
def test_muon_multiplies_in_that_type_too(monkeypatch, capability, wanted):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    linear = nn.Linear(8, 8)
    steps = Optimiser(linear, lambda _, parameter: parameter.ndim == 2, rate=0.1)
    linear(torch.ones(1, 8)).sum().backward()
    with Seen() as seen:
        steps.step(linear, 1.0)
    assert seen.types == {wanted}
