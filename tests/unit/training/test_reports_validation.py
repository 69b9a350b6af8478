"""Validation of a run: when it measures, what it leaves, and what it knows after a resume."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from refvid.training.engine.loop import Update
from refvid.training.reports.gain import LEVELS, HeldOutLosses
from refvid.training.reports.log import LOG, RunLog
from refvid.training.reports.validation import MEASURED, Validation

UPDATE = Update(1.0, 1.0)


class Learning:
    """Held-out clips on which own references are worth a gain that grows."""

    clips, scenes = ("ape", "bee", "cat", "dog"), ("a", "a", "b", "c")

    def __init__(self) -> None:
        self.gain, self.asked = 0.02, 0

    def loss(self, row: int, levels: Tensor, references: str) -> Tensor:
        self.asked += 1
        return (1 + row) * (1 - levels / 2) * (1 - (self.gain if references == "own" else 0.0))


def begun(folder: Path, held_out: Learning, first: int = 0, steps: int = 5, every: int = 2) -> Validation:
    log = RunLog(folder)
    log.begin(first)
    report = Validation(held_out, log, steps, every)
    report.before(first)
    return report


def take(report: Validation, held_out: Learning, first: int, last: int) -> None:
    for done in range(first + 1, last + 1):
        held_out.gain = 0.02 + 0.01 * done
        report.after(done, [], UPDATE)


def read(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LOG).read_text("utf-8").splitlines()]


def test_it_measures_before_learning_every_so_many_steps_and_after_the_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held_out = Learning()
    with caplog.at_level(logging.INFO):
        report = begun(tmp_path, held_out)
        take(report, held_out, 0, 5)
    lines = read(tmp_path)
    assert [(line["kind"], line["step"]) for line in lines] == [("validation", step) for step in (0, 2, 4, 5)]
    gains = [line["gains"]["all"]["own"]["value"] for line in lines]
    assert gains == pytest.approx([0.02, 0.04, 0.06, 0.07])
    assert "since_start" not in lines[0]
    assert [line["since_start"]["all"]["value"] for line in lines[1:]] == pytest.approx(
        [0.02, 0.04, 0.05], abs=1e-6
    )
    assert all(line["seconds"] >= 0 for line in lines) and held_out.asked == 4 * 3 * 4
    assert sorted(path.name for path in (tmp_path / MEASURED).iterdir()) == [
        "0.json",
        "2.json",
        "4.json",
        "5.json",
    ]
    assert caplog.text.count("A base that has seen references starts above zero") == 1
    assert "step 4, held out, 4 clips of 3 scenes: loss none" in caplog.text


def test_losses_of_every_clip_are_left_to_compare_trainings_with(tmp_path: Path) -> None:
    begun(tmp_path, Learning())
    kept = HeldOutLosses.read(tmp_path / MEASURED / "0.json")
    levels = torch.tensor(LEVELS)
    assert kept.scenes == ("a", "a", "b", "c")
    assert torch.equal(kept.values[0, 2], (3 * (1 - levels / 2)).double())


def test_a_run_that_goes_on_measures_what_was_not_and_knows_what_was_before_learning(tmp_path: Path) -> None:
    whole, held_out = tmp_path / "whole", Learning()
    take(begun(whole, held_out), held_out, 0, 5)
    killed, held_out = tmp_path / "killed", Learning()
    take(begun(killed, held_out), held_out, 0, 3)
    asked = held_out.asked
    report = begun(killed, held_out, first=1)
    assert held_out.asked == asked
    take(report, held_out, 1, 5)
    found, expected = ([{**line, "seconds": 0} for line in read(one)] for one in (killed, whole))
    assert found == expected


def test_a_run_that_goes_on_without_the_first_measurement_tells_no_change(tmp_path: Path) -> None:
    held_out = Learning()
    take(begun(tmp_path, held_out, first=3), held_out, 3, 4)
    assert "since_start" not in read(tmp_path)[0]


def test_a_run_that_goes_on_with_other_held_out_clips_is_refused_before_it_learns(tmp_path: Path) -> None:
    begun(tmp_path, Learning())
    other = Learning()
    other.clips = other.clips[::-1]
    with pytest.raises(ValueError, match=r"0\.json was measured on other held-out clips"):
        begun(tmp_path, other, first=1)


def test_no_steps_between_measurements_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="validate_every is 0"):
        Validation(Learning(), RunLog(tmp_path), 5, 0)
