"""Record of a folder of prepared clips: what is read, and how each stage was run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECORD = "data.json"


def load_record(folder: Path, what: str) -> dict[str, Any]:
    """Contents of data.json; empty where there is none. ValueError for one that is no record."""
    path = folder / RECORD
    empty = {"roots": [], "settings": {}, "models": {}, "stages": {}}
    if not path.is_file():
        return empty
    try:
        return _required({**empty, **json.loads(path.read_text("utf-8"))})
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{what}: {path} is damaged ({error}); delete it, and scan again: what was worked out is kept"
        ) from error


def _required(record: dict[str, Any]) -> dict[str, Any]:
    """The record. Errors where it has another form."""
    if not isinstance(record["roots"], list):
        raise TypeError("roots is no list")
    for layout, path in record["roots"]:
        _require_texts("roots", {layout: path})
    _require_texts("models", record["models"])
    _require_tables("settings", record["settings"])
    _require_tables("stages", record["stages"])
    for name, told in record["stages"].items():
        _require_tables(f"stages: {name}", {key: told.get(key) for key in ("options", "given", "weights")})
    return record


def _require_texts(name: str, texts: Mapping[Any, Any]) -> None:
    if not all(isinstance(one, str) for pair in texts.items() for one in pair):
        raise TypeError(f"{name} is {texts}; needed texts")


def _require_tables(name: str, tables: Mapping[str, Any]) -> None:
    for key, table in tables.items():
        if not isinstance(table, dict):
            raise TypeError(f"{name}: {key} is {table!r}; needed a table")
