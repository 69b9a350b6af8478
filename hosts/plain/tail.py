"""The tail of an evaluation, from what riders put behind the video and the text, in the form that a backbone
takes."""

from dataclasses import dataclass
from functools import lru_cache, reduce

import torch
from torch import Tensor

from ...backbones.base import IdentityTokens, Tail, attend_all
from ...core.layout import Layout
from ...core.positions import reference_angles, unturned
from ...core.reach import joined_words
from ...core.schedule import flow_sigma, share_of
from ...core.visibility import Turn, reference_turn, text_groups
from ...kernels.grouped import Attend, in_groups
from ...kernels.paths import tell_path
from ...kernels.segment_attention import attention_over, why_not
from ...kernels.segments import kept_keys
from .attention_choice import PlainAttentionNeed, attention, choose_plain_attention
from .evaluation import Evaluation, TokensBehindText, TokensBehindVideo
from .focus import in_all_blocks, plain_focus
from .recall import Kept, recalling

_angles = lru_cache(maxsize=16)(reference_angles)  # alike at every step of a run; nobody writes to them


@dataclass(frozen=True)
class Schedule:
    """Choices of a run for its tail: the shift of its schedule, which step windows are shares of, and the
    attention that was asked for."""

    shift: float
    attention: str


def tail(evaluation: Evaluation, how: Schedule, kept: Kept | None = None) -> Tail | None:
    """The tail of tokens that act behind the video at this noise level; None where none does. `kept`: what
    this pass keeps from step to step."""
    if not evaluation.behind:
        return None
    whole, dit = reduce(_joined, evaluation.behind), evaluation.dit
    layout, (batch, _, *grid) = whole.arranged.layout, evaluation.latent.shape
    share = 0.0
    if layout.timed:
        share = share_of(float(evaluation.sigma.max()), lambda part: flow_sigma(part, how.shift))
    video = dit.geometry.count(*grid)
    now = reference_turn(layout, share, whole.cells, whole.arranged.soft, video, grid[0], dit.device)
    if now is None:
        return None
    keep = whole.arranged.keep if now.kept is None else whole.arranged.keep[now.kept.cpu()]
    tokens = torch.cat([part.expand(batch, -1, -1) for part in _typed(whole)], dim=1)
    asked = PlainAttentionNeed(
        dit.heads, dit.head_size, layout, now, batch, video, len(keep), dit.device, dit.dtype
    )
    bias, attend = _attention(asked, _seen(whole, now), how.attention)
    recalled = attend_all
    if now.focus is not None:
        focus = plain_focus(evaluation, now.focus, layout, None if kept is None else kept.maps)
        attend = in_all_blocks(focus, attend, now.groups, dit.layers)
        recalled = in_all_blocks(focus, attend_all, None, dit.layers)
    new_tail = Tail(
        tokens if len(keep) == tokens.shape[1] else tokens[:, keep.to(dit.device)],
        _angles(layout, dit.geometry.tokens(*grid), dit.head_size)[keep][None].to(dit.device),
        bias,
        attend,
        _clock(whole, dit.geometry.clock, dit.device),
        _unturned(layout, keep),
        _video_type(whole),
        layout.recipe.reads_text,
        whole.lora,
    )
    if kept is None or kept.keys is None or not layout.constant or whole.cells is not None:
        return new_tail
    return recalling(new_tail, kept.keys, recalled)


def own_tokens(evaluation: Evaluation, which: range, after: Tensor) -> Tensor:
    """A rider's own tokens, of the tail's after the last block (B, R, C). `which`: its places among what
    stands behind the video; all of its tokens act."""
    sizes = [one.arranged.layout.kept for one in evaluation.behind]
    first = max(0, after.shape[1] - sum(sizes[which.start :]))  # what comes before may not act now
    return after[:, first : first + sum(sizes[index] for index in which)]


