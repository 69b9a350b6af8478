"""Verdicts of races: held once, kept by machine, read first, overruled by name."""

import logging

import pytest
import torch
from refvid_races import CALL, CPU, NEED, contest, holding, on_disk, only, play_gpu

from refvid.core import verdicts
from refvid.core.verdicts import VERDICTS_FILE, Verdicts
from refvid.kernels.paths import (
    ANY_ATTENTION,
    ASKED,
    BIAS,
    DETERMINISTIC,
    REMOVAL,
    SDPA,
    TRITON,
    Need,
    Verdict,
    choose_path,
    rivals,
    tell_path,
)
from refvid.kernels.race import AttentionCall


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    play_gpu(monkeypatch)


@pytest.fixture
def held(monkeypatch):
    return holding(monkeypatch)


def test_a_race_is_held_once_and_told(tmp_path, held, caplog):
    found, kept = held(), Verdicts(lambda: tmp_path / "deep")
    first, second = (kept.choose(NEED, ANY_ATTENTION, contest()) for _ in range(2))
    assert first == second and first.path is TRITON and found.asked == [["bias", "sdpa", "triton"]]
    assert first.reason == "timed here: triton 1 ms, bias 3 ms"
    assert only(tmp_path / "deep")["path"] == "triton"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_later_process_reads_what_was_found(tmp_path, held):
    found = held()
    Verdicts(lambda: tmp_path).choose(NEED, ANY_ATTENTION, contest())
    again = Verdicts(lambda: tmp_path).choose(NEED, ANY_ATTENTION, contest())
    assert again.path is TRITON and "triton 1 ms" in again.reason and len(found.asked) == 1


@pytest.mark.parametrize("what", ["kind", "host", "versions", "gpu", "kernels"])
def test_another_class_or_machine_is_raced_anew_beside(tmp_path, held, monkeypatch, what):
    found = held()
    Verdicts(lambda: tmp_path).choose(NEED, ANY_ATTENTION, contest())
    call = AttentionCall(1, 12, 16, 40, 8, torch.float32, CPU, CALL.bias, None) if what == "kind" else CALL
    if what == "gpu":
        monkeypatch.setattr(verdicts, "_gpu", lambda device: "NVIDIA Nothing, driver 2")
    if what == "kernels":
        monkeypatch.setattr(verdicts, "_kernels", lambda: "other")
    kept = Verdicts(lambda: tmp_path, lambda: "ComfyUI 9" if what == "versions" else "")
    kept.choose(NEED, ANY_ATTENTION, contest(call, "sage" if what == "host" else "torch's"))
    assert len(found.asked) == 2
    assert sum(len(kinds) for kinds in on_disk(tmp_path).values()) == 2


def test_the_machine_is_named_by_gpu_driver_packages_and_our_kernels(tmp_path, held):
    held()
    Verdicts(lambda: tmp_path, lambda: "ComfyUI 0.33").choose(NEED, ANY_ATTENTION, contest())
    (machine,) = on_disk(tmp_path)
    assert machine.startswith(f"NVIDIA Nothing, driver 1, torch {torch.__version__.partition('+')[0]}")
    assert machine.endswith(f"kernels {verdicts._kernels()}, ComfyUI 0.33")


def test_the_driver_is_the_one_that_is_loaded(monkeypatch, tmp_path):
    """Version as it says of itself where it is loaded, else as torch finds out."""
    monkeypatch.setattr(verdicts, "LOADED", tmp_path / "version")
    monkeypatch.setattr("torch.utils.collect_env.get_nvidia_driver_version", lambda run: "570.1")
    assert verdicts.nvidia_driver() == "570.1"
    said = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04  Tue Nov 11\nGCC version:  gcc 12.3.0"
    (tmp_path / "version").write_text(said)
    assert verdicts.nvidia_driver() == "580.159.04"


def test_each_gpu_of_a_machine_goes_by_its_own_name(monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setattr(verdicts, "LOADED", tmp_path / "none")
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device=None: f"NVIDIA {device}")
    monkeypatch.setattr("torch.utils.collect_env.get_nvidia_driver_version", lambda run: None)
    assert verdicts._gpu.__wrapped__(torch.device("cuda:1")) == "NVIDIA cuda:1, driver unknown"


def test_our_kernels_are_known_by_their_sources_and_their_tiles(tmp_path, monkeypatch):
    monkeypatch.setattr(verdicts.kernels, "__path__", [str(tmp_path)])
    (tmp_path / "triton").mkdir()
    said = [verdicts._kernels.__wrapped__()]
    for name in ("paths.py", "tiles.json", "triton/forward.py", "notes.md"):
        (tmp_path / name).write_text("{}")
        said.append(verdicts._kernels.__wrapped__())
    assert len(set(said)) == 4 and said[-1] == said[-2]


@pytest.mark.parametrize("name", [DETERMINISTIC, "triton", "eager"])
def test_a_name_is_not_raced(tmp_path, held, name):
    found = held()
    choice = Verdicts(lambda: tmp_path).choose(Need(True), name, contest())
    assert not found.asked and choice == choose_path(Need(True), name) and not any(tmp_path.iterdir())


