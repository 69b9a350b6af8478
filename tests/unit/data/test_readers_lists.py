"""Lists of clips: columns, paths, what is broken, what is told twice."""

import json

import pytest
from refvid_layouts import by_name, jsonl, put, told

from refvid.data.readers.diffsynth import read_diffsynth
from refvid.data.readers.fastvideo import read_fastvideo
from refvid.data.readers.finetrainers import read_finetrainers


@pytest.fixture
def root(tmp_path):
    return put(tmp_path, "clips/a.mp4", "clips/b.mp4", "still.png")


def csv_of(root, text):
    (root / "metadata.csv").write_bytes(text.encode())
    return root / "metadata.csv"


@pytest.mark.parametrize("column", ["video", "file_path", "file_name", "path", "Video_Path", "image"])
@pytest.mark.parametrize("caption", ["prompt", "text", "caption", "cap", "VILA_caption"])
def test_clip_and_caption_are_found_by_any_of_their_columns(root, column, caption):
    (row,) = read_diffsynth(csv_of(root, f"{column},{caption}\nclips/a.mp4,A dog\n")).clips
    assert (row.path, row.caption, row.set) == ((root / "clips" / "a.mp4").as_posix(), "A dog", "clips")


def test_the_first_caption_that_says_something_counts_and_other_columns_are_told_once(root):
    text = "video,text,prompt,short_caption,LICENSE,width,height,empty,vace_video\n"
    text += "clips/a.mp4,of text,,short,CC0,8,8,,d.mp4\nclips/b.mp4,of text,of prompt,,,8,8,,\n"
    reading = read_diffsynth(csv_of(root, text))
    rows = by_name(reading)
    assert [rows[name].caption for name in ("a.mp4", "b.mp4")] == ["of text", "of prompt"]
    assert (rows["a.mp4"].short_caption, rows["a.mp4"].licence) == ("short", "CC0")
    assert reading.ignored == ["metadata.csv: columns without meaning here: width, height, vace_video"]


def test_windows_line_ends_quotes_and_blank_lines_are_read(root):
    text = '\ufeffvideo,prompt\r\n\r\nclips/a.mp4,"A ""dog"",\r\nand a cat"\r\nclips\\b.mp4,Snow\r\n'
    captions = {name: row.caption for name, row in by_name(read_diffsynth(csv_of(root, text))).items()}
    assert captions == {"a.mp4": 'A "dog",\nand a cat', "b.mp4": "Snow"}


def test_a_file_that_is_not_there_and_a_line_without_a_clip_are_rows(root):
    reading = read_diffsynth(csv_of(root, "video,prompt,mask\ngone.mp4,A,\n,Lost,\nclips/a.mp4,B,m.png\n"))
    rows = by_name(reading)
    assert told(rows["gone.mp4"]) == told(rows["a.mp4"]) == ("refused", "no such file")
    assert rows["gone.mp4"].detail == str(root / "gone.mp4") and rows["a.mp4"].detail == str(root / "m.png")
    assert told(rows["metadata.csv:3"]) == ("refused", "caption without a clip")
    assert rows["metadata.csv:3"].detail == "Lost"


