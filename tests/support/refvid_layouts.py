"""Folders and lists of others, written small: readers look at names and words, not into films."""

import json
from collections.abc import Iterable
from pathlib import Path

from refvid.data.index import Clip, write_rows
from refvid.data.readers.reading import Reading


def put(folder: Path, *names: str, text: str = "") -> Path:
    """Files of these names, made with their folders. -> the folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    return folder


def jsonl(path: Path, rows: Iterable[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def by_name(reading: Reading) -> dict[str, Clip]:
    """Rows by the names of their files."""
    rows = {Path(clip.path).name: clip for clip in reading.clips}
    assert len(rows) == len(reading.clips)
    return rows


def told(clip: Clip) -> tuple[str, str]:
    return clip.status, clip.reason


def index_of(reading: Reading, path: Path) -> bytes:
    """Bytes of the index of what was read."""
    write_rows(reading.clips, path)
    return path.read_bytes()
