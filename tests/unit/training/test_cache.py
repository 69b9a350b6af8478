"""Encoded clips, kept in files and found again: made once, made anew where cut short, somebody's files
refused."""

import logging
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from refvid.training.engine import cache
from refvid.training.engine.cache import MADE_BY, PART, Rows, cached_rows


def held(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@dataclass(frozen=True)
class Numbers(Rows):
    """Two numbers a clip."""

    value: Tensor
    other: Tensor


def cached(folder: Path, count: int = 2 * PART, made_by: str = "this") -> tuple[Numbers, list[int]]:
    """The rows, and which parts were made for them."""
    made: list[int] = []

    def encode(part: int) -> Numbers:
        made.append(part)
        value = torch.arange(PART) + PART * part
        return Numbers(value, -value)

    rows = cached_rows(Numbers, folder, "toy", count, made_by, encode)
    assert torch.equal(rows.value, torch.arange(count)) and torch.equal(rows.other, -rows.value)
    return rows, made


SHARD = "latents-toy-000.safetensors"


def test_a_file_of_clips_cut_short_anywhere_is_made_again_and_said(tmp_path, caplog):
    assert cached(tmp_path)[1] == [0, 1] and cached(tmp_path)[1] == []
    whole = (tmp_path / SHARD).read_bytes()
    for size in (0, 9, 20, len(cache.OURS) + 8, 60, 120, len(whole) // 2, len(whole) - 1):
        caplog.clear()
        (tmp_path / SHARD).write_bytes(whole[:size])
        assert cached(tmp_path)[1] == [0, 1] and (tmp_path / SHARD).read_bytes() == whole
        (said,) = warnings(caplog)
        assert SHARD in said and said.endswith("encoded again")


def test_clips_made_by_something_else_are_made_again(tmp_path, caplog):
    cached(tmp_path)
    assert cached(tmp_path, made_by="that")[1] == [0, 1] and cached(tmp_path, count=PART)[1] == [0]
    save_file({"value": torch.zeros(PART)}, tmp_path / SHARD, {MADE_BY: f"this {PART}"})  # before `other` was
    assert cached(tmp_path, count=PART)[1] == [0] and not warnings(caplog)


@pytest.mark.parametrize("theirs", ["plain", "other", "picture", "text", "short"])
def test_somebodys_file_is_refused_by_name_before_any_clip_is_made(tmp_path, monkeypatch, theirs):
    monkeypatch.setattr(cache, "SHARD", PART)
    path = tmp_path / "latents-toy-001.safetensors"
    if theirs in ("plain", "other"):
        said = {"plain": None, "other": {"format": "pt", "about": f'"{MADE_BY}"'}}[theirs]
        save_file({"value": torch.zeros(PART), "other": torch.zeros(PART)}, path, said)
    else:
        path.write_bytes(
            {"picture": b"\x89PNG" + bytes(99), "text": b"a note of mine, " * 9, "short": b"a note"}[theirs]
        )
    before = held(tmp_path)
    made: list[int] = []
    with pytest.raises(ValueError, match=f"{path.name} is no file of encoded clips"):
        cached_rows(
            Numbers,
            tmp_path,
            "toy",
            2 * PART,
            "this",
            lambda part: made.append(part) or Numbers(torch.zeros(1), torch.zeros(1)),
        )
    assert held(tmp_path) == before and not made


def test_clips_that_cannot_be_written_leave_those_before(tmp_path, monkeypatch):
    cached(tmp_path)
    before = held(tmp_path)

    def full(*_: object):
        raise OSError("No space left on device")

    monkeypatch.setattr(cache, "write_tensors", full)
    with pytest.raises(OSError, match="No space"):
        cached(tmp_path, made_by="that")
    assert held(tmp_path) == before


def test_every_column_of_rows_goes_to_the_device():
    moved = Numbers(torch.zeros(2), torch.ones(2)).to("meta")
    assert {moved.value.device.type, moved.other.device.type} == {"meta"} and len(moved) == 2
