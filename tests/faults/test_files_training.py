"""Broken files where training and long videos keep their own: states of runs are refused by name, what can be
made again is made again, and what is no file of ours is never written over."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from refvid_malice import BYTES, PLACES, SYSTEMS, Corpus, unpacked
from refvid_malice_headers import FEW, HEADERS
from refvid_malice_metadata import DEEP, telling
from refvid_malice_tensors import broken_names, broken_tensors
from refvid_refused import SIZES, Reader, complaint, complaints
from refvid_soak import amount
from refvid_toy_run import NEWEST, RESULT, STEPS, cut_off, train_toy
from refvid_world import setting, text_encoder, trained

from refvid.core.files import MARK, read_mark, replacing
from refvid.demo.runs import smoke_dit, smoke_vae
from refvid.evidence.runs import kept, run_mark
from refvid.hosts.plain.long_video import FinishedParts
from refvid.training.base.dit.method import DiTTrainer
from refvid.training.base.dit.start import Start, begun_dit
from refvid.training.base.vae import VAETrainer
from refvid.training.engine.cache import PART, Rows, cached_rows

EVERY = {**PLACES, **BYTES, **HEADERS}
NAMES = amount([*FEW], [*EVERY])
NOT_THERE = ("nothing there", "a dangling link", "a link to itself")  # where no state is, a run begins


# ---- states


@pytest.fixture(scope="module")
def state(tmp_path_factory) -> Path:
    """A state of a run of numbers, of three steps."""
    folder = tmp_path_factory.mktemp("state")
    cut_off(folder)
    return folder / NEWEST


def go_on(path: Path) -> None:
    def no_step(step: int) -> None:
        raise AssertionError(f"step {step} was taken")

    def seen() -> list[tuple]:
        found = [(one.name, one.lstat()) for one in sorted(path.parent.iterdir())]
        return [(name, one.st_ino, one.st_size, one.st_mtime_ns) for name, one in found]

    before = seen()
    try:
        train_toy(path.parent, resume=True, at_step=no_step)
    finally:
        assert seen() == before, "a refused state stays"


STATE = Reader("state", go_on, called=NEWEST)


def test_a_state_that_is_no_whole_file_is_refused(state, tmp_path):
    names = [name for name in NAMES if name not in NOT_THERE]
    assert complaints(EVERY, names, state, STATE, tmp_path) == []


def test_a_state_of_other_tensors_is_refused(state, tmp_path):
    corpus = broken_tensors(state) | broken_names(state)
    assert complaints(corpus, [*corpus][:: amount(29, 1)], state, STATE, tmp_path) == []


STEPS_SAID = {
    "text": '"three"', "nothing": "null", "negative": "-1", "a float": "3.0", "inf": "Infinity", "a list": "[3]", "true": "true",
    "beyond the end": str(STEPS + 1), "10,000 digits": "9" * 10_000, "brackets": DEEP, "no JSON": "}{", "empty": "",
}  # fmt: skip
MADE_BY_SAID = {
    "a list": "[]",
    "text": '"this"',
    "a number": "7",
    "true": "true",
    "brackets": DEEP,
    "no JSON": "}{",
}
EMPTY = {"map": []}


def layouts_of_muon(state: object, groups: object = 1) -> str:
    """Layouts of which Muon's is this."""
    adam = {"state": EMPTY, "groups": {"list": []}}
    return json.dumps({"muon": {"state": state, "groups": groups}, "adam": adam})


LAYOUTS_SAID = {
    **MADE_BY_SAID,
    "nobody": "{}",
    "no layout": '{"muon": 3, "adam": {}}',
    "a bare list": layouts_of_muon([]),
    "an odd kind": layouts_of_muon({"set": []}),
    "a list of a number": layouts_of_muon({"list": 3}),
    "a map without keys": layouts_of_muon({"map": [[1]]}),
    "a map of a number": layouts_of_muon({"map": [[0, 1]]}, {"list": []}),
    "a key beyond": layouts_of_muon({"map": [[9, EMPTY]]}, {"list": []}),
    "no groups": layouts_of_muon(EMPTY, {"list": []}),
    "a tensor that is not there": layouts_of_muon({"map": [[0, {"tensor": 1}]]}),
}
SAID: Corpus = {
    **{f"a step that is {name}": telling("step", said, "") for name, said in STEPS_SAID.items()},
    "no step": telling("step", None, "step"),
    **{f"made by what is {name}": telling("made_by", said, "") for name, said in MADE_BY_SAID.items()},
    **{f"optimisers of {name}": telling("optimisers", said, "") for name, said in LAYOUTS_SAID.items()},
    "made by another": telling("made_by", '{"config": {"steps": 7}}', "config.steps"),
}


@pytest.mark.parametrize("how", SAID)
def test_a_state_that_says_what_cannot_be_is_refused(state, tmp_path, how):
    # What has taken too many steps is found by its folder.
    found = complaint(how, SAID[how], state, STATE, tmp_path)
    assert found is None or (how.endswith("beyond the end") and "has taken 6 steps, this run has 5" in found)


