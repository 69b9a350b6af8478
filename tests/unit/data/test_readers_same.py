"""One set of clips in the layouts of many tools: one index, byte for byte."""

import csv
import json
import shutil

import pytest
import refvid_footage as footage
from refvid_layouts import index_of, jsonl, put

from refvid.data.index import read_index
from refvid.data.readers import READERS

CAPTIONS = {
    "a face.mp4": 'Ein Mann telefoniert 🚗, "im Auto".\nEr lacht.',
    "b.mp4": "一辆白色货车驶过。",
    "c.mp4": "",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Real films in `videos`, with captions beside them, and the lists of other tools beside that."""
    root = tmp_path_factory.mktemp("tools")
    videos = put(root, "videos/c.mp4") / "videos"
    shutil.copy(footage.carphone(), videos / "a face.mp4")
    shutil.copy(footage.carphone("distorted"), videos / "b.mp4")
    for name, text in CAPTIONS.items():
        (videos / name).with_suffix(".txt").write_bytes(text.replace("\n", "\r\n").encode("utf-8"))
    put(
        root,
        "musubi.toml",
        text='[general]\nresolution = [960, 544]\n[[datasets]]\nvideo_directory = "videos"\n',
    )
    put(root, "pipe.toml", text="resolutions = [512]\n[[directory]]\npath = 'videos'\n")
    with (root / "metadata.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerows(
            [["video", "prompt"], *((f"videos/{name}", text) for name, text in CAPTIONS.items())]
        )
    rows = [{"file_name": f"videos/{name}", "caption": text} for name, text in CAPTIONS.items()]
    jsonl(root / "clips.jsonl", rows)
    jsonl(root / "musubi.jsonl", [{"video_path": str(root / row["file_name"]), **row} for row in rows])
    put(root, "lines.toml", text='[[datasets]]\nvideo_jsonl_file = "musubi.jsonl"\n')
    (root / "clips.json").write_text(json.dumps({"data": rows}))
    (root / "finetrainers.json").write_text(json.dumps({"datasets": [{"data_root": "videos"}]}))
    fastvideo = [{"path": name, "cap": [text], "fps": 25.0} for name, text in CAPTIONS.items()]
    (root / "videos2caption.json").write_text(json.dumps(fastvideo))
    put(root, "merge.txt", text=f"{root}/videos,{root}/videos2caption.json\n")
    return root


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("musubi", "musubi.toml"),
        ("musubi", "lines.toml"),
        ("diffusion-pipe", "pipe.toml"),
        ("diffsynth", "metadata.csv"),
        ("diffsynth", "."),
        ("diffsynth", "clips.jsonl"),
        ("finetrainers", "clips.json"),
        ("finetrainers", "finetrainers.json"),
        ("finetrainers", "videos"),
        ("fastvideo", "videos2caption.json"),
        ("fastvideo", "merge.txt"),
        ("fastvideo", "."),
    ],
)
def test_the_same_films_give_the_same_index(root, tmp_path, layout, name):
    as_they_lie = index_of(READERS["folder"](root / "videos"), tmp_path / "folder.jsonl")
    assert index_of(READERS[layout](root / name), tmp_path / "other.jsonl") == as_they_lie
    captions = {clip.path.split("/")[-1]: clip.caption for clip in read_index(tmp_path / "other.jsonl")}
    assert captions == CAPTIONS


def test_a_root_read_as_a_folder_reads_its_lists_too_and_takes_each_clip_once(root, tmp_path):
    reading = READERS["folder"](root)
    clips = [clip for clip in reading.clips if clip.ok]
    assert {clip.path.split("/")[-1]: clip.caption for clip in clips} == CAPTIONS and len(clips) == 3
