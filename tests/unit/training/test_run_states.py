"""States of runs: whatever ends a run, it goes on to the same bits."""

import logging
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from refvid_forks import settle
from refvid_toy_run import (
    BEFORE,
    FILES,
    NEWEST,
    STEPS,
    as_uninterrupted,
    cut_off,
    held,
    in_a_child,
    step_of,
    train_toy,
)
from safetensors.torch import save_file

from refvid.core import checkpoint
from refvid.core.checkpoint import read_safetensors

forks = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing ended: its result, its states."""
    folder = tmp_path_factory.mktemp("whole")
    train_toy(folder)
    return folder


# ---- kills


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@forks
def test_killed_before_any_step_a_run_goes_on_to_the_same_bits(tmp_path, whole):
    for at in range(STEPS):
        folder = tmp_path / f"{at}"
        assert (
            in_a_child(
                lambda at=at, folder=folder: train_toy(folder, at_step=lambda step: step == at and die())
            )
            == -9
        )
        assert (folder / NEWEST).exists() == (at > 0) and (folder / BEFORE).exists() == (at > 1)
        train_toy(folder, resume=True)
        assert as_uninterrupted(folder, whole), at


@forks
def test_killed_in_the_middle_of_a_write_a_run_goes_on_to_the_same_bits(tmp_path, whole, monkeypatch):
    save, written = checkpoint.save_file, []

    def half(tensors, path, metadata):
        save(tensors, path, metadata)
        written.append(path)
        if len(written) == last:
            os.truncate(path, path.stat().st_size // 2)
            die()

    for last in range(1, STEPS + 2):  # the states, then the result
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "save_file", half)
            assert in_a_child(lambda last=last: train_toy(tmp_path / f"{last}")) == -9
        train_toy(tmp_path / f"{last}", resume=last > 1)
        assert as_uninterrupted(tmp_path / f"{last}", whole), last


@forks
def test_killed_at_any_rename_a_run_goes_on_to_the_same_bits(tmp_path, whole, monkeypatch):
    rename, done = Path.replace, []

    def counted(self, target):
        done.append(target)
        if len(done) == last:
            die()
        return rename(self, target)

    last = 0
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", counted)
        train_toy(tmp_path / "all")
    renames = len(done)
    assert renames == 3 * STEPS - 1 + 1
    done.clear()
    for last in range(1, renames + 1):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", counted)
            assert in_a_child(lambda last=last: train_toy(tmp_path / f"{last}")) == -9
        begun = bool(FILES.found_states(tmp_path / f"{last}"))
        assert begun == (last > 2), "from the first state on there always is one"
        train_toy(tmp_path / f"{last}", resume=True)
        assert as_uninterrupted(tmp_path / f"{last}", whole), last


@forks
def test_ended_by_sigterm_from_outside_a_run_goes_on_to_the_same_bits(tmp_path, whole):
    def waits() -> None:
        train_toy(tmp_path, at_step=lambda step: signal.pause() if step == 2 else None)

    ended = os.fork()
    if not ended:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        settle()
        waits()
        os._exit(0)
    while not (tmp_path / BEFORE).exists():
        assert os.waitpid(ended, os.WNOHANG) == (0, 0), "it ended by itself"
        time.sleep(0.01)
    os.kill(ended, signal.SIGTERM)
    assert os.WTERMSIG(os.waitpid(ended, 0)[1]) == signal.SIGTERM
    train_toy(tmp_path, resume=True)
    assert as_uninterrupted(tmp_path, whole)


@forks
def test_on_a_full_disk_a_run_ends_in_an_oserror_and_the_state_stays(tmp_path, whole):
    def full(step: int) -> None:
        if step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))

    assert in_a_child(lambda: train_toy(tmp_path, at_step=full)) == 1
    assert sorted(held(tmp_path)) == [BEFORE, NEWEST], "nothing half-written beside them"
    assert (step_of(tmp_path / NEWEST), step_of(tmp_path / BEFORE)) == (3, 2)
    train_toy(tmp_path, resume=True)
    assert as_uninterrupted(tmp_path, whole)


# ---- broken states


Broken = Callable[[Path], None]


def holding(data: Callable[[bytes], bytes]) -> Broken:
    return lambda path: path.write_bytes(data(path.read_bytes())) and None


def saying(change: Callable[[dict, dict], object]) -> Broken:
    def broken(path: Path) -> None:
        tensors, said = read_safetensors(path, "state")
        change(tensors, said)
        save_file(tensors, path, said)

    return broken


MOMENTUM, BIAS = "muon.0.momentum_buffer", "module.layers.0.bias"
BROKEN = {
    "empty": holding(lambda data: b""),
    "seven bytes": holding(lambda data: data[:7]),
    "cut in the header": holding(lambda data: data[:100]),
    "cut in half": holding(lambda data: data[: len(data) // 2]),
    "cut by a byte": holding(lambda data: data[:-1]),
    "a picture": holding(lambda data: b"\x89PNG" + bytes(500)),
    "no step": saying(lambda tensors, said: said.pop("step")),
    "an odd step": saying(lambda tensors, said: said.update(step="three")),
    "no weight": saying(lambda tensors, said: tensors.pop("module.layers.0.weight")),
    "no average": saying(lambda tensors, said: tensors.pop("average.module.layers.0.weight")),
    "half of Adam": saying(lambda tensors, said: tensors.pop("adam.1.exp_avg")),
    "no generator": saying(lambda tensors, said: tensors.pop("generator")),
    "a GPU's generator": saying(lambda tensors, said: tensors.update(generator=tensors["generator"][:16])),
    "another shape": saying(lambda tensors, said: tensors.update({BIAS: torch.ones(6)})),
    "another momentum": saying(lambda tensors, said: tensors.update({MOMENTUM: torch.ones(5, 7)})),
    "too much": saying(lambda tensors, said: tensors.update({"module.layers.3.bias": torch.ones(7)})),
}


@pytest.mark.parametrize("how", BROKEN)
def test_of_two_states_a_broken_one_is_named_and_the_one_before_is_used(tmp_path, whole, caplog, how):
    cut_off(tmp_path)
    BROKEN[how](tmp_path / NEWEST)
    steps = []
    train_toy(tmp_path, resume=True, at_step=steps.append)
    assert steps == [2, 3, 4] and as_uninterrupted(tmp_path, whole)
    (said,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert NEWEST in said and said.endswith(f"; {BEFORE} is used, of step 2")


def test_a_broken_state_never_takes_the_place_of_the_whole_one_before(tmp_path, whole, monkeypatch):
    cut_off(tmp_path)
    (tmp_path / NEWEST).write_bytes(b"")
    rename, seen = Path.replace, []

    def stopped(self, target):
        seen.append((self.name, target.name))
        if target.name == NEWEST:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            train_toy(tmp_path, resume=True)
    assert (NEWEST, BEFORE) not in seen and step_of(tmp_path / BEFORE) == 2
    train_toy(tmp_path, resume=True)
    assert as_uninterrupted(tmp_path, whole) and step_of(tmp_path / BEFORE) == 4


@pytest.mark.parametrize(("newest", "before"), [(b"", b""), (b"half", b"x" * 500), (b"half", None)])
def test_where_both_states_are_broken_both_are_named_before_any_work_and_stay(tmp_path, newest, before):
    for name, data in ((NEWEST, newest), (BEFORE, before)):
        if data is not None:
            (tmp_path / name).write_bytes(data)
    there = held(tmp_path)
    with pytest.raises(ValueError, match=f"has no whole state of toy: .*{NEWEST}.*{BEFORE}"):
        train_toy(tmp_path, resume=True, at_step=die)
    assert held(tmp_path) == there


def test_weights_that_both_states_hold_of_another_size_are_named_too(tmp_path):
    cut_off(tmp_path)
    for name in (NEWEST, BEFORE):  # as of 0.1.0, which did not say what a state was made by
        tensors, said = read_safetensors(tmp_path / name, "state")
        save_file(tensors, tmp_path / name, {"step": said["step"]})
    there = held(tmp_path)
    with pytest.raises(
        ValueError, match=rf"{NEWEST} has a module.layers.0.weight of \[7, 5\]; this run's is \[8, 5\]"
    ):
        train_toy(tmp_path, resume=True, width=8)
    assert held(tmp_path) == there
