"""Others' folders and lists, read in place: a file here knows one layout, and gives rows of the index."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..index import Clip
from ..settings import merged, require_known
from .diffsynth import read_diffsynth
from .diffusion_pipe import read_diffusion_pipe
from .fastvideo import read_fastvideo
from .finetrainers import read_finetrainers
from .folder import read_folder
from .musubi import read_musubi
from .pairs import read_pairs
from .reading import Reading, over

__all__ = ["READERS", "Read", "Reading", "read_roots", "register_layout"]

Read = Callable[[Path], Reading]
READERS: dict[str, Read] = {  # by the name of `refvid data import`; "folder" is what scan reads
    "folder": read_folder,
    "musubi": read_musubi,
    "diffusion-pipe": read_diffusion_pipe,
    "diffsynth": read_diffsynth,
    "finetrainers": read_finetrainers,
    "fastvideo": read_fastvideo,
    "pairs": read_pairs,
}


def register_layout(name: str, read: Read) -> None:
    """Make a layout known."""
    READERS[name] = read


def read_roots(roots: Sequence[tuple[str, Path]]) -> Reading:
    """Roots together; a clip that is in two is one row, of what the later says and the earlier says besides.
    ValueError for a layout that is not known, and as the readers say."""
    require_known([layout for layout, _ in roots], list(READERS), "layout")
    clips: dict[str, Clip] = {}
    settings: dict[str, Any] = {}
    ignored: list[str] = []
    for layout, path in roots:
        reading = READERS[layout](path)
        for clip in reading.clips:
            clips[clip.id] = over(clips[clip.id], clip) if clip.id in clips else clip
        settings = merged(settings, reading.settings)
        ignored += [one for one in reading.ignored if one not in ignored]
    return Reading(list(clips.values()), settings, ignored)
