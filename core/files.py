"""Files that are whole or not there, and folders that are ours only by their mark."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from secrets import token_hex

MARK = "refvid.json"  # of a folder that is ours: what it holds, and what that depends on
PARTIAL = ".partial"
KEPT_LETTERS = 50  # of a name, in that of what is written beside it
_TOKEN = "[0-9a-f]" * 8  # a pattern: between a name and PARTIAL


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write a file to. It is flushed and takes the place of `path` where the block
    ends well; else it is removed, and `path` is as it was. A link's target is what is replaced. OSError as
    the file system says, and where that is no file: a device would be one afterwards."""
    path = _resolved(Path(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name may be 255 bytes long, a character four; two who write at once do not meet.
    partial = path.with_name(f".{path.name[:KEPT_LETTERS]}-{token_hex(4)}{PARTIAL}")
    try:
        mode = _mode(path if path.exists() else partial)
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.chmod(mode)  # safetensors writes files that nobody else may read
        partial.replace(path)
    except OSError as error:
        raise _naming(error, path, partial) from error
    finally:
        partial.unlink(missing_ok=True)
    _flush_names(path.parent)


def _resolved(path: Path) -> Path:
    try:
        target = path.resolve()
    except RuntimeError as error:  # Python before 3.13
        raise OSError(f"{path} is a link to itself; no file can take its place") from error
    if target.exists() and not target.is_file():
        raise OSError(f"{path} is there and no file; needed a file, or nothing")
    return target


def _naming(error: OSError, path: Path, partial: Path) -> OSError:
    """The error with the name of the file that is to be written, where it has none, or that of what is beside
    it."""
    named = (error.filename, error.filename2)
    if error.filename is not None and str(partial) not in map(str, named):
        return error
    if error.errno is None:
        return OSError(f"{path} could not be written ({error})")
    return OSError(error.errno, error.strerror, str(path))


def is_left(name: str) -> bool:
    """True for a file name that a kill leaves of a file that was being written."""
    return fnmatchcase(name, f".*-{_TOKEN}{PARTIAL}")


def clear_left(path: Path) -> None:
    """Remove what kills left of a file, whose name may be a pattern, where nobody else is writing it."""
    for one in path.parent.glob(f".{path.name[:KEPT_LETTERS]}-{_TOKEN}{PARTIAL}"):
        one.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """`text` as a file in UTF-8, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, "utf-8")


def claim(folder: Path, kind: str, made_by: str, what: str) -> bool:
    """Make `folder` ours before anything is written to it. -> True where it was. Errors as `is_ours`'s."""
    if is_ours(folder, kind, made_by, what):
        return True
    write_text(folder / MARK, json.dumps({"kind": kind, "made_by": made_by}, indent=1))
    return False


def is_ours(folder: Path, kind: str, made_by: str, what: str) -> bool:
    """True where a folder's mark says that it is of this kind, and made by the same; False where it is not
    there, or empty.

    kind: what it holds, for a person ("parts of a long video"); made_by: all that depends on; what: the
    option that names the folder, for errors. ValueError where it is a file, holds anything without a whole
    mark, or is marked otherwise.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{what}: {folder} is a file; needed a folder for {kind}")
    said = read_mark(folder)
    if said is None:
        if folder.is_dir() and any(one.name != MARK and not is_left(one.name) for one in folder.iterdir()):
            raise ValueError(
                f"{what}: {folder} holds files and no mark that they are {kind}; move it away, or choose another"
            )
        return False
    if said.get("kind") != kind:
        raise ValueError(f"{what}: {folder} holds {said.get('kind')}, not {kind}; choose another")
    if said.get("made_by") != made_by:
        raise ValueError(f"{what}: {folder} holds {kind} made otherwise; delete it, or choose another")
    return True


def read_mark(folder: Path) -> dict | None:
    """Mark of a folder; None where there is none, or none that is whole."""
    try:
        said = json.loads((folder / MARK).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def release(folder: Path, names: list[str]) -> None:
    """Remove these files of a folder of ours and what kills left of any, then its mark, then the folder. What
    somebody else put there stays, and the folder with it."""
    for name in (*names, *(one.name for one in folder.iterdir() if is_left(one.name)), MARK):
        (folder / name).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _mode(path: Path) -> int:
    """Permissions of a file; of one that is not there, those of new files here."""
    if path.exists():
        return path.stat().st_mode
    path.touch()
    mode = path.stat().st_mode
    path.unlink()
    return mode


def _flush_names(folder: Path) -> None:
    """A folder's names onto the disk, where the system can do that: Windows opens no folder, some file
    systems flush none."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
