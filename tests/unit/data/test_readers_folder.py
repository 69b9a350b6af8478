"""A folder of clips as it lies: captions, sets, frames, masks, persons, lists, and what is no clip."""

import json
import os
import time
from pathlib import Path

import pytest
from refvid_layouts import by_name, jsonl, put, told

from refvid.data.readers import read_roots
from refvid.data.readers.folder import read_folder


def test_a_clip_has_the_caption_beside_it_whatever_its_ending_and_line_ends(tmp_path):
    put(tmp_path, "a.mp4", "b.MOV", "c.png", "d d.webm", "e.mp4", "f.mp4")
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfA dog.\r\nIt barks.\r\n")
    (tmp_path / "b.caption").write_text(" 一辆白色货车驶过 🚐 ", "utf-8")
    (tmp_path / "c.json").write_text(
        json.dumps({"Caption": "long", "short_caption": "short", "license": "CC0", "id": "x"})
    )
    put(tmp_path, "d d.txt", text="with spaces")
    put(tmp_path, "e.txt", text=" \r\n")
    reading = read_folder(tmp_path)
    rows = by_name(reading)
    assert {name: row.caption for name, row in rows.items()} == {
        "a.mp4": "A dog.\nIt barks.", "b.MOV": "一辆白色货车驶过 🚐", "c.png": "long", "d d.webm": "with spaces",
        "e.mp4": "", "f.mp4": "",
    }  # fmt: skip
    assert (rows["c.png"].short_caption, rows["c.png"].licence, rows["c.png"].identity) == (
        "short",
        "CC0",
        "",
    )
    assert all(row.ok and row.set == tmp_path.name and row.path.startswith("/") for row in reading.clips)
    assert reading.ignored == []


def test_of_several_captions_the_plainest_file_says_what_it_says_and_a_json_the_rest(tmp_path):
    put(tmp_path, "a.mp4")
    (tmp_path / "a.json").write_text(json.dumps({"caption": "of json", "short_caption": "short"}))
    put(tmp_path, "a.caption", text="of caption")
    put(tmp_path, "a.txt", text="of txt")
    row = by_name(read_folder(tmp_path))["a.mp4"]
    assert (row.caption, row.short_caption) == ("of txt", "short")


def test_captions_in_another_encoding_or_broken_refuse_their_clip_and_name_the_file(tmp_path):
    put(tmp_path, "latin.mp4", "wide.mp4", "bare.mp4", "broken.mp4", "table.mp4")
    (tmp_path / "latin.txt").write_bytes("Ein weißer Wagen".encode("latin-1"))
    (tmp_path / "wide.txt").write_bytes("A dog".encode("utf-16"))
    (tmp_path / "bare.txt").write_bytes("A dog".encode("utf-16-le"))
    put(tmp_path, "broken.json", text='{"caption": "A dog"')
    put(tmp_path, "table.json", text='{"caption": {"en": "A dog"}}')
    rows = by_name(read_folder(tmp_path))
    assert {told(row) for row in rows.values()} == {("refused", "caption cannot be read")}
    assert len(rows) == 5
    for name in ("latin.txt", "wide.txt", "bare.txt", "broken.json", "table.json"):
        assert str(tmp_path / name) in rows[f"{name.split('.')[0]}.mp4"].detail


def test_a_caption_without_a_clip_is_a_row_and_other_files_are_counted_by_ending(tmp_path):
    put(tmp_path, "a.mp4", "b.npz", "c.npz", "sub/d.safetensors", "noending", ".hidden.mp4", ".git/e.mp4")
    put(tmp_path, "Thumbs.db")
    put(tmp_path, "lost.txt", text="A lost dog")
    put(tmp_path, "settings.json", text='{"fps": 3}')
    put(tmp_path, "lost.json", text='{"caption": "too"}')
    reading = read_folder(tmp_path)
    rows = by_name(reading)
    assert sorted(rows) == ["a.mp4", "lost.json", "lost.txt"]
    assert told(rows["lost.txt"]) == told(rows["lost.json"]) == ("refused", "caption without a clip")
    assert rows["lost.txt"].detail == "A lost dog"
    assert reading.ignored == [
        f"{tmp_path.name}: files of no known kind: 1 .json, 2 .npz, 1 .safetensors, 1 without ending"
    ]


