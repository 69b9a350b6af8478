"""Changes behind a collection's back: files that go and come, roots that move, damaged records, and two
commands at once."""

import json
import multiprocessing
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refvid_patience import END
from refvid_stages import Length, Split, Weighed

from refvid.core.files import MARK
from refvid.core.ranks import Ranks
from refvid.data import collection as rooms
from refvid.data import hold, readers, stages
from refvid.data.collection import Collection
from refvid.data.hold import held
from refvid.data.index import Clip, Refused, found_clip
from refvid.data.pictures import CHANGED, pictures_of, stored_times
from refvid.data.prepared import Prepared
from refvid.data.readers import Reading
from refvid.data.record import RECORD
from refvid.data.stage import StageContext
from refvid.data.stages import scan as scanning
from refvid.data.stages.encode import ENCODING, Encode
from refvid.data.weights import Weights, read_weights

NONE = Weights({})


def stills(folder: Path, *names: str) -> Path:
    """Pictures, each of a grey of its own."""
    folder.mkdir(exist_ok=True)
    for name in names:
        grey = np.full((64, 64, 3), sum(name.encode()) % 256, np.uint8)
        Image.fromarray(grey).save(folder / f"{name}.png")
    return folder


def scanned(data: Path, *folders: Path, **how) -> Collection:
    collection = Collection(data, "--out")
    collection.read([("folder", one) for one in folders], **how)
    collection.run("scan", {}, NONE)
    return collection


@pytest.mark.parametrize("change", ["gone", "other"])
def test_a_file_that_changed_since_the_scan_is_named_and_the_index_stays(tmp_path, change):
    folder = stills(tmp_path / "my stills", *"abcde")
    collection = scanned(tmp_path / "data", folder)
    before = (tmp_path / "data/index.jsonl").read_bytes()
    for name in "abcd":
        (folder / f"{name}.png").unlink()
    if change == "other":
        for name in "abcd":
            Image.fromarray(np.zeros((48, 48, 3), np.uint8)).save(folder / f"{name}.png")
    says = "scan: changed since, moved or gone: .*a.png, .*b.png, .*c.png and 1 more; run `refvid data scan --out"
    for name in ("cut", "caption"):
        with pytest.raises(ValueError, match=says):
            collection.run(name, {}, NONE)
    assert (tmp_path / "data/index.jsonl").read_bytes() == before
    collection.read([])
    assert collection.run("scan", {}, NONE).kept == 1
    collection.run("cut", {}, NONE)
    assert len(collection.clips()) == (1 if change == "gone" else 5)


def test_after_a_scan_that_did_not_end_no_stage_works_on_rows_without_facts(tmp_path):
    collection = Collection(tmp_path / "data", "--out")
    collection.read([("folder", stills(tmp_path / "stills", "a"))])
    with pytest.raises(ValueError, match="scan: no run of it has ended; run `refvid data scan --out"):
        collection.run("cut", {}, NONE)
    collection.run("scan", {}, NONE)
    assert collection.run("cut", {}, NONE).made >= 0


def test_a_file_that_could_not_be_read_is_looked_at_again_once_it_can(tmp_path, monkeypatch):
    folder = stills(tmp_path / "stills", "a", "b")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, _: not str(path).endswith("a.png"))
        collection = scanned(tmp_path / "data", folder)
        assert [clip.reason for clip in collection.clips()] == [scanning.CLOSED, ""]
    done = collection.run("scan", {}, NONE)
    assert (done.made, done.kept) == (1, 1) and all(clip.ok for clip in collection.clips())
    assert collection.run("scan", {}, NONE).made == 0


def test_what_was_away_while_a_stage_looked_is_looked_at_again(tmp_path, monkeypatch):
    for room in (stages, rooms):
        monkeypatch.setattr(room, "STAGES", (Split(), Length(), Weighed()))
    clips = [found_clip(f"/{name}.mp4", caption=name * 4) for name in "ab"]
    monkeypatch.setattr(readers, "READERS", {"folder": lambda _: Reading(clips)})
    collection = Collection(tmp_path / "data")
    collection.read([("folder", tmp_path)])
    with monkeypatch.context() as patch:
        patch.setattr(Length, "look", lambda *_: _raise(Refused("away", "a disk", passing=True)))
        assert collection.run("length", {}, NONE).made == 2
    assert [clip.reason for clip in collection.clips()] == ["away", "away"]
    assert collection.run("length", {}, NONE).made == 2 and all(clip.ok for clip in collection.clips())
    assert collection.run("length", {}, NONE).made == 0


