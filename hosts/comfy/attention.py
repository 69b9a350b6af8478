"""Self-attention of a block with references, through whatever attention ComfyUI and other packs have set."""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from comfy.cli_args import args as options_of_comfyui
from comfy.ldm.modules import attention as core_attention
from torch import Tensor

from ...kernels.focus import Focus
from ...kernels.grouped import Attend, Groups, grouped_attention
from ...kernels.paths import ANY_ATTENTION, DETERMINISTIC, REMOVAL, SDPA, Need, choose_path, tell_path
from ...kernels.segment_attention import why_not
from ...kernels.segments import too_many
from .focused_attention import HeadsLayout, measure_block, refuses_heads

OVERRIDE = "optimized_attention_override"
# By name: older ComfyUIs have no such node.
_CORES_NODE = "ModelPatcher.set_model_optimized_attention."
_PROBE = (1, 64, 128)  # batch, tokens, features of two heads
_known: dict[tuple[Any, torch.device, torch.dtype], str | None] = {}


@dataclass(frozen=True)
class Rule:
    """The rule of one evaluation for every block's self-attention.

    bias    (1 or B, R), added to the logits of the reference tokens, which come last
    groups  queries that see different keys
    name    of the attention a user chose
    path    of `kernels.paths`, chosen for the attention that the model's options hold
    whole   attention in place of the host's where the path is one of `kernels.whole`. One for all blocks:
            what they see is worked out once
    behind  the override of other packs that the path was chosen for
    focus   automatic regions, whose maps are measured in block number `block`
    measures  whether this is that block
    """

    bias: Tensor | None
    groups: Groups | None
    name: str
    path: str
    whole: Attend | None = None
    behind: Callable | None = None
    focus: Focus | None = None
    block: int = -1
    measures: bool = False

    def in_block(self, block: int) -> "Rule":
        """The rule as this block follows it."""
        return replace(self, measures=True) if self.focus is not None and block == self.block else self

    @property
    def neutral(self) -> bool:
        """True where attention may stay as it is, preferred kernels included."""
        alone = self.bias is None and self.groups is None and self.path == REMOVAL.name
        return alone and not self.measures and not self.focuses

    @property
    def focuses(self) -> bool:
        """True where maps weigh keys now."""
        return self.focus is not None and self.focus.maps is not None

    def attend(
        self,
        run: Callable,
        previous: Callable | None,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        args,
        kwargs,
    ):
        given = HeadsLayout.of(args, kwargs)
        if self.focus is not None and self.measures:
            measure_block(self.focus, self.groups, given, query, key, self._mask_row(key))
        if self.focus is None or not self.focuses:
            return self._attend(run, previous, query, key, value, args, kwargs)
        wide = given.widened(self.focus, query, key, value)
        out = self._attend(run, previous, *wide, args, kwargs)
        return given.narrowed(out, given.size(value))

    def _attend(
        self,
        run: Callable,
        previous: Callable | None,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        args,
        kwargs,
    ):
        # Another pack may have set an override since, for this block alone perhaps.
        # Only a path that a user named passes over it.
        if self.whole is not None and (self.name == self.path or previous is self.behind):
            return _run_whole(self.path, self.whole, query, key, value, self._mask_row(key), args, kwargs)
        path = self.path
        if not torch.compiler.is_compiling() and previous is not self.behind:
            name = DETERMINISTIC if self.name == ANY_ATTENTION else self.name
            wide = HeadsLayout.of(args, kwargs).size(query) if self.focuses else None
            need = need_of(self.bias is not None, self.groups, previous, query.device, query.dtype, wide)
            choice = choose_path(need, name)
            tell_path(choice)
            path = choice.path.name
        if self.groups is not None and kwargs.get("mask") is not None:
            raise RuntimeError(
                "refvid: another pack masks Wan's self-attention; references with a region, a frame window "
                "or a "
                "visibility cannot share it. Remove one of the two"
            )
        biased = core_attention.attention_pytorch if path == SDPA.name else run
        if self.focuses:  # wider heads may be none of the host's, with a bias or without
            run = biased
        attend = with_bias(run, biased, args, kwargs)
        row = self._mask_row(key)
        if self.groups is None:
            return attend(query, key, value, row)
        axis = 2 if kwargs.get("skip_reshape") else 1
        out_axis = 2 if kwargs.get("skip_output_reshape") else 1
        return grouped_attention(attend, query, key, value, self.groups, row, axis, out_axis)

    def _mask_row(self, key: Tensor) -> Tensor | None:
        if self.bias is None:
            return None
        length = key.shape[-2]
        return F.pad(self.bias, (length - self.bias.shape[-1], 0))


def with_bias(run: Callable, biased: Callable, args, kwargs) -> Attend:
    """Attention by `run` where keys have no bias; else by `biased`, with the bias (1 or B, S) added to the
    mask there is."""

    def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        if bias is None:
            return run(query, key, value, *args, **kwargs)
        mask, given = bias.to(query.dtype)[:, None, None, :], kwargs.get("mask")
        return biased(query, key, value, *args, **{**kwargs, "mask": mask if given is None else given + mask})

    return attend


