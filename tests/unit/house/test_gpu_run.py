"""Parts of bench/gpu_run.py around its measurements: going on after a kill, deadlines, keeping, the page. The
measurements themselves run in its dry run (`make test`)."""

import json
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.append(
    str(Path(__file__).resolve().parents[3] / "bench")
)  # its files find each other there, as scripts do

import gpu_run
import torch
from gpu import contenders, processes, scenes, speed
from gpu import sheet as sheets
from gpu.processes import run_group
from gpu.sheet import Case, Sheet, begin_sheet, file_of, found_sheet, read_sheet, work
from rows import Ratio

ROOT = Path(__file__).resolve().parents[3]
MACHINE = {"date": "2026-11-28", "device": "NVIDIA Test", "torch": "2.11", "kernels": "abc"}
NAMES = ("first", "second", "third")


def ran(seen: list[str], failing: str = "", error: BaseException | None = None) -> list[Case]:
    """Cases that write down that they ran."""

    def run(name: str) -> dict:
        seen.append(name)
        if name == failing and error is not None:
            raise error
        return {"found": name}

    return [Case(name, lambda name=name: run(name)) for name in NAMES]


def asked(folder: Path, **others) -> Namespace:
    return Namespace(**{"out": folder, "dry": False, "minutes": 1.0, **others})


# ---- one file a part, whole at every moment

KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.append({bench!r})
from gpu.sheet import Case, begin_sheet, work
folder, at = Path({folder!r}), {at!r}
def run(name):
    print(name, flush=True)
    if name == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return {{"found": name}}
