"""Files that are whole or not there, folders that are ours only by their mark."""

import errno
import json
import os

import pytest
import torch
from safetensors import SafetensorError

from refvid.core import checkpoint, files
from refvid.core.checkpoint import read_safetensors, write_tensors
from refvid.core.files import MARK, claim, is_ours, read_mark, release, replacing, write_text

KIND, MADE_BY, WHAT = "runs", "this", "--out"


def names(folder) -> list[str]:
    return sorted(file.name for file in folder.rglob("*"))


def test_a_file_takes_its_place_when_the_block_ends_and_not_before(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with replacing(path) as partial:
        partial.write_text("whole")
        assert not path.exists() and partial.parent == path.parent
    assert path.read_text() == "whole" and names(path.parent) == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_where_the_block_fails_the_file_is_as_it_was_and_nothing_lies_beside_it(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("before")

    def write_half() -> None:
        with replacing(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "before" and names(tmp_path) == ["file.txt"]


def test_a_block_that_writes_nothing_takes_no_place(tmp_path):
    (tmp_path / "file.txt").write_text("before")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file.txt"):
        pass
    assert (tmp_path / "file.txt").read_text() == "before"


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    path, seen, flush = tmp_path / "file.txt", [], os.fsync

    def note(handle):
        seen.append((os.fstat(handle).st_ino, path.exists()))
        flush(handle)

    monkeypatch.setattr(os, "fsync", note)
    write_text(path, "whole")
    assert seen == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


def test_a_disk_that_does_not_take_the_bytes_leaves_the_old_file(tmp_path, monkeypatch):
    write_text(tmp_path / "file.txt", "before")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "file.txt", "after")
    assert (tmp_path / "file.txt").read_text() == "before" and names(tmp_path) == ["file.txt"]


def test_a_file_system_that_flushes_no_folders_is_no_failure(tmp_path, monkeypatch):
    flush = os.fsync

    def files_only(handle):
        if os.fstat(handle).st_ino == tmp_path.stat().st_ino:
            raise OSError(errno.EINVAL, "Invalid argument")
        flush(handle)

    monkeypatch.setattr(os, "fsync", files_only)
    write_text(tmp_path / "file.txt", "whole")
    assert (tmp_path / "file.txt").read_text() == "whole"


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "target.txt").write_text("before")
    (tmp_path / "link.txt").symlink_to(tmp_path / "target.txt")
    write_text(tmp_path / "link.txt", "after")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "target.txt").read_text() == "after"


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, "参" * 85, "🧸" * 63])
def test_the_longest_names_can_be_written(tmp_path, name):
    write_text(tmp_path / name, "grüße")
    assert (tmp_path / name).read_bytes() == "grüße".encode()


def test_tensors_that_cannot_be_written_leave_the_old_file_and_say_which(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    write_tensors({"a": torch.ones(3)}, path, {"said": "before"})

    def full(tensors, partial, metadata):
        partial.write_bytes(b"half")
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match=r"model.safetensors could not be written \(No space"):
        write_tensors({"a": torch.zeros(3)}, path, {})
    held, said = read_safetensors(path, "file")
    assert torch.equal(held["a"], torch.ones(3)) and said == {"said": "before"}
    assert names(tmp_path) == ["model.safetensors"]


# ---- folders


@pytest.mark.parametrize("there", [False, True])
def test_a_new_or_empty_folder_becomes_ours_and_stays_it(tmp_path, there):
    folder = tmp_path / "runs"
    if there:
        folder.mkdir()
    assert not is_ours(folder, KIND, MADE_BY, WHAT) and folder.exists() == there, "asking changes nothing"
    assert not claim(folder, KIND, MADE_BY, WHAT)
    assert read_mark(folder) == {"kind": KIND, "made_by": MADE_BY}
    (folder / "result.txt").write_text("ours")
    assert claim(folder, KIND, MADE_BY, WHAT) and is_ours(folder, KIND, MADE_BY, WHAT)


@pytest.mark.parametrize("mark", [None, "", '{"kind": "ru', "[]", "3"])
def test_a_folder_that_holds_anything_without_a_whole_mark_is_somebodys(tmp_path, mark):
    (tmp_path / "photo.jpg").write_bytes(b"theirs")
    if mark is not None:
        (tmp_path / MARK).write_text(mark)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=rf"--out: {tmp_path} holds files and no mark that they are runs"):
        claim(tmp_path, KIND, MADE_BY, WHAT)
    assert before == {file.name: file.read_bytes() for file in tmp_path.iterdir()}


@pytest.mark.parametrize("left", [MARK, f".{MARK}-0123abcd{files.PARTIAL}"])
def test_a_mark_that_was_cut_short_alone_does_not_lock_its_folder(tmp_path, left):
    (tmp_path / left).write_text('{"kind": "ru')
    assert not claim(tmp_path, KIND, MADE_BY, WHAT) and claim(tmp_path, KIND, MADE_BY, WHAT)


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ({"kind": "parts", "made_by": MADE_BY}, "holds parts, not runs"),
        ({"kind": KIND, "made_by": "that"}, "holds runs made otherwise"),
        ({"kind": KIND}, "holds runs made otherwise"),
        ({}, "holds None, not runs"),
    ],
)
def test_a_folder_of_another_kind_or_make_is_refused(tmp_path, mark, said):
    (tmp_path / MARK).write_text(json.dumps(mark))
    with pytest.raises(ValueError, match=said):
        claim(tmp_path, KIND, MADE_BY, WHAT)
    assert json.loads((tmp_path / MARK).read_text()) == mark


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "runs").write_text("theirs")
    with pytest.raises(ValueError, match="runs is a file; needed a folder for runs"):
        claim(tmp_path / "runs", KIND, MADE_BY, WHAT)


def test_released_a_folder_is_gone_but_not_what_somebody_put_there(tmp_path):
    for name in ("ours", "shared"):
        claim(tmp_path / name, KIND, MADE_BY, WHAT)
        (tmp_path / name / "part.txt").write_text("ours")
    (tmp_path / "shared" / "note.txt").write_text("theirs")
    for name in ("ours", "shared"):
        release(tmp_path / name, ["part.txt", "never-made.txt"])
    assert names(tmp_path) == ["note.txt", "shared"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_new_file_may_be_read_as_others_may_and_an_old_one_as_it_could(tmp_path):
    plain, path = tmp_path / "plain", tmp_path / "x.safetensors"
    plain.touch()
    write_tensors({"a": torch.zeros(2)}, path, {})
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o640)
    write_tensors({"a": torch.ones(2)}, path, {})
    assert path.stat().st_mode & 0o777 == 0o640
