"""Accidents: two who write at once, folders that change while work is done, numbers that make no film, early
interrupts."""

import argparse
import builtins
import importlib
from pathlib import Path

import pytest
import refvid_films as films
import torch

from refvid import cli, media
from refvid.cli.long import _made_by
from refvid.core.files import replacing
from refvid.media import outputs

VIDEO = torch.from_numpy(films.pictures(6)).movedim(-1, 0).float() / 127.5 - 1


def test_two_who_write_at_once_do_not_meet(tmp_path):
    first, second = (tmp_path / f"{'a long prompt ' * 9}{number}.txt" for number in (1, 2))
    with replacing(first) as one, replacing(second) as two, replacing(first) as again:
        assert len({one, two, again}) == 3
        for path in (one, two, again):
            path.write_text(path.name)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([first.name, second.name])


def test_what_is_made_is_kept_where_a_folder_became_somebodys(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs.tempfile, "gettempdir", lambda: str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "notes.txt").write_text("mine")
    with pytest.raises(OSError, match=r"notes\.txt.* is kept in .*/elsewhere/refvid-\w+/made$"):
        media.write_video(tmp_path / "made", VIDEO, 8)
    assert len(list(tmp_path.glob("elsewhere/*/made/*.png"))) == 6


def test_where_a_film_was_kept_is_said_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs.tempfile, "gettempdir", lambda: str(tmp_path))
    with pytest.raises(OSError, match="is kept in") as refused:
        media.write_video(tmp_path / "x.mp4", VIDEO[..., :-1], 8)
    assert Path(str(refused.value).rpartition("is kept in ")[2]).is_dir()


def test_frames_of_a_clip_are_not_joined_by_a_report(tmp_path):
    (tmp_path / "clip").mkdir()
    with pytest.raises(ValueError, match="would take the place of"):
        media.require_other(tmp_path / "clip" / "score.png", [tmp_path / "clip"], "--out")


def test_a_link_to_itself_is_no_place(tmp_path):
    (tmp_path / "x.png").symlink_to(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"x\.png cannot be written"):
        media.check_output(tmp_path / "x.png", media.PICTURE, [], "--out")


def test_parts_are_made_by_folders_and_loras_too(tmp_path):
    (tmp_path / "keys").mkdir()
    lora = tmp_path / "x.safetensors"
    for file in (tmp_path / "keys" / "1.png", lora):
        file.write_bytes(b"1")
    options = argparse.Namespace(run=1, from_=str(tmp_path / "keys"), lora=[f"{lora}@0.9"])
    for file in (tmp_path / "keys" / "1.png", lora):
        before = _made_by(options)
        file.write_bytes(b"22")
        assert _made_by(options) != before


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (("--shift", "0"), "shift is 0"),
        (("--shift", "inf"), "--shift is inf"),
        (("--width", "1000000"), "--width is 1000000; needed a whole number, 1 to 8192"),
        (("--fps", "0"), "--fps is 0; needed"),
        (("--negative", "\udcff\udcfe"), "is no text in UTF-8"),
        (("--seed", str(2**64)), "--seed is 18446744073709551616; needed a whole number"),
    ],
)
def test_numbers_that_make_no_film_are_refused(tmp_path, capsys, said, says):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["generate", "--prompt", "a toy", "--out", str(tmp_path / "x.mp4"), *said])
    assert says in capsys.readouterr().err


def test_a_long_video_is_not_made_where_its_parts_are(tmp_path, capsys):
    (tmp_path / "q.parts").mkdir()
    with pytest.raises(SystemExit, match="2"):
        cli.main(["long", "--prompt", "a toy", "--out", str(tmp_path / "q.parts")])
    assert "is where parts are kept" in capsys.readouterr().err


def test_an_interrupt_while_the_command_is_imported_is_one_line(monkeypatch, capsys):
    begin = importlib.import_module("refvid.__main__")

    def interrupted(name, *more):
        if "cli" in name:
            raise KeyboardInterrupt
        return real(name, *more)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", interrupted)
    with pytest.raises(SystemExit, match="130"):
        begin.main()
    assert capsys.readouterr().err == "refvid: interrupted\n"
