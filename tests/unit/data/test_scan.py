"""Scan of real films and of files as awkward as users have them: what each is, or why it is refused."""

import json
import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import refvid_films as films
import refvid_footage as footage
import refvid_patience as patience
from PIL import Image

from refvid.core.ranks import ALONE, Ranks
from refvid.data import readers
from refvid.data.collection import Collection
from refvid.data.index import A_FILM, A_STILL, REFUSED, Clip, Refused, found_clip
from refvid.data.readers import Reading
from refvid.data.stage import StageContext
from refvid.data.stages import scan
from refvid.data.stages.scan import Scan, ScanOptions
from refvid.data.weights import Weights

NONE = Weights({})
SCAN = Scan()

# By name: frames, pictures a second, width, height, and what is not as of most; or the reason of a refusal.
PLAIN = (22, 25.0, 160, 96, {})
ROWS: dict[str, Any] = {
    "alpha.mov": (22, 25.0, 160, 96, {"alpha": True}),
    "alpha.webm": (22, 25.0, 160, 96, {"alpha": True, "range": "limited"}),
    "anamorphic.mp4": (22, 25.0, 240, 96, {"pixel_aspect": 1.5}),
    "changing size.mkv": scan.CHANGES,
    "empty.mp4": scan.EMPTY,
    "flashing.mp4": PLAIN,
    "frames": (9, 16.0, 160, 96, {}),
    "full.mp4": (22, 25.0, 160, 96, {"range": "full"}),
    "headless.mp4": scan.DAMAGED,
    "interlaced.mp4": (11, 25.0, 160, 96, {"interlaced": True}),
    "late.mp4": (22, 25.0, 160, 96, {"begin": 2.0}),
    "limited.mp4": (22, 25.0, 160, 96, {"range": "limited"}),
    "only sound.mp4": scan.SOUND_ONLY,
    "plain.mp4": PLAIN,
    "rotated.mp4": (22, 25.0, 160, 96, {"rotation": 90}),
    "scratched.mp4": scan.DAMAGED,
    "sound.mp4": (22, 25.0, 160, 96, {"sound": True}),
    "static.mp4": PLAIN,
    "still.jpg": (1, 0.0, 160, 96, {"kind": A_STILL}),
    "still.png": (1, 0.0, 160, 96, {"kind": A_STILL, "alpha": True}),
    "text.mp4": scan.NEITHER,
    "truncated.mp4": scan.DAMAGED,
    "twin.mp4": PLAIN,
    "variable.mp4": (22, 22 / 1.307, 160, 96, {"variable": True}),
    "with two  spaces.mp4": (21, 25.0, 160, 96, {}),
}
USUAL = {
    "kind": A_FILM, "begin": 0.0, "variable": False, "rotation": 0, "pixel_aspect": 1.0, "range": "",
    "interlaced": False, "alpha": False, "sound": False, "start": 0,
}  # fmt: skip
REAL = {
    "bigbuckbunny.mp4": (132, 25.0, 1280, 720, {"sound": True}),
    "bikes.mp4": (250, 25.0, 640, 272, {}),
    "carphone_pristine.mp4": (120, 30000 / 1001, 193, 144, {"pixel_aspect": 128 / 117}),
    "carphone_distorted.mp4": (120, 30000 / 1001, 193, 144, {"pixel_aspect": 128 / 117}),
}
DEBIAN = {
    "vtest.avi": (795, 10.0, 768, 576, {}),
    "tree.avi": (68, 68 / 29.6, 320, 240, {"variable": True}),
    "Megamind.avi": (270, 23.976, 720, 528, {"variable": True, "sound": True, "begin": 125 / 2997}),
}


def read_lists(folder: Path) -> Reading:
    """Rows of everything in a folder that has no caption's ending, with the captions beside."""
    clips = []
    for path in sorted(folder.iterdir()):
        if path.suffix != ".txt":
            words = path.with_suffix(".txt")
            caption = words.read_text("utf-8") if words.exists() else ""
            clips.append(found_clip(path, caption=caption))
    return Reading(clips)


@pytest.fixture(autouse=True)
def lists(monkeypatch):
    monkeypatch.setitem(readers.READERS, "lists", read_lists)


@pytest.fixture(scope="module")
def awkward(tmp_path_factory) -> Path:
    return next(iter(footage.write_all(tmp_path_factory.mktemp("awkward")).values())).parent


def collected(folder: Path, out: Path) -> Collection:
    collection = Collection(out, "--out")
    collection.read([("lists", folder)])
    return collection


def look(path: Path, options: ScanOptions = SCAN.defaults, **known: Any) -> dict[str, Any]:
    return SCAN.look(found_clip(path, **known), StageContext(options, NONE, path.parent))


def reason(path: Path, **known: Any) -> str:
    with pytest.raises(Refused) as refusal:
        look(path, **known)
    return refusal.value.reason


