"""Lists of clips as CSV, JSON and JSONL: lines, and rows of the index by the names of their columns."""

import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

from ..index import Clip
from .reading import NO_FILE, NO_SOURCE, Gathered

LIST_ENDINGS = (".csv", ".json", ".jsonl")
LIST_NAMES = ("metadata.csv", "metadata.json", "metadata.jsonl")
CAPTION_LISTS = ("prompt.txt", "prompts.txt", "caption.txt", "captions.txt")
CLIP_LISTS = ("video.txt", "videos.txt", "image.txt", "images.txt")

# Columns by what of a row they say, in lower case; of several that are filled the first counts.
WORD_COLUMNS = {
    "caption": ("caption", "prompt", "text", "cap", "vila_caption", "long_caption"),
    "short_caption": ("short_caption", "short_prompt"),
    "licence": ("licence", "license"),
    "identity": ("identity", "id"),
}
CLIP_COLUMNS = {
    "path": ("video", "file_path", "file_name", "path", "video_path", "image", "image_path"),
    "mask": ("mask", "mask_path", "mask_video"),
    **WORD_COLUMNS,
}
PAIR_COLUMNS = {  # Kiwi-Edit: src_video; Ditto: source_path, and vace_video of its lists for DiffSynth
    "path": ("target", "tgt_video", "target_video", "target_path", "edited_path", "edited_video", "video"),
    "source": ("source", "src_video", "source_video", "source_path", "vace_video", "control_path"),
    "instruction": ("instruction", "edit_instruction", "prompt", "text"),
    "reference": ("reference", "ref_image", "reference_image"),
    "edit": ("kind", "edit", "edit_type", "task"),
    "caption": ("caption", "target_caption"),
    "before": ("source_caption",),  # the caption of the source
    **{name: CLIP_COLUMNS[name] for name in ("mask", "licence", "identity")},
}
_FILES = ("mask", "reference")  # that a row names beside its clip and the clip before the edit


@dataclass(frozen=True)
class Line:
    """Line of a list: where it stands, and its values by column."""

    place: str
    values: dict[str, Any]


