"""Names on ComfyUI's wires, all of them: of conditioning, of an evaluation's arguments, and of what is
attached to models.

Both wires are flat. ComfyUI saves, combines and crops each value by itself, batches conditions by the type of
each, and guards compiled code by each argument. The rest of the pack sees frozen dataclasses, from which
names and types follow:

  class AttachedReferences:            refvid.attached_references.recipe             str
      recipe: str                      refvid.attached_references.latents            list of tensors
      latents: tuple[Tensor, ...]      refvid.attached_references.controls.strength  (K,) float64
      controls: tuple[Controls, ...]   refvid.attached_references.controls.sees      "all video", words

A field that is its default stays out. Conditioning holds tensors, lists of tensors, numbers and words alone,
so that core's nodes for saving keep working. What it carries has no other fields."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import comfy.conds
import torch
from torch import Tensor

Conditioning = list[list[Any]]
PartT = TypeVar("PartT")

PACK = "refvid"  # the pack's hooks on a model, and in a block's transformer_options what runs there
PATH_BEHIND = "refvid_behind"  # in transformer_options: the override of attention that a path was chosen for
RECALL = "refvid_recall"  # in transformer_options, for one run: keys and values that are kept over steps
FOCUS = "refvid_focus"  # in transformer_options, for one run: maps of automatic regions
HALVES = "refvid_halves"  # a model's attachment: the names of the riders that were put on it
ADAPTER = "refvid_adapter"  # a model's attachment: the fingerprint of the adapter whose LoRA it carries
SEMANTIC = "refvid_semantic"  # a model's additional models: SAMA's modules, if it has them
# A model's additional models: its LoRA on reference tokens. In transformer_options: what that acts on.
REFERENCE_LORA = "refvid_reference_lora"
ADAPTED_TO = "refvid_adapted_to"  # a model's attachment: the recipe that its LoRA on reference tokens is for
FINISHED = "refvid_finished"  # of a guider: its last run
WINDOWS = "context_handler"  # in model_options, by ComfyUI's own name: its context windows


# Columns that what was saved before does not have.
_LATER = ("focus", "focus_start")


class Cells(comfy.conds.CONDNoiseShape):
    """A grid over the video: ComfyUI crops it with areas and slices it with context windows. Evaluations
    share a batch only where their grids are equal, since who sees whom is one rule for all rows."""

    def can_concat(self, other) -> bool:
        return super().can_concat(other) and torch.equal(self.cond, other.cond)


# What a field's type is annotated with, where its value is another condition than its type says:
CONSTANT = comfy.conds.CONDConstant  # hashable, and stays as it is
GRID = comfy.conds.CONDNoiseShape  # over the video; `Cells` is one too


def key(kind: type, name: str) -> str:
    """The key of a field on the wire."""
    return f"{PACK}.{re.sub(r'(?<!^)(?=[A-Z])', '_', kind.__name__).lower()}.{name}"


def pack(part: Any) -> dict[str, Any]:
    """Fields of a part that are not their defaults, flat, by their keys."""
    packed = {}
    for slot in _slots(type(part)):
        value = getattr(part, slot.name)
        if isinstance(value, Tensor) or slot.default is MISSING or value != slot.default:
            packed |= dict(zip(slot.keys, slot.flat(value), strict=True))
    return {name: value for name, value in packed.items() if value is not None}


def unpack(kind: type[PartT], mapping: dict[str, Any]) -> PartT | None:
    """A part of this kind from what `pack` made, whose keys are taken out of the mapping. None where there is
    nothing of it. ValueError names what is missing."""
    arguments, missing = {}, []
    for slot in _slots(kind):
        values = [mapping.pop(name, None) for name in slot.keys]
        if any(value is not None for value in values):
            arguments[slot.name] = slot.whole(values)
        elif slot.default is MISSING:
            missing.append(slot.keys[0])
    if arguments and missing:
        raise ValueError(
            f"conditioning: {', '.join(missing)} came not, but other parts of it; apply what it carries anew"
        )
    return kind(**arguments) if arguments else None


def read(kind: type[PartT], options: dict[str, Any]) -> PartT | None:
    """A part of this kind from a conditioning's options, which stay as they are. Options that 0.1.0 saved are
    read too."""
    return unpack(kind, _renewed(options))


def without(kind: type, options: dict[str, Any]) -> dict[str, Any]:
    """A copy of options that carries nothing of this kind."""
    left = _renewed(options)
    unpack(kind, left)
    return left


def onto(options: dict[str, Any], part: Any) -> dict[str, Any]:
    """A copy of options that carries this part in the place of one of its kind."""
    return without(type(part), options) | pack(part)


def with_part(conditioning: Conditioning, part: Any) -> Conditioning:
    """A copy whose entries carry this part too. Lists that come in are never changed: other nodes hold
    them."""
    return [[text, onto(options, part)] for text, options in conditioning]


def conds(part: Any) -> dict[str, comfy.conds.CONDRegular]:
    """Conditions of the model from a part, which ComfyUI batches, repeats, crops and moves. Indices are
    int64: other types are cast to the model's."""
    types = {name: slot.cond for slot in _slots(type(part)) for name in slot.keys}
    return {name: (types[name] or _type_of(value))(value) for name, value in pack(part).items()}


