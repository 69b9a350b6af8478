"""FastVideo's `videos2caption.json` beside a folder `videos`, and its `merge.txt`, which names both."""

from pathlib import Path
from typing import Any

from .lists import CLIP_COLUMNS, Line, add_lines, json_of, read_lines, text_of
from .reading import Gathered, Reading, beside, require_there

CAPTIONS_OF_VIDEOS = "videos2caption.json"


def read_fastvideo(path: Path) -> Reading:
    """Clips of a folder that holds `videos2caption.json`, of that file, or of a `merge.txt`. ValueError where
    it is not there, and where it is broken."""
    path = require_there(path, "fastvideo")
    file = require_there(path / CAPTIONS_OF_VIDEOS, "fastvideo") if path.is_dir() else path
    gathered = Gathered(file.parent)
    if file.suffix.lower() == ".txt":
        for number, text in enumerate(text_of(file).split("\n"), 1):
            if text.strip():
                _merge(gathered, file, text.strip(), f"{file}, line {number}")
    else:
        add_videos2caption(gathered, file)
    return gathered.reading()


def add_videos2caption(gathered: Gathered, file: Path, folder: Path | None = None) -> None:
    """Rows of FastVideo's list, whose paths are relative to the folder given, else to `videos` or to its
    own."""
    value = json_of(file)
    lines = _by_name(value) if isinstance(value, dict) and "data" not in value else read_lines(file)
    videos = file.parent / "videos"
    bases = [folder] if folder else [videos, file.parent] if videos.is_dir() else [file.parent]
    add_lines(gathered, file, lines, CLIP_COLUMNS, bases)


def _by_name(value: dict[str, Any]) -> list[Line]:
    """Lines of a table of captions by a clip's name."""
    return [
        Line(f"item {number}", {"path": name, "caption": caption})
        for number, (name, caption) in enumerate(value.items(), 1)
    ]


def _merge(gathered: Gathered, file: Path, text: str, what: str) -> None:
    folder, comma, listed = text.partition(",")
    if not comma:
        raise ValueError(f"{what}: is {text!r}; needed FOLDER,FILE")
    add_videos2caption(gathered, beside(listed.strip(), file, what), beside(folder.strip(), file, what))
