"""Convolutions in fp32 are not rounded to tf32 in these tests; what `auto` finds on this GPU is not kept."""

import pytest
import torch

from refvid.core.verdicts import Verdicts
from refvid.hosts.plain import attention_choice as plain_attention


@pytest.fixture(scope="session")
def verdicts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verdicts")
    return Verdicts(lambda: folder)


@pytest.fixture(autouse=True)
def apart(monkeypatch, verdicts):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(plain_attention, "PLAIN_VERDICTS", verdicts)
