"""Training on rows that keep different references: the kernel against a key bias of minus infinity."""

import pytest
import torch
from refvid_latents import latents
from torch import Generator

from refvid.training import objective
from refvid.training.batches import Drawing, draw_batch
from refvid.training.dit import Trainee, fresh_dit, smoke_dit
from refvid.training.text import fresh_text_encoder

pytestmark = pytest.mark.interpreted


@pytest.mark.parametrize("attention_mask", [True, False])
def test_the_loss_and_its_gradients_are_those_of_a_key_bias(monkeypatch, attention_mask):
    torch.manual_seed(0)
    config, text = smoke_dit(), fresh_text_encoder(32)
    trainee = Trainee(fresh_dit(config.model), text)
    torch.nn.init.normal_(trainee.dit.head.head.weight, std=0.1)
    drawing = Drawing(reference_counts=(0.0, 1.0), patterns=(1, 0, 0, 0, 0), reference_dropout=0.3)
    batch = draw_batch(latents(), 4, drawing, Generator().manual_seed(0))
    loss = objective.masked_reference_loss(trainee.dit, text, config.recipe, attention_mask)
    parameters = list(trainee.parameters())
    value = loss(batch)
    found = torch.autograd.grad(value, parameters)
    monkeypatch.setattr(objective, "why_not", lambda *_: "no kernel here")
    other = loss(batch)
    torch.testing.assert_close(value, other, rtol=1e-6, atol=0)
    for one, right in zip(found, torch.autograd.grad(other, parameters), strict=True):
        torch.testing.assert_close(one, right, rtol=1e-3, atol=1e-6)
