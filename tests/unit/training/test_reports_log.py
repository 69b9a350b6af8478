"""Log of a run: lines that stand once, whatever kills it, and TensorBoard's events beside them."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from refvid.training.reports.log import EVENTS, LOG, RunLog


def read(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LOG).read_text("utf-8").splitlines()]


def begun(folder: Path, first: int = 0, tensorboard: bool = False) -> RunLog:
    log = RunLog(folder, tensorboard)
    log.begin(first)
    return log


def written(folder: Path, *steps: int) -> RunLog:
    log = begun(folder)
    for step in steps:
        log.write("step", step, losses={"flow": 1 / max(step, 1)})
    return log


def test_a_line_is_an_object_and_is_there_at_once(tmp_path: Path) -> None:
    log = begun(tmp_path / "run")
    log.write("step", 20, seconds=1.5, losses={"flow": 0.5})
    assert read(tmp_path / "run") == [{"kind": "step", "step": 20, "seconds": 1.5, "losses": {"flow": 0.5}}]
    log.write("note", 20, said="größer")
    assert read(tmp_path / "run")[1] == {"kind": "note", "step": 20, "said": "größer"}
    assert "größer" in (tmp_path / "run" / LOG).read_text("utf-8")


def test_a_run_that_goes_on_cuts_lines_past_its_state_and_ends_as_one_that_was_never_killed(
    tmp_path: Path,
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    written(whole, 0, 10, 20, 30, 40)
    written(killed, 0, 10, 20, 30)
    log = RunLog(killed)
    assert [line["step"] for line in log.begin(20)] == [0, 10, 20]
    for step in (30, 40):
        log.write("step", step, losses={"flow": 1 / step})
    assert read(killed) == read(whole)


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_last_line_that_was_cut_short_is_dropped(tmp_path: Path, cut: int) -> None:
    log = written(tmp_path, 10, 20)
    log.path.write_bytes(log.path.read_bytes()[:-cut])
    assert [line["step"] for line in RunLog(tmp_path).begin(20)] == [10]
    log.write("step", 30)
    assert [line["step"] for line in read(tmp_path)] == [10, 30]


def test_a_cut_inside_a_letter_is_dropped_too(tmp_path: Path) -> None:
    log = written(tmp_path, 10)
    log.path.write_bytes(log.path.read_bytes() + '{"kind": "ä'.encode()[:-1])
    assert [line["step"] for line in RunLog(tmp_path).begin(10)] == [10]


def test_what_a_kill_left_of_a_log_that_was_cut_is_cleared_away(tmp_path: Path) -> None:
    log = written(tmp_path, 10)
    (tmp_path / f".{LOG}-0123abcd.partial").write_text("{")
    RunLog(tmp_path).begin(10)
    assert list(tmp_path.iterdir()) == [log.path]


def test_a_run_that_begins_has_an_empty_log(tmp_path: Path) -> None:
    written(tmp_path, 0, 10)
    assert RunLog(tmp_path).begin(0) == [] and read(tmp_path) == []
    assert RunLog(tmp_path / "none").begin(7) == [] and read(tmp_path / "none") == []


@pytest.mark.parametrize("wrong", ["{", "[]", "3", '{"kind": "step"}', '{"step": "ten"}'])
def test_a_line_inside_that_is_none_of_ours_is_refused_by_number_and_nothing_is_cut(
    tmp_path: Path, wrong: str
) -> None:
    log = written(tmp_path, 10)
    text = log.path.read_text() + wrong + "\n" + log.path.read_text()
    log.path.write_text(text)
    with pytest.raises(ValueError, match=r"log\.jsonl, line 2"):
        RunLog(tmp_path).begin(10)
    assert log.path.read_text() == text


def test_numbers_that_json_does_not_know_are_words(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    begun(tmp_path).write("step", 1, losses={"flow": nan}, norms=[inf, -inf, 1.0])
    assert read(tmp_path) == [
        {"kind": "step", "step": 1, "losses": {"flow": "nan"}, "norms": ["inf", "-inf", 1.0]}
    ]


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Scalars of a folder of events, as TensorBoard reads them."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder / EVENTS)).Reload()
    return {
        tag: [(one.step, round(one.value, 4)) for one in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def test_numbers_are_scalars_of_tensorboard_by_kind_and_name(tmp_path: Path) -> None:
    log = begun(tmp_path, tensorboard=True)
    log.write(
        "step", 20, losses={"flow": 0.5, "mask": 0.25}, norm=2, peak_bytes=None, sheet="20.jpg", many=[1, 2]
    )
    log.write("validation", 20, gains={"all": {"own": {"value": 0.03, "clips": (0.01, 0.05)}}})
    assert events(tmp_path) == {
        "step/losses/flow": [(20, 0.5)],
        "step/losses/mask": [(20, 0.25)],
        "step/norm": [(20, 2.0)],
        "validation/gains/all/own/value": [(20, 0.03)],
    }
    log.close()


def test_events_are_flushed_after_every_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read by others while the run goes on; the writer itself waits for two minutes."""
    pytest.importorskip("tensorboard")
    calls = []

    class Writer:
        def __init__(self, folder: str, purge_step: int):
            calls.append(("purge", purge_step))

        def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
            calls.append((tag, scalar_value))

        def flush(self) -> None:
            calls.append("flush")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", Writer)
    log = begun(tmp_path, 7, tensorboard=True)
    log.write("step", 8, norm=1, rate=2)
    log.write("step", 9, norm=3)
    assert calls == [("purge", 8), ("step/norm", 1), ("step/rate", 2), "flush", ("step/norm", 3), "flush"]


def test_events_of_a_run_that_was_killed_before_its_first_state_are_not_shown(tmp_path: Path) -> None:
    for value in (1, 2):
        log = begun(tmp_path, tensorboard=True)
        log.write("validation", 0, loss=value)
        log.close()
    assert events(tmp_path) == {"validation/loss": [(0, 2.0)]}


def test_events_past_the_state_are_not_shown_twice(tmp_path: Path) -> None:
    log = begun(tmp_path, tensorboard=True)
    for step in (10, 20, 30):
        log.write("step", step, norm=step)
    log.close()
    log = begun(tmp_path, 20, tensorboard=True)
    log.write("step", 30, norm=31)
    log.close()
    assert events(tmp_path) == {"step/norm": [(10, 10.0), (20, 20.0), (30, 31.0)]}


def test_without_tensorboard_it_is_said_once_and_the_log_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with caplog.at_level(logging.INFO):
        log = begun(tmp_path, tensorboard=True)
        for step in (1, 2):
            log.write("step", step, norm=1.0)
        log.close()
    assert len(read(tmp_path)) == 2 and not (tmp_path / EVENTS).exists()
    assert [record.message.count("pip install tensorboard") for record in caplog.records] == [1]


def test_nothing_is_written_or_said_of_tensorboard_where_it_is_not_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        begun(tmp_path).write("step", 1, norm=1.0)
    assert not (tmp_path / EVENTS).exists() and not caplog.records
