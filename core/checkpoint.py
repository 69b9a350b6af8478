"""Safetensors files in and out: strict, named in every error, never pickled."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .files import replacing
from .header import SAFETENSORS_ENDINGS, Header, read_header, shown

KIND, VERSION = "refvid.kind", "refvid.version"  # metadata of files in formats of our own
_CHUNK = 1 << 24  # numbers
MOST_SIDE = 1 << 16  # of a tensor by which the sizes of a model are known


def read_safetensors(path: str | Path, what: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file. `what` names the input in an error, e.g. "--dit". ValueError for a file
    that is not whole (`read_header`), and for values that are not finite."""
    path, header = header_of(path, what)
    return _tensors(path, what, header.tensors), header.metadata


def read_some(
    path: str | Path,
    what: str,
    wanted: Callable[[str], bool],
    dtype: torch.dtype | None = None,
    device: str = "cpu",
) -> dict[str, Tensor]:
    """The tensors of a file whose keys are wanted, in a type and on a device; the others are not read. Each
    is changed as it is read, so that a file is never held twice."""
    path, header = header_of(path, what)
    return _tensors(path, what, filter(wanted, header.tensors), dtype, device)


def read_shapes(path: str | Path, what: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a file's tensors as shapes and types without storage: `read_safetensors` of a file of any size."""
    _, header = header_of(path, what)
    return {
        key: torch.empty(entry.shape, dtype=entry.dtype, device="meta")
        for key, entry in header.tensors.items()
    }, header.metadata


def read_metadata(path: str | Path, what: str) -> dict[str, str]:
    """The metadata of a file alone."""
    return header_of(path, what)[1].metadata


def header_of(path: str | Path, what: str) -> tuple[Path, Header]:
    """A file's path and header. ValueError where it is not there, is of another format by its name, or is
    none that `read_header` takes."""
    path = Path(path)
    try:
        found = path.is_file()  # a pipe or a device would never end
    except (OSError, ValueError) as error:
        raise ValueError(f"{what}: {path} cannot be read ({error})") from error
    if not found:
        raise ValueError(f"{what}: there is no file {path}; give a .safetensors file")
    if path.suffix.lower() not in SAFETENSORS_ENDINGS:
        raise ValueError(
            f"{what}: {path.name} is not a .safetensors file; pickled weights can run code and are refused"
        )
    return path, read_header(path, f"{what}: {path.name}")


def require_values(path: str | Path, what: str) -> None:
    """Read a whole file. ValueError where a value in it is not finite."""
    path, header = header_of(path, what)
    for key in header.tensors:
        _tensors(path, what, [key])


def _tensors(
    path: Path, what: str, keys: Iterable[str], dtype: torch.dtype | None = None, device: str = "cpu"
) -> dict[str, Tensor]:
    found = {}
    try:
        with safe_open(path, framework="pt") as file:
            for key in keys:
                value = file.get_tensor(key)
                if not is_finite(value):
                    raise ValueError(
                        f"{what}: {path.name} holds NaN or infinite values in {shown(key)}; needed finite ones: "
                        "make or download the file again"
                    )
                found[key] = value.to(device, dtype)
    except (SafetensorError, OSError, RuntimeError) as error:  # the last where memory does not take it
        raise ValueError(f"{what}: {path.name} cannot be read ({error})") from error
    return found


def is_finite(tensor: Tensor) -> bool:
    """True where no number is NaN or infinite; fp8, for which torch does not compute, by its bits."""
    if tensor.is_complex():
        return bool(torch.view_as_real(tensor).isfinite().all())
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    if tensor.element_size() == 1:
        mask, first = _BITS[tensor.dtype]
        return all(
            int((part & mask).max()) < first for part in tensor.view(torch.uint8).flatten().split(_CHUNK)
        )
    return all(bool(torch.isfinite(bound)) for bound in tensor.aminmax())


# By type the bits beside the sign, and the first of them that are no number.
_BITS = {torch.float8_e4m3fn: (0x7F, 0x7F), torch.float8_e5m2: (0x7F, 0x7C)}
if hasattr(torch, "float8_e8m0fnu"):  # scales of mxfp8: an exponent alone
    _BITS[torch.float8_e8m0fnu] = (0xFF, 0xFF)


# Kinds of files of our own, and what takes each.
_TAKEN_BY = {
    "slot_id": "a Slot-ID adapter; give it to Load Slot-ID Adapter, or to --adapter beside --identity",
    "sama": "an editing adapter; give it to Load Editing Adapter, or to --adapter of `refvid edit`",
    "videomaker": "a LoRA; give it to a LoRA loader, or to --lora",
    "identity": "an identity; give it to Load Identity, or to --identity",
}


def require_kind(metadata: dict[str, str], kind: str, version: str, name: str, instead: str) -> None:
    """ValueError unless a file's metadata names this kind of file in this version. Of another kind of ours it
    says what takes it; `instead` says what to do with any other."""
    said = metadata.get(KIND)
    if said != kind and said in _TAKEN_BY:
        raise ValueError(f"{name} is no {kind} file: it is {_TAKEN_BY[said]}")
    if said != kind:
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
    """Shapes by key, with an error that names the one that is missing or of another rank."""

    def __init__(self, state: Mapping[str, Tensor], what: str, kind: str = "a Wan file in original format"):
        self.state, self.what, self.kind = state, what, kind

    def sides(self, key: str, rank: int, most: int = MOST_SIDE) -> list[int]:
        """The shape of a tensor that has so many dimensions, none of them longer than `most`."""
        if key not in self.state:
            raise ValueError(f"{self.what} is not {self.kind}: it has no {key}")
        shape = list(self.state[key].shape)
        if len(shape) != rank or not all(0 < side <= most for side in shape):
            raise ValueError(f"{self.what}: {key} is {shape}; needed {rank} sides, each from 1 to {most}")
        return shape


def require_tensors(
    held: Mapping[str, Tensor], wanted: Mapping[str, Tensor], name: str, beside: str = ""
) -> None:
    """ValueError unless a file's tensors are exactly the wanted ones: each there, none beside them, every
    shape right, all of them floating. `beside` says what to do with a file that holds more."""
    missing, more = wanted.keys() - held.keys(), held.keys() - wanted.keys()
    if missing:
        raise ValueError(f"{name} has no {min(missing)} ({len(missing)} such keys); needed a whole file")
    if more:
        raise ValueError(
            f"{name} also has {shown(min(more))} ({len(more)} such keys); needed those of its kind "
            f"alone{beside}"
        )
    for key, value in wanted.items():
        came = held[key]
        if came.shape != value.shape:
            raise ValueError(f"{name}: {key} is {list(came.shape)}, needed {list(value.shape)}")
        if not came.is_floating_point():
            raise ValueError(f"{name}: {key} is {came.dtype}; needed fp32, fp16 or bf16")
