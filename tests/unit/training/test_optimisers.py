"""Optimisers by name, the rate over a run, and states that hold any optimiser to the bit."""

import math
from dataclasses import replace

import pytest
import refvid_odd_optimisers  # noqa: F401  (imported by its name)
import torch
from refvid_small_lora import NEWEST, RESULT, SmallLora, SmallTraining, train_small
from safetensors.torch import load_file
from torch import nn

from refvid.core.checkpoint import read_safetensors, write_tensors
from refvid.training.engine.average import Average
from refvid.training.engine.flat import flatten, rebuild
from refvid.training.engine.optimise import Optimiser
from refvid.training.engine.optimisers import (
    learning_made_by,
    optimiser_for,
    require_learning,
    schedule_factor,
)
from refvid.training.engine.run_file import LearningSettings

ADAMW = LearningSettings()


def asked(**given) -> LearningSettings:
    return replace(SmallTraining().learning, **given)


def dotted(name: str, **options) -> LearningSettings:
    takes_decay = name.rpartition(".")[2] not in ("Rprop",)
    return asked(optimizer=name, options=options, weight_decay=0.01 * takes_decay)


# ---- which optimiser


def test_adamw_takes_the_run_files_rate_decay_and_options_and_is_fused():
    layer = nn.Linear(3, 2)
    made = optimiser_for(layer, replace(ADAMW, rate=2e-3, weight_decay=0.3, options={"betas": [0.8, 0.95]}))
    (group,) = made.inner["optimizer"].param_groups
    assert type(made.inner["optimizer"]) is torch.optim.AdamW and group["fused"]
    assert (group["lr"], group["weight_decay"], group["betas"]) == (2e-3, 0.3, (0.8, 0.95))
    assert made.parameters == group["params"] == list(layer.parameters())


def test_a_step_of_adamw_is_the_published_one_on_clipped_gradients():
    layer = nn.Linear(3, 2, bias=False).double()
    start = layer.weight.detach().clone()
    made = optimiser_for(layer, replace(ADAMW, rate=0.1, weight_decay=0.5, clip=1.5))
    gradient = torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 0.5]], dtype=torch.float64)
    layer.weight.grad = gradient.clone()
    norm = made.step(layer, 0.25)
    clipped = gradient * 1.5 / gradient.norm()
    wanted = start * (1 - 0.025 * 0.5) - 0.025 * clipped / (clipped.abs() + 1e-8)
    assert norm == pytest.approx(gradient.norm().item()) and layer.weight.grad is None
    torch.testing.assert_close(layer.weight.detach(), wanted, rtol=1e-5, atol=1e-7)


def test_muon_is_the_demos_for_every_matrix_and_adam_for_the_rest():
    layer = nn.Linear(3, 2)
    made = optimiser_for(layer, asked(optimizer="muon", rate=0.02, weight_decay=0.1, clip=0.7))
    assert isinstance(made, Optimiser) and [*map(id, made.kernels)] == [id(layer.weight)]
    assert (made.rate, made.clip, made.muon.defaults["weight_decay"]) == (0.02, 0.7, 0.1)


def test_what_is_frozen_is_not_the_optimisers():
    layer = nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    assert [*map(id, optimiser_for(layer, ADAMW).parameters)] == [id(layer.weight)]


@pytest.mark.parametrize("name", ["adamw", "muon", "torch.optim.SGD"])
def test_nothing_moves_where_the_gradient_is_not_finite(name):
    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    made = optimiser_for(layer, asked(optimizer=name))
    layer.weight.grad = torch.full_like(layer.weight, torch.inf)
    assert not math.isfinite(made.step(layer, 1.0))
    assert torch.equal(layer.weight, before) and layer.weight.grad is None
    assert all(not inner.state for inner in made.inner.values())


