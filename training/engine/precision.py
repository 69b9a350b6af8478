"""Type in which training computes: bf16 beside weights of fp32, where the device has products of it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)


def computing_type(device: str | torch.device) -> torch.dtype:
    """Type of products: bf16, but fp32 on a CPU that emulates bf16, which takes twenty times as long
    [choice: training-precision]."""
    if torch.device(device).type == "cpu" and torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2"):
        return torch.float32
    return torch.bfloat16


def mixed(device: str | torch.device) -> torch.autocast:
    """Autocast to `computing_type` on a device; nothing where that is fp32."""
    kind, dtype = torch.device(device).type, computing_type(device)
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


def products(device: str | torch.device) -> AbstractContextManager[object]:
    """Products of bf16 matrices by a library that asks for them, such as Muon's: where `computing_type` is
    fp32 they are made in that and rounded."""
    return nullcontext() if computing_type(device) == torch.bfloat16 else _WideProducts()


class _WideProducts(TorchDispatchMode):
    """Mode in which products of bf16 matrices are made in fp32 and rounded: what native ones do."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Tensor],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Result of an operation, of the type that it has without the mode."""
        said = kwargs or {}
        if func not in _PRODUCTS or args[0].dtype != torch.bfloat16:
            return func(*args, **said)
        return func(*(one.float() for one in args), **said).bfloat16()
