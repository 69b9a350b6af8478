"""Small records in a file's metadata: dataclasses whose fields say their bounds, read from JSON that may say
anything."""

import json
import reprlib
from collections.abc import Callable
from dataclasses import MISSING, field, fields
from typing import Any, TypeVar

RecordT = TypeVar("RecordT")
_MOST_LETTERS = 1 << 20  # of a record's JSON
_BOUNDS = "bounds"


def bounded(least: float, most: float, default: Any = MISSING) -> Any:
    """A field of `int` or `float` that lies between two numbers, both included."""
    return field(default=default, metadata={_BOUNDS: (least, most)})


def require_bounds(record: Any) -> None:
    """Check the bounded fields of a dataclass, in its `__post_init__`. ValueError where one is no number of
    its type within its bounds."""
    for one in fields(record):
        if _BOUNDS not in one.metadata:
            continue
        (least, most), value = one.metadata[_BOUNDS], getattr(record, one.name)
        whole = one.type in (int, "int")
        fits = type(value) is int or (not whole and type(value) is float)
        if not fits or not least <= value <= most:
            kind = "a whole number" if whole else "a number"
            raise ValueError(f"{one.name} is {reprlib.repr(value)}; needed {kind}, {least} to {most}")


def parsed(text: str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Parse a JSON text, its objects made by `pairs`. ValueError where it is none, or nests deeper than
    Python reads."""
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except RecursionError as error:
        raise ValueError("it nests too deep") from error


def read_object(metadata: dict[str, str], key: str, name: str) -> dict[str, Any]:
    """The JSON object under a key of a file's metadata, empty where there is none. ValueError for anything
    else; `name` says in errors which file that is."""
    text = metadata.get(key, "{}")
    if len(text) > _MOST_LETTERS:
        raise ValueError(
            f'{name}: its metadata "{key}" has {len(text)} letters; needed at most {_MOST_LETTERS}'
        )
    try:
        said = parsed(text)
    except ValueError as error:
        raise ValueError(
            f'{name}: its metadata "{key}" is {reprlib.repr(text)}, no JSON ({error}); needed an object'
        ) from error
    if not isinstance(said, dict):
        raise ValueError(f'{name}: its metadata "{key}" is {reprlib.repr(said)}; needed a JSON object')
    return said


def read_record(kind: type[RecordT], metadata: dict[str, str], key: str, name: str) -> RecordT:
    """A record as its JSON says; fields with defaults may be missing. ValueError for a field that is not
    there, not known, or out of its bounds."""
    said = read_object(metadata, key, name)
    known = {one.name: one for one in fields(kind)}  # pyright: ignore[reportArgumentType]
    needed = [one.name for one in known.values() if one.default is MISSING and one.name not in said]
    odd = [one for one in said if one not in known]
    if needed or odd:
        wrong = f"has no {needed[0]}" if needed else f"says {reprlib.repr(odd[0])}"
        raise ValueError(f'{name}: its metadata "{key}" {wrong}; needed {", ".join(known)}')
    try:
        return kind(**said)
    except ValueError as error:
        raise ValueError(f'{name}: its metadata "{key}" cannot be used ({error})') from error