def expect(row: Clip, wanted: tuple) -> None:
    frames, fps, width, height, unusual = wanted
    assert row.ok and (row.frames, row.stop, row.width, row.height) == (frames, frames, width, height)
    assert row.fps == pytest.approx(fps, rel=1e-4)
    facts = {name: getattr(row, name) for name in USUAL}
    assert facts == {**USUAL, **{name: pytest.approx(one) for name, one in unusual.items()}}


def test_every_awkward_file_is_a_row_with_its_facts_or_its_reason(awkward, tmp_path):
    collection = collected(awkward, tmp_path / "data")
    done = collection.run("scan", {}, NONE)
    rows = {Path(clip.path).name: clip for clip in collection.clips()}
    assert rows.keys() == ROWS.keys() == footage.AWKWARD.keys() and (done.made, done.kept) == (len(ROWS), 0)
    for name, wanted in ROWS.items():
        if isinstance(wanted, str):
            assert (rows[name].status, rows[name].reason) == (REFUSED, wanted), name
            assert wanted == scan.EMPTY or rows[name].path not in rows[name].detail  # its row has it
        else:
            expect(rows[name], wanted)
    assert rows["plain.mp4"].caption == footage.CAPTION and "🚐" in (tmp_path / "data/index.jsonl").read_text(
        "utf-8"
    )
    assert [name for name, row in rows.items() if not row.caption] == ["variable.mp4"]
    alike = [name for name, row in rows.items() if row.contents == rows["plain.mp4"].contents]
    assert alike == ["plain.mp4", "twin.mp4"]
    assert collection.run("scan", {}, NONE).made == 0


@pytest.mark.parametrize("name", [*REAL, *DEBIAN])
def test_real_films_have_their_true_counts_and_rates(name, tmp_path):
    file = footage.real(name) if name in REAL else footage.opencv_sample(name, tmp_path)
    expect(replace(found_clip(file), **look(file)), {**REAL, **DEBIAN}[name])


