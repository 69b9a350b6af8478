"""The loop: what is called after a step, in which order, in which process; and what it says."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from refvid_small_lora import SmallLora, SmallTraining, train_small
from torch import nn

from refvid.core.ranks import Ranks
from refvid.training.engine import loop
from refvid.training.engine.average import Average
from refvid.training.engine.learner import Learner
from refvid.training.engine.optimise import Optimiser
from refvid.training.engine.run_file import LearningSettings
from refvid.training.engine.state import RunFiles, RunState

FILES = RunFiles("line", ("line.safetensors",))


class Noted(loop.Callback):
    """A callback that notes what it was told, and whether the step's state was there already."""

    def __init__(self, folder):
        self._folder, self.seen = folder, []

    def after(self, done: int, losses: Sequence[loop.Losses], update: loop.Update) -> None:
        self.seen.append((done, [list(one.parts) for one in losses], bool(FILES.found_states(self._folder))))


def run(folder, steps: int = 3, resume: bool = False, **given) -> loop.Run:
    """Weights of which each step's loss is the sum times the step, and ten times the first one."""
    line = nn.Linear(2, 1, bias=False)
    nn.init.ones_(line.weight)

    def losses(step: int) -> loop.Losses:
        return loop.Losses({"sum": (float(step), line.weight.sum()), "first": (10.0, line.weight[0, 0] * 1)})

    learner = Learner(line, Optimiser(line, lambda *_: False, 0.0), Average(line, 0.9))
    rate, seed = (lambda step: 1.0), (lambda draws, step: None)
    draw = lambda draws, turn: turn  # noqa: E731
    return loop.Run(RunState(FILES, folder, {}, resume), learner, steps, rate, seed, draw, losses, **given)


def test_what_a_run_brings_comes_after_every_step_and_before_its_state_is_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY", -1.0)
    noted = Noted(tmp_path)
    loop.take_steps(run(tmp_path), callbacks=[noted])
    parts = [["sum", "first"]]
    assert noted.seen == [(1, parts, False), (2, parts, True), (3, parts, True)]


def test_a_callback_is_told_where_the_run_begins_and_where_it_goes_on(tmp_path):
    class Told(loop.Callback):
        def __init__(self) -> None:
            self.seen = []

        def before(self, first: int) -> None:
            self.seen.append(("before", first))

        def after(self, done: int, losses: Sequence[loop.Losses], update: loop.Update) -> None:
            self.seen.append(("after", done))

    told = Told()
    loop.take_steps(run(tmp_path, steps=2), callbacks=[told])
    asked = run(tmp_path, steps=3, resume=True)
    loop.take_steps(asked, callbacks=[told])
    assert told.seen == [("before", 0), ("after", 1), ("after", 2), ("before", 2), ("after", 3)]


def test_a_line_of_the_log_says_the_means_since_the_line_before_each_part_without_its_weight(
    tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, "refvid")
    monkeypatch.setattr(loop._Every, "due", lambda self, done: done in (2, 3))
    asked = run(tmp_path)
    weight = asked.learner.module.weight

    class Grown(loop.Callback):
        def after(self, done: int, losses: Sequence[loop.Losses], update: loop.Update) -> None:
            with torch.no_grad():
                weight.add_(done)  # 1, 2, then 4 in each

    loop.take_steps(asked, callbacks=[Grown()])
    said = [record.getMessage() for record in caplog.records if " step " in record.getMessage()]
    assert said == [
        "line step 2 of 3: sum 3.0000, first 1.5000",
        "line step 3 of 3: sum 8.0000, first 4.0000",
    ]


def test_a_state_is_kept_as_often_as_time_passes_and_at_the_end(tmp_path, monkeypatch):
    clock, saved = iter(range(0, 10_000, 25)), []
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(RunState, "save", lambda self, learner, generator, step: saved.append(step))
    every = loop._Every(9)
    due = [done for done in range(1, 10) if every.due(done)]
    assert due == [3, 6, 9]  # the third look is the first past 60 seconds
    loop.take_steps(run(tmp_path, steps=2))
    assert saved[-1] == 2


def test_a_process_that_writes_nothing_steps_and_averages_alone(tmp_path, monkeypatch):
    averaged = []
    monkeypatch.setattr(loop, "average_gradients", lambda parameters, ranks: averaged.append(ranks))
    noted, second = Noted(tmp_path), Ranks(1, 2)
    asked = run(tmp_path, ranks=second)
    loop.take_steps(asked, callbacks=[noted])
    assert averaged == [second] * 3 and noted.seen == [] and not list(tmp_path.iterdir())
    assert int(asked.learner.average.model.n_averaged) == 3


def test_a_step_is_seeded_before_it_draws_and_rated_by_its_number(tmp_path):
    order = []
    asked = run(tmp_path)
    seed, rate = partial(_noting, order, "seed"), partial(_noting, order, "rate")

    draw = partial(_noting, order, "draw")
    once = replace(asked, steps=2, rate=lambda step: rate(None, step), seed=seed, draw=draw)
    loop.take_steps(once)
    assert order == [(what, step) for step in range(2) for what in ("seed", "draw", "rate")]


def _noting(order: list, what: str, _draws: object, step: int) -> float:
    order.append((what, step))
    return 1.0


@pytest.mark.parametrize("part", [0, 1])
def test_what_is_minimised_counts_each_part_by_its_weight(tmp_path, part):
    asked = run(tmp_path, steps=1)
    seen = []
    step = asked.learner.optimiser.step

    def listen(module, factor):
        seen.append(module.weight.grad.clone())
        return step(module, factor)

    asked.learner.optimiser.step = listen
    loop.take_steps(asked)
    assert seen[0][0].tolist()[part] == (10.0, 0.0)[part]


