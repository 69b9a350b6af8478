"""Files that a command is to write: looked at before the work, and kept somewhere where they cannot be
written after it."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..core.files import MARK, PARTIAL, is_left, read_mark
from .pictures import PICTURE_ENDINGS

FILM_FRAMES = "frames of a film"  # kind of a folder of numbered pictures
FRAME_NAME = re.compile(r"\d{5,}\.png")


@dataclass(frozen=True)
class OutputKind:
    """Kind of output: the endings it may have, and what a name without one stands for. `says` is for
    errors."""

    says: str
    endings: tuple[str, ...] = ()
    folder: bool = False


FILM = OutputKind("a film", (".mp4", ".webm", ".mov", ".mkv", ".gif", ".webp"), folder=True)
PICTURE = OutputKind("a picture", (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"))
TENSORS = OutputKind("a file of tensors", (".safetensors",))
PAGE = OutputKind("a page", (".html", ".htm"))
FOLDER = OutputKind("a folder", folder=True)


def check_output(path: Path, kind: OutputKind, inputs: Iterable[Path], what: str) -> None:
    """ValueError, before any work, where `path` cannot become what it is to be. It may have another ending,
    be a folder or a file where the other is meant, or be one of the files that are read. It may also lie in a
    place that cannot be written. Nothing is left behind."""
    try:
        folder = kind.folder and (path.is_dir() or not path.suffix or not kind.endings)
        if not folder:
            _require_ending(path, kind, what)
        _try(path, folder)
    except OSError as error:
        raise ValueError(f"{what}: {path} cannot be written: {error.strerror or error}") from error
    if kind.endings:
        require_other(path, inputs, what)
    if folder and kind is FILM:
        require_frames(path, what)


def require_other(path: Path, inputs: Iterable[Path], what: str) -> None:
    """ValueError where a file or folder of this name would take the place of what is read: a file, or one in
    a folder."""
    for one in inputs:
        # a frame of it
        among = path.suffix.lower() in PICTURE_ENDINGS and one.is_dir() and _same(path.parent, one)
        if among or _same(path, one) or _holds(one, path) or _holds(path, one):
            raise ValueError(
                f"{what}: {path} would take the place of {one}, which is read; choose another name"
            )


def require_frames(folder: Path, what: str) -> None:
    """ValueError where a folder is there and holds anything but frames of ours and their mark."""
    if not folder.is_dir():
        return
    marked = (read_mark(folder) or {}).get("kind") == FILM_FRAMES
    for one in folder.iterdir():
        if not (marked and (FRAME_NAME.fullmatch(one.name) or one.name == MARK or is_left(one.name))):
            raise ValueError(
                f"{what}: {folder} holds {one.name}, which is no frame of refvid's; choose another folder"
            )


def _require_ending(path: Path, kind: OutputKind, what: str) -> None:
    if path.is_dir():
        raise ValueError(
            f"{what}: {path} is a folder; needed {kind.says}, with a name that ends in {_endings(kind)}"
        )
    if path.suffix.lower() not in kind.endings:
        raise ValueError(
            f"{what}: {path} ends in {path.suffix or 'nothing'}; needed {kind.says}: {_endings(kind)}"
        )


def _endings(kind: OutputKind) -> str:
    more = ", or nothing for a folder of PNGs" if kind.folder else ""
    return ", ".join(kind.endings) + more


def _holds(folder: Path, file: Path) -> bool:
    """True where a file is there and lies in that folder."""
    return file.is_file() and _same(folder, file.resolve().parent)


def _same(first: Path, second: Path) -> bool:
    """One file or folder under two names: links and spellings included."""
    try:
        return os.path.samefile(first, second)
    except OSError:
        return False


def _try(path: Path, folder: bool) -> None:
    """Write where the output will be written, and take it away again."""
    try:
        path = path.resolve()
    except RuntimeError as error:  # Python before 3.13
        raise OSError(None, "it is a link to itself") from error
    if folder and path.exists() and not path.is_dir():
        raise NotADirectoryError(None, "there is a file of that name; needed a folder")
    with suppress(FileNotFoundError, NotADirectoryError):
        os.lstat(path)  # a name that is too long says so, in every Python
    if path.exists() and not folder and not path.is_file():
        raise OSError(None, "it is neither a file nor free")
    home = path if folder else path.parent
    made = [one for one in (home, *home.parents) if not one.exists()]
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=home, suffix=PARTIAL) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
    finally:
        for one in made:
            if one.exists():
                one.rmdir()


def written(
    path: Path,
    write: Callable[[Path], object],
    what: str = "--out",
    *plainer: Callable[[Path], Path],
) -> None:
    """`write(path)`. Where that fails, what was made is written to a new folder elsewhere, by `write` or by
    what is plainer, which says what it wrote. The OSError says where."""
    try:
        write(path)
        return
    except (OSError, ValueError) as error:
        reason = error
    for place in (tempfile.gettempdir(), Path.home(), Path.cwd()):
        for one in (write, *plainer):
            try:
                folder = Path(tempfile.mkdtemp(prefix="refvid-", dir=place))
            except OSError:
                continue
            try:
                kept = one(folder / path.name) or folder / path.name
            except (OSError, ValueError):
                shutil.rmtree(folder, ignore_errors=True)  # made a moment ago, for this alone
                continue
            raise OSError(
                f"{what}: {path} could not be written ({reason}); what was made is kept in {kept}"
            ) from reason
    raise reason
