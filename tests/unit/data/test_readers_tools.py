"""Data sets of musubi-tuner and diffusion-pipe: folders, edits, settings, keys that mean nothing here or are
wrong."""

import json

import pytest
from refvid_layouts import by_name, jsonl, put, told

from refvid.data.readers.diffusion_pipe import read_diffusion_pipe
from refvid.data.readers.musubi import read_musubi
from refvid.data.settings import filled
from refvid.data.stages.encode import Encode

VIDEOS = '[[datasets]]\nvideo_directory = "videos"\n'
CLIPS = '[[directory]]\npath = "videos"\n'


@pytest.fixture
def root(tmp_path):
    put(tmp_path, "videos/a.mp4", "videos/b.mp4", "stills/c.png", "stills/d.mp4")
    put(tmp_path, "videos/a.txt", "stills/c.txt", text="Make it snow")
    put(tmp_path, "videos/b.cap", text="Another")
    return tmp_path


def musubi(root, text):
    put(root, "musubi.toml", text=text)
    return read_musubi(root / "musubi.toml")


def pipe(root, text):
    put(root, "pipe.toml", text=text)
    return read_diffusion_pipe(root / "pipe.toml")


def test_musubi_reads_films_or_pictures_of_a_folder_flat_with_its_own_caption_ending(root):
    put(root, "videos/c.png", "videos/deeper/e.mp4", "videos/a_wan.safetensors")
    text = '[general]\ncaption_extension = ".cap"\n' + VIDEOS
    text += "num_repeats = 3\n[[datasets]]\nimage_directory = 'stills'\ncaption_extension = '.txt'\n"
    reading = musubi(root, text)
    rows = by_name(reading)
    assert {name: (row.caption, row.repeats, row.set) for name, row in rows.items()} == {
        "a.mp4": ("", 3, "videos"), "b.mp4": ("Another", 3, "videos"), "c.png": ("Make it snow", 1, "stills"),
    }  # fmt: skip
    assert reading.settings == {}
    assert reading.ignored == [
        f"{root / 'videos'}: folders in it are not read: deeper",
        "videos: files of no known kind: 1 .png, 1 .safetensors, 1 .txt",
        "stills: files of no known kind: 1 .mp4",
    ]


def test_musubi_settings_are_those_of_encode(root):
    text = "[general]\nresolution = [960, 544]\nbatch_size = 2\n" + VIDEOS
    text += 'target_frames = [1, 25, 46]\nframe_extraction = "slide"\nframe_stride = 8\nframe_sample = 2\n'
    text += "source_fps = 30\n[[datasets]]\nvideo_directory = 'videos'\nframe_extraction = 'full'\n"
    text += "max_frames = 60\nresolution = 512\ncache_directory = 'cache'\n"
    reading = musubi(root, text)
    assert reading.settings == {
        "encode": {"frames": (1, 25, 45, 57), "pixels": 960 * 544, "window": "slide", "step": 8},
        "scan": {"frames_fps": 30.0},
    }
    assert reading.ignored == [
        "videos: files of no known kind: 1 .cap",
        "videos: 2 clips are in an earlier data set too; they are taken once",
        "musubi.toml: keys without meaning here: batch_size, frame_sample, cache_directory",
        "musubi.toml: 46 frames are read as 45; needed 4n + 1",
        "musubi.toml: 60 frames are read as 57; needed 4n + 1",
        "musubi.toml: of the areas 262144, 522240 in pixels the largest is taken",
        "musubi.toml: windows are drawn as the first data set says: slide",
        "musubi.toml: source_fps is the rate of folders of frames; films say their own",
    ]
    options = filled(Encode.defaults, json.loads(json.dumps(reading.settings["encode"])), "encode")
    assert (options.frames, options.window, options.step) == ((1, 25, 45, 57), "slide", 8)
    rates = musubi(root, VIDEOS + "source_fps = 24\n" + VIDEOS + "source_fps = 12.5\n")
    assert rates.settings == {"scan": {"frames_fps": 24.0}} and rates.ignored[-1] == (
        "musubi.toml: source_fps is the rate of folders of frames, of 24.0, 12.5 the first; films say their own"
    )
    uniform = musubi(root, VIDEOS + "frame_extraction = 'uniform'\nframe_sample = 3\n")
    assert uniform.settings == {"encode": {"window": "uniform", "windows": 3}}


