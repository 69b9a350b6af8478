"""Files of a folder by what they are: films, pictures, captions beside them, masks, clips before an edit."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...media.pictures import PICTURE_ENDINGS
from ..index import Clip, Refused
from .lists import json_of, text_of, told, words_of
from .reading import NO_CLIP, NO_SOURCE, UNREADABLE, Gathered

FILM_ENDINGS = (
    ".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv",
    ".3gp", ".ogv", ".mxf", ".gif", ".apng",
)  # fmt: skip
MEDIA_ENDINGS = (*FILM_ENDINGS, *PICTURE_ENDINGS)
CAPTION_ENDINGS = (".txt", ".caption", ".json")  # the first that says something counts
LITTER = ("thumbs.db", "desktop.ini", "__macosx")  # of systems, left out as hidden files are


@dataclass
class Shelf:
    """Names in a folder by what they are, in order; captions by the name without its ending."""

    folder: Path
    clips: list[str] = field(default_factory=list)
    captions: dict[str, list[Path]] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)  # what was asked to be set aside


def shelf_of(
    folder: Path, endings: Sequence[str] = MEDIA_ENDINGS, captions: Sequence[str] = CAPTION_ENDINGS,
    aside: Iterable[str] = (),
) -> Shelf:  # fmt: skip
    """Names in a folder, but for hidden ones; those in `aside` by themselves. `Refused` where it cannot be
    read."""
    shelf, aside = Shelf(folder), {*aside}
    try:
        entries = sorted(os.scandir(folder), key=lambda one: one.name)
    except OSError as error:
        raise Refused("folder cannot be read", f"{folder}: {error.strerror}") from error
    for entry in entries:
        name, lower = entry.name, entry.name.lower()
        if name.startswith(".") or lower in LITTER:
            continue
        caption = next((one for one in captions if lower.endswith(one)), None)
        if name in aside:
            shelf.aside.append(name)
        elif entry.is_dir():
            shelf.folders.append(name)
        elif lower.endswith(tuple(endings)):
            shelf.clips.append(name)
        elif caption:
            shelf.captions.setdefault(name[: -len(caption)], []).append(folder / name)
        else:
            shelf.others.append(name)
    for files in shelf.captions.values():
        files.sort(
            key=lambda one: captions.index(one.suffix.lower()) if one.suffix.lower() in captions else 0
        )
    return shelf


def captioned(clip: Clip, files: Sequence[Path]) -> Clip:
    """A row with what the files beside its clip say, the first most. It is refused where one cannot be
    read."""
    try:
        words = [_words(file) for file in files]
    except Refused as refusal:
        return clip.refused(refusal.reason, refusal.detail)
    known = {name: text for one in reversed(words) for name, text in one.items()}
    return replace(clip, **known)


def take_clips(
    gathered: Gathered, shelf: Shelf, masks: Mapping[str, Path], frames: Sequence[str] = ()
) -> list[str]:
    """Take a row for each film and still of a folder, and for folders of frames, with captions and mask.
    -> the names that these go by."""
    stems = {name: os.path.splitext(name)[0] for name in shelf.clips} | {name: name for name in frames}
    for name, stem in stems.items():
        row = gathered.row(shelf.folder / name, mask=_posix(masks.get(stem)))
        gathered.add(captioned(row, shelf.captions.get(stem, ())))
    return list(stems.values())


def take_rest(gathered: Gathered, shelf: Shelf, stems: Iterable[str]) -> None:
    """Take a row for each caption whose clip is not among the names, and count what else is there. A JSON
    without a caption is none."""
    known = {*stems}
    for stem, files in shelf.captions.items():
        for file in () if stem in known else files:
            try:
                words = _words(file).get("caption", "")
            except Refused as refusal:
                words = refusal.detail
            if words or file.suffix.lower() != ".json":
                gathered.lone(file, words)
            else:
                shelf.others.append(file.name)
    gathered.endings.update(os.path.splitext(name)[1].lower() or "without ending" for name in shelf.others)


def take_flat(gathered: Gathered, shelf: Shelf, masks: Mapping[str, Path]) -> None:
    """Take all of a folder, and note the folders in it, which are not looked into."""
    take_rest(gathered, shelf, take_clips(gathered, shelf, masks))
    if shelf.folders:
        gathered.say(f"{shelf.folder}: folders in it are not read: {', '.join(shelf.folders)}")


def by_stem(folder: Path) -> dict[str, Path]:
    """Films, pictures and folders in a folder, by the name without its ending; none where it is not there."""
    if not folder.is_dir():
        return {}
    shelf = shelf_of(folder)
    files = {os.path.splitext(name)[0]: folder / name for name in reversed(shelf.clips)}
    return {**{name: folder / name for name in shelf.folders}, **files}


def say_masks(gathered: Gathered, folder: Path, masks: Mapping[str, Path], stems: Iterable[str]) -> None:
    """Note masks that belong to no clip."""
    lone = len({*masks} - {*stems})
    if lone:
        gathered.say(f"{folder}: {lone} masks belong to no clip")


def add_befores(gathered: Gathered, folder: Path, befores: Callable[[str], Sequence[Path]]) -> None:
    """Make the rows gathered so far those of edits. `befores` gives, by a clip's name, the clip before the
    edit in a folder, and a second as a reference. The caption becomes the instruction."""
    captions = shelf_of(folder).captions
    for clip in gathered.clips:
        stem = Path(clip.path).stem
        if clip.reason != NO_CLIP:
            gathered.replace(_edited(gathered, clip, befores(stem), captions.get(stem, ())))


def _edited(gathered: Gathered, clip: Clip, befores: Sequence[Path], captions: Sequence[Path]) -> Clip:
    if not befores:
        return clip.refused(NO_SOURCE, clip.path)
    before = gathered.add(captioned(gathered.row(befores[0]), captions))
    reference = _posix(befores[1]) if len(befores) > 1 else ""
    if len(befores) > 2:
        gathered.say(f"{before.set}: of several pictures before an edit the first two are taken")
    return replace(clip, source=before.id, instruction=clip.caption, caption="", reference=reference)


def _words(file: Path) -> dict[str, str]:
    """Words of a file beside a clip. `Refused` where it cannot be read."""
    try:
        if file.suffix.lower() == ".json":
            values = json_of(file)
            values = {name.lower(): one for name, one in values.items()} if isinstance(values, dict) else {}
            values.pop("id", None)  # of the film, where others' tools wrote it
            return words_of(values, str(file))
        return {"caption": text} if (text := told(text_of(file), str(file))) else {}
    except OSError as error:
        raise Refused(UNREADABLE, f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise Refused(UNREADABLE, str(error)) from error


def _posix(path: Path | None) -> str:
    return "" if path is None else Path(os.path.abspath(path)).as_posix()
