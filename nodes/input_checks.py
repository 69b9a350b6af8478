"""Checks of what arrives at a node, by its schema.

ComfyUI's server looks at the types of links and the bounds of literals. It lets any literal onto a socket,
any value through a link of type *, and NaN into every number. An option that a dynamic input does not have
disappears.
"""

import reprlib
import sys
from collections.abc import Callable, Iterator
from numbers import Integral, Real
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..core.header import shown
from ..core.identity import Identity
from ..core.long_video import LongVideo
from ..core.references import Reference
from ..hosts.comfy.adapters import LoadedAdapter

_MOST_NUMBER = sys.float_info.max  # of an input without bounds
MOST_CHOICES = 20  # that a message lists


def _has(*names: str) -> Callable[[Any], bool]:
    """A test of a value by what it does: other packs bring classes of their own."""
    return lambda value: all(hasattr(value, name) for name in names)


def _is_latent(value: Any) -> bool:
    return isinstance(value, dict) and hasattr(value.get("samples"), "shape")


def _is_picture(*dimensions: int) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, Tensor)
        and value.ndim in dimensions
        and value.is_floating_point()
        and value.numel() > 0
    )


def _is_conditioning(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(
            isinstance(one, (list, tuple))
            and len(one) == 2
            and isinstance(one[0], Tensor)
            and isinstance(one[1], dict)
            for one in value
        )
    )


def _is_references(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, Reference) for one in value)


# What a link brings, by the name of its type.
SOCKETS: dict[str, Callable[[Any], bool]] = {
    "MODEL": lambda value: isinstance(value, ModelPatcher),
    "CLIP": _has("tokenize", "encode_from_tokens_scheduled"),
    "VAE": _has("encode", "decode", "first_stage_model"),
    "GUIDER": _has("sample", "model_patcher"),
    "CONDITIONING": _is_conditioning,
    "LATENT": _is_latent,
    "IMAGE": _is_picture(4),
    "MASK": _is_picture(2, 3),
    "REFVID_REFERENCE": _is_references,
    "REFVID_ADAPTER": lambda value: isinstance(value, LoadedAdapter),
    "REFVID_IDENTITY": lambda value: isinstance(value, Identity),
    "REFVID_LONG_VIDEO": lambda value: isinstance(value, LongVideo),
}


class FileInput(io.Combo.Input):
    """A choice among files. A name that is not listed passes where there is such a file: the list may be old.

    refusal  a sentence for a name that cannot be read, or None
    """

    def __init__(self, id: str, refusal: Callable[[str], str | None], **options: Any) -> None:
        super().__init__(id, **options)
        self.refusal = refusal


def literal_refusal(schema: io.Schema, values: dict[str, Any]) -> str | None:
    """A message of what is wrong with a prompt's literals before it runs, or None.

    values  of sockets, what stands on them, None for a link; of dynamic combos, what they hold where an
            option was chosen
    """
    for spec in schema.inputs:
        if isinstance(spec, io.DynamicCombo.Input) and not isinstance(values.get(spec.id), dict):
            return f"{spec.id} is missing or has no such option; {schema.display_name} needs {_needed(spec)}"
        for value in _rows(schema, values.get(spec.id)):
            checked = spec.get_io_type() in SOCKETS or (
                isinstance(spec, FileInput) and not _fits(spec, value)
            )
            if checked and value is not None:
                return _refused(schema, spec, spec.id, value)
    return None


def require_inputs(schema: io.Schema, values: dict[str, Any]) -> None:
    """ValueError where an input is missing, not one of the node's, or of another kind than its schema
    says."""
    known = {spec.id: spec for spec in schema.inputs}
    for name in values.keys() - known.keys():
        group = known.get(name.partition(".")[0])
        parts = [] if group is None else [f"{group.id}.{spec.id}" for spec in group.get_all()[1:]]
        raise ValueError(
            f"{shown(name)} is no input that {schema.display_name} takes here; it has "
            f"{', '.join(parts or known)}"
        )
    for spec in schema.inputs:
        for value in _rows(schema, values.get(spec.id)):
            _require(schema, spec, spec.id, value)


