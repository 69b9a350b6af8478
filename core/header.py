"""Header of a safetensors file, checked before anything behind it is read. One of any size and any content is
refused in milliseconds, by name."""

import math
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .records import parsed

SAFETENSORS_ENDINGS = (".safetensors", ".sft")
MOST_HEADER_BYTES = 4 << 20  # of a header; a Wan of 14B parameters, quantised, has less than a tenth of it
MOST_TENSORS = 16384
MOST_PARTS = (
    16 * MOST_TENSORS
)  # lists, objects and commas: what they cost in memory is bounded before they are read
_MOST_LETTERS = 512  # of a tensor's name
MOST_DIMENSIONS = 8
_MOST_NUMBER = 1 << 48  # bytes or rows
_LENGTH = 8  # bytes, in which the header's own length is written
_METADATA = "__metadata__"
_FIELDS = ("dtype", "shape", "data_offsets")
HEADER_DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, dtype)
    for name, dtype in {
        "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32",
        "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32",
        "F64": "float64", "C64": "complex64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
        "F8_E8M0": "float8_e8m0fnu",
    }.items()
    if hasattr(torch, dtype)
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """Tensor of a file, as its header lists it: type and shape, and the bytes behind the header that it
    fills, begin to end."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """Tensors by key, and metadata."""

    tensors: dict[str, Entry]
    metadata: dict[str, str]


def read_header(path: Path, name: str) -> Header:
    """Read the header of a file; `name` says in errors which file that is. ValueError for a path that is no
    readable file, and for a header of another form or beyond the limits above. ValueError too for tensors
    that do not fill the file one after another."""
    return header_in(*_raw(path, name), name)


def header_in(raw: bytes, rest: int, name: str) -> Header:
    """A header from its bytes, of a file with `rest` bytes behind it; errors as `read_header`'s."""
    parts = sum(raw.count(sign) for sign in (b"{", b"[", b","))
    if parts > MOST_PARTS:
        raise ValueError(f"{name}: its header has {parts} parts; needed at most {MOST_TENSORS} tensors")
    try:
        said = parsed(raw.decode("utf-8"), _once)
    except ValueError as error:
        raise ValueError(
            f"{name} is no safetensors file: its header cannot be read ({error}); needed a JSON object"
        ) from error
    if not isinstance(said, dict):
        raise ValueError(
            f"{name} is no safetensors file: its header is {reprlib.repr(said)}; needed an object"
        )
    metadata = _metadata(said.pop(_METADATA, None), name)
    if len(said) > MOST_TENSORS:
        raise ValueError(f"{name} holds {len(said)} tensors; needed at most {MOST_TENSORS}")
    tensors = {key: _entry(key, entry, name) for key, entry in said.items()}
    _require_filled(tensors, rest, name)
    return Header(tensors, metadata)


def shown(key: str) -> str:
    """A key as it can stand in a message, however long and odd it is."""
    said = key if key.isprintable() and key else repr(key)
    return said if len(said) <= 80 else f"{said[:60]}… ({len(key)} letters)"


def _raw(path: Path, name: str) -> tuple[bytes, int]:
    """A header's bytes, and how many follow it in the file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH), "little")
            if size < _LENGTH or length > size - _LENGTH:
                raise ValueError(
                    f"{name} is truncated or not a safetensors file: it has {size} bytes; needed eight, and the "
                    f"header of {length} that they say"
                )
            if length > MOST_HEADER_BYTES:
                raise ValueError(f"{name}: its header has {length} bytes; needed at most {MOST_HEADER_BYTES}")
            return file.read(length), size - _LENGTH - length
    except OSError as error:
        raise ValueError(f"{name} cannot be read ({error.strerror}); give a .safetensors file") from error


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{shown(key)} stands in it twice")
        found[key] = value
    return found


def _entry(key: str, said: Any, name: str) -> Entry:
    if not 0 < len(key) <= _MOST_LETTERS or not key.isprintable():
        raise ValueError(
            f"{name}: a tensor is called {shown(key)}; needed 1 to {_MOST_LETTERS} printable letters"
        )
    if not isinstance(said, dict) or said.keys() != set(_FIELDS):
        raise ValueError(f"{name}: {shown(key)} is {reprlib.repr(said)}; needed {', '.join(_FIELDS)}")
    dtype, shape, offsets = (said[field] for field in _FIELDS)
    if not isinstance(dtype, str) or dtype not in HEADER_DTYPES:
        raise ValueError(
            f"{name}: {shown(key)} has dtype {reprlib.repr(dtype)}; needed one of {', '.join(HEADER_DTYPES)}"
        )
    if not _whole(shape) or len(shape) > MOST_DIMENSIONS:
        raise ValueError(
            f"{name}: {shown(key)} has shape {reprlib.repr(shape)}; needed up to {MOST_DIMENSIONS} whole numbers from 0"
        )
    if not _whole(offsets) or len(offsets) != 2:
        raise ValueError(
            f"{name}: {shown(key)} has data_offsets {reprlib.repr(offsets)}; needed two whole numbers from 0"
        )
    wanted, held = math.prod(shape) * HEADER_DTYPES[dtype].itemsize, offsets[1] - offsets[0]
    if wanted != held:
        raise ValueError(f"{name}: {shown(key)} has {held} bytes; {dtype} of shape {shape} needs {wanted}")
    return Entry(HEADER_DTYPES[dtype], tuple(shape), *offsets)


def _whole(value: Any) -> bool:
    """True for a list of whole numbers from 0 that a file can hold."""
    return isinstance(value, list) and all(type(one) is int and 0 <= one < _MOST_NUMBER for one in value)


def _require_filled(tensors: dict[str, Entry], size: int, name: str) -> None:
    place = 0
    for key, entry in sorted(tensors.items(), key=lambda one: (one[1].begin, one[1].end)):
        if entry.begin != place:
            raise ValueError(
                f"{name}: {shown(key)} begins at byte {entry.begin}; needed {place}, where the tensor before "
                "it ends"
            )
        place = entry.end
    if place != size:
        raise ValueError(
            f"{name} is truncated or not a safetensors file: its tensors end at byte {place}; "
            f"needed {size}, where the file ends"
        )


def _metadata(said: Any, name: str) -> dict[str, str]:
    if said is None:
        return {}
    if not isinstance(said, dict) or not all(_is_text(one) for pair in said.items() for one in pair):
        raise ValueError(f"{name}: its metadata is {reprlib.repr(said)}; needed text by name")
    return said


def _is_text(value: Any) -> bool:
    """True for text of whole letters."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)