def of_conds(kind: type[PartT], cond: dict[str, Any]) -> PartT | None:
    """A part of this kind, as a condition of a run has it for its evaluations."""
    return unpack(kind, {name: one.cond for name, one in cond.get("model_conds", {}).items()})


def _type_of(value: Any) -> type:
    if isinstance(value, Tensor):
        return comfy.conds.CONDRegular
    return comfy.conds.CONDList if isinstance(value, list) else comfy.conds.CONDConstant


# ---- a field, flat and whole


@dataclass(frozen=True)
class _Slot:
    """A field on the wire.

    cond         the type that it is annotated with
    keys         of the values that it becomes
    flat, whole  the way to these values, and back
    """

    name: str
    default: Any
    cond: Any
    keys: tuple[str, ...]
    flat: Callable[[Any], Sequence[Any]]
    whole: Callable[[list[Any]], Any]


_known: dict[type, tuple[_Slot, ...]] = {}


def _slots(kind: type) -> tuple[_Slot, ...]:
    # Found once, outside of what is compiled, which can look them up.
    if kind not in _known:
        _known[kind] = tuple(_slot(kind, one, hint) for one, hint in _hinted(kind))
    return _known[kind]


def _hinted(kind: Any) -> list[tuple[Field, Any]]:
    """Fields with their types."""
    hints = get_type_hints(kind, include_extras=True)
    return [(one, hints[one.name]) for one in fields(kind)]


def _slot(kind: type, field: Field, hint: Any) -> _Slot:
    cond = get_args(hint)[1] if get_origin(hint) is Annotated else None
    hint = _some(get_args(hint)[0] if cond else hint)
    make = partial(_Slot, field.name, field.default, cond)
    name, item = key(kind, field.name), _item(hint)
    if cond is CONSTANT or not (item or is_dataclass(hint)):
        return make((name,), lambda value: (value,), lambda values: values[0])
    if is_dataclass(hint):
        parts = [_slot(kind, *part) for part in _hinted(hint)]
        keys = tuple(f"{name}.{part.name}" for part in parts)
        return make(keys, partial(_flat_record, parts), partial(_record, hint, parts))
    if is_dataclass(item):
        leaves = tuple(_leaves(item))
        keys = tuple(f"{name}.{path}" for path, *_ in leaves)
        return make(keys, partial(_columns, leaves), partial(_rows, item, leaves))
    if item is str:
        return make((name,), lambda value: (" ".join(value),), lambda values: tuple(values[0].split()))
    return make((name,), lambda value: (list(value),), lambda values: tuple(values[0]))


def _some(hint: Any) -> Any:
    """A type without None."""
    left = [one for one in get_args(hint) if one is not type(None)]
    return left[0] if len(left) == 1 and type(None) in get_args(hint) else hint


def _item(hint: Any) -> Any:
    """The type in a tuple of any length, where that is tensors, words or records; else None."""
    item = get_args(hint)[0] if get_origin(hint) is tuple and get_args(hint)[1:] == (...,) else None
    return item if item in (Tensor, str) or is_dataclass(item) else None


def _flat_record(parts: list[_Slot], value: Any) -> list[Any]:
    given = [(part, getattr(value, part.name)) for part in parts]
    return [None if one is None else part.flat(one)[0] for part, one in given]


def _record(kind: Any, parts: list[_Slot], values: list[Any]) -> Any:
    given = {}
    for part, value in zip(parts, values, strict=True):
        given[part.name] = None if value is None else part.whole([value])
    return kind(**given)


