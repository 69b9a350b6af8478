"""What training keeps and finds again: marks that were cut short, folders and files that are somebody's."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from refvid.core.files import MARK
from refvid.evidence import runs as kept_runs
from refvid.evidence.ablations import saber as ablation
from refvid.evidence.runs import Ablation, begin, kept
from refvid.training.engine import cache
from refvid.training.engine.cache import MADE_BY, PART, cached_rows
from refvid.training.engine.models import Models
from refvid.training.engine.state import RunFiles

VALUES = {"own": {"right": torch.tensor([0.25, torch.nan]), "leak": torch.tensor([1.0, 2.0])}}
FILES = RunFiles("toy", ("toy.safetensors",))


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


# ---- folders


def places(folder: Path) -> list:
    """Both ways to the folder of a run named "a b"."""
    models = Models(*[folder / "base.safetensors"] * 3)
    return [
        lambda: Ablation(models, folder, 1, 1, 1).place("a", 0),
        lambda: ablation.Place(folder / "vae.safetensors", folder).of("a 0"),
    ]


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
    place = ablation.Place(tmp_path / "vae.safetensors", tmp_path)
    place.of("a b")
    with pytest.raises(ValueError, match="holds a run of an ablation made otherwise"):
        place.of("a-b")


# ---- encoded clips


@dataclass(frozen=True)
class Rows:
    """Two numbers a clip."""

    value: Tensor
    other: Tensor


def cached(folder: Path, count: int = 2 * PART, made_by: str = "this") -> tuple[Rows, list[int]]:
    """The rows, and which parts were made for them."""
    made: list[int] = []

    def encode(part: int) -> Rows:
        made.append(part)
        value = torch.arange(PART) + PART * part
        return Rows(value, -value)

    rows = cached_rows(Rows, folder, "toy", count, made_by, encode)
    assert torch.equal(rows.value, torch.arange(count)) and torch.equal(rows.other, -rows.value)
    return rows, made


SHARD = "latents-toy-000.safetensors"


def test_a_file_of_clips_cut_short_anywhere_is_made_again_and_said(tmp_path, caplog):
    assert cached(tmp_path)[1] == [0, 1] and cached(tmp_path)[1] == []
    whole = (tmp_path / SHARD).read_bytes()
    for size in (0, 9, 20, len(cache.OURS) + 8, 60, 120, len(whole) // 2, len(whole) - 1):
        caplog.clear()
        (tmp_path / SHARD).write_bytes(whole[:size])
        assert cached(tmp_path)[1] == [0, 1] and (tmp_path / SHARD).read_bytes() == whole
        (said,) = warnings(caplog)
        assert SHARD in said and said.endswith("encoded again")


def test_clips_made_by_something_else_are_made_again(tmp_path, caplog):
    cached(tmp_path)
    assert cached(tmp_path, made_by="that")[1] == [0, 1] and cached(tmp_path, count=PART)[1] == [0]
    save_file({"value": torch.zeros(PART)}, tmp_path / SHARD, {MADE_BY: f"this {PART}"})  # before `other` was
    assert cached(tmp_path, count=PART)[1] == [0] and not warnings(caplog)


@pytest.mark.parametrize("theirs", ["plain", "other", "picture", "text", "short"])
def test_somebodys_file_is_refused_by_name_before_any_clip_is_made(tmp_path, monkeypatch, theirs):
    monkeypatch.setattr(cache, "SHARD", PART)
    path = tmp_path / "latents-toy-001.safetensors"
    if theirs in ("plain", "other"):
        said = {"plain": None, "other": {"format": "pt", "about": f'"{MADE_BY}"'}}[theirs]
        save_file({"value": torch.zeros(PART), "other": torch.zeros(PART)}, path, said)
    else:
        path.write_bytes(
            {"picture": b"\x89PNG" + bytes(99), "text": b"a note of mine, " * 9, "short": b"a note"}[theirs]
        )
    before = held(tmp_path)
    made: list[int] = []
    with pytest.raises(ValueError, match=f"{path.name} is no file of encoded clips"):
        cached_rows(
            Rows,
            tmp_path,
            "toy",
            2 * PART,
            "this",
            lambda part: made.append(part) or Rows(torch.zeros(1), torch.zeros(1)),
        )
    assert held(tmp_path) == before and not made


def test_clips_that_cannot_be_written_leave_those_before(tmp_path, monkeypatch):
    cached(tmp_path)
    before = held(tmp_path)

    def full(*_: object):
        raise OSError("No space left on device")

    monkeypatch.setattr(cache, "write_tensors", full)
    with pytest.raises(OSError, match="No space"):
        cached(tmp_path, made_by="that")
    assert held(tmp_path) == before


def test_marks_are_json_that_says_what_was_asked(tmp_path):
    begin(tmp_path, {"config": {"sizes": (1, 2), "encoder": Rows}}, FILES)
    assert json.loads((tmp_path / kept_runs.BEGUN).read_text()) == {
        "config": {"sizes": [1, 2], "encoder": "Rows"}
    }
