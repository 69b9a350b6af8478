"""Tensors of weight files, each read when it is asked for, so that a model is never held whole."""

import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..core.header import SAFETENSORS_ENDINGS, read_header, shown
from .sources import PICKLED_ENDINGS

# Entries of a pickled file that hold its weights, beside an optimiser and the like.
NESTS = (
    "module", "state_dict", "model", "model_state_dict", "ema", "ema_state_dict", "ema_model", "generator",
)  # fmt: skip
_DEEPEST = 4  # nests, one inside another
_UNSAFE = re.compile(r"GLOBAL (\S+)|global \"?([\w.]+)")
# What torch raises for a pickle that is cut short or made by hand.
_BROKEN = (
    pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError,
    AttributeError, ArithmeticError, AssertionError, MemoryError,
)  # fmt: skip


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

    ValueError for a file that is not whole, and for a key that two files hold. ValueError too for a pickle
    that holds anything but tensors and plain values: torch's weights-only reader runs nothing of it.
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
            state, left = _pickled(file, name)
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


def _pickled(file: Path, name: str) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors of a pickled file, mapped and not read, and the names of what it holds beside them."""
    try:
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except _BROKEN as error:
        raise ValueError(_refusal(name, str(error))) from error
    return _weights_in(found, name)


def _refusal(name: str, said: str) -> str:
    unsafe = _UNSAFE.search(said)
    if unsafe:
        return (
            f"{name} asks for {unsafe[1] or unsafe[2]}, which is no tensor and could run code; nothing was run. "
            "Needed weights alone: ask their author for a safetensors file"
        )
    if "mmap can only be used" in said:
        return (
            f"{name} is no file of torch.save's since version 1.6; needed a zip of tensors, or a safetensors "
            f"file ({', '.join(PICKLED_ENDINGS)} of other programs cannot be read)"
        )
    return f"{name} cannot be read ({said.splitlines()[0] if said else 'nothing in it'}); download it again"


def _weights_in(found: Any, name: str) -> tuple[dict[str, Tensor], list[str]]:
    """The mapping of keys to tensors inside a pickled object. ValueError where there is none, or several."""
    beside: list[str] = []
    for _ in range(_DEEPEST):
        if not isinstance(found, Mapping):
            raise ValueError(f"{name} holds a {type(found).__name__}; needed tensors by their keys")
        nests = [key for key in NESTS if isinstance(found.get(key), Mapping)]
        if len(nests) > 1:
            raise ValueError(
                f"{name} holds weights under {' and under '.join(nests)}; needed one set of them"
            )
        if not nests:
            break
        beside += [str(key) for key in found if key != nests[0]]
        found = found[nests[0]]
    state = {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, Tensor)}
    beside += [str(key) for key in found if key not in state]
    if not state:
        raise ValueError(f"{name} holds {shown(', '.join(beside)) or 'nothing'} and no tensors by their keys")
    odd = next((key for key, one in state.items() if one.layout != torch.strided or one.is_quantized), None)
    if odd is not None:
        raise ValueError(f"{name}: {shown(odd)} is sparse or quantised; needed plain tensors")
    return state, beside


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
