"""The tail of an evaluation, from what riders put behind the video and the text: which tokens act now, and
who sees whom.

It is worked out before the module, which torch.compile may hold. Core's compile node drops guards on
transformer_options but guards arguments. So a step that differs in more than values is compiled for itself.
"""

from functools import reduce
from typing import Any

import torch

from ...core.reach import joined_words
from ...core.schedule import share_of
from ...core.visibility import reference_turn, text_groups
from ...kernels.paths import ANY_ATTENTION, attention_asked, tell_path
from . import wire
from .attention import OVERRIDE
from .attention_choice import ComfyAttentionNeed, choose_comfy_attention
from .evaluation import Evaluation, GroupsBehindText, StreamsBehindVideo, TailRule, TextRule
from .families import wan
from .focus import comfy_focus


def tail_rule(evaluation: Evaluation, options: dict[str, Any], rest: dict[str, Any]) -> TailRule | None:
    """The rule of this evaluation's tail; None where nothing acts behind the video.

    options  the model's: told what the path was chosen for
    rest     arguments that are not ours
    """
    if not evaluation.behind:
        return None
    model, video = evaluation.model, evaluation.video
    whole, device = reduce(_joined, evaluation.behind), video.device
    layout, soft = whole.arranged.layout, whole.arranged.soft
    share = (
        share_of(float(evaluation.t.max()), model.model_sampling.percent_to_sigma) if layout.timed else 0.0
    )
    tokens = layout.geometry.count(*video.shape[2:])
    now = reference_turn(layout, share, whole.cells, soft, tokens, video.shape[2], device)
    if now is None:
        return None
    keep = whole.arranged.keep if now.kept is None else whole.arranged.keep.to(device)[:, now.kept]
    if now.groups is not None:
        wan.require_plain_sequence(rest)
    attention, count = attention_asked(whole.attention), keep.shape[1]
    asked = ComfyAttentionNeed(
        model, layout, now, len(video), tokens + count, count, device, options.get(OVERRIDE)
    )
    choice = choose_comfy_attention(asked, attention)
    tell_path(choice)
    options[wire.PATH_BEHIND] = asked.override  # others may set one in between
    focus = comfy_focus(evaluation, now.focus, layout, options)
    return TailRule(keep, layout, attention, choice.path.name, now.bias, now.groups, focus)


def text_rule(evaluation: Evaluation, tail: TailRule | None, rest: dict[str, Any]) -> TextRule | None:
    """The rule for what stands behind the text; None where nothing does. Readers are the video's tokens, and
    those of the tail where these read text at all."""
    if not evaluation.behind_text:
        return None
    whole, video = reduce(_joined_text, evaluation.behind_text), evaluation.video
    if whole.cells is None:
        return TextRule(whole.bias)
    wan.require_plain_sequence(rest)
    geometry = wan.geometry(evaluation.model.current_patcher)
    readers = tail.keep.shape[1] if tail is not None and tail.layout.recipe.reads_text else 0
    tokens = geometry.count(*video.shape[2:])
    groups = text_groups(
        whole.sizes, whole.cells, evaluation.text, tokens, readers, geometry.patch, video.device
    )
    return TextRule(whole.bias, groups)


def _joined(first: StreamsBehindVideo, second: StreamsBehindVideo) -> StreamsBehindVideo:
    """Streams of both. ValueError as `Arranged.joined` says."""
    one, other = first.arranged, second.arranged
    counts = [len(part.layout.streams) for part in (one, other)]
    return StreamsBehindVideo(
        one.joined(other),
        joined_words((first.cells, counts[0]), (second.cells, counts[1])),
        second.attention if first.attention == ANY_ATTENTION else first.attention,
    )


def _joined_text(first: GroupsBehindText, second: GroupsBehindText) -> GroupsBehindText:
    cells = joined_words((first.cells, len(first.sizes)), (second.cells, len(second.sizes)))
    biases = [torch.zeros(1, sum(part.sizes)) if part.bias is None else part.bias for part in (first, second)]
    bias = None
    if first.bias is not None or second.bias is not None:
        bias = torch.cat([one.to(biases[0].device) for one in biases], dim=1)
    return GroupsBehindText((*first.sizes, *second.sizes), bias, cells)
