"""Pickled weights, by torch's weights-only reader: the one file here that opens pickles."""

import pickle
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.torch_version import TorchVersion

from ..core.header import shown
from .sources import PICKLED_ENDINGS

# Entries of a pickled file that hold its weights, beside an optimiser and the like.
_NESTS = (
    "module", "state_dict", "model", "model_state_dict", "ema", "ema_state_dict", "ema_model", "generator",
)  # fmt: skip
_reconstruct: Any = numpy.zeros(0).__reduce__()[0]  # by which numpy's arrays are made, wherever it is
_DEEPEST = 4  # nests, one inside another
_UNSAFE = re.compile(r"GLOBAL (\S+)|global \"?([\w.]+)")
# What torch raises for a pickle that is cut short or made by hand.
_BROKEN = (
    pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError,
    AttributeError, ArithmeticError, AssertionError, MemoryError,
)  # fmt: skip


def read_pickle(file: Path, name: str) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors of a pickled file, mapped and not read, and the names of what it holds beside them.

    ValueError for a file that is not whole, that asks for code, or holds no tensors by their keys. Nothing of
    it is run.
    """
    try:
        with _plain_arrays():
            found = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except _BROKEN as error:
        raise ValueError(_refusal(name, str(error))) from error
    return _weights_in(found, name)


def _plain_arrays() -> AbstractContextManager:
    """A block in which a pickle may hold arrays of numbers too: the state of numpy's generator, which
    trainers keep beside weights. Before torch 2.7, which takes no names, such files are refused."""
    if TorchVersion(torch.__version__) < "2.7":
        return nullcontext()
    made = [(_reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    return torch.serialization.safe_globals([*made, numpy.ndarray, numpy.dtype, type(numpy.dtype("uint32"))])


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
        nests = [key for key in _NESTS if isinstance(found.get(key), Mapping)]
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
