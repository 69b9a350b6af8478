"""Type in which training computes, by what a device has."""

from types import SimpleNamespace

import pytest
import torch

from refvid.backbones.wan.geometry import WAN_2_1
from refvid.training.engine.encode import encode_clips
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
