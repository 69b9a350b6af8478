"""Outputs as they are declared, folders that look like ours, and copies into a ComfyUI."""

import argparse
import os
from fractions import Fraction
from pathlib import Path

import av
import pytest
import refvid_films as films
import torch
from PIL import Image

from refvid import cli, media
from refvid.cli import comfyui_files
from refvid.cli.long import _made_by
from refvid.cli.outputs import add_output, check_outputs
from refvid.core.checkpoint import write_tensors
from refvid.core.files import MARK, claim, release
from refvid.evidence import showcase
from refvid.hosts.plain import long_video as plain_long_video
from refvid.media import outputs

FRAMES = films.pictures(6)
VIDEO = torch.from_numpy(FRAMES).movedim(-1, 0).float() / 127.5 - 1


def test_folders_and_their_files_are_told_apart_from_neither_side(tmp_path):
    media.write_picture(tmp_path / "frames" / "1.png", torch.zeros(4, 4, 3))
    for path, read in (
        (tmp_path / "frames" / "1.png", tmp_path / "frames"),
        (tmp_path / "frames", tmp_path / "frames" / "1.png"),
    ):
        with pytest.raises(ValueError, match="would take the place of"):
            media.require_other(path, [read], "--out")


@pytest.mark.parametrize("mark", [None, '{"kind": "parts of a long video", "made_by": ""}'])
def test_numbered_pictures_without_a_mark_are_somebodys(tmp_path, mark):
    (tmp_path / "shot").mkdir()
    (tmp_path / "shot" / "00001.png").write_bytes(b"theirs")
    if mark:
        (tmp_path / "shot" / MARK).write_text(mark)
    with pytest.raises(ValueError, match="no frame of refvid's"):
        media.check_output(tmp_path / "shot", media.FILM, [], "--out")
    with pytest.raises(OSError, match="no frame of refvid's"):
        media.write_video(tmp_path / "shot", VIDEO, 8)
    assert (tmp_path / "shot" / "00001.png").read_bytes() == b"theirs"


@pytest.mark.parametrize("name", ["X.MP4", "x.Gif"])
def test_endings_may_be_in_capitals(tmp_path, name):
    media.check_output(tmp_path / name, media.FILM, [], "--out")
    media.write_video(tmp_path / name, VIDEO, 8)
    assert (tmp_path / name).is_file()


def test_a_pipe_is_no_place_for_a_film(tmp_path):
    os.mkfifo(tmp_path / "x.mp4")
    with pytest.raises(ValueError, match="neither a file nor free"):
        media.check_output(tmp_path / "x.mp4", media.FILM, [], "--out")


def test_what_was_made_goes_to_the_next_place_that_takes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs.tempfile, "gettempdir", lambda: str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))

    def write(path):
        if path == tmp_path / "x":
            raise OSError("full")
        path.write_text("made")

    with pytest.raises(OSError, match=f"is kept in {tmp_path}"):
        media.written(tmp_path / "x", write)

    def never(path):
        raise OSError("full")

    with pytest.raises(OSError, match=r"^full"):
        media.written(tmp_path / "x", never)


def test_two_outputs_of_one_name_are_refused(tmp_path, capsys, monkeypatch):
    films.write(tmp_path / "f.mp4", FRAMES, pixels="yuv420p")
    parser = argparse.ArgumentParser()
    add_output(parser, "--out", "PICTURE")
    add_output(parser, "--routing", "PICTURE")
    (tmp_path / "x.png").write_bytes(b"")
    options = parser.parse_args(["--out", str(tmp_path / "x.png"), "--routing", str(tmp_path / "x.png")])
    with pytest.raises(ValueError, match=r"--routing: .* would take the place of"):
        check_outputs(options)


@pytest.mark.parametrize("prompt", ["a\0b", "a toy " * 200, "film.mp4@x"])
def test_a_prompt_is_no_file_whatever_is_in_it(tmp_path, prompt):
    parser = argparse.ArgumentParser()
    add_output(parser, "--out", "FILM")
    parser.add_argument("--prompt")
    check_outputs(parser.parse_args(["--out", str(tmp_path / "x.mp4"), "--prompt", prompt]))


