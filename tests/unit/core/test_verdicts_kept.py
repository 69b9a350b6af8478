"""The file in which verdicts of races are kept, to which anything may happen, and races that do not end
well."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from refvid_races import NEED, contest, holding, on_disk, only, play_gpu

from refvid.core import verdicts
from refvid.core.verdicts import DIED, TRYING, VERDICTS_FILE, Verdicts
from refvid.kernels.paths import ANY_ATTENTION, BIAS, SDPA, TRITON, Verdict
from refvid.kernels.race import OUT_OF_MEMORY


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    play_gpu(monkeypatch)


@pytest.fixture
def held(monkeypatch):
    return holding(monkeypatch)


BROKEN = {
    "no JSON": "{",
    "a list": "[]",
    "a number": '{"m": 3}',
    "deep": "[" * 100_000,
    "an entry of nothing": '{"m": {"k": {}}}',
    "a path of nobody": '{"m": {"k": {"path": "sage", "milliseconds": {}, "left_out": {}, "lasting": true}}}',
    "a time of words": '{"m": {"k": {"path": "bias", "milliseconds": {"bias": "1"}, "left_out": {}, "lasting": true}}}',
    "a time without end": '{"m": {"k": {"path": "bias", "milliseconds": {"bias": NaN}, "left_out": {}, "lasting": true}}}',
    "a reason of numbers": '{"m": {"k": {"path": "bias", "milliseconds": {}, "left_out": {"bias": 1}, "lasting": true}}}',
    "a path that is a list": '{"m": {"k": {"path": [], "milliseconds": {}, "left_out": {}, "lasting": true}}}',
    "a time beyond all floats": '{"m": {"k": {"path": "bias", "milliseconds": {"bias": 1%s}, "left_out": {}, "lasting": true}}}'
    % ("0" * 400),
    "a time of nobody": '{"m": {"k": {"path": "bias", "milliseconds": {"sage": 1.0}, "left_out": {}, "lasting": true}}}',
    "tried by a list": '{"m": {"k": {"trying": ["bias"]}}}',
    "tried by nobody": '{"m": {"k": {"trying": "sage"}}}',
    "no text": b"\xff\xfe\x00",
    "too long": "{}" + " " * (1 << 20),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_file_is_said_raced_anew_and_replaced(tmp_path, held, caplog, broken):
    text = BROKEN[broken]
    (tmp_path / VERDICTS_FILE).write_bytes(text if isinstance(text, bytes) else text.encode())
    found = held()
    with caplog.at_level(logging.WARNING, logger="refvid"):
        assert Verdicts(lambda: tmp_path).choose(NEED, ANY_ATTENTION, contest()).path is TRITON
    assert f"{tmp_path / VERDICTS_FILE} is not used" in caplog.text and len(found.asked) == 1
    caplog.clear()
    assert Verdicts(lambda: tmp_path).choose(NEED, ANY_ATTENTION, contest()).path is TRITON
    assert len(found.asked) == 1 and not caplog.text and only(tmp_path)["path"] == "triton"


@pytest.mark.parametrize("where", ["a file", "nowhere", "a folder", "too long a name"])
def test_a_folder_that_cannot_be_written_holds_for_the_process(tmp_path, held, caplog, where):
    if where == "a file":
        (tmp_path / "deep").write_text("")
    if where == "a folder":
        (tmp_path / "deep" / VERDICTS_FILE).mkdir(parents=True)

    def folder():
        if where == "nowhere":
            raise RuntimeError("Could not determine home directory.")
        return tmp_path / ("deep" if where != "too long a name" else 300 * "x")

    found, kept = held(), Verdicts(folder)
    with caplog.at_level(logging.WARNING, logger="refvid"):
        chosen = [kept.choose(NEED, ANY_ATTENTION, contest()) for _ in range(2)]
    assert chosen[0] == chosen[1] and chosen[0].path is TRITON and len(found.asked) == 1
    assert caplog.text.count("for this process only") == 1


def test_entries_of_others_stay(tmp_path, held):
    other = {"GPU of somebody": {"float32": {TRYING: "triton"}}}
    (tmp_path / VERDICTS_FILE).write_text(json.dumps(other))
    held()
    Verdicts(lambda: tmp_path).choose(NEED, ANY_ATTENTION, contest())
    said = on_disk(tmp_path)
    assert len(said) == 2 and said["GPU of somebody"] == other["GPU of somebody"]


NO_ROOM = (torch.cuda.OutOfMemoryError("9 GiB"), RuntimeError("CUDA error: out of memory"))


@pytest.mark.parametrize("error", NO_ROOM)
def test_memory_that_ran_out_is_not_kept_and_no_error(tmp_path, held, caplog, error):
    held(Verdict("bias", {"bias": 1.0}, {"triton": OUT_OF_MEMORY}, lasting=False))
    kept = Verdicts(lambda: tmp_path)
    assert kept.choose(NEED, ANY_ATTENTION, contest()).path is BIAS
    assert kept.choose(NEED, ANY_ATTENTION, contest()).path is BIAS
    assert list(on_disk(tmp_path).values()) == [{}]
    found = held(error)
    kept = Verdicts(lambda: tmp_path)
    with caplog.at_level(logging.WARNING, logger="refvid"):
        chosen = [kept.choose(NEED, ANY_ATTENTION, contest()) for _ in range(3)]
    assert {choice.path for choice in chosen} == {BIAS} and len(found.asked) == 1
    assert "no memory to time attention; bias runs as ever" in caplog.text
    assert "timed" not in kept.choose(NEED, ANY_ATTENTION, contest(), hold=False).reason  # nor will it be
    assert not any("timed" in choice.reason for choice in chosen)
    assert list(on_disk(tmp_path).values()) == [{}]


def test_an_interrupt_leaves_nobody_accused(tmp_path, held):
    held(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        Verdicts(lambda: tmp_path).choose(NEED, ANY_ATTENTION, contest())
    assert list(on_disk(tmp_path).values()) == [{}]
    found = held()
    assert Verdicts(lambda: tmp_path).choose(NEED, ANY_ATTENTION, contest()).path is TRITON
    assert found.asked == [["bias", "sdpa", "triton"]]


def test_a_mark_says_what_is_being_tried_but_not_of_what_would_have_run_anyway(tmp_path, monkeypatch):
    def race(call, contenders, tried):
        said = []
        for name in contenders:
            tried(name)
            said.append(only(tmp_path) if (tmp_path / VERDICTS_FILE).exists() else None)
        assert said == [None, {TRYING: "sdpa"}, {TRYING: "triton"}]
        return Verdict("sdpa", {"sdpa": 1.0})

    monkeypatch.setattr(verdicts, "race", race)
    assert Verdicts(lambda: tmp_path).choose(NEED, ANY_ATTENTION, contest()).path is SDPA


def test_where_nothing_worked_the_last_that_was_tried_is_accused(tmp_path, held):
    """An illegal access takes the whole device: everyone fails after it."""
    left_out = dict.fromkeys(("bias", "sdpa", "triton"), "AcceleratorError: an illegal memory access")
    held(Verdict(None, {}, left_out))
    assert Verdicts(lambda: tmp_path).choose(NEED, ANY_ATTENTION, contest()).path is BIAS
    assert only(tmp_path) == {TRYING: "triton"}


def test_what_else_is_wrong_with_a_device_is_said(tmp_path, held):
    held(RuntimeError("CUDA error: an illegal memory access"))
    with pytest.raises(RuntimeError, match="illegal"):
        Verdicts(lambda: tmp_path).choose(NEED, ANY_ATTENTION, contest())


@pytest.mark.parametrize("kept", [True, False])
def test_a_path_that_another_process_is_trying_is_not_taken_for_one_it_died_of(
    tmp_path, held, monkeypatch, kept
):
    """The other ends its race while this one, which found its mark, is at its own."""
    file, left_out = tmp_path / VERDICTS_FILE, dict.fromkeys(("bias", "sdpa", "triton"), "the device is lost")
    held(Verdict(None, {}, left_out))
    Verdicts(lambda: tmp_path).choose(NEED, ANY_ATTENTION, contest())
    mark = file.read_text()
    held(Verdict("triton", {"triton": 1.0}, lasting=kept))
    file.unlink()
    Verdicts(lambda: tmp_path).choose(NEED, ANY_ATTENTION, contest())
    others = file.read_text()
    file.write_text(mark)

    def race(call, contenders, tried):
        assert list(contenders) == ["bias", "sdpa"]
        file.write_text(others)
        for name in contenders:
            tried(name)
        return Verdict("sdpa", {"sdpa": 2.0})

    monkeypatch.setattr(verdicts, "race", race)
    choice = Verdicts(lambda: tmp_path).choose(NEED, ANY_ATTENTION, contest())
    assert choice.path is (TRITON if kept else SDPA) and file.read_text() == others
    assert DIED not in choice.reason


DIES = """
import os, signal, sys
sys.path[:0] = [{support!r}]
from refvid_folder import import_folder
from pathlib import Path
import_folder("refvid", Path({root!r}))
from refvid.core import verdicts
from refvid.kernels.race import Contender
from refvid_races import NAME, NEED, contest
verdicts._can_race = lambda device: True
verdicts._gpu = lambda device: NAME
held = contest()
held.contenders["triton"] = Contender(lambda *given: os.kill(os.getpid(), signal.SIGKILL))
verdicts.Verdicts(lambda: Path(sys.argv[1])).choose(NEED, "auto", held)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills itself")
def test_a_path_that_killed_the_process_is_left_out_by_the_next(tmp_path, held):
    root = Path(__file__).resolve().parents[3]
    script = DIES.format(support=str(root / "tests" / "support"), root=str(root))
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    assert only(tmp_path) == {TRYING: "triton"}
    found, kept = held(Verdict("sdpa", {"sdpa": 1.0})), Verdicts(lambda: tmp_path)
    choice = kept.choose(NEED, ANY_ATTENTION, contest())
    assert choice.path is SDPA and f"triton left out: {DIED}" in choice.reason
    assert found.asked == [["bias", "sdpa"]] and only(tmp_path)["left_out"] == {"triton": DIED}