work(begin_sheet(folder, "speed", {machine!r}, False), [Case(n, lambda n=n: run(n)) for n in {names!r}], folder, 1e18)
"""


@pytest.mark.parametrize("killed", NAMES)
def test_a_killed_part_goes_on_with_what_it_has_not_found(tmp_path, killed):
    def call(at: str | None) -> list[str]:
        script = KILLED.format(
            bench=str(ROOT / "bench"), folder=str(tmp_path), at=at, machine=MACHINE, names=NAMES
        )
        return subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False
        ).stdout.split()

    before = [name for name in call(killed) if name in NAMES]
    assert before == list(NAMES[: NAMES.index(killed) + 1])
    left = read_sheet(file_of(tmp_path, "speed"))
    assert list(left.cases) == before[:-1] and left.now == killed and not left.done
    after = [name for name in call(None) if name in NAMES]
    assert after == list(NAMES[NAMES.index(killed) :])
    whole = read_sheet(file_of(tmp_path, "speed"))
    assert list(whole.cases) == list(NAMES) and whole.done and whole.now is None
    assert [file.name for file in tmp_path.iterdir()] == ["speed.json"]


def test_nothing_is_begun_after_the_deadline_and_what_is_left_is_named(tmp_path):
    seen, hours = [], iter([0.0, 0.0, 1.0, 9.0])
    sheet = Sheet("tiles", MACHINE, True)
    assert not work(sheet, ran(seen), tmp_path, until=5.0, clock=lambda: next(hours))
    assert seen == ["first"]
    assert read_sheet(file_of(tmp_path, "tiles")).left == ["second", "third"]


def test_a_case_that_raises_is_kept_as_a_finding(tmp_path):
    seen, sheet = [], Sheet("speed", MACHINE, True)
    assert not work(sheet, ran(seen, "second", RuntimeError("no luck\nat all")), tmp_path, 1e18)
    assert seen == list(NAMES) and sheet.failed == {"second": "RuntimeError: no luck"}


def test_a_broken_device_ends_the_process_after_the_case_that_broke_it(tmp_path):
    seen, sheet = [], Sheet("speed", MACHINE, True)
    cases = ran(seen, "second", RuntimeError("an illegal memory access"))
    assert work(sheet, cases, tmp_path, 1e18, broken=lambda: True)
    assert seen == ["first", "second"] and sheet.left == ["third"]
    assert not work(begin_sheet(tmp_path, "speed", MACHINE, True), ran(seen), tmp_path, 1e18)
    assert seen == list(NAMES)


@pytest.mark.parametrize("other", [{"device": "another"}, {"kernels": "def"}, {"torch": "2.13"}])
def test_figures_of_two_machines_are_not_mixed(tmp_path, other):
    Sheet("speed", MACHINE, False, {"first": {}}).write(tmp_path)
    assert begin_sheet(tmp_path, "speed", {**MACHINE, "date": "2027-01-01"}, False).cases == {"first": {}}
    ((name, value),) = other.items()
    with pytest.raises(ValueError, match=f"{name}: {MACHINE[name]} there, {value} here"):
        begin_sheet(tmp_path, "speed", MACHINE | other, False)
    with pytest.raises(ValueError, match="dry: False there, True here"):
        begin_sheet(tmp_path, "speed", MACHINE, True)


WHOLE = {"part": "speed", "machine": {}, "dry": False, "cases": {}, "now": None, "left": None}
BROKEN = {
    "cut": '{"part": "sp',
    "a list": "[]",
    "another part": json.dumps({**WHOLE, "part": "tiles"}),
    "no cases": json.dumps({k: v for k, v in WHOLE.items() if k != "cases"}),
    "a case of text": json.dumps({**WHOLE, "cases": {"first": "fast"}}),
    "dry in words": json.dumps({**WHOLE, "dry": "no"}),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_told_of_and_its_part_begun_anew(tmp_path, capsys, text):
    file = file_of(tmp_path, "speed")
    file.write_text(text)
    with pytest.raises(ValueError, match=r"speed\.json"):
        read_sheet(file)
    assert begin_sheet(tmp_path, "speed", MACHINE, False).cases == {}
    assert "speed: begun anew" in capsys.readouterr().out


# ---- processes


def test_a_process_that_dies_leaves_its_case_and_another_goes_on(tmp_path, monkeypatch, capsys):
    codes = iter([-11, gpu_run.AGAIN, 0])

    def process(command: list[str], *_, **__) -> int:
        sheet = found_sheet(tmp_path, "speed") or Sheet("speed", MACHINE, False, left=list(NAMES))
        code = next(codes)
        sheet.now = next(iter(sheet.left or ()))
        if code != -11:
            sheets.settle(sheet, {"found": command.index("--child")}, tmp_path)
        sheet.write(tmp_path)
        return code

    monkeypatch.setattr(gpu_run, "run_group", process)
    assert gpu_run.run_part("speed", asked(tmp_path)) == 1
    sheet = read_sheet(file_of(tmp_path, "speed"))
    assert sheet.done and list(sheet.cases) == list(NAMES)
    assert sheet.failed == {"first": "the process died of it (exit code -11)"}
    assert "FAILED: first" in capsys.readouterr().out


def test_a_process_that_dies_before_its_first_case_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_run, "run_group", lambda *_, **__: 1)
    with pytest.raises(ValueError, match="ended with 1 before its first case"):
        gpu_run.run_part("speed", asked(tmp_path))


def test_a_part_that_is_out_of_time_keeps_what_it_has_and_says_what_is_left(tmp_path, monkeypatch, capsys):
    def process(*_, **__) -> None:
        Sheet("speed", MACHINE, False, {"first": {}}, "second", ["second", "third"]).write(tmp_path)

    monkeypatch.setattr(gpu_run, "run_group", process)
    assert gpu_run.run_part("speed", asked(tmp_path)) == 0
    assert "not run, out of time: second" in capsys.readouterr().out
    assert read_sheet(file_of(tmp_path, "speed")).failed == {}
    assert gpu_run.run_part("speed", asked(tmp_path, dry=True)) == 1, "a dry run has to be whole"


def test_a_whole_part_is_not_run_again(tmp_path, monkeypatch):
    Sheet("speed", MACHINE, False, {"first": {}}, None, []).write(tmp_path)
    monkeypatch.setattr(gpu_run, "run_group", lambda *_, **__: pytest.fail("it ran"))
    assert gpu_run.run_part("speed", asked(tmp_path)) == 0


def test_a_dry_run_begins_anew_but_never_over_results(tmp_path):
    Sheet("tiles", MACHINE, True).write(tmp_path)
    Sheet("speed", MACHINE, False).write(tmp_path)
    with pytest.raises(ValueError, match=r"results of a GPU \(speed\)"):
        gpu_run.clear(list(gpu_run.PARTS), tmp_path)
    assert file_of(tmp_path, "tiles").exists()
    gpu_run.clear(["tiles"], tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["speed.json"]


def test_a_dry_run_asks_for_the_interpreter_and_hides_the_gpu(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    dry = gpu_run.environment(True)
    assert [dry[name] for name in ("REFVID_DRY", "TRITON_INTERPRET", "CUDA_VISIBLE_DEVICES")] == [
        "1",
        "1",
        "",
    ]
    assert "TRITON_INTERPRET" not in gpu_run.environment(False)


def test_a_command_out_of_time_ends_with_all_that_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(
        processes, "GRACE", 0.5
    )  # where this runs in the background, nobody hears an interrupt
    file = tmp_path / "alive"
    inner = f"import pathlib, time\nwhile True: pathlib.Path({str(file)!r}).touch(); time.sleep(0.05)"
    outer = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {inner!r}])"
    for seconds in (0.6, 5, 50):  # on a busy machine it takes a while until both have started
        assert run_group([sys.executable, "-c", outer], seconds, stderr=subprocess.DEVNULL) is None
        if file.exists():
            break
    assert file.exists()
    time.sleep(0.15)
    file.unlink()
    time.sleep(0.2)
    assert not file.exists()
    assert run_group([sys.executable, "-c", "raise SystemExit(7)"], 10) == 7


# ---- no speed of what is wrong


def asked_of(monkeypatch, ours: float, other: float, attend=None, broken: bool = False) -> dict:
    """Verdict of `compare` where ours and another are this far off, on a device that measures nothing."""
    monkeypatch.setattr(speed, "error", lambda one, *_: ours if one is contenders.THIS else other)
    monkeypatch.setattr(contenders, "attention_over", lambda _: lambda q, k, v, bias: v)
    device = SimpleNamespace(
        dry=False, at=torch.device("cpu"), settle=lambda: None, broken=lambda: broken,
        normal=lambda *shape, seed: torch.zeros(shape), peak=lambda run: run() is None,
        pair=lambda *_: Ratio(2.0, 5, 1.9, 2.1, 20.0, 10.0),
    )  # fmt: skip
    call = speed.Call(lambda: scenes.strength(device, (1, 2, 4), 2), 1, 64, False)
    contender = contenders.Contender("another", lambda scene: attend or (lambda q, k, v: v))
    return speed.compare(device, call, contender)


NAN = float("nan")


def test_what_is_within_its_error_gets_a_speed(monkeypatch):
    found = asked_of(monkeypatch, 0.002, 0.003)
    assert found["ratio"]["ratio"] == 2.0 and found["error"] == 0.003 and found["tokens"] == 12


@pytest.mark.parametrize("off", [NAN, 0.01])
def test_what_is_not_gets_none(monkeypatch, off):
    found = asked_of(monkeypatch, off, 0.002)
    assert "ratio" not in found and "ours is off by" in found["failed"]
    found = asked_of(monkeypatch, 0.002, off)
    assert "ratio" not in found and "it is off by" in found["left_out"]


def test_what_runs_out_of_memory_is_left_out_by_name_and_a_slip_of_ours_is_not(monkeypatch):
    def refuses(error: Exception):
        def attend(*_):
            raise error

        return attend

    full = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried\nto allocate")
    found = asked_of(monkeypatch, 0.002, 0.002, refuses(full))
    assert found["left_out"] == "OutOfMemoryError: CUDA out of memory. Tried" and "ratio" not in found
    with pytest.raises(RuntimeError, match="illegal"):
        asked_of(monkeypatch, 0.002, 0.002, refuses(RuntimeError("an illegal access")), broken=True)
    with pytest.raises(TypeError, match="no such argument"):
        asked_of(monkeypatch, 0.002, 0.002, refuses(TypeError("no such argument")))


@pytest.mark.parametrize(("codes", "ran"), [((1, 0), 2), ((gpu_run.WANTED, 0), 1)])
def test_a_machine_that_refuses_one_part_is_not_asked_for_the_next(tmp_path, monkeypatch, codes, ran):
    asked_for, said = [], iter(codes)
    monkeypatch.setattr(gpu_run, "run_part", lambda part, options: asked_for.append(part) or next(said))
    monkeypatch.setattr(sys, "argv", ["x", "--out", str(tmp_path), "--part", "correct", "--part", "speed"])
    assert gpu_run.main() == codes[0] and len(asked_for) == ran