def block_override(
    references: Any, identities: Any, text_call: int, previous: Callable | None
) -> Callable | None:
    """An attention override for one block; None where no rule asks for one.

    A block's first call is its self-attention, which follows the references' rule. Call number `text_call`
    reads the text; others are left alone. The override calls the one that was there, or the user's kernel.
    """
    rules = [references, *[None] * (text_call - 1), identities]
    if all(rule is None or rule.neutral for rule in rules):
        return None

    def override(kernel, query, key, value, *args, **kwargs):
        run = kernel if previous is None else functools.partial(previous, kernel)
        rule = rules.pop(0) if rules else None
        if rule is None or rule.neutral:
            return run(query, key, value, *args, **kwargs)
        return rule.attend(run, previous, query, key, value, args, kwargs)

    return override


def _run_whole(
    path: str, attend: Attend, query: Tensor, key: Tensor, value: Tensor, row: Tensor | None, args, kwargs
) -> Tensor:
    """Run `attend`, which takes (B, N, L, D), on ComfyUI's (B, L, N * D), or on (B, N, L, D) where
    `skip_reshape` says so."""
    if kwargs.get("mask") is not None:
        raise RuntimeError(
            f"refvid: attention {path} was asked for, but another pack masks Wan's self-attention"
        )
    heads = kwargs["heads"] if "heads" in kwargs else args[0]
    if not kwargs.get("skip_reshape"):
        query, key, value = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (query, key, value))
    out = attend(query, key, value, row)
    return out if kwargs.get("skip_output_reshape") else out.transpose(1, 2).flatten(2)


def need_of(
    bias: bool,
    groups: Groups | None,
    override: Callable | None,
    device: torch.device,
    dtype: torch.dtype,
    wide: int | None = None,
) -> Need:
    """The needs of an evaluation, from the attention behind this override. wide: features of heads that carry
    automatic regions, None where none acts."""
    lost = drops_masks(override, device, dtype) if bias else None
    no_triton, no_wide = _no_triton(device, dtype, wide), None
    if wide is not None:
        options = {} if override is None else {OVERRIDE: override}
        host = functools.partial(core_attention.optimized_attention, transformer_options=options)
        no_wide = refuses_heads(_kind(override), host, wide, device, dtype)
    if groups is None:
        return Need(bias, lost, no_triton, no_wide=no_wide)
    return Need(bias, lost, no_triton or too_many(groups), groups.averaged is not None, no_wide)


def _no_triton(device: torch.device, dtype: torch.dtype, wide: int | None) -> str | None:
    if getattr(options_of_comfyui, "disable_triton_backend", False):  # older ComfyUIs do not know it
        return "ComfyUI was started with --disable-triton-backend"
    return why_not(device, dtype) if wide is None else why_not(device, dtype, wide)


def is_cores(override: Callable) -> bool:
    """True for an override that is a mere kernel, chosen by a user with core's own node for that."""
    return getattr(override, "__qualname__", "").startswith(_CORES_NODE)


def drops_masks(override: Callable | None, device: torch.device, dtype: torch.dtype) -> str | None:
    """The reason why a mask would be lost on the way to the keys, or None.

    Two small calls find it out, since overrides of other packs do not say: several hand `mask` to a kernel
    that ignores it. The answer is remembered for each kind of override.
    """
    place = (_kind(override), device, dtype)
    if place not in _known:
        _known[place] = None if _masks_act(override, device, dtype) else _says(override)
    return _known[place]


def _kind(override: Any, depth: int = 4) -> Any:
    """The kind of an override: its code and the callables it holds, a few levels deep. Packs make new
    functions of one kind at every step, or in every block."""
    if isinstance(override, functools.partial):
        captured, maker = (override.func, *override.args, *override.keywords.values()), functools.partial
    else:
        function = getattr(override, "__func__", override)
        captured, maker = held_by(function), getattr(function, "__code__", type(override))
    return (maker, *(_kind(one, depth - 1) for one in captured if callable(one) and depth))


def held_by(function: Any) -> list[Any]:
    """The values in a function's closure. A cell that was never filled is left out."""
    captured = []
    for cell in getattr(function, "__closure__", None) or ():
        with contextlib.suppress(ValueError):
            captured.append(cell.cell_contents)
    return captured


@torch.no_grad()
def _masks_act(override: Callable | None, device: torch.device, dtype: torch.dtype) -> bool:
    """True where values behind a mask stay out of the result. An override that silences attention altogether
    passes too: it lets no value through, masked or not."""
    batch, tokens, width = _PROBE
    generator = torch.Generator().manual_seed(0)  # nobody else's random numbers are used up
    query, key, value = torch.randn(3, batch, tokens, width, generator=generator).to(device, dtype)
    half = tokens // 2
    other = torch.cat([value[:, :half], value[:, half:] + 1], dim=1)
    mask = torch.zeros(1, 1, 1, tokens, device=device, dtype=dtype)
    mask[..., half:] = -30.0
    options = {} if override is None else {OVERRIDE: override}

    def said(value: Tensor, **more: Tensor) -> Tensor:
        return core_attention.optimized_attention(
            query, key, value, heads=2, transformer_options=dict(options), **more
        )

    behind = (said(value, mask=mask) - said(other, mask=mask)).abs().mean()
    in_sight = core_attention.attention_pytorch(query, key, value - other, heads=2).abs().mean()
    return bool(behind < 0.1 * in_sight)


def _says(override: Callable | None) -> str:
    label = (
        "ComfyUI's attention"
        if override is None
        else getattr(override, "__qualname__", type(override).__name__)
    )
    return f"{label} drops masks"
