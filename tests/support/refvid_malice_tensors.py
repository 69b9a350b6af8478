"""Whole headers before tensors that no loader may take: values, types, shapes and names, a way to break each
key of a file."""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from refvid_malice import METADATA, Corpus, Malice, packed, unpacked
from safetensors.torch import load_file, save_file
from torch import Tensor

State = dict[str, Tensor]
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
BYTES = {"F32": 4, "F16": 2, "F8_E4M3": 1, "U8": 1}
FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
WRONG = (torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64)
NO_NUMBERS = {"NaN": float("nan"), "inf": float("inf"), "-inf": float("-inf")}
OF_BITS = {"NaN": {FP8[0]: 0x7F, FP8[1]: 0x7E}, "inf": {FP8[1]: 0x7C}, "-inf": {FP8[1]: 0xFC}}


PREFIXES = ("model.", "diffusion_model.", "slot_encoder.")
ENDS = (".lora_A.weight", ".lora_B.weight", ".alpha")


def named(key: str) -> str:
    """Name of a key that a refusal has to say: without the prefixes that loaders take off; of a part of a
    LoRA the layer."""
    for prefix in PREFIXES:
        key = key.removeprefix(prefix)
    for end in ENDS:
        key = key.removesuffix(end)
    return key


def changed(change: Callable[[State], str | None]) -> Malice:
    """The tensors of a file with a change in place, its metadata as it was; -> what the change says is at
    fault."""

    def make(whole: Path, where: Path) -> str | None:
        state = load_file(whole)
        says = change(state)
        save_file(
            {key: value.contiguous().clone() for key, value in state.items()},
            where,
            unpacked(whole)[0].get(METADATA),
        )
        return says

    return make


def valued(key: str, dtype: torch.dtype, said: str) -> Malice:
    """The last number of a tensor of this type is none."""

    def change(state: State) -> str:
        value = state[key].to(dtype).contiguous().clone()
        if dtype in FP8:
            value.view(torch.uint8).view(-1)[-1] = OF_BITS[said][dtype]
        else:
            value.view(-1)[-1] = NO_NUMBERS[said]
        state[key] = value
        return named(key)

    return changed(change)


def typed(key: str, dtype: torch.dtype) -> Malice:
    def change(state: State) -> str:
        state[key] = state[key].to(dtype)
        return named(key)

    return changed(change)


def without(key: str) -> Malice:
    return changed(lambda state: named(key) if state.pop(key) is not None else None)


def shaped(key: str, shape: Callable[[Tensor], Tensor]) -> Malice:
    """A tensor of another shape. Where sizes are read from it, another tensor is found at fault, so none is
    named."""

    def change(state: State) -> None:
        state[key] = shape(state[key]).contiguous()

    return changed(change)


def renamed(key: str, name: str) -> Malice:
    def change(state: State) -> str:
        state[name] = state.pop(key)
        return named(key)

    return changed(change)


def besides(name: str, value: Tensor, says: str | None = None) -> Malice:
    def change(state: State) -> str:
        state[name] = value
        return says or named(name)

    return changed(change)


def sparse(shapes: dict[str, list[int]], dtype: str = "F32", only: bool = False) -> Malice:
    """Tensors of so many zeros, at the end of the file, that take no place on the disk; alone, or in place of
    those of their names."""

    def make(whole: Path, where: Path) -> str | None:
        header, data = unpacked(whole)
        old = {} if only else {k: said for k, said in header.items() if k not in (*shapes, METADATA)}
        kept, made, place = b"", {METADATA: header.get(METADATA, {}), **old}, 0
        for said in old.values():
            begin, end = said["data_offsets"]
            kept += data[begin:end]
            said["data_offsets"] = [place, place := place + end - begin]
        for key, shape in shapes.items():
            end = place + math.prod(shape) * BYTES[dtype]
            made[key] = {"dtype": dtype, "shape": shape, "data_offsets": [place, end]}
            place = end
        packed(where, made, kept)
        os.truncate(where, where.stat().st_size + place - len(kept))
        return None if only or len(shapes) > 1 else named(next(iter(shapes)))

    return make


SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "of one row more": lambda value: torch.cat([value, value[-1:]]),
    "of one column less": lambda value: value[..., :-1],
    "turned around": lambda value: value.transpose(0, -1),
    "of rank 0": lambda value: value.flatten()[0],
    "flat": lambda value: value.flatten(),
    "with a side more": lambda value: value[None],
    "with a side more behind": lambda value: value[..., None],
    "without rows": lambda value: value[:0],
    "without columns": lambda value: value[..., :0],
}
FLAT = ("turned around", "flat")  # what says nothing of a tensor of one side


SIZED = ("anchors", "slots", "preview", "shared.weight")  # a row more of them is a whole file


def broken_tensors(whole: Path) -> Corpus:
    """Ways to break a tensor of a file, for every key. A LoRA's alpha may be missing, and of any type that
    has an order."""
    state, corpus = load_file(whole), Corpus()
    for key, value in state.items():
        alpha = key.endswith(".alpha")
        if not alpha:
            corpus[f"without {key}"] = without(key)
            corpus[f"{key} under another name"] = renamed(key, f"{key}_")
        for name, shape in SHAPES.items():
            odd = value.ndim == 0 or (value.ndim == 1 and name in FLAT) or shape(value).shape == value.shape
            whole_too = (key.endswith(SIZED) and name == "of one row more") or (
                key.endswith(ENDS) and name == "with a side more behind"
            )
            if not odd and not whole_too:
                corpus[f"{key} {name}"] = shaped(key, shape)
        for dtype in WRONG if value.is_floating_point() else (torch.int64, torch.float32, torch.bool):
            if dtype != value.dtype and (not alpha or dtype.is_complex):
                corpus[f"{key} as {dtype}"] = typed(key, dtype)
        for dtype in (*FLOATS, *FP8) if value.is_floating_point() else ():
            for said in OF_BITS if dtype not in FP8 else [one for one in OF_BITS if dtype in OF_BITS[one]]:
                corpus[f"{key} with {said} of {dtype}"] = valued(key, dtype, said)
    return corpus


def broken_names(whole: Path) -> Corpus:
    """Tensors beside those of a file, under names that say something."""
    some = torch.zeros(2)
    key = next(iter(load_file(whole)))
    return {
        "no tensors at all": lambda whole, where: packed(
            where, {METADATA: unpacked(whole)[0].get(METADATA, {})}
        ),
        "a tensor that nothing knows": besides("motion.weight", some),
        "a name with colours beside": changed(lambda state: state.update({"a\x1b[31mb": some})),
        "a name with half of the first": besides(key[: len(key) // 2], some),
        "another prefix on one": changed(
            lambda state: state.update({"model.diffusion_model." + key: state.pop(key)})
        ),
        "a tensor of 8 GiB beside": sparse({"motion.weight": [1 << 31]}),
        "a tensor of 8 GiB alone": sparse({"motion.weight": [1 << 31]}, only=True),
        "blocks without end beside": changed(
            lambda state: state.update(
                {f"blocks.{index}.norm3.weight": torch.zeros(1) for index in range(10_000)}
            )
        ),
        "a block far away": besides("blocks.999999999.norm3.weight", some, "blocks.999999999"),
        "a block below 0": besides("blocks.-1.norm3.weight", some, "blocks.-1"),
        "a block that is no number": besides("blocks.one.norm3.weight", some, "blocks.one"),
        "a block that is written otherwise": besides("blocks.01.norm3.weight", some, "blocks.01"),
        "a block in other digits": besides("blocks.².norm3.weight", some, "blocks.²"),
    }


def other_kinds(files: Mapping[str, Path], kind: str) -> Corpus:
    """Whole files of the other kinds. A DiT with SAMA's modules is a DiT, and may lend its modules to an
    edit."""
    others = {"dit": {"sama"}, "sama": {"dit"}, "editing": {"sama"}}.get(kind, set()) | {kind}

    def instead(other: Path) -> Malice:
        return lambda whole, where: where.write_bytes(other.read_bytes()) and None

    return {f"a whole {name}": instead(other) for name, other in files.items() if name not in others}
