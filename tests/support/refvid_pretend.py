"""A device that is not there: tensors that say they are on it, hold their values on the CPU, and refuse to
meet others, as CUDA's would. It is called `meta`, the one beside the CPU that every build of torch knows."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

PRETENDED = torch.device("meta")
CPU = torch.device("cpu")
MOVES = {"_to_copy", "copy_"}
INDEXES = {"index", "index_put", "index_put_", "_index_put_impl_"}  # by what lies on the CPU too


class Away(Tensor):
    """A tensor whose values are in `held`, on the CPU."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> "Away":
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=PRETENDED
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, operator, types, args=(), kwargs=None):
        return _run(operator, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Takes calls in which no tensor is away, for what is made there."""

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        return _run(operator, args, kwargs or {})


def _run(operator, args, kwargs):
    name = operator.overloadpacket.__name__
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    away = any(isinstance(one, Away) for one in given)
    here = [one for one in given if not isinstance(one, Away) and one.ndim]  # single numbers may meet
    if away and here and name not in MOVES and not (name in INDEXES and isinstance(args[0], Away)):
        raise RuntimeError(f"{operator}: tensors on the CPU and on {PRETENDED}")
    if kwargs.get("device") is not None:
        away = torch.device(kwargs["device"]).type == PRETENDED.type
        kwargs = {**kwargs, "device": CPU}
    held = tree_map_only(Away, lambda one: one.held, (args, kwargs))
    out = operator(*held[0], **held[1])
    own = {
        id(getattr(one, "held", one)): one for one in given
    }  # of operators that change what they are given

    def back(one: Tensor) -> Tensor:
        return own[id(one)] if id(one) in own else Away(one) if away else one

    return tree_map_only(Tensor, back, out)


class _Lists(TorchFunctionMode):
    """Makes tensors of Python's numbers here, then takes them there: torch has no values on `meta`."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        device = kwargs.pop("device", None) if function is torch.tensor else None
        made = function(*args, **kwargs)
        return made if device is None else made.to(device)


@contextmanager
def pretended() -> Iterator[torch.device]:
    """The device, for as long as this lasts."""
    with _Mode(), _Lists():
        yield PRETENDED
