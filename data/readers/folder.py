"""A folder of clips as it lies: films and stills with captions, folders of frames, masks, lists."""

import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from ...media.pictures import PICTURE_ENDINGS
from ..index import Refused
from .diffsynth import add_list
from .fastvideo import CAPTIONS_OF_VIDEOS, add_videos2caption
from .files import MEDIA_ENDINGS, Shelf, by_stem, say_masks, shelf_of, take_clips, take_rest
from .lists import LIST_NAMES, add_two_files, two_files
from .reading import IDENTITIES, Gathered, Reading, require_there

_MASKS = "masks"
_NUMBERED = re.compile(r"(.*?)(\d+)\.(\w+)", re.DOTALL)


def read_folder(path: Path) -> Reading:
    """Clips of a folder and of all below it, or one clip.

    `a.mp4` or `a.png` has its caption in `a.txt`, `a.caption` or `a.json`, and its mask in `masks`. A folder
    that holds nothing but pictures numbered without gaps is one clip of frames; its caption lies beside it.
    Below `identities/NAME` everything shows NAME. Lists in a folder are read too, and say more than what
    lies beside a clip. ValueError where nothing is there, and for a broken list.
    """
    path = require_there(path, "folder")
    gathered = Gathered(path if path.is_dir() else path.parent)
    if path.is_dir():
        walk(gathered, path)
    else:
        _one_clip(gathered, path)
    if not gathered.clips:
        gathered.say(f"{path}: there is no film, no picture and no list in it")
    return gathered.reading()


def walk(gathered: Gathered, folder: Path) -> None:
    """Take the clips of a folder and of all below it."""
    shelf = _shelf(gathered, folder)
    if shelf is not None and is_frames(gathered, shelf):
        _one_clip(gathered, folder)
    elif shelf is not None:
        _below(gathered, shelf, {os.path.realpath(folder)})


def is_frames(gathered: Gathered, shelf: Shelf, has_caption: bool = False) -> bool:
    """True of a folder that is one clip: pictures alone, two or more, of one name with numbers that are
    evenly apart. With a caption of its own its numbers may have gaps. A person's folder is none."""
    if shelf.folders or shelf.captions or shelf.others or shelf.aside or len(shelf.clips) < 2:
        return False
    named = [_NUMBERED.fullmatch(name) for name in shelf.clips]
    if not all(named) or len({(one[1], one[3].lower()) for one in named if one}) > 1:
        return False
    if shelf.folder.parent.name == IDENTITIES or not shelf.clips[0].lower().endswith(PICTURE_ENDINGS):
        return False
    numbers = sorted(int(one[2]) for one in named if one)
    steps = {after - before for before, after in pairwise(numbers)}
    frames = 0 not in steps and (has_caption or len(steps) == 1)
    told = "clips of frames" if frames else "stills: their numbers have gaps"
    gathered.counts[f"folders of numbered pictures are read as {told}"] += 1
    return frames


def _below(gathered: Gathered, shelf: Shelf, above: set[str]) -> None:
    """Take the clips of a folder that is none itself; `above` are the folders it lies in."""
    masks = _masks(gathered, shelf)
    frames = []
    for name in (one for one in shelf.folders if one != _MASKS):
        real = os.path.realpath(shelf.folder / name)
        if real in above:
            gathered.say(f"{shelf.folder / name}: a link to a folder it lies in, not followed")
            continue
        below = _shelf(gathered, shelf.folder / name)
        if below is not None and is_frames(gathered, below, name in shelf.captions):
            frames.append(name)
        elif below is not None:
            _below(gathered, below, {*above, real})
    stems = take_clips(gathered, shelf, masks, frames)
    take_rest(gathered, shelf, stems)
    say_masks(gathered, shelf.folder / _MASKS, masks, stems)
    _lists(gathered, shelf)


def _shelf(gathered: Gathered, folder: Path) -> Shelf | None:
    """Names of a folder; a row where it cannot be read."""
    try:
        return shelf_of(folder, aside=_names_of_lists(folder))
    except Refused as refusal:
        gathered.add(gathered.row(folder).refused(refusal.reason, refusal.detail))
        return None


def _masks(gathered: Gathered, shelf: Shelf) -> dict[str, Path]:
    try:
        return by_stem(shelf.folder / _MASKS) if _MASKS in shelf.folders else {}
    except Refused as refusal:
        gathered.say(f"{shelf.folder / _MASKS}: {refusal}")
        return {}


def _names_of_lists(folder: Path) -> Sequence[str]:
    pair = two_files(folder) or ()
    return [*LIST_NAMES, CAPTIONS_OF_VIDEOS, *(one.name for one in pair)]


def _lists(gathered: Gathered, shelf: Shelf) -> None:
    """Take what the lists of a folder say."""
    for name in shelf.aside:
        file = shelf.folder / name
        if name in LIST_NAMES:
            gathered.say(f"{file}: read as a list")
            add_list(gathered, file)
        elif name == CAPTIONS_OF_VIDEOS:
            gathered.say(f"{file}: read as FastVideo's")
            add_videos2caption(gathered, file)
    pair = two_files(shelf.folder)
    if pair is not None:
        gathered.say(f"{pair[0]} and {pair[1].name}: read as lists whose lines belong together")
        add_two_files(gathered, *pair)


def _one_clip(gathered: Gathered, path: Path) -> None:
    """Take one film, still or folder of frames, with the caption and mask beside it."""
    if path.is_file() and not path.name.lower().endswith(MEDIA_ENDINGS):
        raise ValueError(f"folder: {path} is no folder and no clip; a list is read by `refvid data import`")
    shelf = _shelf(gathered, path.parent)
    if shelf is not None:
        shelf.clips = [path.name] if path.is_file() else []
        take_clips(gathered, shelf, _masks(gathered, shelf), [] if path.is_file() else [path.name])
