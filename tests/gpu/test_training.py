"""A training step on rows that keep different references: the kernel against a key bias of minus infinity."""

import pytest
import torch
from refvid_gpu import DEVICE, DRY
from refvid_steps import step_of
from torch import Tensor

from refvid.hosts.plain import tail

pytestmark = pytest.mark.gpu
HEADS = (64,) if DRY else (64, 128)


def both(monkeypatch, autocast: torch.dtype | None = None, **asked) -> tuple[list[Tensor], list[Tensor]]:
    """The loss and its gradients on the device, and those on the CPU in fp32."""
    found = step_of(DEVICE, autocast=autocast, **asked)
    monkeypatch.setattr(tail, "why_not", lambda *_: "no kernel here")
    return found, step_of(torch.device("cpu"), **asked)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("attention_mask", "replaced"), [(True, True), (False, False)])
def test_the_loss_and_its_gradients_are_those_of_a_key_bias(monkeypatch, head, attention_mask, replaced):
    found, right = both(monkeypatch, head=head, attention_mask=attention_mask, replaced=replaced)
    torch.testing.assert_close(found[0], right[0], rtol=1e-6 if DRY else 1e-5, atol=0)
    for one, other in zip(found[1:], right[1:], strict=True):
        least = 1e-6 if DRY else 1e-6 + 1e-4 * other.abs().max().item()
        torch.testing.assert_close(one, other, rtol=1e-3, atol=least)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # torch says once what it lacks
def test_so_they_are_under_autocast_within_roundings_of_bf16(monkeypatch, head):
    found, right = both(monkeypatch, torch.bfloat16, head=head)
    torch.testing.assert_close(found[0], right[0], rtol=0.01, atol=0)
    ones, others = (torch.cat([grad.flatten() for grad in grads[1:]]) for grads in (found, right))
    assert (ones - others).norm() < 0.03 * others.norm()