def test_sub_folders_are_sets(tmp_path):
    put(tmp_path, "a.mp4", "cats/a.mp4", "cats/old/b.mp4")
    clips = read_folder(tmp_path).clips
    assert {clip.path.removeprefix(f"{tmp_path.as_posix()}/"): clip.set for clip in clips} == {
        "a.mp4": tmp_path.name, "cats/a.mp4": "cats", "cats/old/b.mp4": "old",
    }  # fmt: skip
    assert len({clip.id for clip in clips}) == 3


def test_a_folder_of_numbered_pictures_is_one_clip_with_the_caption_beside_it(tmp_path):
    put(tmp_path, *(f"walk/frame_{number:04}.png" for number in range(3)))
    put(tmp_path, "walk.txt", text="A man walks")
    put(tmp_path, *(f"run/{number}.jpg" for number in (8, 9, 10)))
    put(tmp_path, *(f"gaps/{number}.jpg" for number in (1, 2, 9)))
    put(tmp_path, *(f"told/{number}.jpg" for number in (1, 2, 9)))
    put(tmp_path, "told.caption", text="With gaps")
    put(tmp_path, "films/1.mp4", "films/2.mp4", "one/1.png")
    put(tmp_path, "mixed/1.png", "mixed/2.png", "mixed/notes.txt", "stills/a.png", "stills/b.png")
    reading = read_folder(tmp_path)
    places = {clip.path.removeprefix(f"{tmp_path.as_posix()}/"): clip for clip in reading.clips}
    assert sorted(places) == [
        "films/1.mp4", "films/2.mp4", "gaps/1.jpg", "gaps/2.jpg", "gaps/9.jpg", "mixed/1.png", "mixed/2.png",
        "mixed/notes.txt", "one/1.png", "run", "stills/a.png", "stills/b.png", "told", "walk",
    ]  # fmt: skip
    assert (places["walk"].caption, places["told"].caption, places["run"].caption) == (
        "A man walks", "With gaps", "",
    )  # fmt: skip
    assert reading.ignored == [
        f"{tmp_path.name}: 1 folders of numbered pictures are read as stills: their numbers have gaps",
        f"{tmp_path.name}: 3 folders of numbered pictures are read as clips of frames",
    ]


def test_a_folder_that_is_given_may_be_one_clip_or_hold_one(tmp_path):
    put(tmp_path, *(f"walk/{number}.png" for number in range(3)), "a.mp4")
    put(tmp_path, "walk.txt", "a.txt", text="A man walks")
    for one in ("walk", "a.mp4"):
        (row,) = read_folder(tmp_path / one).clips
        assert (row.path, row.caption) == ((tmp_path / one).as_posix(), "A man walks")
    with pytest.raises(ValueError, match=r"a.txt is no folder and no clip; .* `refvid data import`"):
        read_folder(tmp_path / "a.txt")
    with pytest.raises(ValueError, match=r"folder: there is no .*nowhere"):
        read_folder(tmp_path / "nowhere")


def test_masks_lie_in_a_folder_of_theirs_as_films_pictures_or_frames(tmp_path):
    put(
        tmp_path,
        "a.mp4",
        "b.png",
        "c.mp4",
        "d.mp4",
        "masks/a.mp4",
        "masks/b.png",
        "masks/c/0.png",
        "masks/x.png",
    )
    reading = read_folder(tmp_path)
    masks = {name: row.mask for name, row in by_name(reading).items()}
    place = (tmp_path / "masks").as_posix()
    assert masks == {"a.mp4": f"{place}/a.mp4", "b.png": f"{place}/b.png", "c.mp4": f"{place}/c", "d.mp4": ""}
    assert reading.ignored == [f"{place}: 1 masks belong to no clip"]


def test_a_folder_below_identities_names_a_person_and_its_pictures_are_stills(tmp_path):
    put(tmp_path, "identities/anna/a.mp4", "identities/anna/trip/b.mp4", "identities/c.mp4", "d.mp4")
    put(tmp_path, *(f"identities/bo/{number}.png" for number in range(2)))
    put(tmp_path, *(f"identities/anna/shot/{number}.png" for number in range(3)))
    people = {name: row.identity for name, row in by_name(read_folder(tmp_path)).items()}
    assert people == {
        "a.mp4": "anna", "b.mp4": "anna", "c.mp4": "", "d.mp4": "", "shot": "anna", "0.png": "bo", "1.png": "bo",
    }  # fmt: skip
    for below in ("identities", "identities/anna"):
        assert by_name(read_folder(tmp_path / below))["b.mp4"].identity == "anna"


