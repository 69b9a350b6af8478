"""Reports of steps: means since the line before, time that is the steps' own, progress, and a resume."""

import io
import itertools
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from refvid.training.engine.average import Average
from refvid.training.engine.learner import Learner
from refvid.training.engine.loop import Callback, Losses, Pace, Run, Update, take_steps
from refvid.training.engine.optimise import Optimiser
from refvid.training.engine.state import RunFiles, RunState
from refvid.training.reports.clips import CLIPS, ClipLosses
from refvid.training.reports.log import LOG, RunLog
from refvid.training.reports.steps import Reports, StepReport, peak_memory, time_left


class Clock:
    """Clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Slow(Callback):
    """Report that takes time of its own."""

    def __init__(self, clock: Clock, seconds: float):
        self.clock, self.seconds, self.told = clock, seconds, []

    def before(self, first: int) -> None:
        self.clock.now += self.seconds
        self.told.append(("before", first))

    def after(self, done: int, losses: Sequence[Losses], update: Update) -> None:
        self.clock.now += self.seconds
        self.told.append(("after", done))


def batch(**parts: float) -> Losses:
    return Losses(
        {name: (2.0 if name == "mask" else 1.0, torch.tensor(value)) for name, value in parts.items()}
    )


def reports(
    folder: Path, clock: Clock, steps: int = 6, others: Sequence[Callback] = (), **settings: Any
) -> Reports:
    log = RunLog(folder)
    given = {"every": 2, "rate": 1e-4, "tokens": lambda step: 100 * (step + 1), **settings}
    return Reports(log, StepReport(log, steps, clock=clock, **given), others)


def take(run: Reports, clock: Clock, first: int, last: int, seconds: float = 2.0) -> None:
    """Steps of so many seconds; step n's losses are n and n + 0.5, its norm n, its factor n / 10."""
    for done in range(first + 1, last + 1):
        clock.now += seconds
        run.after(done, [batch(flow=done), batch(flow=done + 0.5)], Update(float(done), done / 10))


def read(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LOG).read_text("utf-8").splitlines()]


def test_a_line_holds_means_since_the_line_before_over_steps_and_batches(tmp_path: Path) -> None:
    clock = Clock()
    run = reports(tmp_path, clock)
    run.before(0)
    take(run, clock, 0, 4)
    first, second = read(tmp_path)
    assert (first["kind"], first["step"], second["step"]) == ("step", 2, 4)
    assert first["losses"] == {"flow": pytest.approx((1 + 1.5 + 2 + 2.5) / 4)}
    assert second["losses"] == {"flow": pytest.approx((3 + 3.5 + 4 + 4.5) / 4)}
    assert (first["norm"], second["norm"]) == (1.5, 3.5)
    assert second["rate"] == pytest.approx(1e-4 * 0.4)
    assert (second["seconds"], second["seconds_each"]) == (8.0, 2.0)
    assert second["tokens_per_second"] == pytest.approx((300 + 400) / 4)
    assert second["peak_bytes"] == peak_memory() or second["peak_bytes"] > 0


def test_several_parts_are_told_each_and_their_weighted_sum(tmp_path: Path) -> None:
    clock = Clock()
    run = reports(tmp_path, clock, every=1)
    run.before(0)
    run.after(1, [batch(flow=1.0, mask=0.25), batch(flow=2.0, mask=0.75)], Update(1.0, 1.0))
    assert read(tmp_path)[0]["losses"] == {"flow": 1.5, "mask": 0.5, "total": 2.5}


