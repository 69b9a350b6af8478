"""Keys and values of references that read only themselves, kept over the steps of a run.

With a timestep of their own nothing about such references changes, so later steps need neither their tokens
nor their queries. They are kept for the conditions of one batch together, by ComfyUI's own names for these.
They are not kept where it would not be exact: hooks that change weights over steps, references that come and
go, regions, and compiled models.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from . import wire
from .attention import Rule
from .families.wan import RAN


@dataclass
class KeptBlocks:
    """Keys and values (B, R, C) of the references, by block."""

    blocks: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


class Store:
    """Keys and values of a run, by the conditions of a batch. No dict: ComfyUI copies those at every step."""

    def __init__(self):
        self.kept: dict[tuple, KeptBlocks] = {}


def kept_for(options: dict[str, Any], layout: Layout, rule: Rule, x: Tensor) -> KeptBlocks | None:
    """The place for this batch's keys and values; None where they may not be kept."""
    store, names = options.get(wire.RECALL), options.get("uuids")
    if store is None or names is None or torch.compiler.is_compiling() or not layout.constant:
        return None
    if rule.whole is not None or rule.groups is None or len(rule.groups.keys) > 2:  # more parts: regions
        return None
    return store.kept.setdefault((tuple(names), len(x), x.dtype, x.device, layout), KeptBlocks())


@dataclass(frozen=True)
class Recording:
    """The references' rule in one block, which also keeps the keys and values of their `count` tokens."""

    rule: Rule
    kept: KeptBlocks
    block: int
    count: int
    neutral = False

    def attend(self, run, previous, query: Tensor, key: Tensor, value: Tensor, args, kwargs):
        last = slice(key.shape[1] - self.count, None)
        self.kept.blocks[self.block] = key[:, last].clone(), value[:, last].clone()
        return self.rule.attend(run, previous, query, key, value, args, kwargs)


@dataclass(frozen=True)
class Recalling:
    """Attention of the video's tokens over themselves and the kept keys of one block."""

    rule: Rule
    kept: tuple[Tensor, Tensor]
    neutral = False

    def attend(self, run, previous, query: Tensor, key: Tensor, value: Tensor, args, kwargs):
        keys, values = self.kept
        key, value = torch.cat([key, keys.to(key)], dim=1), torch.cat([value, values.to(value)], dim=1)
        return self.rule.attend(run, previous, query, key, value, args, kwargs)


@dataclass(frozen=True)
class Recalled:
    """A tail whose keys and values are all known: no token travels behind the video, and all of its tokens
    see them."""

    kept: KeptBlocks
    rule: Rule

    def rule_of(self, options: dict[str, Any]) -> Recalling:
        """The rule of one block."""
        rule = replace(self.rule, groups=None).in_block(options[RAN])
        return Recalling(rule, self.kept.blocks[options[RAN]])

    def unread(self, reading, options: dict[str, Any]):
        return reading, {}

    def join(self, args: dict[str, Any]) -> dict[str, Any]:
        return args

    def split(self, out: dict[str, Any], length: int) -> dict[str, Any]:
        return out
