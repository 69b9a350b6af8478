"""Safetensors files in and out: strict, named in every error, never pickled."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .files import replacing

KIND, VERSION = "refvid.kind", "refvid.version"  # metadata of files in formats of our own


def read_safetensors(path: str | Path, what: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file. `what` names the input in an error, e.g. "--dit"."""
    return _read(path, what, lambda file, key: file.get_tensor(key))


def read_some(path: str | Path, what: str, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    """The tensors of a file whose keys are wanted; the others are not read."""
    state, _ = _read(path, what, lambda file, key: file.get_tensor(key) if wanted(key) else None)
    return {key: value for key, value in state.items() if value is not None}


def read_shapes(path: str | Path, what: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The same with tensors that have a shape but no storage: what a file holds, however large it is."""
    return _read(path, what, lambda file, key: torch.empty(file.get_slice(key).get_shape(), device="meta"))


def _read(path: str | Path, what: str, take: Callable) -> tuple[dict[str, Tensor], dict[str, str]]:
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{what}: there is no file {path}; give a .safetensors file")
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{what}: {path.name} is not a .safetensors file; pickled weights can run code and are refused"
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {key: take(file, key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{what}: {path.name} is truncated or not a safetensors file ({error})") from error


def require_kind(metadata: dict[str, str], kind: str, version: str, name: str, instead: str) -> None:
    """ValueError unless a file's metadata names this kind of file in this version. `instead` says what to do with another kind."""
    if metadata.get(KIND) != kind:
        raise ValueError(f"{name} is no {kind} file (its metadata has no {KIND} = {kind}); {instead}")
    if metadata.get(VERSION) != version:
        raise ValueError(
            f"{name} has version {metadata.get(VERSION)}, this refvid reads {version}; update refvid, or make the file again"
        )


def save_model(
    tensors: dict[str, Tensor], path: str | Path, metadata: dict[str, str] | None = None, dtype=torch.float16
) -> None:
    """Write tensors in original key names; floating ones in `dtype`. OSError where that cannot be done."""
    packed = {
        key: (value.to(dtype) if value.is_floating_point() else value).detach().cpu().contiguous()
        for key, value in tensors.items()
    }
    write_tensors(packed, path, {"format": "pt", **(metadata or {})})


def write_tensors(tensors: dict[str, Tensor], path: str | Path, metadata: dict[str, str]) -> None:
    """Tensors as they are, in a file that is whole or not there. OSError where it cannot be written."""
    try:
        with replacing(path) as partial:
            save_file(tensors, partial, metadata)
    except SafetensorError as error:
        raise OSError(f"{path} could not be written ({error})") from error


class Shapes:
    """Shapes by key, with an error that names the missing one."""

    def __init__(self, state: dict[str, Tensor], what: str, kind: str = "a Wan file in original format"):
        self.state, self.what, self.kind = state, what, kind

    def __getitem__(self, key: str) -> list[int]:
        if key not in self.state:
            raise ValueError(f"{self.what} is not {self.kind}: it has no {key}")
        return list(self.state[key].shape)


def count_blocks(keys: Iterable[str], prefix: str) -> int:
    """How many numbers follow `prefix` among the keys."""
    return len({key.removeprefix(prefix).split(".")[0] for key in keys if key.startswith(prefix)})
