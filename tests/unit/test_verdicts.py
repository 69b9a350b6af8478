"""Verdicts of races: held once, kept by machine, read first, and a file that anything may have happened to."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from refvid.core import verdicts
from refvid.core.verdicts import DIED, FILE, TRYING, Contest, Verdicts
from refvid.kernels import race as races
from refvid.kernels.eager import eager_attention
from refvid.kernels.paths import (
    ASKED,
    AUTO,
    BIAS,
    DETERMINISTIC,
    REMOVAL,
    SDPA,
    TRITON,
    Need,
    Verdict,
    choose_path,
)
from refvid.kernels.race import Call, Contender

CPU = torch.device("cpu")
NEED = Need(bias=True)
CALL = Call(1, 2, 16, 40, 8, torch.float32, CPU, torch.full((1, 8), -0.7), None)


class Race:
    """In place of a race: says what it is told to, and remembers what it was asked."""

    def __init__(self, verdict=None):
        self.verdict, self.asked = verdict or Verdict("triton", {"bias": 3.0, "triton": 1.0}), []

    def __call__(self, call, contenders, tried=lambda name: None):
        self.asked.append(list(contenders))
        for name in contenders:
            tried(name)
        if isinstance(self.verdict, BaseException):
            raise self.verdict
        return self.verdict


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.delenv(ASKED, raising=False)
    monkeypatch.setattr(verdicts, "_can_race", lambda device: True)
    monkeypatch.setattr(verdicts, "_gpu", lambda device: "NVIDIA Nothing, driver 1")


def contest(call=CALL, host="torch's"):
    exact = Contender(eager_attention(call.groups))
    return Contest(call, {"bias": exact, "sdpa": exact, "triton": exact, "removal": exact}, host)


@pytest.fixture
def held(monkeypatch):
    def hold(verdict=None):
        found = Race(verdict)
        monkeypatch.setattr(verdicts, "race", found)
        return found

    return hold


def on_disk(folder: Path) -> dict:
    return json.loads((folder / FILE).read_text())


def only(folder: Path) -> dict:
    (kinds,) = on_disk(folder).values()
    (entry,) = kinds.values()
    return entry


def test_a_race_is_held_once_and_told(tmp_path, held):
    found, kept = held(), Verdicts(lambda: tmp_path / "deep")
    first, second = (kept.choose(NEED, AUTO, contest()) for _ in range(2))
    assert first == second and first.path is TRITON and found.asked == [["bias", "sdpa", "triton"]]
    assert first.reason == "timed here: triton 1 ms, bias 3 ms"
    assert only(tmp_path / "deep")["path"] == "triton"


def test_a_later_process_reads_what_was_found(tmp_path, held):
    found = held()
    Verdicts(lambda: tmp_path).choose(NEED, AUTO, contest())
    again = Verdicts(lambda: tmp_path).choose(NEED, AUTO, contest())
    assert again.path is TRITON and "triton 1 ms" in again.reason and len(found.asked) == 1


@pytest.mark.parametrize("what", ["kind", "host", "versions", "gpu", "kernels"])
def test_another_class_or_machine_is_raced_anew_beside(tmp_path, held, monkeypatch, what):
    found = held()
    Verdicts(lambda: tmp_path).choose(NEED, AUTO, contest())
    call = Call(1, 12, 16, 40, 8, torch.float32, CPU, CALL.bias, None) if what == "kind" else CALL
    if what == "gpu":
        monkeypatch.setattr(verdicts, "_gpu", lambda device: "NVIDIA Nothing, driver 2")
    if what == "kernels":
        monkeypatch.setattr(verdicts, "_kernels", lambda: "other")
    kept = Verdicts(lambda: tmp_path, lambda: "ComfyUI 9" if what == "versions" else "")
    kept.choose(NEED, AUTO, contest(call, "sage" if what == "host" else "torch's"))
    assert len(found.asked) == 2
    assert sum(len(kinds) for kinds in on_disk(tmp_path).values()) == 2


def test_the_machine_is_named_by_gpu_driver_packages_and_our_kernels(tmp_path, held):
    held()
    Verdicts(lambda: tmp_path, lambda: "ComfyUI 0.33").choose(NEED, AUTO, contest())
    (machine,) = on_disk(tmp_path)
    assert machine.startswith(f"NVIDIA Nothing, driver 1, torch {torch.__version__.partition('+')[0]}")
    assert machine.endswith(f"kernels {verdicts._kernels()}, ComfyUI 0.33")


@pytest.mark.parametrize("name", [DETERMINISTIC, "triton", "eager"])
def test_a_name_is_not_raced(tmp_path, held, name):
    found = held()
    choice = Verdicts(lambda: tmp_path).choose(Need(True), name, contest())
    assert not found.asked and choice == choose_path(Need(True), name) and not any(tmp_path.iterdir())


def test_the_environment_says_what_auto_means(tmp_path, held, monkeypatch):
    found, kept = held(), Verdicts(lambda: tmp_path)
    monkeypatch.setenv(ASKED, DETERMINISTIC)
    assert kept.choose(NEED, AUTO, contest()).path is BIAS
    monkeypatch.setenv(ASKED, "eager")
    assert kept.choose(NEED, AUTO, contest()).path.name == "eager"
    assert kept.choose(NEED, "triton", contest()).path is TRITON  # a name goes before
    assert not found.asked
    monkeypatch.setenv(ASKED, "fastest")
    with pytest.raises(ValueError, match=f"environment's {ASKED} is 'fastest'; choose one of auto, triton"):
        kept.choose(NEED, AUTO, contest())
    monkeypatch.setenv(ASKED, "")
    assert kept.choose(NEED, AUTO, contest()).path is TRITON


def test_nothing_is_raced_where_there_is_nothing_to_choose(tmp_path, held, monkeypatch):
    found, kept = held(), Verdicts(lambda: tmp_path)
    dense = Call(1, 2, 16, 40, 8, torch.float32, CPU, None, None)
    assert kept.choose(Need(), AUTO, contest(dense)).path is REMOVAL  # neutral: the host's attention stays
    assert kept.choose(NEED, AUTO, None).path is BIAS
    alone = Need(True, "x drops masks", "no kernel")
    assert kept.choose(alone, AUTO, contest()).path is SDPA
    monkeypatch.setattr(verdicts, "_can_race", lambda device: False)
    assert kept.choose(NEED, AUTO, contest()) == choose_path(NEED)
    assert not found.asked and not any(tmp_path.iterdir())


def test_no_race_on_a_cpu_or_where_torch_is_to_be_deterministic(monkeypatch):
    monkeypatch.undo()
    cuda = torch.device("cuda")
    assert not verdicts._can_race(CPU) and verdicts._can_race(cuda)
    torch.use_deterministic_algorithms(True)
    try:
        assert not verdicts._can_race(cuda)
    finally:
        torch.use_deterministic_algorithms(False)


def test_only_paths_that_take_what_is_needed_race(tmp_path, held):
    found, kept = held(Verdict("bias", {"bias": 1.0})), Verdicts(lambda: tmp_path)
    kept.choose(Need(True, None, "no kernel"), AUTO, contest())
    kept.choose(Need(True, "x drops masks"), AUTO, contest(host="x"))
    assert found.asked == [["bias", "sdpa"], ["sdpa", "triton"]]


def test_a_winner_that_does_not_take_this_call_gives_way_to_todays_order(tmp_path, held):
    held()
    kept = Verdicts(lambda: tmp_path)
    kept.choose(NEED, AUTO, contest())
    choice = kept.choose(Need(True, None, "32 segments"), AUTO, contest())
    assert choice.path is BIAS and "not triton: 32 segments" in choice.reason


def test_what_was_left_out_is_not_taken(tmp_path, held, caplog):
    held(Verdict("sdpa", {"sdpa": 2.0}, {"bias": "off by 0.3 of the result", "triton": "RuntimeError: no"}))
    with caplog.at_level(logging.WARNING, logger="refvid"):
        choice = Verdicts(lambda: tmp_path).choose(NEED, AUTO, contest())
    assert choice.path is SDPA and "bias left out: off by 0.3 of the result" in choice.reason
    assert "triton left out: RuntimeError: no" in caplog.text and str(tmp_path / FILE) in caplog.text
    verdict = Verdict("triton", {"triton": 1.0}, {"bias": "off"})
    assert choose_path(Need(True, None, "none today"), AUTO, verdict).path is SDPA
    assert choose_path(Need(True, None, "none today"), AUTO, Verdict(None, {}, {"sdpa": "off"})).path is BIAS


def test_inspecting_holds_no_race_and_says_that_one_will_be(tmp_path, held):
    found, kept = held(), Verdicts(lambda: tmp_path)
    before = kept.choose(NEED, AUTO, contest(), hold=False)
    assert before.path is BIAS and before.reason.endswith("; timed against others before the first step")
    assert not found.asked and not any(tmp_path.iterdir())
    kept.choose(NEED, AUTO, contest())
    for reader in (kept, Verdicts(lambda: tmp_path)):
        assert reader.choose(NEED, AUTO, contest(), hold=False).path is TRITON
    assert len(found.asked) == 1


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
    "tried by nobody": '{"m": {"k": {"trying": "sage"}}}',
    "no text": b"\xff\xfe\x00",
    "too long": '{"m": {"k": "' + "x" * (1 << 20) + '"}}',
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_file_is_said_raced_anew_and_replaced(tmp_path, held, caplog, broken):
    text = BROKEN[broken]
    (tmp_path / FILE).write_bytes(text if isinstance(text, bytes) else text.encode())
    found = held()
    with caplog.at_level(logging.WARNING, logger="refvid"):
        assert Verdicts(lambda: tmp_path).choose(NEED, AUTO, contest()).path is TRITON
    assert f"{tmp_path / FILE} is not used" in caplog.text and len(found.asked) == 1
    caplog.clear()
    assert Verdicts(lambda: tmp_path).choose(NEED, AUTO, contest()).path is TRITON
    assert len(found.asked) == 1 and not caplog.text and only(tmp_path)["path"] == "triton"


@pytest.mark.parametrize("where", ["a file", "nowhere", "a folder"])
def test_a_folder_that_cannot_be_written_holds_for_the_process(tmp_path, held, caplog, where):
    if where == "a file":
        (tmp_path / "deep").write_text("")
    if where == "a folder":
        (tmp_path / "deep" / FILE).mkdir(parents=True)

    def folder():
        if where == "nowhere":
            raise RuntimeError("Could not determine home directory.")
        return tmp_path / "deep"

    found, kept = held(), Verdicts(folder)
    with caplog.at_level(logging.WARNING, logger="refvid"):
        chosen = [kept.choose(NEED, AUTO, contest()) for _ in range(2)]
    assert chosen[0] == chosen[1] and chosen[0].path is TRITON and len(found.asked) == 1
    assert caplog.text.count("for this process only") == 1


def test_entries_of_others_stay(tmp_path, held):
    other = {"GPU of somebody": {"float32": {TRYING: "triton"}}}
    (tmp_path / FILE).write_text(json.dumps(other))
    held()
    Verdicts(lambda: tmp_path).choose(NEED, AUTO, contest())
    said = on_disk(tmp_path)
    assert len(said) == 2 and said["GPU of somebody"] == other["GPU of somebody"]


def test_memory_that_ran_out_is_not_kept_and_no_error(tmp_path, held, caplog):
    held(Verdict("bias", {"bias": 1.0}, {"triton": races.OUT_OF_MEMORY}, lasting=False))
    kept = Verdicts(lambda: tmp_path)
    assert kept.choose(NEED, AUTO, contest()).path is BIAS
    assert kept.choose(NEED, AUTO, contest()).path is BIAS
    assert list(on_disk(tmp_path).values()) == [{}]
    found = held(torch.cuda.OutOfMemoryError("9 GiB"))
    kept = Verdicts(lambda: tmp_path)
    with caplog.at_level(logging.WARNING, logger="refvid"):
        chosen = [kept.choose(NEED, AUTO, contest()) for _ in range(3)]
    assert {choice.path for choice in chosen} == {BIAS} and len(found.asked) == 1
    assert "no memory to time attention; bias runs as ever" in caplog.text
    assert list(on_disk(tmp_path).values()) == [{}]


def test_an_interrupt_leaves_nobody_accused(tmp_path, held):
    held(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        Verdicts(lambda: tmp_path).choose(NEED, AUTO, contest())
    assert list(on_disk(tmp_path).values()) == [{}]
    found = held()
    assert Verdicts(lambda: tmp_path).choose(NEED, AUTO, contest()).path is TRITON
    assert found.asked == [["bias", "sdpa", "triton"]]


def test_where_nothing_worked_the_last_that_was_tried_is_accused(tmp_path, held):
    """An illegal access takes the whole device: everyone fails after it."""
    left_out = dict.fromkeys(("bias", "sdpa", "triton"), "AcceleratorError: an illegal memory access")
    held(Verdict(None, {}, left_out))
    assert Verdicts(lambda: tmp_path).choose(NEED, AUTO, contest()).path is BIAS
    assert only(tmp_path) == {TRYING: "triton"}


DIES = """
import os, signal, sys
sys.path[:0] = [{support!r}]
from refvid_folder import import_folder
from pathlib import Path
import_folder("refvid", Path({root!r}))
import torch
from refvid.core import verdicts
from refvid.kernels.eager import eager_attention
from refvid.kernels.paths import Need
from refvid.kernels.race import Call, Contender
verdicts._can_race = lambda device: True
verdicts._gpu = lambda device: "NVIDIA Nothing, driver 1"
call = Call(1, 2, 16, 40, 8, torch.float32, torch.device("cpu"), torch.full((1, 8), -0.7), None)
exact = Contender(eager_attention(None))
def kills(*given):
    os.kill(os.getpid(), signal.SIGKILL)
contenders = {{"bias": exact, "sdpa": exact, "triton": Contender(kills)}}
verdicts.Verdicts(lambda: Path(sys.argv[1])).choose(Need(True), "auto", verdicts.Contest(call, contenders, "torch's"))
"""


@pytest.mark.skipif(os.name != "posix", reason="kills itself")
def test_a_path_that_killed_the_process_is_left_out_by_the_next(tmp_path, monkeypatch):
    root = Path(__file__).resolve().parents[2]
    script = DIES.format(support=str(root / "tests" / "support"), root=str(root))
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    assert only(tmp_path) == {TRYING: "triton"}
    kept = Verdicts(lambda: tmp_path)
    monkeypatch.setattr(races, "milliseconds", lambda run, device: run() is None or 1.0)
    choice = kept.choose(NEED, AUTO, contest())
    assert choice.path in (BIAS, SDPA) and f"triton left out: {DIED}" in choice.reason
    assert only(tmp_path)["left_out"] == {"triton": DIED}
