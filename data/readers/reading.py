"""Reading of others' folders and lists: rows as they come, each clip once, and what was left out."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..index import Clip, found_clip

NO_FILE = "no such file"
NO_CLIP = "caption without a clip"
NO_SOURCE = "no clip before the edit"
UNREADABLE = "caption cannot be read"
IDENTITIES = "identities"  # a folder of folders, one a person


@dataclass(frozen=True)
class Reading:
    """Rows that a layout gives, and what else it says.

    settings  of stages, tables by a stage's name
    ignored   once each: keys, columns and files without meaning here, and what is read otherwise
    """

    clips: list[Clip]
    settings: dict[str, Any] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)


class Gathered:
    """Rows of one reading. `root` is the folder that was given, or that of the list: a folder `identities` in
    it, or around it, names persons."""

    def __init__(self, root: Path):
        self.root = Path(os.path.abspath(root))
        self.endings: Counter[str] = Counter()  # of files of no known kind
        self.counts: Counter[str] = Counter()  # of what is to be told with its number
        self._clips: dict[str, Clip] = {}
        self._said: dict[str, None] = {}

    def add(self, clip: Clip) -> Clip:
        """Take a row; of a clip that is there already, what is new in it. -> the row as it is now."""
        there = self._clips.get(clip.id)
        self._clips[clip.id] = clip if there is None else over(there, clip)
        return self._clips[clip.id]

    def replace(self, clip: Clip) -> None:
        """Put a row in the place of the one of its clip."""
        self._clips[clip.id] = clip

    @property
    def clips(self) -> list[Clip]:
        """Rows as they are now."""
        return list(self._clips.values())

    def take(self, inner: "Gathered", repeats: int = 1) -> None:
        """Take all that another has gathered, each clip so many times an epoch; clips before an edit once.
        What is known of a clip already stays."""
        befores = {clip.source for clip in inner.clips}
        again = 0
        for clip in inner.clips:
            again += clip.id in self._clips and clip.id not in befores
            clip = clip if clip.id in befores else replace(clip, repeats=repeats)
            self.replace(over(clip, self._clips[clip.id]) if clip.id in self._clips else clip)
        for text in inner.reading().ignored:
            self.say(text)
        if again:
            self.say(f"{inner.root.name}: {again} clips are in an earlier data set too; they are taken once")

    def prefix(self, text: str) -> None:
        """Put a text before every caption."""
        for clip in self.clips:
            if clip.caption:
                self.replace(replace(clip, caption=f"{text}{clip.caption}"))

    def row(self, path: str | Path, **known: Any) -> Clip:
        """Row of a clip at a path, not taken yet. Its path is absolute and without `..`; its identity is the
        one given, else the one its folders name."""
        path = os.path.abspath(path)
        known = {name: value for name, value in known.items() if value}
        known.setdefault("identity", self.identity(path))
        clip = found_clip(path.encode("utf-8", "backslashreplace").decode(), **known)
        return clip if clip.path == Path(path).as_posix() else clip.refused("file name is not UTF-8")

    def identity(self, path: str | Path) -> str:
        """Name of the person whose folder a path lies in: `identities/NAME/...`; "" where it lies in none."""
        try:
            folders = Path(path).parent.relative_to(self.root.parent.parent).parts
        except ValueError:
            return ""
        named = [below for above, below in pairwise(folders) if above == IDENTITIES]
        return named[-1] if named else ""

    def lone(self, place: str | Path, detail: str) -> None:
        """Take a row for a caption whose clip is not there; its path is the place of the caption."""
        self.add(self.row(place).refused(NO_CLIP, detail))

    def say(self, text: str) -> None:
        """Note something that is to be told, once."""
        self._said[text] = None

    def reading(self, settings: dict[str, Any] | None = None) -> Reading:
        """All that was gathered."""
        said = [*self._said, *(f"{self.root.name}: {count} {what}" for what, count in self.counts.items())]
        if self.endings:
            counts = ", ".join(f"{count} {ending}" for ending, count in sorted(self.endings.items()))
            said.append(f"{self.root.name}: files of no known kind: {counts}")
        return Reading(self.clips, settings or {}, said)


_EMPTY = Clip(id="", path="")


def over(below: Clip, above: Clip) -> Clip:
    """A row with all that another of the same clip says besides. What spoke against its caption no longer
    does where the other brings one."""
    told = {
        one.name: getattr(above, one.name)
        for one in fields(Clip)
        if getattr(above, one.name) != getattr(_EMPTY, one.name)
    }
    mended = below.reason == UNREADABLE and bool(above.caption)
    kept = replace(below, status="ok", reason="", detail="") if mended or not above.ok else below
    return replace(kept, **told)


def beside(text: str, file: Path, what: str) -> Path:
    """A folder or file that a configuration names: relative to it, else to the working directory, as its own
    tool has it. ValueError where it is at neither."""
    places = list(dict.fromkeys(os.path.abspath(base / text) for base in (file.parent, Path())))
    for place in places:
        if os.path.exists(place):
            return Path(place)
    raise ValueError(f"{what}: there is no {' and no '.join(places)}")


def require_there(path: str | Path, what: str) -> Path:
    """The absolute path. ValueError where nothing is there."""
    if not os.path.exists(path):
        raise ValueError(f"{what}: there is no {path}")
    return Path(os.path.abspath(path))


def say_unused(gathered: Gathered, what: str, keys: Iterable[str]) -> None:
    """Note keys of a file that mean nothing here."""
    if names := ", ".join(dict.fromkeys(keys)):
        gathered.say(f"{what}: keys without meaning here: {names}")


def encode_settings(
    gathered: Gathered, what: str, frames: Sequence[Any] = (), sizes: Sequence[Any] = (),
    windows: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:  # fmt: skip
    """Settings of the stage `encode` from all that the data sets of a file ask for.

    frames   lengths, rounded down to 4n + 1 as Wan's VAE needs
    sizes    (width, height), or the side of a square; the largest area counts
    windows  options of how windows are drawn; the first counts

    ValueError for a length or a side that is no whole number from 1.
    """
    for one in (*frames, *(side for size in sizes for side in _sides(size))):
        if type(one) is not int or one < 1:
            raise ValueError(f"{what}: a length or side is {one!r}; needed a whole number from 1")
    rounded = {one: (one - 1) // 4 * 4 + 1 for one in frames}
    for one, less in rounded.items():
        if one != less:
            gathered.say(f"{what}: {one} frames are read as {less}; needed 4n + 1")
    areas = sorted({_area(_sides(size), what) for size in sizes})
    if len(areas) > 1:
        gathered.say(f"{what}: of the areas {', '.join(map(str, areas))} in pixels the largest is taken")
    if any(one != windows[0] for one in windows):
        gathered.say(f"{what}: windows are drawn as the first data set says: {windows[0]['window']}")
    settings: dict[str, Any] = {}
    settings |= {"frames": tuple(sorted(set(rounded.values())))} if frames else {}
    settings |= {"pixels": areas[-1]} if areas else {}
    settings |= windows[0] if windows else {}
    return {"encode": settings} if settings else {}


def _sides(size: Any) -> Sequence[Any]:
    return size if isinstance(size, (list, tuple)) else (size,)


def _area(sides: Sequence[int], what: str) -> int:
    if len(sides) not in (1, 2):
        raise ValueError(f"{what}: a size is {list(sides)}; needed a side, or width and height")
    return sides[0] * sides[-1]