REFUSED = {
    "a word": (asked(optimizer="adam"), "train.optimizer is adam; needed adamw, muon, or module.Class"),
    "no module": (asked(optimizer="prodigyopti.Prodigy"), "prodigyopti cannot be imported"),
    "no class": (asked(optimizer="torch.optim.Prodigy"), "has no optimizer of torch called Prodigy"),
    "no optimizer": (asked(optimizer="torch.nn.Linear"), "has no optimizer of torch called Linear"),
    "an option": (asked(options={"beta": 1}), "train.options.beta: adamw takes no such option"),
    "an option of Muon": (asked(optimizer="muon", options={"betas": 1}), "train.options.betas: muon takes"),
    "the rate again": (asked(options={"lr": 1}), "train.options.lr: adamw takes no such option"),
    "an odd value": (asked(options={"betas": [2.0, 3.0]}), "train.optimizer adamw: Invalid beta"),
    "a value of text": (asked(options={"eps": "small"}), "train.optimizer adamw: "),
    "a dotted one's option": (dotted("torch.optim.SGD", nestrov=True), "train.options.nestrov: torch.optim"),
    "no decay": (asked(optimizer="torch.optim.Rprop"), "train.weight_decay is 0.01; torch.optim.Rprop has"),
    "a closure": (dotted("refvid_odd_optimisers.WithClosure"), "WithClosure cannot take a step: .*closure"),
    "no state": (
        dotted("refvid_odd_optimisers.Unsaved"),
        "Unsaved.state.0.made: the optimizer keeps a object",
    ),
    "a schedule": (
        asked(schedule="linear"),
        "train.schedule is linear; needed one of constant, cosine, hold",
    ),
    "no rate": (asked(rate=0.0), "train.rate is 0.0"),
    "no number": (asked(rate=math.nan), "train.rate is nan"),
    "no clip": (asked(clip=0.0), "train.clip is 0.0"),
    "no steps": (asked(steps=0), "train.steps is 0"),
    "no batch": (asked(batch=0), "train.batch is 0"),
    "no part": (asked(accumulate=0), "train.accumulate is 0"),
    "warm before": (asked(warmup=-1), "train.warmup is -1"),
    "growth": (asked(weight_decay=-0.1), "train.weight_decay is -0.1"),
    "no mean": (asked(ema=1.0), "train.ema is 1.0"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_cannot_learn_is_refused_by_name_before_any_work(how):
    settings, named = REFUSED[how]
    with pytest.raises(ValueError, match=named):
        require_learning(settings)


@pytest.mark.parametrize("name", ["adamw", "muon", "torch.optim.Adamax", "refvid_odd_optimisers.Numbers"])
def test_what_can_learn_is_let_through(name):
    require_learning(asked(optimizer=name))


# ---- the rate


def rates(**given) -> list[float]:
    settings = LearningSettings(**{"steps": 10, "warmup": 4, **given})
    return [schedule_factor(settings, step) for step in range(settings.steps)]


WARM = [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("schedule", "then"),
    [
        ("constant", [1.0] * 6),
        ("cosine", [(1 + math.cos(math.pi * place / 6)) / 2 for place in range(6)]),
        ("hold-decay", [1.0, 1.0, 0.8, 0.6, 0.4, 0.2]),
    ],
)
def test_the_rate_rises_in_a_straight_line_and_follows_its_schedule(schedule, then):
    assert rates(schedule=schedule) == pytest.approx(WARM + then)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "hold-decay"])
def test_without_a_warm_up_the_first_step_has_the_whole_rate(schedule):
    assert rates(schedule=schedule, warmup=0)[0] == 1
    assert rates(schedule=schedule, warmup=20) == pytest.approx(
        [(step + 1) / 20 * (1 if schedule != "hold-decay" else min(1, 2 - step / 5)) for step in range(10)]
    )


def test_steps_count_where_the_schedule_depends_on_them():
    for schedule, counts in (("constant", False), ("cosine", True), ("hold-decay", True)):
        assert ("steps" in learning_made_by(asked(schedule=schedule))) == counts
    made = learning_made_by(asked())
    assert made["rate"] == 0.05 and made["noise"]["shift"] == 5.0


