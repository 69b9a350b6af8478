"""Settings as people write them: TOML into dataclasses, with unknown keys and wrong values refused."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from inspect import getdoc
from pathlib import Path
from typing import Any, TypeVar

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_T = TypeVar("_T")


def read_toml(path: str | Path, what: str) -> dict[str, Any]:
    """A TOML file. ValueError where there is none, and where it is not TOML in UTF-8."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{what}: there is no file {path}; needed a TOML file")
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))  # Windows puts a mark at the head
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{what}: {path} is not TOML in UTF-8: {error}") from error


def require_known(given: Iterable[str], known: Sequence[str], what: str) -> None:
    """ValueError for the first key or word that is not known, with the nearest that is."""
    for key in given:
        if key not in known:
            near = get_close_matches(key, known, 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise ValueError(f"{what}: {key} is not known{hint} Known: {', '.join(known)}")


def filled(defaults: _T, given: Mapping[str, Any], what: str) -> _T:
    """A dataclass with what was given in the place of its defaults; dataclasses in it are tables. ValueError
    for a key that is not known, and for a value of another type."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{what} is {given!r}; needed a table")
    names = [field.name for field in fields(defaults)]  # pyright: ignore[reportArgumentType]
    require_known(given, names, what)
    new = {key: _value(getattr(defaults, key), value, f"{what}: {key}") for key, value in given.items()}
    return replace(defaults, **new)  # pyright: ignore[reportArgumentType]


def assigned(text: str) -> dict[str, Any]:
    """`a.b=VALUE` as nested tables; the value as TOML has it, else a string. ValueError without `=`."""
    name, equals, value = text.partition("=")
    if not equals or not all(name.split(".")):
        raise ValueError(f"--set {text}: needed TABLE.KEY=VALUE, as in --set cut.threshold=3")
    table: Any = _parsed(value)
    for part in reversed(name.strip().split(".")):
        table = {part: table}
    return table


def options_text(defaults: Any, name: str) -> str:
    """Options of a stage for people: the docstring of their dataclass, and their defaults as TOML."""
    values = {field.name: getattr(defaults, field.name) for field in fields(defaults)}
    table = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join([getdoc(type(defaults)) or "", "", f"[{name}]", *table, ""])


def merged(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Tables over one another, the last on top."""
    out: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            below = out.get(key)
            if isinstance(below, Mapping) and isinstance(value, Mapping):
                value = merged(below, value)
            out[key] = value
    return out


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _value(default: Any, value: Any, what: str) -> Any:
    """The value in the default's type."""
    if is_dataclass(default):
        return filled(default, value, what)
    if isinstance(default, tuple):
        values = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_value(default[0], one, what) for one in values) if default else tuple(values)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if default is not None and type(value) is not type(default):
        raise ValueError(f"{what} is {value!r}; needed {_KINDS.get(type(default), type(default).__name__)}")
    return value


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", dict: "a table"}