def test_controls_of_musubi_are_the_clips_before_an_edit_and_captions_its_instructions(root):
    put(root, "before/a.mov", "before/c_1.png", "before/c_0000.png", "before/c_x.png", "stills/e.png")
    put(root, "before/a.txt", text="A street")
    text = VIDEOS + "control_directory = 'before'\nnum_repeats = 2\n"
    text += "[[datasets]]\nimage_directory = 'stills'\ncontrol_directory = 'before'\n"
    rows = by_name(musubi(root, text))
    assert (rows["a.mp4"].instruction, rows["a.mp4"].caption, rows["a.mp4"].repeats) == (
        "Make it snow",
        "",
        2,
    )
    assert rows["a.mp4"].source == rows["a.mov"].id
    assert (rows["a.mov"].caption, rows["a.mov"].repeats, rows["a.mov"].set) == ("A street", 1, "before")
    assert rows["c.png"].source == rows["c_0000.png"].id
    assert rows["c.png"].reference == (root / "before" / "c_1.png").as_posix() and "c_1.png" not in rows
    assert told(rows["b.mp4"]) == told(rows["e.png"]) == ("refused", "no clip before the edit")


def test_lists_of_musubi_name_films_and_controls(root):
    rows = [
        {"video_path": "videos/a.mp4", "caption": "Make it snow", "control_path": "stills/d.mp4"},
        {"video_path": str(root / "videos" / "b.mp4"), "caption": "Plain"},
    ]
    jsonl(root / "lines.jsonl", rows)
    found = by_name(musubi(root, '[[datasets]]\nvideo_jsonl_file = "lines.jsonl"\nnum_repeats = 4\n'))
    assert (found["a.mp4"].source, found["a.mp4"].instruction) == (found["d.mp4"].id, "Make it snow")
    assert [found[name].caption for name in ("a.mp4", "b.mp4", "d.mp4")] == ["", "Plain", ""]
    assert [found[name].repeats for name in ("a.mp4", "b.mp4", "d.mp4")] == [4, 4, 1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            VIDEOS + "taget_frames = [25]",
            r"datasets\]\] 1: taget_frames is not known; did you mean target_frames\?",
        ),
        ("[general]\nresolutoin = 5\n" + VIDEOS, r"\[general\]: resolutoin is .* did you mean resolution\?"),
        ("[general]\nvideo_directory = 'videos'\n" + VIDEOS, r"\[general\]: video_directory is not known"),
        ("[[dataset]]\nvideo_directory = 'videos'", r"dataset is not known; did you mean datasets\?"),
        (VIDEOS + "frame_extraction = 'chunks'", r"frame_extraction: chunks is .* did you mean chunk\?"),
        (VIDEOS + "num_repeats = 'two'", "num_repeats is 'two'; needed a whole number"),
        (VIDEOS + "num_repeats = 0", "num_repeats is 0; needed a whole number from 1"),
        (VIDEOS + "target_frames = [0]", "a length or side is 0"),
        (VIDEOS + "target_frames = [25.0]", "a length or side is 25.0"),
        (VIDEOS + "resolution = [1, 2, 3]", r"a size is \[1, 2, 3\]; needed a side, or width and height"),
        (VIDEOS + "image_directory = 'stills'", "names video_directory, image_directory; needed one of"),
        ("[[datasets]]\nnum_repeats = 1", "names no clips; needed one of video_directory"),
        ("[[datasets]]\nvideo_directory = 'gone'", "video_directory: there is no .*gone"),
        ("[general]\n", r"needed a table \[\[datasets\]\]"),
        ("general = 3\n" + VIDEOS, r"\[general\] is 3; needed a table"),
        ("datasets = [3]\n", r"\[\[datasets\]\] 1 is 3; needed a table"),
        ("video_directory = 'videos", "is not TOML in UTF-8"),
    ],
)
def test_a_wrong_toml_of_musubi_is_refused(root, text, says):
    with pytest.raises(ValueError, match=says) as refusal:
        musubi(root, text)
    assert "musubi.toml" in str(refusal.value)