def checked_names(schema: io.Schema) -> list[str]:
    """Names of the inputs that `literal_refusal` looks at. The server leaves the bounds of all others to
    itself."""
    return [
        spec.id
        for spec in schema.inputs
        if spec.get_io_type() in SOCKETS or isinstance(spec, (io.DynamicCombo.Input, FileInput))
    ]


def _rows(schema: io.Schema, value: Any) -> list[Any]:
    """Values of an input, which some nodes are given as a list."""
    return list(value) if schema.is_input_list and value is not None else [value]


def _require(schema: io.Schema, spec: io.Input, label: str, value: Any) -> None:
    parts = _parts(spec, value)
    if parts is not None:
        for name, part, inner in parts:
            _require(schema, part, f"{label}.{name}", inner)
    elif not _fits(spec, value) and not (value is None and spec.optional):
        raise ValueError(_refused(schema, spec, label, value))


def _parts(spec: io.Input, value: Any) -> Iterator[tuple[str, io.Input, Any]] | None:
    """Inputs inside a dynamic one, each with its value; None where it is no such input, or not filled as
    one."""
    if not isinstance(value, dict):
        return None
    if isinstance(spec, io.Autogrow.Input):
        # A slot that nothing is linked to may be left out, but for the first ones.
        return (
            (slot.id, slot, value.get(slot.id))
            for place, slot in enumerate(spec.get_all()[1:])
            if value.get(slot.id) is not None or place < spec.template.min
        )
    if isinstance(spec, io.DynamicCombo.Input):
        chosen = [option for option in spec.options if option.key == value.get(spec.id)]
        return ((part.id, part, value.get(part.id)) for part in chosen[0].inputs) if chosen else None
    return None


def _fits(spec: io.Input, value: Any) -> bool:
    kind = spec.get_io_type()
    if kind in SOCKETS:
        return SOCKETS[kind](value)
    if isinstance(spec, FileInput):
        return isinstance(value, str) and spec.refusal(value) is None
    if isinstance(spec, io.Combo.Input):
        return isinstance(value, str) and value in spec.options
    if isinstance(spec, (io.Int.Input, io.Float.Input)):
        least, most = _bounds(spec)
        number: Any = value
        numbers = Integral if isinstance(spec, io.Int.Input) else Real  # numpy's too
        return isinstance(value, numbers) and not isinstance(value, bool) and bool(least <= number <= most)
    if isinstance(spec, io.Boolean.Input):
        return isinstance(value, bool)
    return isinstance(spec, io.String.Input) and isinstance(value, str)


def _bounds(spec: io.Int.Input | io.Float.Input) -> tuple[float, float]:
    return -_MOST_NUMBER if spec.min is None else spec.min, _MOST_NUMBER if spec.max is None else spec.max


def _refused(schema: io.Schema, spec: io.Input, label: str, value: Any) -> str:
    if isinstance(spec, FileInput) and isinstance(value, str):
        return str(spec.refusal(value))
    return f"{label} is {_came(value)}; {schema.display_name} needs {_needed(spec)}"


def _came(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)} and type {value.dtype}"
    return (
        reprlib.repr(value)
        if isinstance(value, (str, int, float))
        else f"a value of type {type(value).__name__}"
    )


def _needed(spec: io.Input) -> str:
    if isinstance(spec, io.Combo.Input):
        return _one_of(spec.options)
    if isinstance(spec, io.DynamicCombo.Input):
        return _one_of([option.key for option in spec.options])
    if isinstance(spec, io.Autogrow.Input):
        return f"links on {spec.id}.{spec.get_all()[1].id} and so on"
    if isinstance(spec, (io.Int.Input, io.Float.Input)):
        least, most = _bounds(spec)
        return f"{'a whole number' if isinstance(spec, io.Int.Input) else 'a number'}, {least} to {most}"
    kind = spec.get_io_type()
    return f"a link to an output of type {kind}" if kind in SOCKETS else f"a {kind}"


def _one_of(choices: list[Any]) -> str:
    listed = ", ".join(str(one) for one in choices[:MOST_CHOICES])
    more = len(choices) - MOST_CHOICES
    return f"one of {listed}" + (f" and {more} more" if more > 0 else "")