def _leaves(kind: Any, before: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Paths of the plain fields of a dataclass in others, with their types and defaults."""
    for field, hint in _hinted(kind):
        if is_dataclass(hint):
            yield from _leaves(hint, f"{before}{field.name}.")
        else:
            yield before + field.name, _some(hint), field.default


def _columns(leaves: Sequence[tuple[str, Any, Any]], records: Sequence[Any]) -> list[Any]:
    """By leaf, of all records: words, or numbers (K,) float64, which is no number where there is None."""
    columns = [(leaf, [attrgetter(path)(one) for one in records]) for path, leaf, _ in leaves]
    return [
        " ".join(values)
        if leaf is str
        else torch.tensor([math.nan if one is None else one for one in values], dtype=torch.float64)
        for leaf, values in columns
    ]


def _rows(kind: Any, leaves: Sequence[tuple[str, Any, Any]], columns: list[Any]) -> tuple[Any, ...]:
    """Records from their columns. Those of `_LATER` that came not have their leaf's default: what was saved
    before there were such controls is still read. ValueError where another came not."""
    listed = {}
    for (path, leaf, _), one in zip(leaves, columns, strict=True):
        if one is not None:
            values = one.split() if isinstance(one, str) else one.tolist()
            listed[path] = [_typed(leaf, value) for value in values]
    count = len(next(iter(listed.values())))
    for path, _, default in leaves:
        if path not in listed and path not in _LATER:
            raise ValueError(f"conditioning: {path} came not, but other columns; apply what it carries anew")
        listed.setdefault(path, [default] * count)
    paths = [path for path, *_ in leaves]
    rows = zip(*(listed[path] for path in paths), strict=True)
    return tuple(_built(kind, dict(zip(paths, row, strict=True))) for row in rows)


def _typed(leaf: Any, value: Any) -> Any:
    if leaf is str:
        return value
    return None if math.isnan(value) else leaf(value)


def _built(kind: Any, values: dict[str, Any], before: str = "") -> Any:
    """A dataclass of its leaves' values."""
    arguments = {}
    for field, hint in _hinted(kind):
        path = before + field.name
        arguments[field.name] = _built(hint, values, f"{path}.") if is_dataclass(hint) else values[path]
    return kind(**arguments)


# ---- conditioning that 0.1.0 saved

_OLD = {
    "refvid_recipe": "attached_references.recipe",
    "refvid_latents": "attached_references.latents",
    "refvid_masks": "attached_references.masks",
    "refvid_reach": "attached_references.reach",
    "refvid_attention": "attached_references.attention",
    "refvid_zero": "attached_references.zero",
    "refvid_null_pass": "attached_references.null_pass",
    "refvid_blank_image": "attached_image.blank",
    "refvid_identities": "attached_identities.tokens",
    "refvid_adapter": "attached_identities.adapter",
    "refvid_phrases": "attached_identities.phrases",
    "refvid_identity_reach": "attached_identities.reach",
    "refvid_frames": "attached_frames.latent",
    "refvid_frames_at": "attached_frames.replaced",
    "refvid_frames_clock": "attached_frames.clock",
    "refvid_source": "attached_source.latent",
    "refvid_source_recipe": "attached_source.recipe",
}
_OLD_CONTROLS, _OLD_BOUND = (
    "refvid_controls",
    "refvid_bound",
)  # (K, 9) and (K, 2) float64, a row of numbers each
_CONTROLS = (
    "strength", "steps.start", "steps.end", "steps.fade_in", "steps.fade_out", "frames.first", "frames.last",
    "sees", "soft",
)  # fmt: skip
_SEES = ("all", "video", "itself", "frames")  # by number


def _renewed(options: dict[str, Any]) -> dict[str, Any]:
    """A copy with 0.1.0's names, and rows of numbers, as they are called now."""
    renewed = dict(options)
    if _OLD_BOUND in renewed:
        rows, before = renewed.pop(_OLD_BOUND), f"{PACK}.attached_identities.bound"
        tokens = [one.shape[1] for one in renewed["refvid_identities"]]
        renewed[f"{before}.tokens"] = torch.tensor(tokens, dtype=torch.float64)
        renewed[f"{before}.strength"], renewed[f"{before}.named"] = (row.clone() for row in rows.T)
    if _OLD_CONTROLS in renewed:
        columns: dict[str, Any] = dict(
            zip(_CONTROLS, (row.clone() for row in renewed.pop(_OLD_CONTROLS).T), strict=True)
        )
        last = columns["frames.last"]
        columns["frames.last"] = last.where(last >= 0, torch.full_like(last, math.nan))
        columns["sees"] = " ".join(_SEES[int(one)] for one in columns["sees"].tolist())
        renewed |= {f"{PACK}.attached_references.controls.{name}": one for name, one in columns.items()}
    return {f"{PACK}.{_OLD[name]}" if name in _OLD else name: value for name, value in renewed.items()}
