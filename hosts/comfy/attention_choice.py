"""The attention that runs references: paths that ComfyUI offers, and races between those that give the same
result."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy.ldm.modules import attention as core_attention
from torch import Tensor

from ...core.layout import Layout
from ...core.verdicts import Contest, Verdicts
from ...core.visibility import Turn
from ...kernels.grouped import Attend
from ...kernels.paths import ANY_ATTENTION, BIAS, REMOVAL, SDPA, TRITON, PathChoice
from ...kernels.race import AttentionCall, Contender
from ...kernels.whole import WHOLE_ATTENTION
from .attention import OVERRIDE, Rule, block_override, held_by, is_cores, need_of
from .families import wan

_FOLDER = "__refvid"  # of ComfyUI's user folder: its server gives out nothing of such a one


def _versions() -> str:
    try:
        from comfyui_version import __version__
    except ImportError:  # older ComfyUIs
        return "ComfyUI"
    return f"ComfyUI {__version__}"


COMFY_VERDICTS = Verdicts(lambda: Path(folder_paths.get_user_directory()) / _FOLDER, _versions)


@dataclass(frozen=True)
class ComfyAttentionNeed:
    """One evaluation of a model with references, for which an attention path is chosen.

    model               a `BaseModel`
    layout, now         of the references, and what they do at this step
    batch               number of rows
    tokens, references  number of tokens in all, of which the last are the references'
    override            that other packs have set
    """

    model: Any
    layout: Layout
    now: Turn
    batch: int
    tokens: int
    references: int
    device: torch.device
    override: Callable | None

    def call(self) -> AttentionCall:
        now, (heads, size) = self.now, wan.heads(self.model.diffusion_model)
        return AttentionCall(
            self.batch, heads, size, self.tokens, self.references, self.model.get_dtype_inference(),
            self.device, now.bias, now.groups,
        )  # fmt: skip


def choose_comfy_attention(asked: ComfyAttentionNeed, name: str, hold: bool = True) -> PathChoice:
    """The path that runs, and why. `hold` False: no race is held for it.

    Three more cases hold no race. An override of another pack may do more than attention, and is called as
    ever. Keys of references that are kept over the steps (`recall`) need the host's attention. Automatic
    regions make heads wider than those that a race is held for.
    """
    now, override = asked.now, asked.override
    dtype = asked.model.get_dtype_inference()
    wide = None if now.focus is None else now.focus.wide(wan.heads(asked.model.diffusion_model)[1])
    need = need_of(now.bias is not None, now.groups, override, asked.device, dtype, wide)
    free = not asked.layout.constant and wide is None and (override is None or is_cores(override))
    return COMFY_VERDICTS.choose(need, name, _contest(asked.call(), override) if free else None, hold)


def _contest(call: AttentionCall, override: Callable | None) -> Contest:
    # What runs on every path but our kernel's: SDPA takes over the parts with weights only.
    chosen = _as_chosen(call, override)
    contenders = {
        path.name: Contender(_as_in_blocks(call, path.name, override), None if path is TRITON else chosen)
        for path in (REMOVAL, BIAS, SDPA, TRITON)
    }
    kernel = core_attention.optimized_attention if override is None else held_by(override)[0]
    return Contest(call, contenders, _name(kernel))


def _name(kernel: Any) -> str:
    """The name of a function, or of what a partial one or an object is made by: their own names are not
    unique."""
    named = kernel if hasattr(kernel, "__qualname__") else getattr(kernel, "func", type(kernel))
    return f"{named.__module__}.{getattr(named, '__qualname__', type(named).__qualname__)}"


def _as_in_blocks(call: AttentionCall, path: str, override: Callable | None) -> Attend:
    """Attention as the blocks of a model run it on a path."""
    whole = WHOLE_ATTENTION[path](call.groups) if path in WHOLE_ATTENTION else None
    rule = Rule(call.bias, call.groups, ANY_ATTENTION, path, whole, override)

    def attend(query: Tensor, key: Tensor, value: Tensor, _: Tensor | None) -> Tensor:
        return _attention(call, block_override(rule, None, 1, override) or override, query, key, value)

    return attend


def _as_chosen(call: AttentionCall, override: Callable | None) -> Attend:
    """The host's attention, every query over every key."""
    return lambda query, key, value, _: _attention(call, override, query, key, value)


def _attention(call: AttentionCall, override: Callable | None, *values: Tensor) -> Tensor:
    flat = (value.transpose(1, 2).flatten(2) for value in values)
    options = {} if override is None else {OVERRIDE: override}
    out = core_attention.optimized_attention(*flat, heads=call.heads, transformer_options=options)
    return out.unflatten(2, (call.heads, -1)).transpose(1, 2)