def test_a_clip_that_is_listed_twice_is_one_row_and_said(root):
    reading = read_diffsynth(
        csv_of(root, "video,prompt\nclips/a.mp4,A\nclips/../clips/a.mp4,B\n./clips/a.mp4,C\n")
    )
    assert [clip.caption for clip in reading.clips] == ["A"]
    assert reading.ignored == [
        "metadata.csv: 2 lines name a clip that an earlier line has; the earlier is taken"
    ]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("metadata.csv", b"video,prompt\na.mp4,A\na.mp4,A,B\n", "csv, line 3: 3 cells; the header has 2"),
        ("metadata.csv", b'video,prompt\na.mp4,"A\nB\n', "csv, line 3: not CSV: unexpected end of data"),
        ("metadata.csv", b"video,prompt\na.mp4,A\nb.mp4,wei\xdf\n", "csv, line 3: not in UTF-8"),
        ("metadata.csv", b"video,video\na.mp4,A\n", "two columns are called video"),
        ("metadata.csv", b"", "holds no line"),
        ("metadata.csv", b"video,prompt\n", "holds no line"),
        ("metadata.csv", b"clip,prompt\na.mp4,A\n", "columns are clip, prompt; needed one of video, "),
        ("metadata.jsonl", b'{"video": "a.mp4"}\n\n{"video": }\n', "jsonl, line 3: not JSON: .*, column 11"),
        ("metadata.jsonl", b'{"video": "a.mp4"}\n["b.mp4"]\n', "jsonl, line 2: is .*; needed an object"),
        ("metadata.jsonl", b'{"video": "a.mp4", "text": {"en": 1}}\n', "line 1: text is .*; needed a text"),
        ("metadata.json", b'[{"video": "a.mp4"},\n{"video" "b.mp4"}]', "json, line 2: not JSON"),
        ("metadata.json", b'{"video": "a.mp4"}', "needed a list of objects"),
        ("metadata.json", b"[" * 100000, "not JSON that can be read"),
        ("metadata.txt", b"a.mp4", "a list ends in .csv, .json, .jsonl"),
    ],
)  # fmt: skip
def test_a_broken_list_is_refused_by_file_and_line(tmp_path, name, text, says):
    (tmp_path / name).write_bytes(text)
    with pytest.raises(ValueError, match=says) as refusal:
        read_diffsynth(tmp_path / name)
    assert str(tmp_path / name) in str(refusal.value)


def test_a_folder_holds_one_list(tmp_path):
    with pytest.raises(ValueError, match=r"holds 0 lists; needed one of metadata.csv"):
        read_diffsynth(tmp_path)
    put(tmp_path, "metadata.csv", "metadata.json")
    with pytest.raises(ValueError, match="holds 2 lists"):
        read_diffsynth(tmp_path)


def test_id_names_a_person_only_where_two_lines_share_one(root):
    rows = [
        {"path": "clips/a.mp4", "id": 7},
        {"path": "clips/b.mp4", "id": 7},
        {"path": "still.png", "id": "x"},
    ]
    people = by_name(read_diffsynth(jsonl(root / "people.jsonl", rows)))
    assert {name: row.identity for name, row in people.items()} == {
        "a.mp4": "7",
        "b.mp4": "7",
        "still.png": "x",
    }
    reading = read_diffsynth(jsonl(root / "numbers.jsonl", rows[1:]))
    assert {clip.identity for clip in reading.clips} == {""}
    assert reading.ignored[0] == "numbers.jsonl: id is another in every line, so it is read as no identity"
    named = jsonl(root / "named.jsonl", [{**row, "identity": "anna"} for row in rows[1:]])
    assert {clip.identity for clip in read_diffsynth(named).clips} == {"anna"}


def test_odd_values_of_json_are_texts_that_an_index_can_hold(root):
    text = '{"path": "clips/a.mp4", "cap": ["", "first", "second"], "identity": null}\n'
    text += '{"path": "clips/b.mp4", "cap": NaN, "prompt": "half \\ud83d, line\u2028end"}\n'
    put(root, "odd.jsonl", text=text)
    reading = read_diffsynth(root / "odd.jsonl")
    rows = by_name(reading)
    assert rows["a.mp4"].caption == "first" and rows["b.mp4"].caption == "half ?, line\u2028end"
    assert reading.ignored == ["odd.jsonl: 1 lines have several texts in one place; the first is taken"]


def test_two_lists_belong_together_line_by_line(root):
    put(root, "videos.txt", text="clips/a.mp4\nclips/b.mp4\nstill.png\n\n")
    put(root, "prompt.txt", text="A dog\n\nSnow \n")
    captions = {name: row.caption for name, row in by_name(read_finetrainers(root)).items()}
    assert captions == {"a.mp4": "A dog", "b.mp4": "", "still.png": "Snow"}
    put(root, "prompt.txt", text="A dog\nSnow\n")
    with pytest.raises(
        ValueError, match=r"videos.txt has 3 lines, .*prompt.txt has 2; needed a caption for each"
    ):
        read_finetrainers(root)
    put(root, "captions.txt")
    with pytest.raises(
        ValueError, match=r"holds videos.txt, prompt.txt, captions.txt; needed one list of clips"
    ):
        read_finetrainers(root)


