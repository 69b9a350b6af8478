"""Rows of training data, made once and kept in files."""

import logging
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

logger = logging.getLogger(__name__)

PART = 64  # rows rendered and encoded together
SHARD = 512  # rows in a file
MADE_BY = "made_by"  # metadata: what the rows depend on
RowsT = TypeVar("RowsT")


def cached_rows(
    rows: type[RowsT], folder: Path, name: str, count: int, made_by: str, encode_part: Callable[[int], RowsT]
) -> RowsT:
    """`count` rows of a dataclass of tensors in files of SHARD each: read what was `made_by` the same before, make the rest by
    `encode_part(index)`, PART rows each. A run that is cut off loses one file at most; a longer one adds to what is there.
    ValueError where count is no multiple of PART."""
    if count % PART:
        raise ValueError(f"clips is {count}; clips are rendered in parts of {PART}: give a multiple")
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for start in range(0, count, SHARD):
        stop = min(start + SHARD, count)
        path = folder / f"latents-{name}-{start // SHARD:03}.safetensors"
        told = f"{made_by} {stop - start}"
        if not path.exists() or _made_by(path) != told:
            made = _joined(rows, [encode_part(part) for part in range(start // PART, stop // PART)])
            _write(made, path, told)
            logger.info("%s: %d clips encoded", path.name, stop - start)
        shards.append(rows(**load_file(path)))
    return _joined(rows, shards)


def _joined(rows: type[RowsT], parts: list[RowsT]) -> RowsT:
    names = [field.name for field in fields(rows)]  # pyright: ignore[reportArgumentType]
    return rows(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def _write(made: Any, path: Path, told: str) -> None:
    partial = path.with_suffix(".partial")
    save_file({field.name: getattr(made, field.name) for field in fields(made)}, partial, {MADE_BY: told})
    partial.replace(path)


def _made_by(path: Path) -> str | None:
    with safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get(MADE_BY)
