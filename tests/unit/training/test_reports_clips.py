"""Losses of single clips: the last of each, corrected for the noise level, over a resume, the worst named."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator

from refvid.training.engine.loop import Losses, Update
from refvid.training.reports.clips import CLIPS, ClipLoss, ClipLosses, worst

UPDATE = Update(1.0, 1.0)


def batch(*rows: tuple[str, float, float]) -> Losses:
    clips, levels, each = zip(*rows, strict=True)
    return Losses({"flow": (1.0, torch.tensor(0.0))}, clips, torch.tensor(levels), torch.tensor(each))


def begun(folder: Path, steps: int = 100, every: int = 10, first: int = 0) -> ClipLosses:
    report = ClipLosses(folder, steps, every)
    report.before(first)
    return report


def read(folder: Path) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / CLIPS).read_text("utf-8").splitlines()]
    assert [line["clip"] for line in lines] == sorted(line["clip"] for line in lines)
    return {line["clip"]: line for line in lines}


def random_steps(report: ClipLosses, first: int, last: int, bad: str = "clip 7") -> None:
    """Steps of two clips of twenty, whose losses are e^(-3 level), one's half as much again."""
    for step in range(first, last):
        draw = Generator().manual_seed(step)
        rows = []
        for clip in torch.randperm(20, generator=draw)[:2].tolist():
            level = torch.rand((), generator=draw).item()
            loss = 2.718 ** (-3 * level) * (1.5 if f"clip {clip}" == bad else 1.0)
            rows.append((f"clip {clip}", level, loss))
        report.after(step + 1, [batch(rows[0]), batch(rows[1])], UPDATE)


def test_each_clip_has_its_last_loss_with_level_and_step_and_how_often_it_was_seen(tmp_path: Path) -> None:
    report = begun(tmp_path, every=2)
    report.after(1, [batch(("bee", 0.5, 1.0), ("ant", 0.75, 2.0))], UPDATE)
    assert not (tmp_path / CLIPS).exists()
    report.after(2, [batch(("ant", 0.25, 4.0)), batch(("cät", 1.0, 3.0))], UPDATE)
    found = read(tmp_path)
    shown = {clip: [line[name] for name in ("step", "level", "loss", "seen")] for clip, line in found.items()}
    assert shown == {"ant": [2, 0.25, 4.0, 2], "bee": [1, 0.5, 1.0, 1], "cät": [2, 1.0, 3.0, 1]}


def test_a_clip_that_loses_more_than_others_at_its_levels_stands_out_though_levels_rule_the_loss(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = begun(tmp_path, steps=600)
    with caplog.at_level(logging.INFO):
        random_steps(report, 0, 600)
    found = read(tmp_path)
    assert len(found) == 20 and sum(line["seen"] for line in found.values()) == 1200
    others = [line["relative"] for clip, line in found.items() if clip != "clip 7"]
    assert found["clip 7"]["relative"] == pytest.approx(1.5, abs=0.12)
    assert max(others) < 1.12 and min(others) > 0.88
    assert "clips that lose most at their noise levels: clip 7 (1." in caplog.text
    assert caplog.text.count("seen ") == 10


def test_a_run_that_goes_on_drops_lines_past_its_state_and_counts_no_step_twice(tmp_path: Path) -> None:
    whole, killed = begun(tmp_path / "whole", every=20), begun(tmp_path / "killed", every=20)
    random_steps(whole, 0, 100)
    random_steps(killed, 0, 60)  # its state is of step 40
    again = begun(tmp_path / "killed", every=20, first=40)
    random_steps(again, 40, 100)
    found, expected = read(tmp_path / "killed"), read(tmp_path / "whole")
    assert found.keys() == expected.keys()
    for clip, line in found.items():
        assert [line[one] for one in ("step", "level", "loss")] == [
            expected[clip][one] for one in ("step", "level", "loss")
        ]
        assert line["seen"] <= expected[clip]["seen"]
        assert line["relative"] == pytest.approx(expected[clip]["relative"], abs=0.4)


def test_a_run_that_goes_on_with_no_step_past_its_state_keeps_every_count(tmp_path: Path) -> None:
    random_steps(begun(tmp_path, every=20), 0, 40)
    random_steps(begun(tmp_path, every=20, first=40), 40, 100)
    assert sum(line["seen"] for line in read(tmp_path).values()) == 200


def test_a_run_that_begins_knows_no_clip_of_another(tmp_path: Path) -> None:
    random_steps(begun(tmp_path), 0, 10)
    report = begun(tmp_path, every=1)
    report.after(1, [batch(("ant", 0.5, 1.0))], UPDATE)
    assert set(read(tmp_path)) == {"ant"}


def test_a_method_that_tells_no_clips_leaves_an_empty_file_and_names_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = begun(tmp_path, steps=1)
    with caplog.at_level(logging.INFO):
        report.after(1, [Losses({"flow": (1.0, torch.tensor(0.5))})], UPDATE)
    assert (tmp_path / CLIPS).read_text() == "" and not caplog.records


@pytest.mark.parametrize("wrong", ["{", "[]", '{"clip": "a"}'])
def test_a_file_of_something_else_is_refused(tmp_path: Path, wrong: str) -> None:
    (tmp_path / CLIPS).write_text(wrong)
    with pytest.raises(ValueError, match=r"clips\.jsonl holds no losses of clips"):
        begun(tmp_path, first=1)


def test_the_worst_clips_come_first_and_alike_ones_by_name() -> None:
    found = [
        ClipLoss(name, 1, 0.5, 1.0, 3, relative) for name, relative in (("b", 1.0), ("c", 1.25), ("a", 1.0))
    ]
    assert worst(found) == "c (1.25 times, seen 3), a (1.00 times, seen 3), b (1.00 times, seen 3)"
    assert worst(found, 1) == "c (1.25 times, seen 3)"


def test_a_relative_loss_is_the_mean_over_what_its_band_lost_then_and_bands_outlive_a_kill(
    tmp_path: Path,
) -> None:
    report = begun(tmp_path, every=1)
    for step, (clip, loss) in enumerate((("ant", 1.0), ("bee", 1.0), ("bee", 2.0)), 1):
        report.after(step, [batch((clip, 0.52, loss))], UPDATE)
    report.after(4, [batch(("cat", 0.58, 5.0))], UPDATE)  # the next band
    found = read(tmp_path)
    assert found["bee"]["relative"] == pytest.approx((1 + 2 / 1.02) / 2)
    assert (found["ant"]["relative"], found["cat"]["relative"]) == (1.0, 1.0)
    again = begun(tmp_path, every=1, first=4)
    again.after(5, [batch(("dog", 0.51, 3.0))], UPDATE)
    band = 1.02 + 0.02 * (3 - 1.02)  # of what ant and bee lost last, in the order of their steps
    assert read(tmp_path)["dog"]["relative"] == pytest.approx(3 / band)