def test_a_file_with_an_at_in_its_name_is_recognised(tmp_path):
    file = films.write(tmp_path / "me@home.mp4", FRAMES, pixels="yuv420p")
    parser = argparse.ArgumentParser()
    add_output(parser, "--out", "FILM")
    parser.add_argument("--given")
    with pytest.raises(ValueError, match="would take the place of"):
        check_outputs(parser.parse_args(["--out", str(file), "--given", f"{file}@0"]))


@pytest.mark.parametrize("shipped", ["models", "samples"])
def test_what_is_shipped_is_never_written_over(shipped):
    for file in (Path(cli.__file__).parents[1] / "demo" / shipped).rglob(
        "*.png" if shipped == "samples" else "*.safetensors"
    ):
        parser = argparse.ArgumentParser()
        add_output(parser, "--out", "PICTURE" if shipped == "samples" else "TENSORS")
        with pytest.raises(ValueError, match="would take the place of"):
            check_outputs(parser.parse_args(["--out", str(file)]))


def test_comfyui_files_are_copied_whole_or_not_at_all(tmp_path, monkeypatch):
    def half(source, target):
        Path(target).write_bytes(b"half")
        raise OSError(28, "full")

    monkeypatch.setattr(comfyui_files.shutil, "copy2", half)
    with pytest.raises(SystemExit):
        cli.main(["comfyui-files", "--dest", str(tmp_path)])
    assert not [one for one in tmp_path.rglob("*") if one.is_file()]


def test_files_are_compared_by_what_they_hold(tmp_path):
    cli.main(["comfyui-files", "--dest", str(tmp_path)])
    file = tmp_path / "input" / showcase.SAMPLE_PICTURE.name
    stat = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(SystemExit, match="2"):
        cli.main(["comfyui-files", "--dest", str(tmp_path)])


def test_every_shipped_model_is_copied(tmp_path):
    cli.main(["comfyui-files", "--dest", str(tmp_path)])
    shipped = {one.name for one in (Path(cli.__file__).parents[1] / "demo" / "models").rglob("*.safetensors")}
    assert shipped <= {one.name for one in tmp_path.rglob("*.safetensors")}


def test_a_long_video_is_made_by_all_that_decides_it(tmp_path):
    (tmp_path / "a.png").write_bytes(b"1")

    def said(**more):
        return _made_by(
            argparse.Namespace(
                **{
                    "run": 1,
                    "out": "a",
                    "outputs": 1,
                    "device": "cpu",
                    "fps": 8,
                    "seed": 0,
                    "dit": tmp_path / "a.png",
                    "reference": [str(tmp_path / "a.png")],
                    **more,
                }
            )
        )

    first = said()
    assert said(out="b", fps=9, device="cuda") == first != said(seed=1)
    (tmp_path / "a.png").write_bytes(b"2")
    os.utime(tmp_path / "a.png", ns=(5, 5))
    assert said() != first
    assert said(dit=None) != said(dit=None, reference=[])
    second = said(dit=None)
    os.utime(tmp_path / "a.png", ns=(6, 6))
    assert said(dit=None) != second


def test_a_part_without_pictures_is_made_again(tmp_path, caplog):
    parts = plain_long_video.FinishedParts(tmp_path / "x.parts", "a run")
    parts.kept("keys", lambda: torch.ones(1, 2, 2, 3))
    write_tensors({"other": torch.zeros(1)}, tmp_path / "x.parts" / "keys.safetensors", {})
    assert parts.kept("keys", lambda: torch.ones(1, 2, 2, 3)).min() == 1 and "made again" in caplog.text


def test_a_folder_of_parts_is_marked_before_the_first_is_made(tmp_path):
    parts = plain_long_video.FinishedParts(tmp_path / "x.parts", "a run")

    def make():
        assert (tmp_path / "x.parts" / MARK).exists()
        return torch.zeros(1, 2, 2, 3)

    parts.kept("keys", make)