def test_a_list_in_a_folder_of_numbered_pictures_makes_them_stills(tmp_path):
    put(tmp_path, "set/1.png", "set/2.png")
    put(tmp_path, "set/metadata.csv", text="file_name,text\n1.png,A dog\n")
    captions = {name: row.caption for name, row in by_name(read_folder(tmp_path)).items()}
    assert captions == {"1.png": "A dog", "2.png": ""}


def test_a_path_with_dots_from_the_working_directory_gives_the_rows_of_the_plain_one(tmp_path, monkeypatch):
    put(tmp_path, "clips/a.mp4")
    monkeypatch.chdir(tmp_path)
    assert read_folder(Path("clips/../clips")).clips == read_folder(tmp_path / "clips").clips


def test_lists_in_a_folder_are_read_over_what_lies_beside_its_clips(tmp_path):
    put(tmp_path, "a.mp4", "b.mp4", "c.mp4", "tool/videos/d.mp4", "two/e.mp4")
    put(tmp_path, "a.txt", text="of the file")
    put(tmp_path, "b.txt", text="of the file")
    (tmp_path / "b.txt").write_bytes(b"\xff")
    jsonl(tmp_path / "metadata.jsonl", [{"file_name": "b.mp4", "text": "listed"}, {"file_name": "gone.mp4"}])
    (tmp_path / "tool" / "videos2caption.json").write_text('[{"path": "d.mp4", "cap": ["of FastVideo"]}]')
    put(tmp_path, "two/videos.txt", text="e.mp4\n")
    put(tmp_path, "two/prompts.txt", text="of two lists\n")
    reading = read_folder(tmp_path)
    assert {name: (row.status, row.caption) for name, row in by_name(reading).items()} == {
        "a.mp4": ("ok", "of the file"), "b.mp4": ("ok", "listed"), "c.mp4": ("ok", ""),
        "d.mp4": ("ok", "of FastVideo"), "e.mp4": ("ok", "of two lists"), "gone.mp4": ("refused", ""),
    }  # fmt: skip
    assert [one.split(": ")[1] for one in reading.ignored] == [
        "read as FastVideo's", "read as lists whose lines belong together", "read as a list",
    ]  # fmt: skip


def test_names_that_no_index_can_hold_are_rows_that_say_so(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    try:
        put(tmp_path, name)
    except OSError:
        pytest.skip("this file system has UTF-8 alone")
    (row,) = read_folder(tmp_path).clips
    assert told(row) == ("refused", "file name is not UTF-8") and "udce9" in row.path


def test_links_that_lead_back_are_not_followed(tmp_path):
    put(tmp_path, "a/b.mp4")
    (tmp_path / "a" / "back").symlink_to(tmp_path, target_is_directory=True)
    reading = read_folder(tmp_path)
    assert sorted(by_name(reading)) == ["b.mp4"]
    assert reading.ignored == [f"{tmp_path / 'a' / 'back'}: a link to a folder it lies in, not followed"]


def test_roots_are_one_reading_and_a_clip_in_two_is_one_row_that_knows_both(tmp_path):
    put(tmp_path, "clips/a.mp4", "clips/b.mp4")
    put(tmp_path, "clips/a.txt", text="A dog")
    put(tmp_path, "edits.csv", text="source,target,instruction\nclips/a.mp4,clips/b.mp4,Make it snow\n")
    for roots in (
        [("folder", "clips"), ("pairs", "edits.csv")],
        [("pairs", "edits.csv"), ("folder", "clips")],
    ):
        rows = by_name(read_roots([(layout, tmp_path / name) for layout, name in roots]))
        assert rows["a.mp4"].caption == "A dog"
        assert (rows["b.mp4"].source, rows["b.mp4"].instruction) == (rows["a.mp4"].id, "Make it snow")
    with pytest.raises(ValueError, match=r"layout: musub is not known; did you mean musubi\?"):
        read_roots([("musub", tmp_path)])


def test_ten_thousand_files_are_read_in_a_few_seconds(tmp_path):
    put(tmp_path, "0.mp4", "0.txt", text="A dog")
    for number in range(1, 5000):
        for ending in ("mp4", "txt"):
            os.link(tmp_path / f"0.{ending}", tmp_path / f"{number}.{ending}")
    began = time.process_time()  # whoever else is at work on the machine
    clips = read_folder(tmp_path).clips
    assert time.process_time() - began < 3
    assert len(clips) == 5000 and all(clip.caption == "A dog" for clip in clips)