def identities(evaluation: Evaluation, text: int, beside: Tail | None) -> IdentityTokens | None:
    """Identities behind `text` tokens of text; None where there are none. The video's tokens read them, and
    those behind the video where these read text at all."""
    if not evaluation.behind_text:
        return None
    dit, whole = evaluation.dit, reduce(_joined_text, evaluation.behind_text)
    readers = 0 if beside is None or not beside.reads_text else beside.tokens.shape[1]
    video = dit.geometry.count(*evaluation.latent.shape[2:])
    groups = text_groups(whole.sizes, whole.cells, text, video, readers, dit.geometry.patch, dit.device)
    return IdentityTokens(whole.tokens, whole.bias, None if groups is None else in_groups(attend_all, groups))


def _attention(asked: PlainAttentionNeed, seen: Tensor | None, name: str) -> tuple[Tensor | None, Attend]:
    """The bias on the logits of the tail's keys, and the attention of the joined sequence."""
    now = asked.now
    if seen is None:
        choice = choose_plain_attention(asked, name)
        tell_path(choice)
        return now.bias, attention(choice.path.name, now.groups)
    # Rows keep different tokens. A key bias hides those that a row has not: same numbers as their removal.
    alone = now.bias is None and now.groups is None
    if alone and why_not(asked.device, asked.dtype, asked.size) is None:
        whole = torch.cat([seen.new_ones(len(seen), asked.video), seen], dim=1)
        return None, attention_over(kept_keys(whole, whole.shape[1]))
    hidden = torch.zeros(seen.shape, device=seen.device).masked_fill(~seen, -torch.inf)
    return hidden if now.bias is None else now.bias + hidden, in_groups(attend_all, now.groups)


def _seen(whole: TokensBehindVideo, now: Turn) -> Tensor | None:
    return whole.seen if whole.seen is None or now.kept is None else whole.seen[:, now.kept]


def _typed(whole: TokensBehindVideo) -> list[Tensor]:
    """Tokens of every stream, with its row of the type embedding."""
    if whole.types is None:
        return whole.tokens
    rows = whole.types(whole.arranged.layout.types())
    return [part + row for part, row in zip(whole.tokens, rows, strict=True)]


def _video_type(whole: TokensBehindVideo) -> Tensor | None:
    known = whole.arranged.layout.recipe.types
    return None if whole.types is None or known is None else whole.types([known.video])[0]


def _clock(whole: TokensBehindVideo, clock: int, device: torch.device) -> Tensor | None:
    """The timestep of the tail's own, where its recipe gives it one."""
    if whole.arranged.layout.recipe.clock != "own":
        return None
    return torch.zeros(1, device=device) if whole.level is None else whole.level * clock


def _unturned(layout: Layout, keep: Tensor) -> Tensor | None:
    still = unturned(layout)
    return None if still is None else still[keep]


def _joined(first: TokensBehindVideo, second: TokensBehindVideo) -> TokensBehindVideo:
    """Streams of both. ValueError as `Arranged.joined` says."""
    one, other = first.arranged, second.arranged
    counts = [len(part.layout.streams) for part in (one, other)]
    return TokensBehindVideo(
        one.joined(other),
        [*first.tokens, *second.tokens],
        joined_words((first.cells, counts[0]), (second.cells, counts[1])),
        _padded(((first.seen, len(one.keep)), (second.seen, len(other.keep))), True),
        second.level if first.level is None else first.level,
        first.types or second.types,
        first.lora or second.lora,
    )


def _joined_text(first: TokensBehindText, second: TokensBehindText) -> TokensBehindText:
    parts = (first, second)
    counts = [part.tokens.shape[1] for part in parts]
    rows = max(len(part.tokens) for part in parts)
    return TokensBehindText(
        torch.cat([part.tokens.expand(rows, -1, -1) for part in parts], dim=1),
        (*first.sizes, *second.sizes),
        _padded(((first.bias, counts[0]), (second.bias, counts[1])), 0.0),
        joined_words((first.cells, len(first.sizes)), (second.cells, len(second.sizes))),
    )


def _padded(parts: tuple[tuple[Tensor | None, int], ...], fill: float | bool) -> Tensor | None:
    """Values (1 or B, n) of both, where either has some."""
    present = [values for values, _ in parts if values is not None]
    if not present:
        return None
    rows = max(map(len, present))
    columns = [
        present[0].new_full((rows, count), fill) if values is None else values.expand(rows, -1)
        for values, count in parts
    ]
    return torch.cat(columns, dim=1)