def test_what_looks_like_a_part_and_is_none_stays(tmp_path):
    parts = plain_long_video.FinishedParts(tmp_path / "x.parts", "a run")
    with parts.kept_on_failure():
        parts.kept("keys", lambda: torch.zeros(1, 2, 2, 3))
        for name in ("lora.safetensors", "segment-000-mine.safetensors"):
            (tmp_path / "x.parts" / name).write_bytes(b"mine")
    assert len(list((tmp_path / "x.parts").iterdir())) == 2


def test_a_folder_keeps_its_mark_until_all_else_is_gone(tmp_path, monkeypatch):
    claim(tmp_path / "r", "runs", "x", "--out")
    (tmp_path / "r" / "a").mkdir()
    with pytest.raises((IsADirectoryError, PermissionError)):
        release(tmp_path / "r", ["a"])
    assert (tmp_path / "r" / MARK).exists()


def test_an_animation_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    for ending in ("gif", "webp"):
        (tmp_path / f"x.{ending}").write_bytes(b"older")

        def half(path, data, write=Path.write_bytes):
            write(path, data[: len(data) // 2])
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", half)
            with pytest.raises(KeyboardInterrupt):
                media.write_video(tmp_path / f"x.{ending}", VIDEO, 8)
        assert [file.name for file in tmp_path.glob(f"*.{ending}*")] == [f"x.{ending}"]
        assert (tmp_path / f"x.{ending}").read_bytes() == b"older"


def test_an_animation_loops_and_no_picture_lasts_nothing(tmp_path):
    media.write_video(tmp_path / "x.gif", VIDEO, 200)
    with Image.open(tmp_path / "x.gif") as image:
        assert image.info["loop"] == 0 and image.info["duration"] >= 10


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_a_film_is_tagged_and_has_its_rate(tmp_path, ending):
    media.write_video(tmp_path / f"x{ending}", VIDEO, Fraction(25, 2))
    with av.open(str(tmp_path / f"x{ending}")) as film:
        stream = film.streams.video[0]
        assert stream.codec_context.pix_fmt == "yuv420p" and stream.average_rate == Fraction(25, 2)
    assert films.tags(tmp_path / f"x{ending}") == (1, 1, 13, 1)


def test_a_part_is_kept_in_steps_of_255(tmp_path):
    parts = plain_long_video.FinishedParts(tmp_path / "x.parts", "a run")
    made = torch.linspace(0, 1, 12).view(1, 2, 2, 3)
    assert (parts.kept("keys", lambda: made) - made).abs().max() <= 0.5 / 255 + 1e-6
    assert parts.kept("segment-000", lambda: torch.ones(1, 2, 2, 3)).max() == 1


def test_a_place_that_is_no_folder_takes_no_files(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["comfyui-files", "--dest", str(tmp_path / "none")])
    assert "is not a folder" in capsys.readouterr().err


def test_comfyui_files_leaves_what_is_another_file_and_takes_what_is_there(tmp_path, capsys):
    copy = ("comfyui-files", "--dest", tmp_path)
    cli.main([str(one) for one in copy])
    cli.main([str(one) for one in copy])  # all of it is there
    changed = tmp_path / "input" / showcase.SAMPLE_PICTURE.name
    changed.write_bytes(b"painted over")
    (tmp_path / "input" / showcase.SECOND.name).unlink()
    with pytest.raises(SystemExit, match="2"):
        cli.main([str(one) for one in copy])
    assert "refvid_toy.png is there and is another file" in capsys.readouterr().err
    assert (
        changed.read_bytes() == b"painted over" and not (tmp_path / "input" / showcase.SECOND.name).exists()
    )
    cli.main([str(one) for one in (*copy, "--replace")])
    assert changed.read_bytes() == showcase.SAMPLE_PICTURE.read_bytes()
