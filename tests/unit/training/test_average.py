"""Average of the weights: closed forms of its decay, and its weights in the place of the last ones."""

import pytest
import torch
from torch import nn

from refvid.training.engine.average import Average


def averaged(decay: float, warm: bool, values: list[float]) -> float:
    layer = nn.Linear(1, 1, bias=False)
    average = Average(layer, decay, warm)
    for value in values:
        nn.init.constant_(layer.weight, value)
        average.update()
    (mean,) = average.module.parameters()
    return mean.item()


@pytest.mark.parametrize("warm", [False, True])
def test_its_decay_is_the_one_that_is_asked_for_or_a_smaller_one_at_first(warm):
    values = [3.0, -1.0, 4.0, 1.5, -9.0, 2.5]
    wanted = values[0]
    for count, value in enumerate(values[1:], 1):
        decay = min(0.3, (1 + count) / (10 + count)) if warm else 0.3
        wanted = decay * wanted + (1 - decay) * value
    assert averaged(0.3, warm, values) == pytest.approx(wanted, abs=1e-5)


def test_a_warm_one_forgets_the_first_weights_of_a_short_run():
    values = [1.0] + [0.0] * 200
    assert averaged(0.999, False, values) > 0.8
    assert averaged(0.999, True, values) < 1e-6


def test_at_nothing_it_is_the_last_weights():
    assert averaged(0.0, True, [1.0, 2.0, 7.0]) == 7.0


def test_its_weights_stand_in_the_place_of_the_last_ones_for_a_while_and_no_bit_changes():
    layer = nn.Linear(3, 2)
    average = Average(layer, 0.5)
    for _ in range(3):
        with torch.no_grad():
            layer.weight.add_(torch.randn(2, 3))
        average.update()
    last = [one.clone() for one in layer.parameters()]
    with average.in_place():
        assert all(map(torch.equal, layer.parameters(), average.module.parameters()))
        assert not torch.equal(layer.weight, last[0])
    assert all(map(torch.equal, layer.parameters(), last))
