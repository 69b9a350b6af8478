"""Data sets of diffusion-pipe: a TOML with `[[directory]]`, each a folder of clips with captions beside."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..settings import filled, merged, read_toml
from .files import add_befores, by_stem, shelf_of, take_flat
from .lists import CLIP_COLUMNS, Line, add_lines, json_of
from .reading import Gathered, Reading, beside, encode_settings, require_there, say_unused

CAPTIONS_BY_NAME = "captions.json"


@dataclass(frozen=True)
class Every:
    """Keys of diffusion-pipe's data sets that hold for every folder that does not say otherwise."""

    resolutions: tuple[Any, ...] = ()
    size_buckets: tuple[Any, ...] = ()
    frame_buckets: tuple[Any, ...] = ()
    num_repeats: int = 1
    caption_prefix: str = ""
    enable_ar_bucket: bool = False
    ar_buckets: tuple[Any, ...] = ()
    min_ar: float = 0.5
    max_ar: float = 2.0
    num_ar_buckets: int = 9
    cache_shuffle_num: int = 0
    cache_shuffle_delimiter: str = ", "
    shuffle_tags: bool = False
    shuffle_metadata: bool = True
    skip_empty_caption: bool = True
    online_captions: bool = False


@dataclass(frozen=True)
class Directory(Every):
    """Keys of one of diffusion-pipe's `[[directory]]`."""

    path: str = ""
    mask_path: str = ""
    control_path: str = ""
    default_mask_file: str = ""


@dataclass(frozen=True)
class Table(Every):
    """Keys at the head of diffusion-pipe's TOML."""

    directory: tuple[Any, ...] = ()
    subsample_ratio: float = 1.0


_USED = ("path", "mask_path", "control_path", "default_mask_file", "resolutions", "size_buckets",
         "frame_buckets", "num_repeats", "caption_prefix", "directory")  # fmt: skip
_UNUSED = [one.name for one in (*fields(Directory), *fields(Table)) if one.name not in _USED]


def read_diffusion_pipe(path: Path) -> Reading:
    """Clips of all folders of a TOML, read flat; `control_path` holds the clips before an edit, whose
    instructions are the captions. ValueError for a key that diffusion-pipe does not know, for a value of
    another type, and for a folder that is not there."""
    file = require_there(path, "diffusion-pipe")
    gathered = Gathered(file.parent)
    table = read_toml(file, "diffusion-pipe")
    head = filled(Table(), table, f"{file}")
    if not head.directory:
        raise ValueError(f"{file}: holds no [[directory]]")
    common = {key: value for key, value in table.items() if key not in ("directory", "subsample_ratio")}
    folders = []
    for number, one in enumerate(head.directory, 1):
        what = f"{file}: [[directory]] {number}"
        filled(Directory(), one, what)
        folders.append(filled(Directory(), merged(common, one), what))
        _add(gathered, file, folders[-1], what)
    keys = [key for one in (table, *head.directory) for key in one]
    say_unused(gathered, file.name, [key for key in keys if key in _UNUSED])
    return gathered.reading(_settings(gathered, file, folders))


def _add(gathered: Gathered, file: Path, one: Directory, what: str) -> None:
    if not one.path:
        raise ValueError(f"{what}: has no path")
    if one.num_repeats < 1:
        raise ValueError(f"{what}: num_repeats is {one.num_repeats}; needed a whole number from 1")
    folder = beside(one.path, file, f"{what}: path")
    masks = by_stem(beside(one.mask_path, file, f"{what}: mask_path")) if one.mask_path else {}
    inner = Gathered(folder)
    by_name = (folder / CAPTIONS_BY_NAME).is_file()
    shelf = shelf_of(folder, captions=() if by_name else (".txt",), aside=[CAPTIONS_BY_NAME])
    if one.default_mask_file:
        default = beside(one.default_mask_file, file, f"{what}: default_mask_file")
        masks = {**{os.path.splitext(name)[0]: default for name in shelf.clips}, **masks}
    take_flat(inner, shelf, masks)
    if by_name:
        _add_captions(inner, folder / CAPTIONS_BY_NAME)
    inner.prefix(one.caption_prefix)
    if one.control_path:
        controls = beside(one.control_path, file, f"{what}: control_path")
        named = by_stem(controls)
        add_befores(inner, controls, lambda stem: [named[stem]] if stem in named else [])
    gathered.take(inner, one.num_repeats)


def _add_captions(gathered: Gathered, file: Path) -> None:
    """Captions of a folder by the names of its clips, which take the place of files beside them."""
    table = json_of(file)
    if not isinstance(table, dict):
        raise ValueError(f"{file}: needed an object, captions by the names of clips")
    lines = [
        Line(f"item {number}", {"path": name, "caption": words})
        for number, (name, words) in enumerate(table.items(), 1)
    ]
    add_lines(gathered, file, lines, CLIP_COLUMNS, (file.parent,))


def _settings(gathered: Gathered, file: Path, folders: Sequence[Directory]) -> dict[str, Any]:
    """Settings that the folders ask for. A bucket of one frame is for stills, which are always taken."""
    sizes, frames = [], []
    for one in folders:
        for size in one.size_buckets:
            if not isinstance(size, list) or len(size) != 3:
                raise ValueError(f"{file}: size_buckets holds {size}; needed [width, height, frames]")
        sizes += [size[:2] for size in one.size_buckets] or one.resolutions
        frames += [size[-1] for size in one.size_buckets] or one.frame_buckets
    return encode_settings(gathered, file.name, [one for one in frames if one != 1], sizes)
