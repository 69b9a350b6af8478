"""Pairs of clips before and after an edit, by the columns of those who publish them."""

import json

import pytest
from refvid_layouts import by_name, jsonl, put, told

from refvid.data.readers.diffsynth import read_diffsynth
from refvid.data.readers.folder import read_folder
from refvid.data.readers.pairs import read_pairs


@pytest.fixture
def root(tmp_path):
    return put(tmp_path, "src/a.mp4", "tgt/b.mp4", "tgt/c.mp4", "ref/d.png", "masks/m.mp4")


def test_a_target_names_its_source_and_both_are_rows(root):
    text = "source,target,instruction,reference,mask,kind,LICENSE,caption,source_caption,score\n"
    text += "src/a.mp4,tgt/b.mp4,Make it snow,ref/d.png,masks/m.mp4,style,CC-BY-NC-SA-4.0,Snow,A street,9\n"
    text += "src/a.mp4,tgt/c.mp4,Remove the car,,,remove,CC0,,,\n"
    put(root, "edits.csv", text=text)
    reading = read_pairs(root / "edits.csv")
    rows = by_name(reading)
    target, source = rows["b.mp4"], rows["a.mp4"]
    assert sorted(rows) == ["a.mp4", "b.mp4", "c.mp4"] and all(row.ok for row in rows.values())
    assert target.source == rows["c.mp4"].source == source.id and source.source == ""
    assert (target.instruction, target.edit, target.licence) == ("Make it snow", "style", "CC-BY-NC-SA-4.0")
    assert target.reference == (root / "ref" / "d.png").as_posix()
    assert target.mask == (root / "masks" / "m.mp4").as_posix()
    assert (target.caption, source.caption, source.licence) == ("Snow", "A street", "CC0")
    assert (target.set, source.set) == ("tgt", "src")
    assert reading.ignored == ["edits.csv: columns without meaning here: score"]


@pytest.mark.parametrize(
    "columns",
    [
        ("src_video", "tgt_video", "prompt"),  # Kiwi-Edit
        ("source_path", "edited_path", "instruction"),  # Ditto
        ("vace_video", "video", "prompt"),  # Ditto, for DiffSynth
        ("source", "target", "text"),
    ],
)
def test_columns_of_published_sets_are_known(root, columns):
    row = dict(zip(columns, ("src/a.mp4", "tgt/b.mp4", "Make it snow"), strict=True))
    (root / "edits.json").write_text(json.dumps([row]))
    for path in (root / "edits.json", jsonl(root / "edits.jsonl", [row])):
        rows = by_name(read_pairs(path))
        assert (rows["b.mp4"].source, rows["b.mp4"].instruction) == (rows["a.mp4"].id, "Make it snow")
        assert rows["b.mp4"].caption == ""


def test_paths_are_found_in_videos_beside_the_list_as_ditto_has_them(root):
    put(root, "videos/source/a.mp4", "videos/local/a.mp4")
    put(root, "csvs_for_DiffSynth/local.csv", text="video,vace_video,prompt\nlocal/a.mp4,source/a.mp4,Snow\n")
    clips = {clip.set: clip for clip in read_pairs(root / "csvs_for_DiffSynth" / "local.csv").clips}
    assert clips["local"].source == clips["source"].id and clips["local"].ok and clips["source"].ok


def test_an_edit_and_its_reverse_are_two_rows(root):
    text = "source,target,instruction\nsrc/a.mp4,tgt/b.mp4,Add snow\ntgt/b.mp4,src/a.mp4,Remove the snow\n"
    put(root, "edits.csv", text=text)
    rows = by_name(read_pairs(root / "edits.csv"))
    assert (rows["a.mp4"].source, rows["b.mp4"].source) == (rows["b.mp4"].id, rows["a.mp4"].id)
    assert (rows["a.mp4"].instruction, rows["b.mp4"].instruction) == ("Remove the snow", "Add snow")


def test_a_pair_of_which_a_file_is_missing_is_refused_and_says_which(root):
    text = "source,target,instruction,reference\nsrc/x.mp4,tgt/b.mp4,A,\nsrc/a.mp4,tgt/c.mp4,B,ref/x.png\n"
    text += "src/a.mp4,tgt/y.mp4,C,\nsrc/a.mp4,,D,\n,tgt/c2.mp4,E,\n"
    put(root, "edits.csv", "tgt/c2.mp4", text=text)
    rows = by_name(read_pairs(root / "edits.csv"))
    assert {name: told(row)[1] for name, row in rows.items()} == {
        "a.mp4": "", "x.mp4": "no such file", "b.mp4": "no clip before the edit", "c.mp4": "no such file",
        "y.mp4": "no such file", "edits.csv:5": "caption without a clip", "c2.mp4": "no clip before the edit",
    }  # fmt: skip
    assert rows["c.mp4"].detail == str(root / "ref" / "x.png")
    assert rows["b.mp4"].detail == (root / "src" / "x.mp4").as_posix()
    assert rows["c2.mp4"].detail == "edits.csv, line 6"


def test_a_list_without_one_of_the_two_clips_is_no_list_of_pairs(root):
    put(root, "edits.csv", text="target,prompt\ntgt/b.mp4,A\n")
    with pytest.raises(
        ValueError, match=r"edits.csv: columns are target, prompt; needed one of source, src_video"
    ):
        read_pairs(root / "edits.csv")


def test_pairs_are_known_by_their_columns_in_a_folder_and_as_diffsynth(root):
    put(root, "metadata.csv", text="src_video,tgt_video,prompt\nsrc/a.mp4,tgt/b.mp4,Make it snow\n")
    for read in (read_folder, read_diffsynth):
        rows = by_name(read(root))
        assert (rows["b.mp4"].source, rows["b.mp4"].instruction) == (rows["a.mp4"].id, "Make it snow")
    put(root, "metadata.csv", text="video,vace_video,prompt\ntgt/b.mp4,src/a.mp4,A dog\n")
    (row,) = read_diffsynth(root).clips
    assert (row.caption, row.source) == ("A dog", "")
