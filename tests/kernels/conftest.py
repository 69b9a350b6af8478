"""These tests run the Triton kernels in Triton's interpreter: `TRITON_INTERPRET=1 pytest tests/kernels -m interpreted`, a
process of its own, since Triton reads the variable where a kernel is defined."""

import os

import pytest
import torch


@pytest.fixture(autouse=True)
def interpreted():
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.fail("run these with TRITON_INTERPRET=1: without it the kernels want a GPU")


@pytest.fixture(autouse=True)
def poisoned():
    """Memory that a kernel leaves unwritten is NaN."""
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)