def test_diffusion_pipe_reads_folders_flat_with_masks_prefix_and_repeats(root):
    put(root, "masks/a.png", "default.png", "videos/x.npz")
    text = "\ufeffcaption_prefix = 'TOK '\nnum_repeats = 2\nresolutions = [512, [960, 544]]\n"
    text += "enable_ar_bucket = true\nmin_ar = 0.5\nframe_buckets = [1, 33, 66]\nskip_empty_caption = false\n"
    text += CLIPS + "mask_path = 'masks'\ndefault_mask_file = 'default.png'\nnum_ar_buckets = 7\n"
    text += "[[directory]]\npath = 'stills'\nnum_repeats = 5\nresolutions = [256]\n"
    reading = pipe(root, text)
    rows = by_name(reading)
    assert {name: (row.caption, row.repeats) for name, row in rows.items()} == {
        "a.mp4": ("TOK Make it snow", 2), "b.mp4": ("", 2), "c.png": ("TOK Make it snow", 5), "d.mp4": ("", 5),
    }  # fmt: skip
    assert rows["a.mp4"].mask == (root / "masks" / "a.png").as_posix()
    assert rows["b.mp4"].mask == (root / "default.png").as_posix() and rows["d.mp4"].mask == ""
    assert reading.settings == {"encode": {"frames": (33, 65), "pixels": 960 * 544}}
    assert reading.ignored == [
        "videos: files of no known kind: 1 .cap, 1 .npz",
        "pipe.toml: keys without meaning here: enable_ar_bucket, min_ar, skip_empty_caption, num_ar_buckets",
        "pipe.toml: 66 frames are read as 65; needed 4n + 1",
        "pipe.toml: of the areas 65536, 262144, 522240 in pixels the largest is taken",
    ]


def test_captions_by_name_take_the_place_of_files_in_diffusion_pipe(root):
    (root / "videos" / "captions.json").write_text(
        json.dumps({"a.mp4": ["One", "Two"], "gone.mp4": ["Lost"]})
    )
    rows = by_name(pipe(root, CLIPS))
    assert {name: (row.status, row.caption) for name, row in rows.items()} == {
        "a.mp4": ("ok", "One"), "b.mp4": ("ok", ""), "gone.mp4": ("refused", "Lost"),
    }  # fmt: skip
    (root / "videos" / "captions.json").write_text("[]")
    with pytest.raises(ValueError, match=r"captions.json: needed an object"):
        pipe(root, CLIPS)


def test_size_buckets_and_controls_of_diffusion_pipe(root):
    put(root, "before/a.webm", "before/c.png")
    reading = pipe(
        root, "size_buckets = [[960, 544, 1], [512, 512, 33]]\n" + CLIPS + "control_path = 'before'\n"
    )
    rows = by_name(reading)
    assert reading.settings == {"encode": {"frames": (33,), "pixels": 960 * 544}}
    assert (rows["a.mp4"].source, rows["a.mp4"].instruction) == (rows["a.webm"].id, "Make it snow")
    assert told(rows["b.mp4"]) == ("refused", "no clip before the edit") and "c.png" not in rows


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("frame_bucket = [33]\n" + CLIPS, r"frame_bucket is not known; did you mean frame_buckets\?"),
        (CLIPS + "mask_pth = 'x'", r"directory\]\] 1: mask_pth is not known; did you mean mask_path\?"),
        (CLIPS + "subsample_ratio = 0.5", r"directory\]\] 1: subsample_ratio is not known"),
        ("[[directory]]\nnum_repeats = 1", "has no path"),
        ("resolutions = [512]", r"holds no \[\[directory\]\]"),
        (CLIPS + "num_repeats = 0", "num_repeats is 0"),
        (CLIPS + "mask_path = 'gone'", "mask_path: there is no .*gone"),
        ("directory = ['videos']", r"\[\[directory\]\] 1 is 'videos'; needed a table"),
        ("size_buckets = [33]\n" + CLIPS, r"size_buckets holds 33; needed \[width, height, frames\]"),
        ("resolutions = ['512']\n" + CLIPS, "a length or side is '512'"),
    ],
)
def test_a_wrong_toml_of_diffusion_pipe_is_refused(root, text, says):
    with pytest.raises(ValueError, match=says) as refusal:
        pipe(root, text)
    assert "pipe.toml" in str(refusal.value)


def test_paths_of_a_toml_are_found_from_the_working_directory_too(root, tmp_path, monkeypatch):
    put(tmp_path, "elsewhere/musubi.toml", text=VIDEOS)
    with pytest.raises(ValueError, match=r"there is no .*elsewhere/videos and no .*/videos"):
        read_musubi(tmp_path / "elsewhere" / "musubi.toml")
    monkeypatch.chdir(root)
    assert len(read_musubi(tmp_path / "elsewhere" / "musubi.toml").clips) == 2
