"""The attention that runs references without ComfyUI: torch's, or what wins a race against it."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from ...backbones.base import attend_all
from ...core.layout import Layout
from ...core.verdicts import Contest, Verdicts
from ...core.visibility import Turn
from ...kernels.grouped import Attend, Groups, in_groups
from ...kernels.paths import BIAS, REMOVAL, TRITON, Need, PathChoice
from ...kernels.race import AttentionCall, Contender
from ...kernels.segment_attention import why_not
from ...kernels.segments import too_many
from ...kernels.whole import WHOLE_ATTENTION


def cache_folder() -> Path:
    """The folder where this system's programs keep what they can make again. RuntimeError where a user has no
    home."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "refvid"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "refvid"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "refvid"


PLAIN_VERDICTS = Verdicts(cache_folder)


@dataclass(frozen=True)
class PlainAttentionNeed:
    """One evaluation of a DiT with references, for which an attention path is chosen.

    heads, head_size   of its attention
    layout, now        of the references, and what they do at this step
    batch              number of rows
    video, references  number of tokens of the video, and of the references that act
    """

    heads: int
    head_size: int
    layout: Layout
    now: Turn
    batch: int
    video: int
    references: int
    device: torch.device
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Features of a head, with those that carry automatic regions."""
        focus = self.now.focus
        return (None if focus is None else focus.wide(self.head_size)) or self.head_size

    def call(self) -> AttentionCall:
        tokens, now = self.video + self.references, self.now
        return AttentionCall(
            self.batch, self.heads, self.head_size, tokens, self.references, self.dtype, self.device,
            now.bias, now.groups,
        )  # fmt: skip


def choose_plain_attention(asked: PlainAttentionNeed, name: str, hold: bool = True) -> PathChoice:
    """The path that runs, and why. `hold` False: no race is held for it.

    No race is held either where references' keys are kept over the steps (`recall`), which goes by torch's
    attention, nor where automatic regions make heads wider.
    """
    groups, call = asked.now.groups, asked.call()
    no_triton = why_not(asked.device, asked.dtype, asked.size) or (too_many(groups) if groups else None)
    need = Need(asked.now.bias is not None, no_triton=no_triton, averages=asked.now.averages)
    contenders = {path.name: Contender(attention(path.name, groups)) for path in (REMOVAL, BIAS, TRITON)}
    alone = asked.layout.constant or asked.size != asked.head_size
    contest = None if alone else Contest(call, contenders, "torch's")
    return PLAIN_VERDICTS.choose(need, name, contest, hold)


def attention(path: str, groups: Groups | None) -> Attend:
    """Self-attention of the joined sequence on a path, (B, N, L, D), where queries see their groups' keys
    only."""
    return WHOLE_ATTENTION[path](groups) if path in WHOLE_ATTENTION else in_groups(attend_all, groups)
