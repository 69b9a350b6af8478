"""Tensors of weight files, each read when it is asked for, so that a model is never held whole."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..core.header import SAFETENSORS_ENDINGS, read_header, shown
from .pickles import read_pickle


@dataclass(frozen=True)
class Published:
    """Tensor of a weight file: which file, its type and shape, and how it is read."""

    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    read: Callable[[], Tensor]


@dataclass(frozen=True)
class Opened:
    """Tensors of a set of files by key, the metadata that all of its safetensors files share, and names of
    what they hold beside weights."""

    tensors: dict[str, Published]
    metadata: dict[str, str]
    beside: tuple[str, ...]


def open_files(files: Sequence[Path], what: str = "SOURCE") -> Opened:
    """Open weight files. Nothing of a tensor is read yet.

    ValueError for a file that is not whole, and for a key that two files hold. Pickled files as
    `read_pickle` says.
    """
    tensors: dict[str, Published] = {}
    metadata: list[dict[str, str]] = []
    beside: list[str] = []
    for file in files:
        name = f"{what}: {file.name}"
        if file.suffix.lower() in SAFETENSORS_ENDINGS:
            header = read_header(file, name)
            metadata.append(header.metadata)
            found = {
                key: Published(file, entry.dtype, entry.shape, _reader(file, key, name))
                for key, entry in header.tensors.items()
            }
        else:
            state, left = read_pickle(file, name)
            beside += [f"{one} of {file.name}" for one in left]
            found = {
                key: Published(file, one.dtype, tuple(one.shape), _held(one)) for key, one in state.items()
            }
        twice = min(tensors.keys() & found.keys(), default=None)
        if twice is not None:
            raise ValueError(
                f"{what}: {shown(twice)} is in {tensors[twice].file.name} and in {file.name}; needed the shards "
                "of one model, each key once"
            )
        tensors |= found
    shared = dict(set.intersection(*(set(one.items()) for one in metadata))) if metadata else {}
    return Opened(tensors, shared, tuple(beside))


def _reader(file: Path, key: str, name: str) -> Callable[[], Tensor]:
    def read() -> Tensor:
        try:
            # Opened each time: what is mapped for one tensor is given back with it.
            with safe_open(file, framework="pt") as opened:
                return opened.get_tensor(key)
        except (SafetensorError, OSError, RuntimeError) as error:
            raise ValueError(f"{name} cannot be read ({error})") from error

    return read


def _held(tensor: Tensor) -> Callable[[], Tensor]:
    return lambda: tensor


def digests(files: Sequence[Path], progress: Callable[[int, int], None]) -> Iterator[str]:
    """SHA-256 of each file, in hex; `progress` is told MiB read, of all."""
    from hashlib import sha256

    of, done = sum(one.stat().st_size for one in files), 0
    for path in files:
        digest = sha256()
        with path.open("rb") as file:
            while part := file.read(_PART):
                digest.update(part)
                done += len(part)
                progress(done >> 20, of >> 20)
        yield digest.hexdigest()


_PART = 1 << 24  # bytes
