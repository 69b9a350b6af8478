"""The verdicts on Slot-ID's claims, from made-up figures."""

import pytest
import torch

from refvid.demo import evaluate_identity as measured
from refvid.training import slot_ablation as ablation
from refvid.training.slot_ablation import COMPARISONS, Comparison, Side, sentence
from refvid.training.slot_baselines import ENCODERS

TOYS = 40


def figures(dynamics: float, direction: float = 1.0) -> dict[str, torch.Tensor]:
    """Every figure of toys of which one in four has no dynamics."""
    generator = torch.Generator().manual_seed(int(dynamics * 100))
    one = dict.fromkeys(measured.FIGURES, torch.full((TOYS,), 0.5))
    moves = torch.full((TOYS,), dynamics) + 0.01 * torch.randn(TOYS, generator=generator)
    moves[::4] = torch.nan
    return {**one, "dynamics": moves, "direction": torch.full((TOYS,), direction)}


def runs(**dynamics: float) -> dict:
    """Two seeds of every encoder, all alike but for what is named."""
    made = {}
    for name in ENCODERS:
        level = dynamics.get(name.replace(" ", "_"), 0.5)
        readings = {
            reading: figures(dynamics.get(reading.split()[0], level)) for reading in measured.READINGS
        }
        made[name] = [{"truth": figures(1.0), **readings}] * 2
    return made


@pytest.mark.parametrize(
    ("mean", "verdict"), [(0.3, "**holds**"), (0.7, "**does not hold**"), (0.5, "**not decided**")]
)
def test_a_verdict_follows_its_interval(mean, verdict):
    comparison = Comparison("slots tell more", Side(), Side("mean pooling"), "dynamics")
    assert verdict in sentence(comparison, runs(mean_pooling=mean))


@pytest.mark.parametrize(("direction", "verdict"), [(0.98, "**holds**"), (0.9, "**does not hold**")])
def test_following_the_prompt_may_cost_a_margin(direction, verdict):
    made = runs()
    for values in made["slots"]:
        values["own video"] = figures(0.5, direction)
    assert verdict in sentence(COMPARISONS[-1], made)


def test_the_table_has_a_row_for_every_reading_of_the_slots_and_one_for_every_baseline():
    lines = ablation._table(runs())
    assert len(lines) == 2 + 1 + len(measured.READINGS) + len(ENCODERS) - 1
    assert {line.count("|") for line in lines} == {3 + len(measured.FIGURES)}


def test_every_comparison_speaks_of_what_is_measured():
    for one in COMPARISONS:
        assert one.figure in measured.FIGURES
        for side in (one.first, one.second):
            assert side.encoder in ENCODERS and side.reading in measured.READINGS