def test_the_environment_says_what_auto_means(tmp_path, held, monkeypatch):
    found, kept = held(), Verdicts(lambda: tmp_path)
    monkeypatch.setenv(ASKED, DETERMINISTIC)
    assert kept.choose(NEED, ANY_ATTENTION, contest()).path is BIAS
    monkeypatch.setenv(ASKED, "eager")
    assert kept.choose(NEED, ANY_ATTENTION, contest()).path.name == "eager"
    assert kept.choose(NEED, "triton", contest()).path is TRITON  # a name goes before
    assert not found.asked
    monkeypatch.setenv(ASKED, "fastest")
    with pytest.raises(ValueError, match=f"environment's {ASKED} is 'fastest'; choose one of auto, triton"):
        kept.choose(NEED, ANY_ATTENTION, contest())
    monkeypatch.setenv(ASKED, "")
    assert kept.choose(NEED, ANY_ATTENTION, contest()).path is TRITON


def test_nothing_is_raced_where_there_is_nothing_to_choose(tmp_path, held, monkeypatch):
    found, kept = held(), Verdicts(lambda: tmp_path)
    dense = AttentionCall(1, 2, 16, 40, 8, torch.float32, CPU, None, None)
    # neutral: the host's attention stays
    assert kept.choose(Need(), ANY_ATTENTION, contest(dense)).path is REMOVAL
    assert kept.choose(NEED, ANY_ATTENTION, None).path is BIAS
    alone = Need(True, "x drops masks", "no kernel")
    assert kept.choose(alone, ANY_ATTENTION, contest()).path is SDPA
    monkeypatch.setattr(verdicts, "_can_race", lambda device: False)
    assert kept.choose(NEED, ANY_ATTENTION, contest()) == choose_path(NEED)
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
    kept.choose(Need(True, None, "no kernel"), ANY_ATTENTION, contest())
    kept.choose(Need(True, "x drops masks"), ANY_ATTENTION, contest(host="x"))
    assert found.asked == [["bias", "sdpa"], ["sdpa", "triton"]]


def test_who_raced_before_does_not_keep_out_who_may_now(tmp_path, held):
    """State after a start with --disable-triton-backend."""
    found = held(Verdict("sdpa", {"bias": 2.0, "sdpa": 1.0}))
    Verdicts(lambda: tmp_path).choose(Need(True, None, "no kernel"), ANY_ATTENTION, contest())
    held()
    kept = Verdicts(lambda: tmp_path)
    assert kept.choose(NEED, ANY_ATTENTION, contest()).path is TRITON
    assert (
        kept.choose(Need(True, None, "no kernel"), ANY_ATTENTION, contest()).path is SDPA
        and len(found.asked) == 1
    )


def test_a_winner_that_does_not_take_this_call_gives_way_to_todays_order(tmp_path, held):
    held()
    kept = Verdicts(lambda: tmp_path)
    kept.choose(NEED, ANY_ATTENTION, contest())
    choice = kept.choose(Need(True, None, "32 segments"), ANY_ATTENTION, contest())
    assert choice.path is BIAS and "not triton: 32 segments" in choice.reason


def test_what_was_left_out_is_not_taken(tmp_path, held, caplog):
    held(Verdict("sdpa", {"sdpa": 2.0}, {"bias": "off by 0.3 of the result", "triton": "RuntimeError: no"}))
    with caplog.at_level(logging.WARNING, logger="refvid"):
        choice = Verdicts(lambda: tmp_path).choose(NEED, ANY_ATTENTION, contest())
    assert choice.path is SDPA and "bias left out: off by 0.3 of the result" in choice.reason
    assert "triton left out: RuntimeError: no" in caplog.text and str(tmp_path / VERDICTS_FILE) in caplog.text
    assert Verdicts(lambda: tmp_path).choose(NEED, ANY_ATTENTION, contest()) == choice
    verdict = Verdict("triton", {"triton": 1.0}, {"bias": "off"})
    assert choose_path(Need(True, None, "none today"), ANY_ATTENTION, verdict).path is SDPA
    assert (
        choose_path(Need(True, None, "none today"), ANY_ATTENTION, Verdict(None, {}, {"sdpa": "off"})).path
        is BIAS
    )


def test_the_order_is_todays_where_it_is_asked_for_by_name():
    verdict = Verdict("triton", {"triton": 1.0})
    assert choose_path(NEED, DETERMINISTIC, verdict) == choose_path(NEED)
    assert [path.name for path in rivals(NEED)] == ["bias", "sdpa", "triton"]
    assert [path.name for path in rivals(Need())] == ["removal", "triton"]


def test_a_choice_is_told_once(monkeypatch, caplog):
    monkeypatch.setattr("refvid.kernels.paths._told", set())
    with caplog.at_level(logging.INFO, logger="refvid"):
        for name in (ANY_ATTENTION, ANY_ATTENTION, "eager", ANY_ATTENTION):
            tell_path(choose_path(NEED, name))
    assert [record.getMessage().split()[3] for record in caplog.records] == ["bias", "eager"]


def test_inspecting_holds_no_race_and_says_that_one_will_be(tmp_path, held):
    found, kept = held(), Verdicts(lambda: tmp_path)
    before = kept.choose(NEED, ANY_ATTENTION, contest(), hold=False)
    assert before.path is BIAS and before.reason.endswith("; timed against others before the first step")
    assert not found.asked and not any(tmp_path.iterdir())
    kept.choose(NEED, ANY_ATTENTION, contest())
    for reader in (kept, Verdicts(lambda: tmp_path)):
        assert reader.choose(NEED, ANY_ATTENTION, contest(), hold=False).path is TRITON
    assert len(found.asked) == 1
