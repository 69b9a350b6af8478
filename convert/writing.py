"""A safetensors file tensor by tensor: safetensors' own writer takes all of them at once, in memory."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..core.files import replacing
from ..core.header import HEADER_DTYPES, read_header

_ALIGNED = 8  # bytes: the header ends at a multiple of it
_NAMES = {dtype: name for name, dtype in HEADER_DTYPES.items()}


def stream_tensors(
    path: str | Path,
    shapes: Mapping[str, Tensor],
    read: Callable[[str], Tensor],
    metadata: Mapping[str, str],
    progress: Callable[[int, int], None],
) -> None:
    """Write a safetensors file, each tensor as `read` gives it, one in memory at a time.

    shapes: types and sizes by key, tensors without storage; progress is told tensors written, of all.
    ValueError where `read` gives another type or size, and OSError where the file cannot be written. What was
    there before stays then.
    """
    # The largest numbers come first, so that each tensor begins at a multiple of its numbers' size.
    order = sorted(shapes, key=lambda key: (-shapes[key].element_size(), key))
    with replacing(path) as partial:
        with partial.open("wb") as file:
            header = _header(order, shapes, metadata)
            file.write(len(header).to_bytes(8, "little"))
            file.write(header)
            for done, key in enumerate(order, 1):
                value = read(key)
                if value.shape != shapes[key].shape or value.dtype != shapes[key].dtype:
                    raise ValueError(f"{key} is {value.dtype} {list(value.shape)}, not as its file says")
                file.write(value.contiguous().flatten().view(torch.uint8).numpy().data)
                progress(done, len(order))
        read_header(partial, str(path))


def _header(order: list[str], shapes: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    said: dict[str, object] = {"__metadata__": dict(metadata)}
    place = 0
    for key in order:
        one = shapes[key]
        size = one.numel() * one.element_size()
        offsets = [place, place + size]
        said[key] = {"dtype": _NAMES[one.dtype], "shape": list(one.shape), "data_offsets": offsets}
        place += size
    raw = json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    return raw + b" " * (-len(raw) % _ALIGNED)
