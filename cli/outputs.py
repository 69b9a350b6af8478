"""Outputs of a command: declared where their option is, and checked before any work. None is ever a file that
the command reads."""

import argparse
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from .refusals import spelled

FILMS = "FILE.mp4, .webm, .mov, .mkv, .gif or .webp; without an ending a folder of PNGs"
NOTHING = "-"  # said of a reference, where there is nothing to say


def add_output(parser: Any, name: str, kind: str, **how: Any) -> None:
    """Add an option that names an output; `kind` is the name of one in `media.outputs`."""
    parser.add_argument(name, type=Path, **how)
    declared = parser.get_default("outputs") or {}
    parser.set_defaults(outputs={**declared, name.strip("-"): kind})


def check_outputs(options: argparse.Namespace) -> None:
    """ValueError, before any work, for an output that cannot be written or would take the place of a file
    that is read."""
    from ..media import outputs

    declared: dict[str, str] = getattr(options, "outputs", {})
    read = [*read_files(options, declared), *shipped()]
    for name, kind in declared.items():
        path = getattr(options, name)
        if path is not None:
            outputs.check_output(path, getattr(outputs, kind), read, spelled(name))
            read.append(path)  # two outputs of one name


def read_files(options: argparse.Namespace, leave_out: Container[str]) -> Iterator[Path]:
    """Files and folders that are there and named by an option, FILE@… included."""
    for name, value in vars(options).items():
        for entry in value if isinstance(value, list) else [value]:
            if name in leave_out or not isinstance(entry, str | Path) or str(entry) in ("", NOTHING):
                continue
            yield from filter(_is_there, (Path(entry), Path(str(entry).rpartition("@")[0] or entry)))


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a prompt is no name of a file: too long, or with a NUL in it
        return False


def shipped() -> list[Path]:
    """The demo's own files, which commands read where nothing else is said."""
    demo = Path(__file__).parents[1] / "demo"
    return [*demo.glob("models/*/*"), *demo.glob("samples/*")]