# ---- where runs begin


@pytest.mark.parametrize("kind", ["vae", "dit", "text"])
def test_weights_to_start_from_are_refused_and_nothing_is_begun(files, tmp_path, kind):
    text = text_encoder(SIZES.text_width)

    def begin(path: Path) -> None:
        if kind == "vae":
            trained(VAETrainer(path), smoke_vae(), tmp_path / "run")
        else:
            begun_dit(SIZES, text, Start(*(path if kind == one else files[one] for one in ("dit", "text"))))

    try:
        assert complaints(EVERY, amount(NAMES[::3], NAMES), files[kind], Reader(kind, begin), tmp_path) == []
    finally:
        assert not (tmp_path / "run").exists()


def test_a_vae_of_48_channels_is_refused_where_the_demos_is_trained_or_trained_on(files, tmp_path):
    says = r"is the Wan 2.2 VAE \(48 channels\); this needs the Wan 2.1 VAE \(16 channels\)"
    with pytest.raises(ValueError, match=rf"^--from: vae22.safetensors {says}"):
        trained(VAETrainer(files["vae22"]), smoke_vae(), tmp_path / "run")
    shutil.copy(files["vae22"], tmp_path / "vae.safetensors")
    with pytest.raises(ValueError, match=rf"vae.safetensors {says}"):
        DiTTrainer().backbone(smoke_dit(), setting(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["vae.safetensors"]


# ---- what is made again


@dataclass(frozen=True)
class Numbers(Rows):
    value: torch.Tensor


def rows_in(folder: Path) -> tuple[torch.Tensor, list[int]]:
    """Encoded clips, and which parts of them were made."""
    made: list[int] = []

    def encode(part: int) -> Numbers:
        made.append(part)
        return Numbers(torch.arange(PART) + PART * part)

    return cached_rows(Numbers, folder, "toy", PART, "this", encode).value, made


def parts_in(folder: Path) -> tuple[torch.Tensor, list[int]]:
    """A part of a long video, and whether it was made."""
    made: list[int] = []
    first = FinishedParts(folder, "a run").kept(
        "keys", lambda: made.append(0) or torch.full((1, 2, 2, 3), 0.2)
    )
    return first, made


KEPT = {"latents-toy-000.safetensors": rows_in, "keys.safetensors": parts_in}


@pytest.mark.parametrize("called", KEPT)
def test_what_can_be_made_again_is_made_again_or_refused_by_name(tmp_path, called):
    """Never is a broken file taken, nor what is no file written over."""
    (whole := tmp_path / "whole").mkdir()
    right, made = KEPT[called](whole)
    assert made == [0] and KEPT[called](whole)[1] == []
    found = {}
    for number, name in enumerate(name for name in NAMES if name not in SYSTEMS):
        (folder := tmp_path / f"{number}").mkdir()
        if (whole / MARK).exists():
            (folder / MARK).write_bytes((whole / MARK).read_bytes())
        EVERY[name](whole / called, folder / called)
        try:
            again, made = KEPT[called](folder)
        except (ValueError, OSError) as error:
            found[name] = called in str(error)
            continue
        assert torch.equal(again, right), name
        assert KEPT[called](folder)[1] == [], f"{name}: what was made again is whole"
        found[name] = made == [0] or unpacked(whole / called) == unpacked(folder / called)
    assert all(found.values()), [name for name, is_right in found.items() if not is_right]


@pytest.mark.parametrize(
    "name", ["a directory", "a link to a pipe", "a pipe", "a socket", "a link to itself"]
)
def test_what_is_no_file_is_never_replaced(tmp_path, name):
    (whole := tmp_path / "whole").write_bytes(b"x")
    target = tmp_path / "target"
    PLACES[name](whole, target)
    before = {one.name: (one.lstat().st_ino, one.lstat().st_mode) for one in tmp_path.iterdir()}
    with pytest.raises(OSError, match=r"target.* (no file|link to itself)"), replacing(target) as partial:
        partial.write_bytes(b"new")
    assert {one.name: (one.lstat().st_ino, one.lstat().st_mode) for one in tmp_path.iterdir()} == before


@pytest.mark.parametrize("said", [DEEP, "[" * 100_000, "}{", "", "\0", "9" * 10_000], ids=range(6))
def test_marks_of_any_json_are_taken_as_not_there(tmp_path, said):
    (tmp_path / MARK).write_text(said)
    assert read_mark(tmp_path) is None
    (tmp_path / "values.json").write_text(said)
    assert run_mark(tmp_path / "values.json") is None
    assert kept(tmp_path, "this", lambda: {"a": {"b": torch.ones(1)}})["a"]["b"] == 1


def test_the_result_of_a_run_is_what_the_corpus_was_tried_on(state, tmp_path):
    """A whole state is gone on from: else nothing above says anything."""
    (tmp_path / NEWEST).write_bytes(state.read_bytes())
    train_toy(tmp_path, resume=True)
    assert (tmp_path / RESULT).exists()
