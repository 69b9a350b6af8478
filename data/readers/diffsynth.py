"""DiffSynth-Studio's list of clips: metadata.csv, .json or .jsonl, with paths relative to its folder."""

from pathlib import Path

from .lists import CLIP_COLUMNS, LIST_NAMES, PAIR_COLUMNS, Line, add_lines, columns_of, read_lines
from .pairs import add_pairs
from .reading import Gathered, Reading, require_there


def read_diffsynth(path: Path) -> Reading:
    """Clips of a list, or of the one list that a folder holds. ValueError where there is none, and where the
    list is broken."""
    file = list_in(require_there(path, "diffsynth"), "diffsynth")
    gathered = Gathered(file.parent)
    add_list(gathered, file)
    return gathered.reading()


def list_in(path: Path, what: str) -> Path:
    """A list: the file itself, or the one in a folder. ValueError where a folder does not hold one."""
    if path.is_file():
        return path
    files = [path / name for name in LIST_NAMES if (path / name).is_file()]
    if len(files) != 1:
        raise ValueError(f"{what}: {path} holds {len(files)} lists; needed one of {', '.join(LIST_NAMES)}")
    return files[0]


def add_list(gathered: Gathered, file: Path) -> None:
    """Rows of a list of clips; a list that has no column of clips but source and target is one of edits."""
    lines = read_lines(file)
    if is_pairs(lines):
        gathered.say(f"{file.name}: has clips before and after an edit, read as pairs")
        add_pairs(gathered, file, lines)
    else:
        add_lines(gathered, file, lines, CLIP_COLUMNS, (file.parent,))


def is_pairs(lines: list[Line]) -> bool:
    """True of a list that has columns of an edit's two clips, and none of plain clips."""
    there = {*columns_of(lines)}
    return (
        not there & {*CLIP_COLUMNS["path"]}
        and bool(there & {*PAIR_COLUMNS["path"]})
        and bool(there & {*PAIR_COLUMNS["source"]})
    )
