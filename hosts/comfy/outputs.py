"""Names below ComfyUI's output folder, as a prompt may give them: any text at all."""

import posixpath
import re
import reprlib
from pathlib import Path

import folder_paths

_MOST_BYTES = 200  # of a folder's name, and of a file's without the number and the ending
MOST_IN_ALL = 1024
# Signs that a file's name cannot have everywhere, and names of devices, with any ending.
_ODD = re.compile(r'[\x00-\x1f\x7f-\x9f\ud800-\udfff<>:"|?*]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def new_file(prefix: str, ending: str, what: str) -> Path:
    """A path that is not there yet: `prefix` and a number below the output folder, as core's Save nodes
    number theirs. Its folder is made.

    ValueError, which names the input `what`, for a name that some system cannot have, and for one outside the
    output folder.
    """
    needed = _needed(prefix.replace("\\", "/"))
    if needed is not None:
        raise ValueError(f"{what} is {reprlib.repr(prefix)}; needed {needed}")
    folder, name, counter, *_ = folder_paths.get_save_image_path(
        prefix.replace("\\", "/"), folder_paths.get_output_directory()
    )
    return Path(folder) / f"{name}_{counter:05}_{ending}"


def _needed(prefix: str) -> str | None:
    """The words for what a prefix lacks, or None."""
    *folders, name = posixpath.normpath(prefix).split("/")
    if _ODD.search(prefix):
        return 'a name without control characters and < > : " | ? *'
    if len(prefix.encode()) > MOST_IN_ALL or any(
        len(part.encode()) > _MOST_BYTES for part in (*folders, name)
    ):
        return f"at most {_MOST_BYTES} bytes for each folder and the name, {MOST_IN_ALL} in all"
    if not prefix or name in (".", ".."):
        return "the name of a file"
    if not _inside(prefix):
        return "a name below the output folder"
    numbered = f"{name}_"
    if any(_DEVICE.fullmatch(part) or part.endswith((".", " ")) for part in (*folders, numbered)):
        return "folders and a name that every system can have"
    return None


def _inside(prefix: str) -> bool:
    """True below the output folder, links followed."""
    output = Path(folder_paths.get_output_directory()).resolve()
    return (output / prefix).resolve().is_relative_to(output)