def _raise(error: Exception):
    raise error


def test_a_folder_that_moved_is_left_out_by_name_and_its_clips_are_found_in_the_new_one(tmp_path):
    old, other = stills(tmp_path / "old one", "a", "b"), stills(tmp_path / "other", "c")
    collection = scanned(tmp_path / "data", old, other)
    contents = [clip.contents for clip in collection.clips()]
    new = Path(shutil.move(old, tmp_path / "new"))
    for roots in ([], [("folder", new)]):
        with pytest.raises(ValueError, match=r"old one was scanned before and is gone.*--forget '.*old one'"):
            collection.read(roots)
    with pytest.raises(ValueError, match=r"--forget: .*nowhere was not scanned; needed one of .*old one, "):
        collection.read([], forgotten=[tmp_path / "nowhere"])
    collection = scanned(tmp_path / "data", new, forgotten=[tmp_path / "other/../old one"])
    assert sorted(clip.contents for clip in collection.clips()) == sorted(contents)
    assert [path for _, path in collection.record["roots"]] == [str(other), str(new)]


def test_a_folder_without_a_clip_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    reading = Collection(tmp_path / "data").read([("folder", tmp_path / "empty")])
    assert reading.ignored == [f"{tmp_path / 'empty'}: there is no film, no picture and no list in it"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Expecting value"),
        ('{"roots": [', "Expecting"),
        ("[]", "list"),
        ('{"roots": "x"}', "roots is no list"),
        ('{"roots": [["folder"]]}', "not enough values"),
        ('{"roots": [["folder", 3]]}', "needed texts"),
        ('{"models": {"vae": 3}}', "needed texts"),
        ('{"stages": {"scan": 3}}', "scan is 3; needed a table"),
        ('{"stages": {"scan": {"options": {}, "given": {}}}}', "weights is None; needed a table"),
        ('{"settings": {"encode": []}}', "needed a table"),
    ],
)
def test_a_damaged_record_is_named_and_nothing_that_was_worked_out_is_lost(tmp_path, text, says):
    folder = stills(tmp_path / "stills", "a")
    collection = scanned(tmp_path / "data", folder)
    before = (tmp_path / "data/index.jsonl").read_bytes()
    (tmp_path / "data" / RECORD).write_text(text)
    for work in (lambda: collection.read([]), lambda: collection.run("scan", {}, NONE), collection.weights):
        with pytest.raises(ValueError, match=rf"data.json is damaged \(.*{says}.*delete it, and scan again"):
            work()
    (tmp_path / "data" / RECORD).unlink()
    collection.read([("folder", folder)])
    assert collection.run("scan", {}, NONE).made == 0
    assert (tmp_path / "data/index.jsonl").read_bytes() == before


def test_two_commands_at_once_in_one_folder_are_one_too_many(tmp_path):
    collection = scanned(tmp_path / "data", stills(tmp_path / "stills", "a"))
    before = {one: one.read_bytes() for one in (tmp_path / "data").rglob("*") if one.is_file()}
    with held(tmp_path / "data", "--data"):
        for work in (lambda: collection.read([]), lambda: collection.run("cut", {}, NONE)):
            with pytest.raises(ValueError, match=r"--out: another command is at work in .*data; wait"):
                work()
        assert before == {one: one.read_bytes() for one in (tmp_path / "data").rglob("*") if one.is_file()}
    collection.run("cut", {}, NONE)


def test_other_processes_of_one_command_do_not_wait_for_their_first(tmp_path, monkeypatch):
    monkeypatch.setattr(Ranks, "wait", lambda self: None)
    collection = scanned(tmp_path / "data", stills(tmp_path / "stills", "a"))
    with held(tmp_path / "data", "--data"):
        collection.run("cut", {}, NONE, Ranks(1, 2))


