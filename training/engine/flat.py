"""State of an optimiser as tensors by name, and a layout in JSON of everything else."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

JsonValue = Any  # a value of JSON


def flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> JsonValue:
    """Layout of a nested value; its tensors are put into `tensors`, by their place in it. ValueError for what
    JSON cannot hold."""
    if isinstance(value, Tensor):
        if name in tensors:
            raise ValueError(f"{name}: two tensors of the optimizer have this name; they cannot be saved")
        tensors[name] = value
        return {"tensor": [str(value.dtype), list(value.shape)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        parts = [flatten(one, f"{name}.{place}", tensors) for place, one in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": parts}
    if isinstance(value, Mapping) and all(isinstance(key, int | str) for key in value):
        return {"map": [[key, flatten(one, f"{name}.{key}", tensors)] for key, one in value.items()]}
    raise ValueError(
        f"{name}: the optimizer keeps a {type(value).__name__}, which cannot be saved; choose another one"
    )


def rebuild(layout: JsonValue, name: str, tensors: Mapping[str, Tensor], used: set[str]) -> Any:
    """Value that `flatten` took apart. Names of its tensors are added to `used`. ValueError where a tensor is
    missing or another one, and for what is no layout."""
    if not isinstance(layout, dict):
        if isinstance(layout, list):
            raise ValueError(f"says {name} as a bare list; needed a layout")
        return layout
    ((kind, held),) = layout.items() if len(layout) == 1 else (("", None),)
    if kind == "tensor":
        used.add(name)
        return _tensor(held, name, tensors)
    if kind in ("list", "tuple") and isinstance(held, list):
        parts = [rebuild(one, f"{name}.{place}", tensors, used) for place, one in enumerate(held)]
        return tuple(parts) if kind == "tuple" else parts
    if kind == "map" and isinstance(held, list) and all(map(_is_pair, held)):
        return {key: rebuild(one, f"{name}.{key}", tensors, used) for key, one in held}
    raise ValueError(f"does not say what {name} is; needed a layout")


def _is_pair(one: Any) -> bool:
    return isinstance(one, list) and len(one) == 2 and isinstance(one[0], int | str)


def _tensor(held: Any, name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    if name not in tensors:
        raise ValueError(f"has no {name}; needed the whole state of this run")
    came = [str(tensors[name].dtype), list(tensors[name].shape)]
    if held != came:
        raise ValueError(f"has a {name} of {came[0]} {came[1]}; needed {held}, as it says")
    return tensors[name]