# ---- states


OPTIMISERS = [
    asked(),
    asked(optimizer="muon"),
    dotted("torch.optim.Adamax"),
    dotted("torch.optim.RAdam"),
    dotted("torch.optim.SGD", momentum=0.9, nesterov=True),
    dotted("torch.optim.Rprop"),
    dotted("torch.optim.NAdam", decoupled_weight_decay=True),
    dotted("refvid_odd_optimisers.Numbers", growth=1.3),
]


def stop_at(step: int):
    def change(batch, losses):
        if batch.turn == 2 * step:
            raise KeyboardInterrupt
        return losses

    return SmallLora(change)


@pytest.mark.parametrize("learning", OPTIMISERS, ids=lambda one: one.optimizer)
def test_a_run_that_goes_on_ends_in_the_same_bits_whatever_its_optimizer(tmp_path, learning):
    config = replace(SmallTraining(), learning=learning)
    train_small(tmp_path / "whole", config)
    for at in (1, 4):
        with pytest.raises(KeyboardInterrupt):
            train_small(tmp_path / f"{at}", config, stop_at(at))
        train_small(tmp_path / f"{at}", config, resume=True)
        for name in (RESULT, NEWEST):
            ends = [read_safetensors(tmp_path / run / name, name) for run in ("whole", f"{at}")]
            assert ends[0][1] == ends[1][1] and ends[0][0].keys() == ends[1][0].keys()
            for key, value in ends[0][0].items():
                assert value.dtype == ends[1][0][key].dtype and torch.equal(value, ends[1][0][key]), key


def test_a_state_without_layouts_goes_on_with_what_adam_and_muon_kept(tmp_path):
    config = replace(SmallTraining(), learning=asked(optimizer="muon"))
    train_small(tmp_path / "whole", config)
    with pytest.raises(KeyboardInterrupt):
        train_small(tmp_path / "old", config, stop_at(3))
    for path in (tmp_path / "old").iterdir():
        tensors, said = read_safetensors(path, "state")
        write_tensors(tensors, path, {key: said[key] for key in ("step", "made_by")})
    train_small(tmp_path / "old", config, resume=True)
    ends = [load_file(tmp_path / run / RESULT) for run in ("whole", "old")]
    assert all(torch.equal(value, ends[1][key]) for key, value in ends[0].items())


def test_another_optimizers_state_is_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_small(tmp_path, method=stop_at(3))
    for change in ({"optimizer": "torch.optim.SGD"}, {"rate": 0.06}):
        config = replace(SmallTraining(), learning=asked(**change))
        with pytest.raises(ValueError, match=f"train.{next(iter(change))} is"):
            train_small(tmp_path, config, resume=True)


def test_nested_values_come_back_as_they_were():
    value = {0: {"a": torch.ones(2), "b": [1, (2.5, None, True)], "text": "x"}, "k": {"nan": math.inf}}
    tensors: dict = {}
    layout = flatten(value, "one", tensors)
    assert list(tensors) == ["one.0.a"]
    used: set = set()
    back = rebuild(layout, "one", tensors, used)
    assert used == {"one.0.a"} and torch.equal(back[0].pop("a"), value[0].pop("a")) and back == value
    assert type(back[0]["b"]) is list and type(back[0]["b"][1]) is tuple and back[0]["b"][1][2] is True


def test_two_tensors_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"one\.1: two tensors of the optimizer have this name"):
        flatten({1: torch.ones(1), "1": torch.ones(1)}, "one", {})


# ---- the average


def test_an_average_of_decay_0_is_the_last_weights_to_the_bit():
    layer = nn.Linear(3, 2)
    average = Average(layer, 0.0)
    for _ in range(3):
        nn.init.normal_(layer.weight)
        average.update()
    assert torch.equal(average.module.weight, layer.weight)  # type: ignore[arg-type]
