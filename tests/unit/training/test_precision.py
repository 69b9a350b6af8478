"""Type in which training computes, by what a device has."""

import pytest
import torch

from refvid.training.engine.precision import computing_type, mixed


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