def test_a_killed_command_holds_nothing(tmp_path):
    collection = scanned(tmp_path / "data", stills(tmp_path / "stills", "a"))
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_die, args=(tmp_path / "data",))
    process.start()
    process.join(END)
    assert process.exitcode == -signal.SIGKILL
    collection.run("cut", {}, NONE)


def _die(folder: Path) -> None:
    with held(folder, "--data"):
        os.kill(os.getpid(), signal.SIGKILL)


def test_weights_lie_where_their_file_says_seen_from_it(tmp_path):
    (tmp_path / "models.toml").write_text('vae = "here/vae.safetensors"\nclip = "/there"')
    told = {"vae": tmp_path / "here/vae.safetensors", "clip": Path("/there")}
    assert read_weights(tmp_path / "models.toml") == told


def test_pictures_that_a_file_does_not_give_now_are_a_refusal_of_the_moment(tmp_path):
    gone = Clip("a", str(tmp_path / "a.mp4"), stop=2, frames=2, fps=4.0)
    folder = stills(tmp_path / "frames", "1", "2")
    short = Clip("b", str(folder), stop=3, frames=3, fps=4.0)
    for clip, read in (
        (gone, pictures_of),
        (short, pictures_of),
        (replace(gone, variable=True), stored_times),
    ):
        with pytest.raises(Refused, match=CHANGED) as refusal:
            list(read(clip))
        assert refusal.value.passing


def test_a_kill_between_encoding_and_the_index_leaves_clips_that_say_no_options(tmp_path, monkeypatch):
    collection = scanned(tmp_path / "data", stills(tmp_path / "stills", "a"))
    context = StageContext(Encode.defaults, NONE, collection.folder, {"vae": "1"})
    stage = Encode()
    stage.settle({}, [], context)
    stage.finish(context)
    assert json.loads((collection.folder / ENCODING).read_text())["weights"] == {"vae": "1"}
    stage.settle({}, [], replace(context, digests={"vae": "2"}))
    assert not (collection.folder / ENCODING).exists()
    with pytest.raises(ValueError, match=r"encoding\.json cannot be read"):
        _ = Prepared(str(collection.folder)).options
    told: list = []
    monkeypatch.setattr(Encode, "uses", lambda *_: ())
    monkeypatch.setattr(Collection, "write", lambda _: told.append("index"))
    monkeypatch.setattr(Encode, "finish", lambda *_: told.append("options"))
    collection.run("encode", {}, NONE)
    assert told == ["index", "options"]


@pytest.mark.parametrize("what", ["cut", "scan"])
def test_what_another_command_did_while_a_folder_was_read_is_not_lost(tmp_path, monkeypatch, what):
    folder, other = stills(tmp_path / "stills", "a"), stills(tmp_path / "other", "b")
    collection = scanned(tmp_path / "data", folder)
    read, busy = readers.read_roots, []

    def slow(roots):
        if not busy:
            busy.append(True)
            if what == "cut":
                Collection(collection.folder).run("cut", {}, NONE)
            else:
                Collection(collection.folder).read([("folder", other)])
        return read(roots)

    monkeypatch.setattr(readers, "read_roots", slow)
    if what == "cut":
        collection.read([])
        assert collection.record["stages"].keys() == {"scan", "cut"}
    else:
        with pytest.raises(ValueError, match="another command scanned into"):
            collection.read([])
        assert [path for _, path in collection.record["roots"]] == [str(folder), str(other)]


def test_a_mark_that_is_written_anew_holds_nothing_for_who_opened_the_old_one(tmp_path, monkeypatch):
    collection = scanned(tmp_path / "data", stills(tmp_path / "stills", "a"))
    mark = collection.folder / MARK
    take = hold._hold

    def replaced(file):
        take(file)
        mark.with_suffix(".new").write_bytes(mark.read_bytes())
        mark.with_suffix(".new").replace(mark)

    monkeypatch.setattr(hold, "_hold", replaced)
    with pytest.raises(ValueError, match="another command is at work"), held(collection.folder, "--data"):
        pass