def test_a_file_that_is_gone_or_changed_is_looked_at_anew_and_no_other(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        footage.plain(folder / name)
    footage.frames_folder(folder / "d", 3)
    collection = collected(folder, tmp_path / "data")
    assert collection.run("scan", {}, NONE).made == 4
    footage.plain(folder / "a.mp4", 18)
    (folder / "b.mp4").unlink()
    footage.still(folder / "d" / "4.png")
    assert collection.run("scan", {}, NONE).made == 3
    rows = {Path(clip.path).name: clip for clip in collection.clips()}
    assert [rows[name].frames for name in ("a.mp4", "b.mp4", "c.mp4", "d")] == [18, 0, 22, 4]
    assert rows["b.mp4"].reason == scan.MISSING
    footage.plain(folder / "b.mp4")
    assert collection.run("scan", {}, NONE).made == 1 and all(clip.ok for clip in collection.clips())


def test_a_row_that_its_reader_refused_is_not_looked_at_and_keeps_its_reason(tmp_path, monkeypatch):
    file = footage.text(tmp_path / "x.mp4")
    row = found_clip(file).refused("no caption", "x")
    monkeypatch.setitem(readers.READERS, "lists", lambda _: Reading([row]))
    collection = collected(tmp_path, tmp_path / "data")
    assert collection.run("scan", {}, NONE).made == 0 and collection.clips() == [row]


def test_a_part_that_a_list_names_is_kept_and_one_beyond_the_end_refused(tmp_path):
    file = footage.plain(tmp_path / "x.mp4")
    found = look(file, start=4, stop=21)
    assert (found["start"], found["stop"], found["frames"]) == (4, 21, 17)
    assert look(file, start=4)["frames"] == 18
    for start, stop in ((4, 23), (22, 0), (9, 9)):
        assert reason(file, start=start, stop=stop) == scan.TOO_SHORT


def test_a_folder_of_frames_has_the_rate_of_its_list_else_of_the_options(tmp_path):
    folder = footage.frames_folder(tmp_path / "x", 3)
    assert look(folder)["fps"] == 16 and look(folder, fps=12.0)["fps"] == 12
    assert look(folder, ScanOptions(24.0))["fps"] == 24
    with pytest.raises(ValueError, match="frames_fps is 0"):
        SCAN.uses(ScanOptions(0.0), NONE)


def test_folders_are_refused_for_what_is_wrong_in_them(tmp_path):
    folder = footage.frames_folder(tmp_path / "x", 3)
    whole = look(folder)["contents"]
    Image.fromarray(footage.shot(1)[0, :64]).save(folder / "4.png")
    assert reason(folder) == scan.CHANGES
    (folder / "4.png").write_bytes((folder / "1.png").read_bytes()[:2000])
    assert reason(folder) == scan.DAMAGED
    (folder / "4.png").write_bytes(b"")
    assert reason(folder) == scan.EMPTY
    (folder / "4.png").unlink()
    assert look(folder)["contents"] == whole
    (folder / "1.png").rename(folder / "9.png")
    assert look(folder)["contents"] != whole
    (tmp_path / "empty").mkdir()
    assert reason(tmp_path / "empty") == scan.NO_FRAME


def test_other_reasons(tmp_path, monkeypatch):
    assert reason(tmp_path / "nothing.mp4") == scan.MISSING
    os.mkfifo(tmp_path / "pipe.mp4")
    assert reason(tmp_path / "pipe.mp4") == scan.MISSING  # and is not waited for
    Image.fromarray(np.full((8, 8), 7, np.int32)).save(tmp_path / "deep.tif")
    assert reason(tmp_path / "deep.tif") == scan.FORM
    still = footage.still(tmp_path / "x.jpg")
    still.write_bytes(still.read_bytes()[:900])
    assert reason(still) == scan.DAMAGED
    with films.av.open(str(tmp_path / "none.avi"), "w") as film:
        stream = film.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuvj420p"
        film.start_encoding()
    assert reason(tmp_path / "none.avi") == scan.NO_FRAME
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert reason(footage.text(tmp_path / "closed.mp4")) == scan.CLOSED


def test_an_animation_is_a_film_by_its_durations(tmp_path):
    first, *others = [Image.fromarray(one) for one in footage.shot(5)]
    first.save(tmp_path / "x.webp", save_all=True, append_images=others, duration=40, lossless=True)
    found = look(tmp_path / "x.webp")
    assert (found["kind"], found["frames"], found["fps"]) == (A_FILM, 5, 25)


@dataclass(frozen=True)
class Two(Ranks):
    """Two processes that wait for each other at a barrier of theirs."""

    gate: Any = None

    def wait(self) -> None:
        self.gate.wait(patience.PROCESS)


def run(out: Path, ranks: Ranks = ALONE, most: int | None = None) -> None:
    """Scan in a process of its own, each look noted by its clip; slow where it waits in a look to be killed,
    after `most` others."""
    real, seen = Scan.look, []

    def noted(self, clip, context):
        with (out / f"looks-{ranks.rank}").open("a") as file:
            file.write(f"{clip.id}\n")
        seen.append(clip.id)
        time.sleep(0 if most is None else 0.02 if len(seen) <= most else patience.PROCESS)
        return real(self, clip, context)

    Scan.look = noted
    Collection(out).run("scan", {}, NONE, ranks)


def looks(out: Path) -> list[list[str]]:
    return [file.read_text().splitlines() for file in sorted(out.glob("looks-*"))]


def test_two_processes_give_the_index_of_one_byte_for_byte(awkward, tmp_path):
    collected(awkward, tmp_path / "one").run("scan", {}, NONE)
    collected(awkward, tmp_path / "two")
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(2)
    both = [context.Process(target=run, args=(tmp_path / "two", Two(rank, 2, gate))) for rank in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(patience.PROCESS)
    assert [one.exitcode for one in both] == [0, 0]
    for file in ("index.jsonl", "work/scan/settled.jsonl"):
        assert (tmp_path / "two" / file).read_bytes() == (tmp_path / "one" / file).read_bytes()
    shares = looks(tmp_path / "two")
    assert [len(one) for one in shares] == [13, 12] and len({*shares[0], *shares[1]}) == 25


def test_a_scan_that_is_killed_again_and_again_gives_the_same_and_makes_nothing_twice(awkward, tmp_path):
    collected(awkward, tmp_path / "one").run("scan", {}, NONE)
    out, moments = tmp_path / "killed", random.Random(25)
    collected(awkward, out)
    kept = []
    for _ in range(4):
        before = len(journalled(out))
        process = multiprocessing.get_context("fork").Process(target=run, args=(out, ALONE, 5))
        process.start()
        while len(journalled(out)) == before and process.is_alive():
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.join(patience.PROCESS)
        assert process.exitcode == -signal.SIGKILL
        kept.append(journalled(out))
    assert kept == [later[: len(one)] for one, later in zip(kept, [*kept[1:], kept[-1]], strict=True)]
    assert 0 < len(kept[-1]) < len(ROWS)
    assert Collection(out).run("scan", {}, NONE).made == len(ROWS) - len(kept[-1])
    for file in ("index.jsonl", "work/scan/settled.jsonl"):
        assert (out / file).read_bytes() == (tmp_path / "one" / file).read_bytes()
    (seen,) = looks(out)
    assert len(kept[-1]) <= len(seen) <= len(kept[-1]) + 4  # a kill costs the look that was going on


def journalled(out: Path) -> list[str]:
    """Keys of results that were kept, each once."""
    file = out / "work/scan/rank-0.jsonl"
    lines = file.read_text("utf-8").splitlines(keepends=True) if file.exists() else []
    keys = [json.loads(one)[0] for one in lines if one.endswith("\n")]
    assert len(keys) == len(set(keys))
    return keys
