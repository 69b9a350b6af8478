"""`refvid train`: which options a part takes, and that each reaches its trainer."""

from pathlib import Path

import pytest
import torch
from refvid_toy_run import held
from refvid_world import setting

from refvid import cli
from refvid.cli import train as cli_train
from refvid.cli.train import PARTS
from refvid.data import source
from refvid.data.models import siglip
from refvid.demo.runs import DEMO_RUNS, run_path, smoke_dit
from refvid.evidence import preview
from refvid.training.base.dit import method as saber
from refvid.training.engine import method
from refvid.training.methods.sama.targets import HandMade

GIVEN = {
    "resume": [],
    "compile": [],
    "from_": ["a"],
    "from_text": ["a"],
    "device": ["cpu"],
    "seed": ["0"],
    "siglip": ["a"],
    "config": ["a"],
    "set": ["train.seed=5"],
    "smoke": [],
    "plan": [],
}
TAKES = {"saber": cli_train.SABER_TAKES, **{name: one.takes for name, one in PARTS.items()}}


@pytest.mark.parametrize("part", TAKES)
def test_an_option_that_a_part_has_no_use_for_is_refused_by_name(tmp_path, capsys, part):
    assert {name for takes in TAKES.values() for name in takes} == set(GIVEN)
    for name in set(GIVEN) - set(TAKES[part]):
        option = "--" + name.strip("_").replace("_", "-")
        with pytest.raises(SystemExit):
            cli.main(["train", part, "--out", str(tmp_path / "runs"), option, *GIVEN[name]])
        said = capsys.readouterr().err
        assert f"{option}: refvid train {part} has no use for it" in said
        assert all(other in said for other, takes in TAKES.items() if name in takes)
    assert not list(tmp_path.iterdir()), "nothing was begun"


@pytest.mark.parametrize("part", PARTS)
def test_an_option_that_a_part_takes_reaches_its_trainer(tmp_path, monkeypatch, part):
    calls = []
    for module, name in ((method, "train"), (saber, "export_run")):
        monkeypatch.setattr(module, name, lambda *given: calls.append(repr(given[:3])))
    monkeypatch.setattr(siglip, "Siglip", lambda folder, device: HandMade(f"of {folder}"))
    asked = {name: ["1"] if name == "seed" else values for name, values in GIVEN.items()}
    asked["device"] = ["cuda"]
    own = run_path("dit" if part == "export" else part).read_text().replace("[train]", "[train]\nseed = 4")
    (tmp_path / "own.toml").write_text(own)
    asked["config"] = [str(tmp_path / "own.toml")]
    monkeypatch.setattr(cli_train, "require_device", lambda name: name)
    pair = ["--from", "a", "--from-text", "b"] if {"from_", "from_text"} <= set(PARTS[part].takes) else []
    cli.main(["train", part, "--out", str(tmp_path), *pair])
    for name in PARTS[part].takes:
        option = [
            "--" + name.strip("_").replace("_", "-"),
            *(["c"] if name.startswith("from") else asked[name]),
        ]
        cli.main(["train", part, "--out", str(tmp_path), *pair, *option])
    assert len(set(calls)) == len(calls) == 1 + len(PARTS[part].takes)


@pytest.mark.parametrize("part", [part for part in PARTS if part != "export"])
def test_slot_id_alone_is_trained_with_previews_which_go_into_its_folder(tmp_path, monkeypatch, part):
    given: list = []
    monkeypatch.setattr(method, "train", lambda *asked: given.extend(asked))
    monkeypatch.setattr(preview, "slot_previews", lambda config, folder: (config, folder))
    more = ["--seed", "3"] if part == "slot_id" else []
    cli.main(["train", part, "--smoke", "--out", str(tmp_path), *more])
    _, config, _, previews = given
    assert previews == ([(config, tmp_path)] if part == "slot_id" else [])


@pytest.mark.parametrize("part", PARTS)
def test_every_part_trains_on_the_source_that_is_asked_for(tmp_path, monkeypatch, part):
    given: list = []
    monkeypatch.setattr(method, "train", lambda _, config, asked, previews: given.append((config, asked)))
    monkeypatch.setattr(saber, "export_run", lambda config, asked: given.append((config, asked)))
    monkeypatch.setattr(source, "_SCHEMES", {"other": lambda place: f"clips of {place}"})
    cli.main(["train", part, "--smoke", "--data", "other:here", "--out", str(tmp_path)])
    ((config, asked),) = given
    assert asked.source == "clips of here" and asked.folder == tmp_path
    assert config == DEMO_RUNS["dit" if part == "export" else part].smoke()


def test_siglip_is_read_on_the_device_that_is_asked_for(tmp_path, monkeypatch):
    read: list = []
    monkeypatch.setattr(method, "train", lambda *given: None)
    monkeypatch.setattr(siglip, "Siglip", lambda *given: read.append(given) or HandMade("siglip"))
    monkeypatch.setattr(cli_train, "require_device", lambda name: name)
    for device in ([], ["--device", "cuda"]):
        cli.main(["train", "sama", "--smoke", "--siglip", "a", "--out", str(tmp_path), *device])
    assert read == [(Path("a"), "cpu"), (Path("a"), "cuda")]


@pytest.mark.parametrize("more", [[], ["--siglip", "a"]])
def test_a_run_lies_in_the_folder_of_its_run_file_where_no_other_is_given(tmp_path, monkeypatch, more):
    given: list = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(method, "train", lambda _, config, asked, previews: given.append(asked.folder))
    monkeypatch.setattr(siglip, "Siglip", lambda *_: HandMade("siglip"))
    cli.main(["train", "sama", "--smoke", *more])
    assert given == [Path("runs/demo")]


def test_a_device_that_is_not_there_is_refused_before_any_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for part in ("dit", "slot_id"):
        with pytest.raises(SystemExit):
            cli.main(["train", part, "--smoke", "--out", str(tmp_path), "--device", "cuda"])
        assert "--device cuda: there is no CUDA device here" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_there_is_nothing_to_export_without_a_state(tmp_path):
    (tmp_path / "dit.safetensors").write_bytes(b"somebody's")
    with pytest.raises(ValueError, match=r"holds no dit-run.safetensors; needed a run to export"):
        saber.export_run(smoke_dit(), setting(tmp_path))
    assert held(tmp_path) == {"dit.safetensors": b"somebody's"}
