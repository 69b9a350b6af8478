"""Rows of training data, made once and kept in files."""

import logging
import stat
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ...core.checkpoint import read_safetensors, read_shapes, write_tensors
from ...core.files import clear_left

logger = logging.getLogger(__name__)

PART = 64  # rows rendered and encoded together
SHARD = 512  # rows in a file
MADE_BY = "made_by"  # metadata: what the rows depend on
OURS = b'{"__metadata__":{"%s":' % MADE_BY.encode()  # how our files begin, after eight bytes; cut short too
RowsT = TypeVar("RowsT", bound="Rows")


@dataclass(frozen=True)
class Rows:
    """Columns of equal length, tensors whose first dimension is the rows."""

    def __len__(self) -> int:
        return len(getattr(self, _names(self)[0]))

    def __getitem__(self: RowsT, index: Tensor) -> RowsT:
        return type(self)(**{name: getattr(self, name)[index] for name in _names(self)})

    def to(self: RowsT, device: torch.device | str) -> RowsT:
        """Rows on a device."""
        return type(self)(**{name: getattr(self, name).to(device) for name in _names(self)})


def cached_rows(
    rows: type[RowsT], folder: Path, name: str, count: int, made_by: str, encode_part: Callable[[int], RowsT]
) -> RowsT:
    """Rows, `count` of them, in files of SHARD each. What was `made_by` the same before is read, the rest is
    made by `encode_part(index)`, PART rows each.

    A run that is cut off loses one file at most, and a longer one adds to what is there. A file of ours that
    is cut short is made again. ValueError where count is no multiple of PART, or a file is there that is not
    of ours.
    """
    if count % PART:
        raise ValueError(f"clips is {count}; clips are rendered in parts of {PART}: give a multiple")
    starts = range(0, count, SHARD)
    paths = [folder / f"latents-{name}-{start // SHARD:03}.safetensors" for start in starts]
    for path in paths:  # before the first is made, which may take an hour
        _require_ours(path)
    shards = []
    for start, path in zip(starts, paths, strict=True):
        stop = min(start + SHARD, count)
        origin = f"{made_by} {stop - start}"  # the last file may hold fewer rows than a longer run needs
        shard = _read(rows, path, origin)
        if shard is None:
            shard = _joined(rows, [encode_part(part) for part in range(start // PART, stop // PART)])
            _write(shard, path, origin)
            logger.info("%s: %d clips encoded", path.name, stop - start)
        shards.append(shard)
    return _joined(rows, shards)


def _names(rows: Any) -> list[str]:
    return [field.name for field in fields(rows)]


def _joined(rows: type[RowsT], parts: list[RowsT]) -> RowsT:
    return rows(**{name: torch.cat([getattr(part, name) for part in parts]) for name in _names(rows)})


def _write(rows: Any, path: Path, origin: str) -> None:
    clear_left(path)
    write_tensors({name: getattr(rows, name) for name in _names(rows)}, path, {MADE_BY: origin})


def _require_ours(path: Path) -> None:
    """ValueError where anything is there that does not begin as ours do. An empty file holds nothing."""
    try:
        begins = _begins(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); choose another folder") from error
    if begins is None or not OURS.startswith(begins):
        raise ValueError(
            f"{path} is no file of encoded clips (its metadata has no {MADE_BY}); "
            "move it away, or choose another folder"
        )


def _begins(path: Path) -> bytes | None:
    """Bytes behind a file's first eight, as many as `OURS` has at most. None where there are none, or no
    file; an empty file counts as one of ours."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # a pipe would never end
        return None
    with path.open("rb") as file:
        return file.read(8 + len(OURS))[8:] or (None if found.st_size else OURS)


def _read(rows: type[RowsT], path: Path, origin: str) -> RowsT | None:
    """Rows in a file of ours; None where it is not there, cut short (which is said), or made by something
    else."""
    if not path.exists():
        return None
    try:
        held, metadata = read_shapes(path, "clips")
        if metadata.get(MADE_BY) != origin or held.keys() != set(_names(rows)):
            return None
        return rows(**read_safetensors(path, "clips")[0])
    except ValueError as error:
        logger.warning("%s: encoded again", error)
        return None
