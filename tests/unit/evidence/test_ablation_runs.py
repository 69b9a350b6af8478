"""Runs of ablations, kept and found again: marks that were cut short, folders and files that are
somebody's."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from refvid.core.files import MARK
from refvid.evidence import runs as kept_runs
from refvid.evidence.runs import ENDED, Ablation, begin, kept, run_folder, trained
from refvid.training.engine.models import Models
from refvid.training.engine.state import RunFiles

VALUES = {"own": {"right": torch.tensor([0.25, torch.nan]), "leak": torch.tensor([1.0, 2.0])}}
FILES = RunFiles("toy", ("toy.safetensors",))
TOY = SimpleNamespace(files=FILES)  # a method


@dataclass(frozen=True)
class ToyTraining:
    steps: int = 2


def held(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


# ---- values


def measured(folder: Path, made_by: object = (1, "a")) -> int:
    """How often a run is measured when it is asked for."""
    calls = []
    found = kept(folder, made_by, lambda: calls.append(1) or VALUES)
    torch.testing.assert_close(found, VALUES, rtol=0, atol=0, equal_nan=True)
    return len(calls)


def test_what_was_measured_is_kept_and_measured_again_for_another_question(tmp_path):
    assert [measured(tmp_path), measured(tmp_path), measured(tmp_path, (2, "a"))] == [1, 0, 1]
    assert list(held(tmp_path)) == ["values.json"]


def test_values_cut_short_at_any_byte_are_measured_again_and_said(tmp_path, caplog):
    measured(tmp_path)
    whole = (tmp_path / "values.json").read_bytes()
    for size in range(len(whole)):
        caplog.clear()
        (tmp_path / "values.json").write_bytes(whole[:size])
        assert measured(tmp_path) == 1 and (tmp_path / "values.json").read_bytes() == whole
        assert warnings(caplog) == [f"{tmp_path / 'values.json'} is empty or cut short: taken as not there"]


@pytest.mark.parametrize("other", ["[]", "null", "7", '{"values": {}}', '{"made_by": [1, "a"]}'])
def test_json_that_is_no_values_is_measured_again(tmp_path, other):
    (tmp_path / "values.json").write_text(other)
    assert measured(tmp_path) == 1 and measured(tmp_path) == 0


def test_a_run_that_cannot_be_measured_leaves_what_was_measured_before(tmp_path):
    measured(tmp_path)
    before = held(tmp_path)

    def fails():
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        kept(tmp_path, "other", fails)
    assert held(tmp_path) == before


# ---- marks of runs


def test_a_run_made_otherwise_is_refused_by_field_and_stays(tmp_path):
    begin(tmp_path, {"config": {"steps": 2}}, FILES)
    (tmp_path / "toy-run.safetensors").write_bytes(b"a state")
    before = held(tmp_path)
    begin(tmp_path, {"config": {"steps": 2}}, FILES)
    assert held(tmp_path) == before
    for left in ("toy-run.safetensors", "toy-run-before.safetensors", "toy.safetensors"):
        (tmp_path / "toy-run.safetensors").rename(tmp_path / left)
        with pytest.raises(ValueError, match=r"made otherwise: config.steps is 2 there and 3 here; choose"):
            begin(tmp_path, {"config": {"steps": 3}}, FILES)
        assert (tmp_path / left).read_bytes() == b"a state"
        (tmp_path / left).rename(tmp_path / "toy-run.safetensors")


@pytest.mark.parametrize("size", [0, 1, 10])
def test_a_mark_cut_short_locks_nothing_and_costs_no_state(tmp_path, caplog, size):
    begin(tmp_path, {"config": {"steps": 2}}, FILES)
    mark = (tmp_path / kept_runs.BEGUN).read_bytes()
    (tmp_path / kept_runs.BEGUN).write_bytes(mark[:size])
    (tmp_path / "toy-run.safetensors").write_bytes(b"a state")
    begin(tmp_path, {"config": {"steps": 2}}, FILES)
    assert held(tmp_path) == {kept_runs.BEGUN: mark, "toy-run.safetensors": b"a state"}
    assert len(warnings(caplog)) == 1 and kept_runs.BEGUN in warnings(caplog)[0]


def test_results_without_a_state_are_made_again_and_nothing_else_is_removed(tmp_path):
    for made_by in ({"config": 1}, {"config": 1}):
        begin(tmp_path, made_by, FILES)
        assert not (tmp_path / "toy.safetensors").exists()
        (tmp_path / "toy.safetensors").write_bytes(b"a result")
        (tmp_path / "note.txt").write_text("somebody's")
    assert (tmp_path / "note.txt").exists()


# ---- runs, trained once


def train_once(folder: Path, made_by: dict, result: bytes = b"a result", fails: bool = False) -> int:
    """How often a run is trained when it is asked for."""
    calls = []

    def train() -> None:
        calls.append(1)
        (folder / "toy-run.safetensors").write_bytes(b"a state")
        if fails:
            raise KeyboardInterrupt
        (folder / "toy.safetensors").write_bytes(result)

    trained(folder, made_by, FILES, train)
    return len(calls)


def test_a_run_that_ended_is_not_trained_again_while_its_results_are_there(tmp_path):
    assert [train_once(tmp_path, {"config": 1}), train_once(tmp_path, {"config": 1})] == [1, 0]
    (tmp_path / "toy.safetensors").unlink()
    assert train_once(tmp_path, {"config": 1}) == 1
    (tmp_path / ENDED).write_text("{")
    assert train_once(tmp_path, {"config": 1}) == 1


def test_a_run_that_was_cut_off_goes_on_from_its_state_and_has_not_ended(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_once(tmp_path, {"config": 1}, fails=True)
    assert not (tmp_path / ENDED).exists() and (tmp_path / "toy-run.safetensors").exists()
    assert train_once(tmp_path, {"config": 1}) == 1


def test_figures_of_other_results_are_removed_before_a_run_is_trained(tmp_path):
    train_once(tmp_path, {"config": 1})
    measured(tmp_path)
    for name in ("probe-slots.json", "shuffled.json", MARK):
        (tmp_path / name).write_text("{}")
    (tmp_path / ENDED).unlink()  # as where the results are of another training
    train_once(tmp_path, {"config": 1})
    assert {file.name for file in tmp_path.glob("*.json")} == {MARK, kept_runs.BEGUN, ENDED}
    assert measured(tmp_path) == 1


def test_a_run_of_an_adapter_is_trained_and_measured_once_and_measured_again_where_more_is_asked(
    tmp_path, monkeypatch
):
    files = [tmp_path / f"{name}.safetensors" for name in ("dit", "vae", "text_encoder")]
    for file in files:
        save_file({"weight": torch.ones(1)}, file)
    counts = []

    def train(method, config, setting, previews) -> None:
        assert (method, config, previews) == (TOY, ToyTraining(), ["a preview"])
        assert setting.resume and setting.models == Models(*files) and setting.encoded.name == "clips"
        counts.append("trained")
        (setting.folder / "toy.safetensors").write_bytes(b"a result")

    monkeypatch.setattr(kept_runs, "train", train)

    def run(toys: int, *asked: object) -> list[str]:
        counts.clear()
        ablation = Ablation(Models(*files), tmp_path / "runs", toys, 1, 1)
        folder = ablation.place("a", 0)

        def measure() -> dict:
            counts.append("measured")
            return VALUES

        ablation.measured(folder, TOY, ToyTraining(), measure, *asked, previews=["a preview"])
        return [*counts]

    assert [run(2), run(2), run(3), run(3, "more")] == [
        ["trained", "measured"],
        [],
        ["measured"],
        ["measured"],
    ]


def test_a_setting_has_the_device_and_the_compiling_of_its_ablation(tmp_path, monkeypatch):
    seen: list = []
    loaded = SimpleNamespace(settings=None)
    monkeypatch.setattr(kept_runs, "load_pipeline", lambda *files, device: seen.append(device) or loaded)
    monkeypatch.setattr(kept_runs, "replace", lambda one, **given: one)
    for device, compiled in (("cpu", False), ("cuda", True)):
        files = [tmp_path / f"{name}.safetensors" for name in ("dit", "vae", "text_encoder")]
        asked = Ablation(Models(*files), tmp_path, 1, 1, 1, device, compiled)
        made = asked.setting(tmp_path / "a")
        asked.backbone()
        assert (made.device, made.compiled, seen.pop()) == (device, compiled, device)
        assert made.resume and made.folder == tmp_path / "a" and made.encoded == tmp_path / "clips"


def test_runs_that_earlier_versions_left_are_taken_up(tmp_path):
    """Saber's has a mark of its end and figures that do not name the base; an adapter's has figures alone,
    which do."""
    made, files = (
        {"config": {"steps": 2}, "vae": "sha256 1", "before": None},
        [tmp_path / "base.safetensors"] * 3,
    )
    save_file({"weight": torch.ones(1)}, files[0])
    ablation = Ablation(Models(*files), tmp_path / "runs", 2, 1, 1)
    saber, adapter = ablation.place("saber"), ablation.place("joint", 0)
    said = {"run": {"own": [0.25, 0.5]}}
    (saber / "begun.json").write_text(json.dumps(made))
    (saber / "ended.json").write_text(json.dumps(made))
    (saber / "toy.safetensors").write_bytes(b"a result")
    (saber / "values.json").write_text(json.dumps({"made_by": [{"steps": 2}, 2], "values": said}))
    made_by = [{"steps": 2}, 2, 1, ablation.base]
    (adapter / "values.json").write_text(json.dumps({"made_by": made_by, "values": said}))
    before = held(tmp_path)

    def fails() -> dict:
        raise AssertionError("made again")

    trained(saber, made, FILES, lambda: fails() and None)
    found = kept(saber, [{"steps": 2}, 2], fails)
    assert found["run"]["own"].tolist() == [0.25, 0.5]
    found = ablation.measured(adapter, TOY, ToyTraining(), fails)
    assert found["run"]["own"].tolist() == [0.25, 0.5]
    assert held(tmp_path) == before


# ---- folders


def places(folder: Path) -> list:
    """Both ways to the folder of a run named "a 0"."""
    asked = Ablation(Models(*[folder / "base.safetensors"] * 3), folder, 1, 1, 1)
    return [lambda: asked.place("a", 0), lambda: asked.place("a 0")]


@pytest.mark.parametrize("way", [0, 1])
def test_a_folder_is_adopted_only_where_it_is_new_or_ours(tmp_path, way):
    place = places(tmp_path / "runs")[way]
    own = place()
    assert own == tmp_path / "runs" / "a-0" and place() == own
    assert set(held(tmp_path)) == {f"runs/{MARK}", f"runs/a-0/{MARK}"}
    (own / MARK).unlink()
    (own / "vae.safetensors").write_bytes(b"somebody's")
    before = held(tmp_path)
    with pytest.raises(
        ValueError, match=r"--out: .*runs/a-0 holds files and no mark that they are a run of an ablation"
    ):
        place()
    assert held(tmp_path) == before


@pytest.mark.parametrize("way", [0, 1])
@pytest.mark.parametrize("theirs", ["photo.jpg", "a-0/vae.safetensors", "a-0/dit-run.safetensors"])
def test_somebodys_folder_is_refused_whole(tmp_path, way, theirs):
    (tmp_path / theirs).parent.mkdir(exist_ok=True)
    (tmp_path / theirs).write_bytes(b"somebody's")
    with pytest.raises(
        ValueError, match=f"--out: {tmp_path} holds files and no mark that they are ablations"
    ):
        places(tmp_path)[way]()
    assert held(tmp_path) == {theirs: b"somebody's"}


def test_runs_whose_names_come_out_alike_do_not_share_a_folder(tmp_path):
    run_folder(tmp_path, "a b")
    with pytest.raises(ValueError, match="holds a run of an ablation made otherwise"):
        run_folder(tmp_path, "a-b")


def test_marks_are_json_that_says_what_was_asked(tmp_path):
    begin(tmp_path, {"config": {"sizes": (1, 2), "encoder": Path}}, FILES)
    assert json.loads((tmp_path / kept_runs.BEGUN).read_text()) == {
        "config": {"sizes": [1, 2], "encoder": "Path"}
    }


def test_a_run_that_is_trained_again_has_not_ended(tmp_path):
    train_once(tmp_path, {"config": 1})
    (tmp_path / "toy.safetensors").unlink()
    with pytest.raises(KeyboardInterrupt):
        train_once(tmp_path, {"config": 1}, fails=True)
    assert not (tmp_path / ENDED).exists()


def test_only_what_was_said_of_a_run_is_removed_before_it_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_once(tmp_path, {"config": 1}, fails=True)
    (tmp_path / "notes").mkdir()
    for name in ("notes/a.json", "note.txt"):
        (tmp_path / name).write_text("{}")
    before, seen = held(tmp_path), []
    trained(tmp_path, {"config": 1}, FILES, lambda: seen.append(held(tmp_path)))
    assert seen == [before] and "toy-run.safetensors" in before
