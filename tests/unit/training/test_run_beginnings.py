"""Runs begin over nothing that is there, and go on from nothing that another run left."""

import json
import logging
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from refvid_toy_run import BEFORE, NEWEST, RESULT, STEPS, as_uninterrupted, cut_off, held, train_toy
from refvid_world import WORLD, setting, trained
from safetensors.torch import save_file

from refvid.core.checkpoint import read_safetensors
from refvid.core.ranks import ALONE, Ranks
from refvid.demo.runs import DEMO_RUNS, smoke_slots
from refvid.training.base.dit.method import VAE_FILE, DiTTrainer
from refvid.training.base.vae import VAETrainer
from refvid.training.engine.models import Models
from refvid.training.engine.state import RunState, difference, plain, weights_digest
from refvid.training.methods.sama.method import Sama
from refvid.training.methods.slot_id.method import SlotId
from refvid.training.methods.videomaker.method import VideoMaker


def busy(*_: object, **__: object):
    raise AssertionError("work was begun")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing ended: its result, its states."""
    folder = tmp_path_factory.mktemp("whole")
    train_toy(folder)
    return folder


@pytest.mark.parametrize("name", [NEWEST, BEFORE, RESULT, "toy-00500.png"])
def test_a_run_is_not_begun_over_what_a_folder_holds(tmp_path, name):
    (tmp_path / name).write_bytes(b"hours of work")
    way = "--resume goes on from it" if "run" in name else "no state to go on from"
    with pytest.raises(ValueError, match=f"--out: {tmp_path} holds {name}, .*{way}.*choose another --out"):
        train_toy(tmp_path, at_step=busy)
    assert held(tmp_path) == {name: b"hours of work"}


@pytest.mark.parametrize("name", [RESULT, "toy-00500.png"])
def test_without_a_state_nothing_is_written_over_by_resume_either(tmp_path, name):
    (tmp_path / name).write_bytes(b"somebody's")
    with pytest.raises(ValueError, match=f"holds {name}, which this run would write, and no state"):
        train_toy(tmp_path, resume=True, at_step=busy)
    assert held(tmp_path) == {name: b"somebody's"}


def test_a_file_is_no_folder_for_a_run(tmp_path):
    (tmp_path / "runs").write_text("a note")
    with pytest.raises(ValueError, match="runs is a file; needed a folder"):
        train_toy(tmp_path / "runs", at_step=busy)


def test_with_nothing_to_go_on_from_a_run_begins_and_says_so(tmp_path, whole, caplog):
    caplog.set_level(logging.INFO, "refvid")
    train_toy(tmp_path / "new", resume=True)
    assert as_uninterrupted(tmp_path / "new", whole)
    assert sum("no state in" in one.getMessage() for one in caplog.records) == 1


def test_a_finished_run_says_that_it_is_and_writes_its_files_again(tmp_path, whole, caplog):
    caplog.set_level(logging.INFO, "refvid")
    train_toy(tmp_path)
    (tmp_path / RESULT).unlink()
    before = held(tmp_path)
    train_toy(tmp_path, resume=True, at_step=busy)
    assert as_uninterrupted(tmp_path, whole) and before.items() <= held(tmp_path).items()
    assert f"toy has taken all its {STEPS} steps; {RESULT}: written again from its state" in caplog.text


def test_a_state_is_not_gone_on_from_by_another_run(tmp_path):
    given = {"base": {"dit": "sha256 1"}, "device": "cpu", "features": "hand-made"}
    cut_off(tmp_path, **given)
    there = held(tmp_path)
    for other, said in (
        ({"steps": 6}, "config.steps is 5 there and 6 here"),
        ({"width": 8}, "config.width is 7 there and 8 here"),
        ({"base": {"dit": "sha256 2"}}, 'base.dit is "sha256 1" there and "sha256 2" here'),
        ({"base": {}}, 'base.dit is "sha256 1" there and nothing here'),
        ({"device": "cuda"}, 'device is "cpu" there and "cuda" here'),
        ({"features": None}, 'features is "hand-made" there and nothing here'),
    ):
        with pytest.raises(ValueError, match=f"made by another run: {said}; give what it was begun with"):
            train_toy(tmp_path, resume=True, at_step=busy, **{**given, **other})
    (tmp_path / NEWEST).write_bytes(b"")  # the one before is of the same run
    with pytest.raises(ValueError, match=f"{BEFORE} was made by another run: config.steps is 5 there and 6"):
        train_toy(tmp_path, resume=True, steps=6, at_step=busy, **given)
    assert held(tmp_path) == {**there, NEWEST: b""}


def test_a_state_of_0_1_0_which_says_its_step_alone_is_gone_on_from(tmp_path, whole):
    cut_off(tmp_path)
    (tmp_path / BEFORE).unlink()
    tensors, said = read_safetensors(tmp_path / NEWEST, "state")
    save_file(tensors, tmp_path / NEWEST, {"step": said["step"]})
    train_toy(tmp_path, resume=True)
    assert as_uninterrupted(tmp_path, whole)
    save_file(tensors, tmp_path / NEWEST, {"step": "6"})
    (tmp_path / BEFORE).unlink()
    with pytest.raises(ValueError, match=f"has taken 6 steps, this run has {STEPS}"):
        train_toy(tmp_path, resume=True, at_step=busy)


# ---- what a run depends on


@pytest.mark.parametrize(
    ("here", "there", "field"),
    [
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 3}]}}, "a.b[1].c"),
        ({"a": [1]}, {"a": [1, 2]}, "a[1]"),
        ({"a": {}}, {"a": {"new": 1}}, "a.new"),
        ({"a": {"new": 1}}, {"a": {}}, "a.new"),
        ({"a": 1}, {"a": [1]}, "a"),
        ({"a": 0.1}, {"a": 0.1, "more": 1}, None),
        ({"a": 1, "b": 2}, {"a": 2, "b": 3}, "a"),
    ],
)
def test_the_first_field_that_differs_is_named(here, there, field):
    found = difference(here, there)
    assert (found and found[0]) == field


def test_a_digest_is_of_the_weights_and_not_of_what_is_said_beside_them(tmp_path):
    one, other, changed = (tmp_path / f"{name}.safetensors" for name in ("one", "other", "changed"))
    save_file({"a": torch.arange(6.0)}, one, {"said": "this"})
    save_file({"a": torch.arange(6.0)}, other, {"and": "more", "said": "that, at length"})
    save_file({"a": torch.arange(6.0).nextafter(torch.ones(6))}, changed, {"said": "this"})
    digests = [weights_digest(path, "--dit") for path in (one, other, changed)]
    assert digests[0] == digests[1] != digests[2]
    with pytest.raises(ValueError, match="--dit: there is no file"):
        weights_digest(tmp_path / "none.safetensors", "--dit")
    for cut in (b"", b"\xff" * 8, b"\xff" * 20):
        one.write_bytes(cut)
        weights_digest(one, "--dit")  # whoever loads it says what is wrong


# ---- every trainer


TRAINERS = {
    "vae": VAETrainer(),
    "dit": DiTTrainer(),
    "slot_id": SlotId(),
    "videomaker": VideoMaker(),
    "sama": Sama(),
}


@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_refuses_before_any_work(tmp_path, monkeypatch, name):
    method, config = TRAINERS[name], DEMO_RUNS[name].smoke()
    files = method.files
    save_file({"a": torch.ones(1)}, tmp_path / "base.safetensors")
    models = Models(*[tmp_path / "base.safetensors"] * 3)
    monkeypatch.setattr(type(method), "backbone", busy)
    results = [one.replace("[0-9]*", "00500") for one in (*files.results, *files.beside)]
    names = [*(file.name for file in files.states(Path())), *results]
    for number, (file, go_on) in enumerate(product(names, (False, True))):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        if name == "dit":  # it trains on the VAE that lies there
            save_file({"a": torch.ones(1)}, folder / VAE_FILE)
        (folder / file).write_bytes(b"hours of work")
        before = held(folder)
        with pytest.raises(ValueError, match=f"{folder}.*{file}"):
            trained(method, config, folder, models, resume=go_on)
        assert held(folder) == before
    (folder / file).unlink()
    with pytest.raises(AssertionError, match="work was begun"):  # else the refusals prove nothing
        trained(method, config, folder, models)


def test_all_that_an_adapters_run_depends_on_is_said_in_its_state(tmp_path):
    base = [tmp_path / f"{name}.safetensors" for name in ("dit", "vae", "text")]
    for number, path in enumerate(base):
        save_file({"a": torch.full((1,), float(number))}, path)
    asked, config = setting(tmp_path, Models(*base)), smoke_slots()
    state = RunState(Sama.files, tmp_path, Sama().made_by(config, asked, ALONE))
    assert state.made_by.keys() == {"config", "base", "device", "features"}
    assert state.made_by["features"] == "hand-made" and state.made_by["device"] == "cpu"
    assert (
        state.made_by["config"]["encoder"] == "SlotEncoder" and len(set(state.made_by["base"].values())) == 3
    )
    changed = Sama().made_by(replace(config, seed=1), asked, ALONE)
    assert difference(state.made_by, plain(changed)) == ("config.seed", "0", "1")
    json.dumps(state.made_by)


def test_edits_are_not_learned_from_a_source_that_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(type(WORLD), "edit_kinds", ())
    with pytest.raises(ValueError, match=r"--data: world .* has no paired edits"):
        Sama().made_by(DEMO_RUNS["sama"].smoke(), setting(tmp_path), ALONE)


def test_what_a_part_cannot_do_is_refused_before_any_work(tmp_path):
    two = Ranks(0, 2)
    for name in ("slot_id", "videomaker", "sama"):
        with pytest.raises(ValueError, match="needs the DiT, VAE and text encoder that it is for"):
            trained(TRAINERS[name], DEMO_RUNS[name].smoke(), tmp_path)
        with pytest.raises(ValueError, match="2 processes were started; an adapter trains in one"):
            TRAINERS[name].made_by(DEMO_RUNS[name].smoke(), setting(tmp_path), two)
    for ranks, how in ((two, {}), (ALONE, {"compiled": True})):
        with pytest.raises(ValueError, match="a VAE trains in one process, not compiled"):
            VAETrainer().made_by(DEMO_RUNS["vae"].smoke(), setting(tmp_path, **how), ranks)
    on_cpu, on_cuda = (
        VAETrainer().made_by(DEMO_RUNS["vae"].smoke(), setting(tmp_path, device=device), ALONE)
        for device in ("cpu", "cuda")
    )
    assert on_cuda == {**on_cpu, "device": "cuda"}
    assert not list(tmp_path.iterdir())