# ---- several batches a step


class Seen(loop.Callback):
    """A callback that keeps what it was told."""

    def __init__(self):
        self.steps: list[tuple[int, Sequence[loop.Losses], loop.Update]] = []

    def after(self, done: int, losses: Sequence[loop.Losses], update: loop.Update) -> None:
        self.steps.append((done, losses, update))


def small(folder, method: SmallLora | None = None, **given) -> list[tuple]:
    """What a callback is told of a run that loads no more than one step's rate, 0.05."""
    seen = Seen()
    learning = replace(SmallTraining().learning, warmup=0, **given)
    method = method or SmallLora()
    method.reports = [seen]
    train_small(folder, SmallTraining(learning), method)
    return seen.steps


def test_a_step_sees_so_many_batches_each_with_a_turn_of_its_own(tmp_path):
    steps = small(tmp_path, accumulate=3, steps=2)
    assert [done for done, *_ in steps] == [1, 2]
    turns = [[one.clips[0] for one in losses] for _, losses, _ in steps]
    assert turns == [[f"clip-{turn}-0.mp4" for turn in range(at, at + 3)] for at in (0, 3)]


def test_gradients_are_the_mean_over_the_batches_of_a_step(tmp_path):
    """Of SGD without momentum the first step says its gradient: the mean of those of its batches alone."""
    settings = LearningSettings(
        rate=0.5, optimizer="torch.optim.SGD", weight_decay=0.0, warmup=0, clip=1e9, ema=0.0, steps=1
    )
    start = train_small(tmp_path / "start", SmallTraining(replace(settings, rate=1e-30)))

    def moved(name: str, accumulate: int, turn: int = 0) -> torch.Tensor:
        method, draw = SmallLora(), SmallLora.draw
        if accumulate == 1:
            method.draw = lambda config, data, draws, _, ranks: draw(  # type: ignore[method-assign]
                method, config, data, draws, turn, ranks
            )
            method.seed = lambda config, draws, _, ranks: draws.own.manual_seed(3000 + turn)  # type: ignore[method-assign]
        learning = replace(settings, accumulate=accumulate)
        end = train_small(tmp_path / name, SmallTraining(learning), method)
        return end.up.weight - start.up.weight  # type: ignore[operator]

    apart = [moved(f"{turn}", 1, turn) for turn in range(3)]
    together = moved("all", 3)
    torch.testing.assert_close(together, torch.stack(apart).mean(0), rtol=0.01, atol=1e-4)  # in bf16
    assert min((one - together).abs().max() for one in apart) > 0.01


def test_a_callback_is_told_the_gradients_norm_before_clipping_and_the_rates_factor(tmp_path):
    loose, tight = (
        [update for *_, update in small(tmp_path / f"{clip}", steps=1, clip=clip)] for clip in (1e9, 1e-3)
    )
    assert loose == tight and loose[0].norm > 0.01 and loose[0].factor == 1 and loose[0].skipped == 0
    learning = replace(SmallTraining().learning, warmup=4, steps=3)
    seen = Seen()
    train_small(tmp_path / "warm", SmallTraining(learning), SmallLora(reports=[seen]))
    assert [update.factor for *_, update in seen.steps] == [0.25, 0.5, 0.75]


def test_losses_that_a_callback_is_told_hold_no_graph(tmp_path):
    for _, losses, _ in small(tmp_path, steps=1):
        for one in losses:
            assert one.each is not None and one.levels is not None
            assert not any(value.requires_grad for value in (one.each, one.levels, one.total()))


@pytest.mark.parametrize(("every", "lines"), [(2, [2, 4, 5]), (0, []), (9, [5]), (1, [1, 2, 3, 4, 5])])
def test_a_line_of_the_log_comes_every_so_many_steps_and_at_the_end(tmp_path, caplog, every, lines):
    caplog.set_level(logging.INFO, "refvid")
    loop.take_steps(run(tmp_path, steps=5, pace=loop.Pace(log_every=every)))
    said = [record.getMessage() for record in caplog.records if " step " in record.getMessage()]
    assert [int(line.split()[2]) for line in said] == lines


@pytest.mark.parametrize(("seconds", "saved"), [(0.0, [1, 2, 3]), (1e6, [3])])
def test_states_are_kept_as_often_as_the_method_says(tmp_path, monkeypatch, seconds, saved):
    found: list[int] = []
    monkeypatch.setattr(RunState, "save", lambda self, learner, generator, step: found.append(step))
    loop.take_steps(run(tmp_path, pace=loop.Pace(save_seconds=seconds)))
    assert found == saved


@pytest.mark.parametrize(
    ("given", "named"),
    [({"accumulate": 0}, "train.accumulate is 0"), ({"nonfinite": "go"}, "train.nonfinite is go")],
)
def test_a_pace_that_cannot_be_is_refused_by_name(given, named):
    with pytest.raises(ValueError, match=named):
        loop.Pace(**given)


@pytest.mark.parametrize(("capability", "half"), [("AVX2", False), ("AVX512", True)])
def test_batches_are_drawn_and_lost_in_the_type_that_the_device_computes_in(
    tmp_path, monkeypatch, capability, half
):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    asked, seen = run(tmp_path, steps=1), []

    def noting(call):
        return lambda *given: (seen.append(torch.is_autocast_enabled("cpu")), call(*given))[1]

    loop.take_steps(replace(asked, draw=noting(asked.draw), losses=noting(asked.losses)))
    assert seen == [half, half]
