"""Results of long work, kept as they come: a line each, in a file a process. Nothing is made twice, whatever
was killed when."""

import json
import os
from pathlib import Path
from typing import Any

from ..core.files import clear_left, write_text


class Journal:
    """Results by key, in a folder: `settled.jsonl` of runs that ended, `rank-N.jsonl` of the one going on."""

    def __init__(self, folder: Path):
        self.folder = folder

    def results(self) -> dict[str, Any]:
        """Everything that is known, from every process. ValueError for a line that is none of ours."""
        found = {}
        # Settled ones first: what was looked at again counts.
        for file in sorted(self.folder.glob("*.jsonl"), reverse=True):
            with file.open("rb") as lines:  # a kill can cut the last, in a letter too
                whole = ((number, one) for number, one in enumerate(lines, 1) if one.endswith(b"\n"))
                found.update(_pair(one, file, number) for number, one in whole)
        return found

    def add(self, rank: int, key: str, result: Any) -> None:
        """Keep a result. It is with the system when this returns: a kill loses none that was added."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"rank-{rank}.jsonl"
        _end_at_a_line(path)
        with path.open("a", encoding="utf-8") as file:
            file.write(_line(key, result))

    def settle(self) -> None:
        """Make one file of all, in the order of keys. By one process, when the others are done."""
        found = self.results()
        clear_left(self.folder / "settled.jsonl")
        write_text(self.folder / "settled.jsonl", "".join(_line(key, found[key]) for key in sorted(found)))
        for file in self.folder.glob("rank-*.jsonl"):
            file.unlink()


def _line(key: str, result: Any) -> str:
    return json.dumps([key, result], ensure_ascii=False, separators=(",", ":")) + "\n"


def _pair(text: bytes, file: Path, number: int) -> tuple[str, Any]:
    try:
        key, result = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{file}, line {number} is damaged ({error}); delete the line: its clip is looked at again"
        ) from error
    return key, result


def _end_at_a_line(path: Path) -> None:
    """Take away a last line that a kill has cut."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end:
            file.seek(end - 1)
            if file.read(1) == b"\n":
                break
            end -= 1
        if end != size:
            file.truncate(end)
