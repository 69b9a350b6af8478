"""Settings as people write them: TOML into dataclasses, with unknown keys and wrong values refused."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from inspect import getdoc
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_T = TypeVar("_T")
NONE = "none"  # in TOML, of a value that may be left out


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


def filled(defaults: _T | type[_T], given: Any, what: str) -> _T:
    """A dataclass with what was given in the place of its defaults: those of an instance, or of the class
    itself. Dataclasses in it are tables. ValueError for a key that is not known, one that is missing, and a
    value of another type."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{what} is {given!r}; needed a table")
    kind = defaults if isinstance(defaults, type) else type(defaults)
    known = {field.name: field for field in fields(kind)}  # pyright: ignore[reportArgumentType]
    require_known(given, list(known), what)
    usual = {name: _usual(defaults, field) for name, field in known.items()}
    missing = [name for name in known if name not in given and usual[name] is MISSING]
    if missing:
        raise ValueError(f"{what}: {missing[0]} is missing; needed {', '.join(known)}")
    hints = get_type_hints(kind)
    new = {key: _value(hints[key], usual[key], value, f"{what}: {key}") for key, value in given.items()}
    try:
        return cast(_T, kind(**{**usual, **new}))
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


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


def toml_text(settings: Any, above: str = "") -> str:
    """A dataclass of settings as TOML, which `filled` reads back: its values, then its tables."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    tables = {name: one for name, one in values.items() if is_dataclass(one)}
    lines = [f"{name} = {_toml(value)}" for name, value in values.items() if name not in tables]
    head = [f"[{above}]"] if above else []
    parts = ["\n".join([*head, *lines, ""])] if lines or head else []
    parts += [toml_text(one, f"{above}.{name}" if above else name) for name, one in tables.items()]
    return "\n".join(parts)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(NONE if value is None else value, ensure_ascii=False)


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


def _usual(defaults: Any, field: Any) -> Any:
    """Value of a field where none is given; MISSING where there is none."""
    if not isinstance(defaults, type):
        return getattr(defaults, field.name)
    return field.default if field.default_factory is MISSING else field.default_factory()


def _value(kind: Any, usual: Any, value: Any, what: str) -> Any:
    """The value as a type's."""
    parts = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        if isinstance(value, str) and value == NONE and NoneType in parts:
            return None
        (kind,) = (part for part in parts if part is not NoneType)
        return _value(kind, usual, value, what)
    if is_dataclass(kind):
        return filled(kind if usual is MISSING or usual is None else usual, value, what)
    plain = get_origin(kind) or kind
    if plain is tuple:
        values = value if isinstance(value, (list, tuple)) else [value]
        if not parts:
            return tuple(values)
        each = parts[:1] * len(values) if parts[1:] == (...,) else parts
        if len(each) != len(values):
            raise ValueError(f"{what} is {value!r}; needed {len(each)} values")
        return tuple(_value(one, MISSING, part, what) for one, part in zip(each, values, strict=True))
    if plain is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wrong = plain is int and isinstance(value, bool)
    if plain in _KINDS and (wrong or not isinstance(value, plain)):
        raise ValueError(f"{what} is {value!r}; needed {_KINDS[plain]}")
    return value


_KINDS: dict[type, str] = {
    bool: "true or false", int: "a whole number", float: "a number", str: "a text",
    dict: "a table", Mapping: "a table",
}  # fmt: skip
