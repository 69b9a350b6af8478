"""Conversion of published weights: all that can be refused is refused first. Then tensors go from file to
file one by one."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..backbones.wan.dit import WanDiT
from ..backbones.wan.files import bare_dit
from ..backbones.wan.loading import known_dit, on_meta
from ..backbones.wan.published import TOKEN_LORA, OriginalNames, PublishedRows
from ..core.checkpoint import is_finite, read_shapes, require_tensors
from ..core.header import shown
from ..core.recipes import TRAINED_FOR
from ..core.token_lora import token_lora_sizes
from .naming import config_metadata, known_names, require_fitting_recipe, told_recipe
from .reading import Opened, digests, open_files
from .sources import source_files
from .writing import stream_tensors

LICENCE, SOURCES = "refvid.licence", "refvid.sources"  # metadata: as told; [{"name", "sha256"}] as JSON
ConvertedType = Literal["keep", "bf16", "fp16", "fp32"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
Told = Callable[[int, int], None]  # how much is done, of how much


@dataclass(frozen=True)
class Conversion:
    """Conversion that has been looked through, before anything is written.

    shapes     tensors to write, without their storage
    metadata   of the result, but for the digests of its sources
    recipe     the one the weights were trained for, and `why` it is taken to be that
    folder     of a ComfyUI, where the result belongs
    """

    files: tuple[Path, ...]
    opened: Opened
    names: OriginalNames
    shapes: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    recipe: str | None
    why: str
    folder: str

    @property
    def size(self) -> int:
        """Bytes of the tensors to be written."""
        return sum(one.numel() * one.element_size() for one in self.shapes.values())

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of what the files hold and the result does not: other models, an optimiser."""
        return (*self.names.beside, *self.opened.beside)


def plan_conversion(
    sources: Sequence[Path],
    recipe: str | None = None,
    dtype: ConvertedType = "keep",
    licence: str | None = None,
    what: str = "SOURCE",
) -> Conversion:
    """Look through published weights by keys, shapes and types, before anything is read or written.

    recipe: the one they were trained for, `NO_RECIPE`, or None for what keys, metadata or names say.
    ValueError names what is missing, is there twice, is quantised, is of another kind of file, or has no name
    in a Wan.
    """
    files = source_files(sources, what)
    opened = open_files(files, what)
    name = f"{what}: {files[0].name}" + (f" and {len(files) - 1} more" if len(files) > 1 else "")
    names = known_names(opened.tensors, name)
    shapes = {key: _shape(opened, rows, dtype, name) for key, rows in names.rows.items()}
    chosen, why = told_recipe(recipe, names, opened.metadata, files)
    metadata = {**opened.metadata, "format": "pt"}
    if names.format is TOKEN_LORA:
        token_lora_sizes(shapes, name)
    else:
        metadata |= config_metadata(metadata, shapes, files[0].parent)
        _require_dit(shapes, metadata, name)
    require_fitting_recipe(chosen, why, names, files[0].name)
    metadata |= {key: said for key, said in ((TRAINED_FOR, chosen), (LICENCE, licence)) if said is not None}
    folder = "models/loras" if names.format is TOKEN_LORA else "models/diffusion_models"
    return Conversion(tuple(files), opened, names, shapes, metadata, chosen, why, folder)


def convert(planned: Conversion, out: Path, hashed: Told, written: Told) -> None:
    """Write what was planned to a safetensors file, which takes the place of one that is there.

    ValueError for a value that is not finite, and where what was written is no file that our loaders read.
    OSError where the disk is too small, before anything is written, or cannot be written.
    """
    require_space(planned, out)
    said = [
        {"name": file.name, "sha256": digest}
        for file, digest in zip(planned.files, digests(planned.files, hashed), strict=True)
    ]
    metadata = {**planned.metadata, SOURCES: json.dumps(said)}
    stream_tensors(out, planned.shapes, lambda key: _value(planned, key), metadata, written)
    shapes, metadata = read_shapes(out, "--out")
    if planned.names.format is TOKEN_LORA:
        token_lora_sizes(shapes, out.name)
    else:
        _require_dit(bare_dit(shapes, out.name), metadata, out.name)


def require_space(planned: Conversion, out: Path) -> int:
    """Free bytes where the result goes. OSError where they do not hold it beside what is there."""
    free = shutil.disk_usage(next(one for one in out.absolute().parents if one.exists())).free
    if free < planned.size:
        raise OSError(
            f"--out: {out} needs {planned.size / 2**30:.2f} GiB, its disk has {free / 2**30:.2f}; free some, or "
            "choose another place"
        )
    return free


def _shape(opened: Opened, rows: PublishedRows, dtype: ConvertedType, name: str) -> Tensor:
    """A tensor of the result, without storage."""
    one = opened.tensors[rows.key]
    kept = (torch.float32, torch.float16, torch.bfloat16)
    if one.dtype not in (kept if dtype == "keep" else (*kept, torch.float64)):
        raise ValueError(
            f"{name}: {shown(rows.key)} is {one.dtype}; needed fp32, fp16 or bf16"
            + ("; give --dtype" if one.dtype == torch.float64 else "")
        )
    shape = list(one.shape)
    if rows.of > 1 and (not shape or shape[0] % rows.of):
        raise ValueError(f"{name}: {rows.key} is {shape}; needed rows that part into {rows.of}")
    shape[:1] = [shape[0] // rows.of] if shape else []
    return torch.empty(shape, dtype=_DTYPES.get(dtype, one.dtype), device="meta")


def _value(planned: Conversion, key: str) -> Tensor:
    """A tensor of the result."""
    rows, wanted = planned.names.rows[key], planned.shapes[key]
    source = planned.opened.tensors[rows.key]
    value = source.read()
    part = value.detach().chunk(rows.of)[rows.index] if rows.of > 1 else value.detach()
    made = part.to(wanted.dtype)
    if is_finite(made):
        return made
    if is_finite(part):
        raise ValueError(f"{source.file.name}: {rows.key} has numbers too large for fp16; give --dtype bf16")
    raise ValueError(
        f"{source.file.name} holds NaN or infinite values in {rows.key}; download the file again"
    )


def _require_dit(shapes: Mapping[str, Tensor], metadata: dict[str, str], name: str) -> None:
    """ValueError unless the tensors are those of a whole DiT that both hosts run."""
    bare = bare_dit(shapes, name)
    require_tensors(bare, dict(on_meta(WanDiT, known_dit(bare, metadata, name)).named_parameters()), name)
