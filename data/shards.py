"""Shards of encoded clips: safetensors files in a folder or in object storage. Tensors of one clip are read
by ranges of bytes."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.checkpoint import read_safetensors, write_tensors
from ..core.files import clear_left, write_text
from ..core.header import Header, header_in

ROWS, SHARDS = "rows", "shards"
MOST_ROWS = 512  # in a shard
MOST_BYTES = 2 << 30  # in a shard
_LENGTH = 8  # bytes that say how long a header is


def row_file(folder: Path, key: str) -> Path:
    """Path of an encoded clip before it is packed."""
    return folder / ROWS / f"{key}.safetensors"


def write_row(folder: Path, key: str, tensors: Mapping[str, Tensor]) -> None:
    """Write an encoded clip, whole or not at all."""
    write_tensors({name: value.contiguous() for name, value in tensors.items()}, row_file(folder, key), {})


def packed_places(folder: Path) -> dict[str, tuple[str, int]]:
    """Shard and row of packed clips by key. A shard counts once the list of its keys is there, and as long as
    it is there itself."""
    found = {}
    for listed in sorted((folder / SHARDS).glob("*.json")):
        name = f"{SHARDS}/{listed.stem}.safetensors"
        if (folder / name).is_file():
            keys = json.loads(listed.read_text("utf-8"))
            found.update({key: (name, row) for row, key in enumerate(keys)})
    return found


def pack_rows(folder: Path, keys: Sequence[str]) -> None:
    """Pack clips that are not in a shard yet, in the order of `keys`; what was packed stays where it is. A
    kill at any moment leaves each clip in its own file or in a shard that is written down."""
    for one in (ROWS, SHARDS):
        clear_left(folder / one / "*")
    known = packed_places(folder)
    last = max((int(Path(name).stem[-6:]) for name, _ in known.values()), default=-1)
    new = [key for key in dict.fromkeys(keys) if key not in known]
    for number, part in enumerate(_parts(folder, new), last + 1):
        _write_shard(folder / SHARDS, f"shard-{number:06}", folder, part)
    for key in (key for key in keys if row_file(folder, key).is_file()):
        row_file(folder, key).unlink()


def _parts(folder: Path, keys: Sequence[str]) -> list[list[str]]:
    """Keys by shards, none of more rows or bytes than a shard may have."""
    parts: list[list[str]] = []
    held = MOST_BYTES
    for key in keys:
        size = row_file(folder, key).stat().st_size
        if held + size > MOST_BYTES or len(parts[-1]) == MOST_ROWS:
            parts.append([])
            held = 0
        parts[-1].append(key)
        held += size
    return parts


def _write_shard(shards: Path, name: str, folder: Path, keys: Sequence[str]) -> None:
    tensors = {}
    for row, key in enumerate(keys):
        read, _ = read_safetensors(row_file(folder, key), "encoded clip")
        tensors.update({f"{row}.{what}": value for what, value in read.items()})
    (shards / f"{name}.json").unlink(missing_ok=True)  # of a shard that somebody deleted
    write_tensors(tensors, shards / f"{name}.safetensors", {})
    write_text(shards / f"{name}.json", json.dumps(keys))


class Shard:
    """A shard behind an address of fsspec's: a path, s3://…, gs://…, memory://…"""

    def __init__(self, address: str):
        self.address = address
        self._storage, self._path = _storage_of(address)

    @cached_property
    def _header(self) -> tuple[Header, int]:
        """The header, and the byte at which tensors begin."""
        try:
            size = self._storage.size(self._path)
            length = int.from_bytes(self._range(0, _LENGTH), "little")
        except (OSError, ValueError) as error:
            raise ValueError(f"shard: {self.address} cannot be read ({error})") from error
        if size is None or not _LENGTH + length <= size:
            raise ValueError(f"shard: {self.address} is cut short: {size} bytes")
        begin = _LENGTH + length
        return header_in(self._range(_LENGTH, begin), size - begin, f"shard: {self.address}"), begin

    def names(self, row: int) -> list[str]:
        """Names of a row's tensors."""
        return [name.partition(".")[2] for name in self._header[0].tensors if name.startswith(f"{row}.")]

    def read(self, row: int, name: str, first: int | None = None) -> Tensor:
        """A tensor of a row; or with `first` only that entry of its first axis: no other byte is fetched.
        ValueError where there is none."""
        header, begin = self._header
        if f"{row}.{name}" not in header.tensors:
            raise ValueError(f"shard: {self.address} has no {name} of row {row}")
        entry = header.tensors[f"{row}.{name}"]
        shape, start, stop = entry.shape, entry.begin, entry.end
        if first is not None:
            if not 0 <= first < shape[0]:
                raise ValueError(
                    f"shard: {self.address}: {name} of row {row} has {shape[0]} entries; there is none {first}"
                )
            each = (stop - start) // shape[0]
            shape, start = shape[1:], start + first * each
            stop = start + each
        raw = self._range(begin + start, begin + stop)
        return torch.frombuffer(bytearray(raw), dtype=entry.dtype).view(shape) if raw else torch.empty(shape)

    def _range(self, start: int, stop: int) -> bytes:
        return self._storage.cat_file(self._path, start, stop)


def copy_to(folder: Path, names: Sequence[str], address: str) -> None:
    """Copy files of a folder to an address of fsspec's, by their names."""
    storage, root = _storage_of(address)
    for name in names:
        target = f"{root.rstrip('/')}/{name}"
        storage.makedirs(target.rpartition("/")[0], exist_ok=True)
        storage.put_file(str(folder / name), target)


def read_text(address: str) -> str:
    """A text behind an address. ValueError where there is none."""
    storage, path = _storage_of(address)
    try:
        return storage.cat_file(path).decode("utf-8")
    except (OSError, ValueError) as error:
        raise ValueError(f"{address} cannot be read ({error})") from error


def _storage_of(address: str) -> tuple[Any, str]:
    """Storage of an address, and the path there. ValueError where the storage's package is not installed."""
    from fsspec.core import url_to_fs

    try:
        return url_to_fs(address)
    except ImportError as error:
        raise ValueError(f"{address} cannot be reached: {error}") from error
