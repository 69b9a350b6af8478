"""Pairs of clips before and after an edit, as CSV, JSON or JSONL: Kiwi-Edit's, Ditto's, and others' by their
columns."""

from collections.abc import Sequence
from pathlib import Path

from .lists import PAIR_COLUMNS, Line, add_lines, read_lines
from .reading import Gathered, Reading, require_there


def read_pairs(path: Path) -> Reading:
    """Clips of a list of edits: a row for each target, with source, instruction, kind, reference and licence,
    and a row for each source. ValueError where the list is broken, or has no column of one of the two."""
    file = require_there(path, "pairs")
    gathered = Gathered(file.parent)
    add_pairs(gathered, file, read_lines(file))
    return gathered.reading()


def add_pairs(gathered: Gathered, file: Path, lines: Sequence[Line]) -> None:
    """Rows of the lines of a list of edits. Paths are relative to its folder, or to the folder `videos`
    beside that, as Ditto's are."""
    bases = (file.parent, file.parent.parent / "videos", file.parent.parent)
    add_lines(gathered, file, lines, PAIR_COLUMNS, bases, ("path", "source"))