def test_steps_that_were_left_out_are_counted_and_in_no_mean(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, nan = Clock(), float("nan")
    run = reports(tmp_path, clock)
    run.before(0)
    with caplog.at_level(logging.INFO):
        take(run, clock, 0, 1)
        run.after(2, [], Update(nan, 1.0, 1))
        run.after(3, [], Update(nan, 1.0, 2))
        run.after(4, [], Update(nan, 1.0, 3))
        take(run, clock, 4, 6)
    found = [(line["losses"], line["norm"], line["skipped"]) for line in read(tmp_path)]
    assert found == [({"flow": 1.25}, 1.0, 1), ({}, None, 2), ({"flow": 5.75}, 5.5, 0)]
    assert "flow 1.2500, steps left out: 1, " in caplog.messages[0]
    assert "step 4 of 6: steps left out: 2, " in caplog.messages[1] and "left out" not in caplog.messages[2]


def test_the_last_step_has_a_line_though_it_is_not_its_turn(tmp_path: Path) -> None:
    clock = Clock()
    run = reports(tmp_path, clock, steps=5)
    run.before(0)
    take(run, clock, 0, 5)
    assert [line["step"] for line in read(tmp_path)] == [2, 4, 5]
    assert read(tmp_path)[-1]["losses"]["flow"] == 5.25


def test_what_other_reports_take_is_the_runs_time_and_no_steps(tmp_path: Path) -> None:
    clock = Clock()
    slow = Slow(clock, 50.0)
    run = reports(tmp_path, clock, others=[slow])
    run.before(0)
    take(run, clock, 0, 4)
    assert [line["seconds_each"] for line in read(tmp_path)] == [2.0, 2.0]
    assert [line["seconds"] for line in read(tmp_path)] == [104.0, 208.0]
    assert slow.told == [("before", 0), *(("after", done) for done in range(1, 5))]


def test_a_run_that_goes_on_has_the_lines_of_one_that_was_never_killed(tmp_path: Path) -> None:
    clock = Clock()
    whole = reports(tmp_path / "whole", clock)
    whole.before(0)
    take(whole, clock, 0, 6)
    killed = reports(tmp_path / "killed", clock)
    killed.before(0)
    take(killed, clock, 0, 4)  # its state is of step 2
    clock.now += 1000
    again = reports(tmp_path / "killed", clock)
    again.before(2)
    take(again, clock, 2, 6)
    left_out = ("peak_bytes",)
    found, expected = (
        [
            {name: value for name, value in line.items() if name not in left_out}
            for line in read(tmp_path / one)
        ]
        for one in ("killed", "whole")
    )
    assert found == expected and len(found) == 3


def test_progress_is_a_line_of_the_log_where_nobody_looks_at_a_terminal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    run = reports(tmp_path, clock, steps=3000, every=120, tokens=lambda step: 13940, planned=5000.0)
    run.before(0)
    with caplog.at_level(logging.INFO):
        for done in range(1, 121):
            clock.now += 3.4
            run.after(done, [batch(flow=0.1234)], Update(1.0, 1.0))
    said = "step 120 of 3000: flow 0.1234, 3.4 s a step, 4,100 tokens/s (plan: 5,000), 2 h 43 min left"
    assert [record.getMessage() for record in caplog.records] == [said]


def test_without_a_plan_none_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    run = reports(tmp_path, clock)
    run.before(0)
    with caplog.at_level(logging.INFO):
        take(run, clock, 0, 2)
    assert caplog.records[0].getMessage() == "step 2 of 6: flow 1.7500, 2 s a step, 75 tokens/s, 8 s left"


def test_a_run_that_took_all_its_steps_keeps_its_log_and_shows_no_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, terminal = Clock(), Terminal()
    run = reports(tmp_path, clock)
    run.before(0)
    take(run, clock, 0, 6)
    lines = read(tmp_path)
    monkeypatch.setattr(sys, "stderr", terminal)
    closed = []
    monkeypatch.setattr(RunLog, "close", lambda log: closed.append(log))
    reports(tmp_path, clock).before(6)
    assert read(tmp_path) == lines and not terminal.getvalue() and len(closed) == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_which_goes_on_where_the_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tqdm")
    terminal, clock = Terminal(), Clock()
    monkeypatch.setattr(sys, "stderr", terminal)
    run = reports(tmp_path, clock, planned=90.0)
    run.before(2)
    with caplog.at_level(logging.INFO):
        take(run, clock, 2, 6)
    shown = terminal.getvalue()
    assert "2/6" in shown and "6/6" in shown and "tokens/s (plan: 90)" in shown and not caplog.records
    assert shown.endswith("\n")  # closed


def test_lines_of_the_log_stand_above_the_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm")
    terminal, clock, logger = Terminal(), Clock(), logging.getLogger("refvid")
    monkeypatch.setattr(sys, "stderr", terminal)
    handler = logging.StreamHandler(terminal)
    monkeypatch.setattr(logger, "handlers", [handler])
    run = reports(tmp_path, clock)
    run.before(0)
    take(run, clock, 0, 3)
    logger.warning("clips of another run")
    line = next(line for line in terminal.getvalue().split("\n") if "another run" in line)
    assert line.split("\r")[-1] == "clips of another run"  # nothing of the bar is on its line
    take(run, clock, 3, 6)
    assert logger.handlers == [handler]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3570, "1 h 0 min"),
        (9660, "2 h 41 min"),
        (90_000, "25 h 0 min"),
    ],
)
def test_time_is_told_in_hours_and_minutes(seconds: float, said: str) -> None:
    assert time_left(seconds) == said


def test_peak_memory_is_that_of_the_program_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    held = peak_memory()
    assert held is None or 1 << 27 < held < 1 << 40  # a program with torch holds 128 MiB at least
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory() is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 7)
    assert peak_memory() == 7


def looped(folder: Path, steps: int, resume: bool = False) -> None:
    """A run of the loop itself, with a loss that names its clips, and all but what needs a model."""
    line = nn.Linear(2, 1, bias=False)
    nn.init.ones_(line.weight)
    learner = Learner(line, Optimiser(line, lambda *_: False, 0.0), Average(line, 0.9))

    def losses(turn: int) -> Losses:
        each = line.weight.sum() * torch.tensor([0.5, 1.5])
        return Losses({"flow": (1.0, each.mean())}, (f"clip {turn}", "clip"), torch.tensor([0.2, 0.7]), each)

    log = RunLog(folder)
    told = StepReport(log, steps, every=2, rate=0.01, tokens=lambda step: 10)
    state = RunState(RunFiles("line", ("line.safetensors",)), folder, {}, resume)
    run = Run(
        state, learner, steps, rate=lambda step: 0.5, seed=lambda draws, turn: None,
        draw=lambda draws, turn: turn, losses=losses, pace=Pace(accumulate=2),
    )  # fmt: skip
    take_steps(run, callbacks=[Reports(log, told, [ClipLosses(folder, steps, 2)])])


def test_the_loop_brings_reports_to_its_steps_and_over_a_resume(tmp_path: Path) -> None:
    looped(tmp_path, 3)
    assert [line["step"] for line in read(tmp_path)] == [2, 3]
    looped(tmp_path, 6, resume=True)
    lines = read(tmp_path)
    assert [line["step"] for line in lines] == [2, 3, 4, 6]
    assert lines[0]["losses"]["flow"] == pytest.approx(2.0, abs=0.1)
    assert lines[0]["rate"] == 0.005 and lines[0]["norm"] == pytest.approx(2**0.5)
    assert all(later["seconds"] >= line["seconds"] for line, later in itertools.pairwise(lines))
    clips = [json.loads(text) for text in (tmp_path / CLIPS).read_text().splitlines()]
    assert {one["clip"]: one["seen"] for one in clips} == {
        "clip": 12,
        **{f"clip {turn}": 1 for turn in range(12)},
    }
