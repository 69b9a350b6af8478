"""Data sets of finetrainers: folders with metadata or with two lists, and its JSON of several data sets."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..settings import filled
from .folder import walk
from .lists import CLIP_COLUMNS, LIST_NAMES, Line, add_lines, add_two_files, json_of, read_lines, two_files
from .reading import Gathered, Reading, beside, encode_settings, require_there, say_unused


@dataclass(frozen=True)
class DataRoot:
    """Keys of one of the `datasets` of finetrainers' JSON."""

    data_root: str = ""
    dataset_file: str = ""
    dataset_type: str = ""
    id_token: str = ""
    image_resolution_buckets: tuple[Any, ...] = ()
    video_resolution_buckets: tuple[Any, ...] = ()
    rename_columns: dict[str, Any] = field(default_factory=dict)
    drop_columns: tuple[Any, ...] = ()
    reshape_mode: str = ""
    remove_common_llm_caption_prefixes: bool = False
    caption_options: dict[str, Any] = field(default_factory=dict)


_USED = ("data_root", "dataset_file", "id_token", "image_resolution_buckets", "video_resolution_buckets",
         "rename_columns", "drop_columns")  # fmt: skip
_UNUSED = [one.name for one in fields(DataRoot) if one.name not in _USED]


def read_finetrainers(path: Path) -> Reading:
    """Clips of a folder, of a list, or of all data sets that a JSON names. ValueError for a key that
    finetrainers does not know, for a value of another type, and for a folder that is not there."""
    path = require_there(path, "finetrainers")
    config = json_of(path) if path.suffix.lower() == ".json" else None
    if not isinstance(config, dict) or "datasets" not in config:
        gathered = Gathered(path if path.is_dir() else path.parent)
        _add(gathered, path, DataRoot())
        return gathered.reading()
    if not isinstance(config["datasets"], list) or not config["datasets"]:
        raise ValueError(f"{path}: needed a list of data sets in datasets")
    gathered, roots = Gathered(path.parent), []
    for number, given in enumerate(config["datasets"], 1):
        what = f"{path}: datasets, item {number}"
        one = filled(DataRoot(), given, what)
        if bool(one.data_root) == bool(one.dataset_file):
            raise ValueError(f"{what}: needed one of data_root and dataset_file")
        place = beside(one.data_root or one.dataset_file, path, what)
        inner = Gathered(place if place.is_dir() else place.parent)
        _add(inner, place, one)
        inner.prefix(f"{one.id_token} " if one.id_token else "")
        gathered.take(inner)
        roots.append(one)
    keys = [key for given in config["datasets"] for key in given]
    say_unused(gathered, path.name, [key for key in keys if key in _UNUSED])
    return gathered.reading(_settings(gathered, path, roots))


def _add(gathered: Gathered, place: Path, one: DataRoot) -> None:
    """Take the clips of a data set, as finetrainers looks for them."""
    lists = [place / name for name in LIST_NAMES if (place / name).is_file()] if place.is_dir() else [place]
    pair = two_files(place) if place.is_dir() else None
    if len(lists) > 1:
        raise ValueError(f"{place}: holds {', '.join(file.name for file in lists)}; needed one of them")
    if lists:
        lines = [_renamed(line, one) for line in read_lines(lists[0])]
        add_lines(gathered, lists[0], lines, CLIP_COLUMNS, (lists[0].parent,))
    elif pair is not None:
        add_two_files(gathered, *pair)
    else:
        walk(gathered, place)


def _renamed(line: Line, one: DataRoot) -> Line:
    names = {str(old).lower(): str(new).lower() for old, new in one.rename_columns.items()}
    dropped = {str(name).lower() for name in one.drop_columns}
    kept = {name: value for name, value in line.values.items() if name not in dropped}
    return Line(line.place, {names.get(name, name): value for name, value in kept.items()})


def _settings(gathered: Gathered, file: Path, roots: Sequence[DataRoot]) -> dict[str, Any]:
    """Settings that the data sets ask for: (frames, height, width) of films, (height, width) of stills."""
    films = [size for one in roots for size in one.video_resolution_buckets]
    stills = [size for one in roots for size in one.image_resolution_buckets]
    for size, count in [(size, 3) for size in films] + [(size, 2) for size in stills]:
        if not isinstance(size, (list, tuple)) or len(size) != count:
            raise ValueError(f"{file}: a bucket is {size!r}; needed {count} numbers")
    sizes = [size[:0:-1] for size in films] + [size[::-1] for size in stills]
    return encode_settings(gathered, file.name, [size[0] for size in films], sizes)
