"""Others' folders and lists, read in place: a file here knows one layout, and gives rows of the index."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..index import Clip
from ..settings import merged


@dataclass(frozen=True)
class Reading:
    """What a layout says: clips; settings for stages (tables by a stage's name); and keys or files that mean
    nothing here, which are listed once."""

    clips: list[Clip]
    settings: dict[str, Any] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)


Read = Callable[[Path], Reading]
LAYOUTS: dict[str, Read] = {}  # by the name of `refvid data import`; "folder" is what scan reads


def register_layout(name: str, read: Read) -> None:
    """Make a layout known."""
    LAYOUTS[name] = read


def read_all(roots: Sequence[tuple[str, Path]]) -> Reading:
    """Roots together; a clip that is in two is what the later says. ValueError as their readers say."""
    clips: dict[str, Clip] = {}
    settings: dict[str, Any] = {}
    ignored: list[str] = []
    for layout, path in roots:
        reading = LAYOUTS[layout](path)
        clips.update((clip.id, clip) for clip in reading.clips)
        settings = merged(settings, reading.settings)
        ignored += [one for one in reading.ignored if one not in ignored]
    return Reading(list(clips.values()), settings, ignored)
