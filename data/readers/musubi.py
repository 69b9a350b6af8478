"""Data sets of musubi-tuner: a TOML with `[general]` and `[[datasets]]`, folders or lists in JSONL."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ...media.pictures import PICTURE_ENDINGS
from ..settings import filled, merged, read_toml, require_known
from .files import CAPTION_ENDINGS, FILM_ENDINGS, add_befores, by_stem, shelf_of, take_flat
from .lists import CLIP_COLUMNS, add_lines, read_lines
from .reading import Gathered, Reading, beside, encode_settings, require_there, say_unused

_MODES = ("head", "chunk", "slide", "uniform", "full")
_LINES = {  # columns of its JSONL
    "path": ("video_path", "image_path", "image_path_0"),
    "source": ("control_path", "control_path_0"),
    "reference": ("control_path_1",),
    **{name: CLIP_COLUMNS[name] for name in ("caption", "short_caption", "licence", "identity", "mask")},
}


@dataclass(frozen=True)
class General:
    """Keys of musubi's `[general]`, which hold for every data set that does not say otherwise."""

    resolution: tuple[Any, ...] = ()
    caption_extension: str = ""
    batch_size: int = 1
    num_repeats: int = 1
    enable_bucket: bool = False
    bucket_no_upscale: bool = False


@dataclass(frozen=True)
class DataSet(General):
    """Keys of one of musubi's `[[datasets]]`."""

    video_directory: str = ""
    video_jsonl_file: str = ""
    image_directory: str = ""
    image_jsonl_file: str = ""
    control_directory: str = ""
    target_frames: tuple[Any, ...] = ()
    frame_extraction: str = ""
    frame_stride: int = 1
    frame_sample: int = 1
    max_frames: int = 129
    source_fps: float = 0.0
    cache_directory: str = ""
    multiple_target: bool = False
    no_resize_control: bool = False
    control_resolution: tuple[Any, ...] = ()
    flux_kontext_no_resize_control: bool = False
    qwen_image_edit_no_resize_control: bool = False
    qwen_image_edit_control_resolution: tuple[Any, ...] = ()
    fp_latent_window_size: int = 9
    fp_1f_clean_indices: tuple[Any, ...] = ()
    fp_1f_target_index: int = 0
    fp_1f_no_post: bool = False


_PLACES = ("video_directory", "video_jsonl_file", "image_directory", "image_jsonl_file")
_USED = (*_PLACES, "control_directory", "target_frames", "frame_extraction", "source_fps", "resolution",
         "caption_extension", "num_repeats")  # fmt: skip
_OF_MODES = {"frame_stride": "slide", "frame_sample": "uniform", "max_frames": "full"}
_UNUSED = [one.name for one in fields(DataSet) if one.name not in (*_USED, *_OF_MODES)]


def read_musubi(path: Path) -> Reading:
    """Clips of all data sets of a TOML. Folders are read flat, as musubi does; `control_directory` holds the
    clips before an edit, whose instructions are the captions. ValueError for a key that musubi does not
    know, for a value of another type, and for a folder that is not there."""
    file = require_there(path, "musubi")
    gathered = Gathered(file.parent)
    table = read_toml(file, "musubi")
    require_known(table, ("general", "datasets"), f"{file}")
    general = table.get("general", {})
    filled(General(), general, f"{file}: [general]")
    given = table.get("datasets", [])
    if not given or not isinstance(given, list):
        raise ValueError(f"{file}: needed a table [[datasets]] for each data set")
    sets, unused = [], []
    for number, one in enumerate(given, 1):
        what = f"{file}: [[datasets]] {number}"
        filled(DataSet(), one, what)
        sets.append(filled(DataSet(), merged(general, one), what))
        _add(gathered, file, sets[-1], what)
        idle = [key for key, mode in _OF_MODES.items() if sets[-1].frame_extraction != mode]
        unused += [key for key in (*general, *one) if key in (*_UNUSED, *idle)]
    say_unused(gathered, file.name, unused)
    return gathered.reading(_settings(gathered, file, sets))


def _add(gathered: Gathered, file: Path, one: DataSet, what: str) -> None:
    places = [name for name in _PLACES if getattr(one, name)]
    if len(places) != 1:
        raise ValueError(
            f"{what}: names {', '.join(places) or 'no clips'}; needed one of {', '.join(_PLACES)}"
        )
    if one.num_repeats < 1:
        raise ValueError(f"{what}: num_repeats is {one.num_repeats}; needed a whole number from 1")
    if one.frame_extraction:
        require_known([one.frame_extraction], _MODES, f"{what}: frame_extraction")
    place = beside(getattr(one, places[0]), file, f"{what}: {places[0]}")
    inner = Gathered(place if place.is_dir() else place.parent)
    if places[0].endswith("_file"):
        add_lines(inner, place, read_lines(place), _LINES, (place.parent, Path()))
    else:
        _folder(inner, file, one, place, what)
    gathered.take(inner, one.num_repeats)


def _folder(gathered: Gathered, file: Path, one: DataSet, place: Path, what: str) -> None:
    endings = FILM_ENDINGS if one.video_directory else PICTURE_ENDINGS
    captions = (one.caption_extension.lower(),) if one.caption_extension else CAPTION_ENDINGS
    shelf = shelf_of(place, endings, captions)
    take_flat(gathered, shelf, {})
    if one.control_directory:
        controls = beside(one.control_directory, file, f"{what}: control_directory")
        named = by_stem(controls)
        add_befores(gathered, controls, lambda stem: _controls(named, stem))


def _controls(befores: dict[str, Path], stem: str) -> list[Path]:
    """Controls of a clip: the one of its name, then `NAME_0`, `NAME_1`, ..., which may have more digits."""
    numbered = {}
    for name, path in befores.items():
        digits = name[len(stem) + 1 :]
        if name.startswith(f"{stem}_") and digits.isdecimal():
            numbered[int(digits)] = path
    return [*([befores[stem]] if stem in befores else []), *(numbered[one] for one in sorted(numbered))]


def _window(one: DataSet) -> dict[str, Any]:
    """Options of how windows are drawn, by the modes that use them."""
    own = {"slide": {"step": one.frame_stride}, "uniform": {"windows": one.frame_sample}}
    return {"window": one.frame_extraction, **own.get(one.frame_extraction, {})}


def _settings(gathered: Gathered, file: Path, sets: Sequence[DataSet]) -> dict[str, Any]:
    frames: list[Any] = []
    for one in sets:
        frames += [one.max_frames] if one.frame_extraction == "full" else one.target_frames
    sizes = [one.resolution for one in sets if one.resolution]
    windows = [_window(one) for one in sets if one.frame_extraction]
    return {**encode_settings(gathered, file.name, frames, sizes, windows), **_rate(gathered, file, sets)}


def _rate(gathered: Gathered, file: Path, sets: Sequence[DataSet]) -> dict[str, Any]:
    """Settings of `scan` from the rates of the sources."""
    rates = list(dict.fromkeys(one.source_fps for one in sets if one.source_fps))
    if not rates:
        return {}
    more = f", of {', '.join(map(str, rates))} the first" if len(rates) > 1 else ""
    gathered.say(f"{file.name}: source_fps is the rate of folders of frames{more}; films say their own")
    return {"scan": {"frames_fps": rates[0]}}