def config_of(root, *datasets):
    (root / "training.json").write_text(json.dumps({"datasets": datasets}))
    return root / "training.json"


def test_finetrainers_config_names_roots_tokens_columns_and_buckets(root):
    put(root, "clips/a.txt", text="A dog")
    put(root, "listed/metadata.csv", text="film,words,text\n../still.png,Snow,other\n")
    config = config_of(
        root,
        {"data_root": "clips", "dataset_type": "video", "id_token": "TOK",
         "video_resolution_buckets": [[49, 480, 832], [82, 512, 768]], "reshape_mode": "bicubic"},
        {"data_root": str(root / "listed"), "image_resolution_buckets": [[512, 512]],
         "rename_columns": {"film": "image", "words": "caption"}, "drop_columns": ["text"]},
        {"data_root": "clips", "video_resolution_buckets": [[49, 480, 832]]},
    )  # fmt: skip
    reading = read_finetrainers(config)
    assert {name: row.caption for name, row in by_name(reading).items()} == {
        "a.mp4": "TOK A dog", "b.mp4": "", "still.png": "Snow",
    }  # fmt: skip
    assert reading.settings == {"encode": {"frames": (49, 81), "pixels": 832 * 480}}
    assert reading.ignored == [
        "clips: 2 clips are in an earlier data set too; they are taken once",
        "training.json: keys without meaning here: dataset_type, reshape_mode",
        "training.json: 82 frames are read as 81; needed 4n + 1",
        "training.json: of the areas 262144, 393216, 399360 in pixels the largest is taken",
    ]


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        ({"data_rot": "clips"}, r"item 1: data_rot is not known; did you mean data_root\?"),
        ({"data_root": 3}, "item 1: data_root is 3; needed a text"),
        ({"data_root": "clips", "dataset_file": "x"}, "needed one of data_root and dataset_file"),
        ({"data_root": "user/hub-set"}, "item 1: there is no .*user/hub-set"),
        (
            {"data_root": "clips", "video_resolution_buckets": [[480, 832]]},
            "a bucket is .*; needed 3 numbers",
        ),
        ({"data_root": "clips", "video_resolution_buckets": [[49, 480, 0]]}, "a length or side is 0"),
        ("clips", "item 1 is 'clips'; needed a table"),
    ],
)
def test_a_wrong_config_of_finetrainers_is_refused(root, dataset, says):
    with pytest.raises(ValueError, match=says):
        read_finetrainers(config_of(root, dataset))


def test_fastvideo_paths_are_relative_to_videos_or_to_the_list(root):
    put(root, "videos/d.mp4")
    rows = [{"path": "d.mp4", "cap": "Snow", "resolution": {"width": 8}}, {"path": "still.png", "cap": ["A"]},
            {"path": "e.mp4", "cap": []}]  # fmt: skip
    (root / "videos2caption.json").write_text(json.dumps(rows))
    reading = read_fastvideo(root)
    found = {name: (row.status, row.caption) for name, row in by_name(reading).items()}
    assert found == {"d.mp4": ("ok", "Snow"), "still.png": ("ok", "A"), "e.mp4": ("refused", "")}
    assert by_name(reading)["e.mp4"].detail == str(root / "videos" / "e.mp4")
    assert reading.ignored == ["videos2caption.json: columns without meaning here: resolution"]
    (root / "videos2caption.json").write_text(json.dumps({"d.mp4": "by name", "still.png": ["A"]}))
    assert by_name(read_fastvideo(root))["d.mp4"].caption == "by name"


def test_a_merge_file_of_fastvideo_names_folder_and_list(root):
    put(root, "merge.txt", text="clips,own.json\n")
    (root / "own.json").write_text('[{"path": "a.mp4", "cap": "A"}]')
    assert by_name(read_fastvideo(root / "merge.txt"))["a.mp4"].caption == "A"
    put(root, "merge.txt", text="clips\n")
    with pytest.raises(ValueError, match=r"merge.txt, line 1: is 'clips'; needed FOLDER,FILE"):
        read_fastvideo(root / "merge.txt")
    put(root, "merge.txt", text="clips,gone.json\n")
    with pytest.raises(ValueError, match=r"line 1: there is no .*gone.json"):
        read_fastvideo(root / "merge.txt")
