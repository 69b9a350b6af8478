"""Memory that a kernel leaves unwritten is NaN in these tests."""

import pytest
import torch
from refvid_gpu import DEVICE


@pytest.fixture(autouse=True)
def poisoned():
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    assert torch.empty(3, device=DEVICE).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)