def text_of(path: Path) -> str:
    """Text of a file in UTF-8, with a mark at its head or none. ValueError, naming the line, for another
    encoding."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: not in UTF-8 ({error.reason}); save it as UTF-8") from error
    if "\0" in text:
        raise ValueError(f"{path}: holds zero bytes, so is not text in UTF-8; save it as UTF-8")
    return text


def json_of(path: Path) -> Any:
    """Value of a JSON file. ValueError, naming the line."""
    return _parsed_json(text_of(path), str(path), 1)


def read_lines(path: Path) -> list[Line]:
    """Lines of a list. ValueError, naming file and line, for one that is broken, and for a list without
    any."""
    ending = path.suffix.lower()
    if ending not in LIST_ENDINGS:
        raise ValueError(f"{path}: a list ends in {', '.join(LIST_ENDINGS)}")
    lines = {".csv": _csv, ".json": _json, ".jsonl": _jsonl}[ending](path)
    if not lines:
        raise ValueError(f"{path}: holds no line; needed one a clip")
    return lines


def columns_of(lines: Sequence[Line]) -> list[str]:
    """Names of columns that are filled anywhere, in their order."""
    empty = (None, "", [])
    return list(
        dict.fromkeys(name for line in lines for name, value in line.values.items() if value not in empty)
    )


def told(value: Any, what: str) -> str:
    """Value as text, with plain line ends; of several the first that says something; "" for none. ValueError
    for a table."""
    if isinstance(value, list):
        return next((one for one in (told(one, what) for one in value) if one), "")
    if value is None or value != value:  # NaN, as pandas writes an empty cell
        return ""
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"{what} is {value!r}; needed a text")
    text = str(value).replace("\r\n", "\n").replace("\r", "\n").strip()
    return text.encode("utf-8", "replace").decode()


def words_of(values: Mapping[str, Any], what: str) -> dict[str, str]:
    """Captions, licence and identity from the values of a line or of a file beside a clip."""
    return {field: text for field, names in WORD_COLUMNS.items() if (text := _first(values, names, what)[1])}


def add_lines(
    gathered: Gathered, file: Path, lines: Sequence[Line], columns: Mapping[str, Sequence[str]],
    bases: Sequence[Path], needed: Sequence[str] = ("path",),
) -> None:  # fmt: skip
    """Rows of a list by its columns. Paths are relative to the first of the bases where they are found.

    ValueError where a needed column is missing. A line without a clip is a row that is refused. So is one
    whose file is not there. A clip is taken once.
    """
    there = columns_of(lines)
    for field in needed:
        if not set(columns[field]) & set(there):
            raise ValueError(
                f"{file}: columns are {', '.join(there)}; needed one of {', '.join(columns[field])}"
            )
    columns = _without_numbers(gathered, file, lines, columns)
    used, seen, again, several = set(), set(), 0, 0
    for line in lines:
        values = {}
        for field, names in columns.items():
            name, values[field] = _first(line.values, names, f"{file}, {line.place}")
            used.add(name)
        several += any(
            isinstance(line.values.get(name), list) and len(line.values[name]) > 1 for name in used
        )
        clip = _row(gathered, file, line, values, bases, needed)
        if clip is not None and clip.id in seen:
            again += 1
        elif clip is not None:
            seen.add(gathered.add(clip).id)
    _say(gathered, file, [one for one in there if one not in used], again, several)


def add_two_files(gathered: Gathered, clips: Path, captions: Path) -> None:
    """Rows of two lists whose lines belong together: paths, relative to their folder, and captions.
    ValueError where they have not as many lines."""
    names, words = ([one.strip() for one in text_of(file).rstrip().split("\n")] for file in (clips, captions))
    if len(names) != len(words):
        raise ValueError(
            f"{clips} has {len(names)} lines, {captions} has {len(words)}; needed a caption for each clip"
        )
    lines = [
        Line(f"line {number}", {"path": name, "caption": caption})
        for number, (name, caption) in enumerate(zip(names, words, strict=True), 1)
        if name or caption
    ]
    add_lines(gathered, clips, lines, CLIP_COLUMNS, (clips.parent,))


def two_files(folder: Path) -> tuple[Path, Path] | None:
    """Lists of clips and of captions in a folder; None where not both are there. ValueError where there are
    more."""
    found = [
        [folder / one for one in names if (folder / one).is_file()] for names in (CLIP_LISTS, CAPTION_LISTS)
    ]
    if not all(found):
        return None
    if len(found[0]) > 1 or len(found[1]) > 1:
        names = ", ".join(one.name for one in found[0] + found[1])
        raise ValueError(f"{folder}: holds {names}; needed one list of clips and one of captions")
    return found[0][0], found[1][0]


def _first(values: Mapping[str, Any], names: Sequence[str], what: str) -> tuple[str, str]:
    """The first of these columns that says something, and what it says."""
    for name in names:
        if text := told(values.get(name), f"{what}: {name}"):
            return name, text
    return "", ""


def _without_numbers(
    gathered: Gathered, file: Path, lines: Sequence[Line], columns: Mapping[str, Sequence[str]]
) -> Mapping[str, Sequence[str]]:
    """The columns without `id`, where it numbers the lines and names nobody."""
    ids = [text for line in lines if (text := told(line.values.get("id"), f"{file}, {line.place}: id"))]
    if not ids or len(ids) > len(set(ids)):
        return columns
    gathered.say(f"{file.name}: id is another in every line, so it is read as no identity")
    return {field: [one for one in names if one != "id"] for field, names in columns.items()}


def _row(
    gathered: Gathered, file: Path, line: Line, values: dict[str, str], bases: Sequence[Path],
    needed: Sequence[str],
) -> Clip | None:  # fmt: skip
    """Row of a line; the clip before the edit is taken at once. None where the line has no clip, which is a
    row of its own."""
    source, before = values.pop("source", ""), values.pop("before", "")
    name = values.pop("path")
    if not name:
        gathered.lone(f"{file}:{line.place.split()[-1]}", values.get("caption") or line.place)
        return None
    if source and "instruction" not in values:  # a list of clips, of which some are edits
        values["instruction"] = values.pop("caption")
    files = {field: _found(values[field], bases) for field in _FILES if values.get(field)}
    path = _found(name, bases)
    clip = gathered.row(path, **{**values, **files})
    if source:
        first = gathered.row(_found(source, bases), caption=before, licence=values.get("licence", ""))
        clip = replace(clip, source=gathered.add(_there(first, first.path)).id)
        clip = clip if os.path.exists(first.path) else clip.refused(NO_SOURCE, first.path)
    elif "source" in needed:
        clip = clip.refused(NO_SOURCE, f"{file.name}, {line.place}")
    return _there(clip, path, *files.values())


def _there(clip: Clip, *paths: str) -> Clip:
    """The row, refused where one of the files is not there."""
    missing = [one for one in paths if not os.path.exists(one)]
    return clip.refused(NO_FILE, missing[0]) if missing else clip


def _found(name: str, bases: Sequence[Path]) -> str:
    """Path of a name that a list gives: where it is found, else where it should be. Lists that were made on
    Windows have its separators."""
    places = [
        os.path.abspath(os.path.join(base, one))
        for one in dict.fromkeys((name, name.replace("\\", "/")))
        for base in bases
    ]
    return next((one for one in places if os.path.exists(one)), places[0])


def _say(gathered: Gathered, file: Path, unused: Sequence[str], again: int, several: int) -> None:
    if unused:
        gathered.say(f"{file.name}: columns without meaning here: {', '.join(unused)}")
    if again:
        gathered.say(f"{file.name}: {again} lines name a clip that an earlier line has; the earlier is taken")
    if several:
        gathered.say(f"{file.name}: {several} lines have several texts in one place; the first is taken")


def _csv(path: Path) -> list[Line]:
    reader = csv.reader(StringIO(text_of(path), newline=""), strict=True)
    header, lines = None, []
    try:
        for cells in reader:
            if header is None and any(cells):
                header = [one.strip().lower() for one in cells]
            elif header is not None and cells:
                if len(cells) != len(header):
                    raise ValueError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells; the header has {len(header)}"
                    )
                lines.append(Line(f"line {reader.line_num}", dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: not CSV: {error}") from error
    twice = [one for one in header or () if one and (header or []).count(one) > 1]
    if twice:
        raise ValueError(f"{path}: two columns are called {twice[0]}")
    return lines


def _json(path: Path) -> list[Line]:
    value = json_of(path)
    rows = value.get("data") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise ValueError(f'{path}: needed a list of objects, or one in "data"')
    return [_line(one, path, f"item {number}") for number, one in enumerate(rows, 1)]


def _jsonl(path: Path) -> list[Line]:
    lines = text_of(path).split("\n")  # not at other line ends that Unicode has: a caption may hold them
    return [
        _line(_parsed_json(text, str(path), number), path, f"line {number}")
        for number, text in enumerate(lines, 1)
        if text.strip()
    ]


def _line(value: Any, path: Path, place: str) -> Line:
    if not isinstance(value, dict):
        raise ValueError(f"{path}, {place}: is {str(value)[:40]!r}; needed an object")
    return Line(place, {name.strip().lower(): one for name, one in value.items()})


def _parsed_json(text: str, path: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{path}, line {line + error.lineno - 1}"
        raise ValueError(f"{place}: not JSON: {error.msg}, column {error.colno}") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits; brackets without end
        raise ValueError(f"{path}: not JSON that can be read: {error}") from error
