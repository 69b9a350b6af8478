"""Visibility in one evaluation of the model: who sees whom. Every rule that hides keys from queries is kept
by removal. Queries that see the same keys share one attention call over those keys alone (`kernels.grouped`),
so that any kernel stays exact."""

import math
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels.grouped import Groups, Span
from .focus import FocusTurn, focus_turn
from .layout import Layout
from .reach import token_words

VIDEO = 0  # the segment before the references; reference k is segment k + 1


@dataclass(frozen=True)
class Turn:
    """Turn of the references: what one evaluation does with them.

    kept    columns of the kept tokens that act, (n,) int64; None: all of them
    bias    added to the logits of their keys, (1 or B, n) fp32; None: nothing
    groups  who sees whom; None: everyone sees everyone
    focus   their automatic regions; None: no reference has one
    """

    kept: Tensor | None
    bias: Tensor | None
    groups: Groups | None
    focus: FocusTurn | None = None

    def count(self, layout: Layout) -> int:
        """Reference tokens that act, of those that the layout keeps."""
        return layout.kept if self.kept is None else len(self.kept)

    @property
    def averages(self) -> bool:
        """True where a reference reads frame by frame."""
        return self.groups is not None and self.groups.averaged is not None


def reference_turn(
    layout: Layout,
    share: float,
    cells: Tensor | None,
    soft: Tensor | None,
    video: int,
    frames: int,
    device: torch.device,
) -> Turn | None:
    """Turn of a layout's references at a share of the schedule; None where none acts.

    cells (F, h, w) int64, bit k where reference k acts, or None for everywhere. soft (1 or B, kept), log of
    the share of each kept token that its mask covers, or None. video, tokens of the video, in so many latent
    frames.
    """
    levels = [stream.controls.log_strength(share) for stream in layout.streams]
    acting = tuple(index for index, level in enumerate(levels) if level > -math.inf)
    if not acting:
        return None
    kept = None if len(acting) == len(levels) else torch.tensor(layout.columns(acting), device=device)
    return Turn(
        kept,
        _bias(layout, acting, levels, soft, kept, device),
        _groups(layout, acting, cells, video, frames, device),
        focus_turn(layout, acting, share, device),
    )


def _bias(
    layout: Layout,
    acting: tuple[int, ...],
    levels: list[float],
    soft: Tensor | None,
    kept: Tensor | None,
    device,
) -> Tensor | None:
    hard = [levels[index] for index in acting for _ in range(layout.streams[index].kept)]
    if soft is None or not any(layout.streams[index].controls.soft for index in acting):
        return torch.tensor([hard], device=device) if any(hard) else None
    chosen = soft if kept is None else soft[:, kept.to(soft.device)]
    return chosen.to(device, torch.float32) + torch.tensor([hard], device=device)


def _groups(
    layout: Layout,
    acting: tuple[int, ...],
    cells: Tensor | None,
    video: int,
    frames: int,
    device: torch.device,
) -> Groups | None:
    seen: dict[frozenset[int], list[Tensor]] = defaultdict(list)
    everyone = frozenset({VIDEO, *(index + 1 for index in acting)})
    for visible, rows in video_parts(acting, cells, video, layout.geometry.patch):
        seen[visible].append(rows)
    start, spans, one_by_one = video, {VIDEO: (0, video)}, []
    for index in acting:
        spans[index + 1] = (start, start + layout.streams[index].kept)
        if layout.sees(index) == "frames":
            one_by_one.append(spans[index + 1])
        else:
            seen[layout.seen_by(index) & everyone].append(torch.arange(*spans[index + 1]))
        start = spans[index + 1][1]
    if set(seen) == {everyone} and not one_by_one:
        return None
    queries = [torch.cat(rows) for rows in seen.values()]
    keys = [merged_spans([spans[segment] for segment in sorted(visible)]) for visible in seen]
    for own in one_by_one:
        keys += [merged_spans([frame, own]) for frame in _frame_spans(video, frames)]
        queries += [torch.arange(*own)] * frames
    joined = torch.cat(queries)
    first = torch.zeros(start, dtype=torch.int64)  # of several places the one in the first part
    order = first.scatter_reduce(0, joined, torch.arange(len(joined)), "amin", include_self=False)
    averaged = None
    if one_by_one:
        rows, places = _several(len(joined), one_by_one, frames)
        averaged = rows.to(device), places.to(device)
    return Groups(tuple(keys), tuple(rows.to(device) for rows in queries), order.to(device), video, averaged)


def _frame_spans(video: int, frames: int) -> list[Span]:
    each = video // frames
    return [(frame * each, (frame + 1) * each) for frame in range(frames)]


def _several(results: int, one_by_one: list[Span], frames: int) -> tuple[Tensor, Tensor]:
    """Rows (R,) that read frame by frame, and where their `frames` results each stand (R, frames). Their
    parts come last, reference by reference, frame by frame."""
    sizes = [stop - start for start, stop in one_by_one]
    begins = results - frames * sum(sizes)
    places = []
    for size in sizes:
        places.append(begins + torch.arange(frames * size).view(frames, size).T)
        begins += frames * size
    return torch.cat([torch.arange(*own) for own in one_by_one]), torch.cat(places)


def video_parts(
    acting: tuple[int, ...], cells: Tensor | None, video: int, patch: int
) -> list[tuple[frozenset[int], Tensor]]:
    """The segments that each part of the video's tokens sees."""
    if cells is None:
        return [(frozenset({VIDEO, *(index + 1 for index in acting)}), torch.arange(video))]
    words = token_words(cells, patch).cpu() & sum(1 << index for index in acting)
    if len(words) != video:
        raise ValueError(f"regions were made for a video of {len(words)} tokens, the model runs on {video}")
    return [
        (
            frozenset({VIDEO, *(index + 1 for index in acting if word >> index & 1)}),
            (words == word).nonzero()[:, 0],
        )
        for word in words.unique().tolist()
    ]


def text_groups(
    sizes: tuple[int, ...],
    cells: Tensor | None,
    text: int,
    video: int,
    beside: int,
    patch: int,
    device: torch.device,
) -> Groups | None:
    """Groups of queries by the identities that they read in cross-attention. Its keys are `text` tokens, then
    each identity's `sizes` of them.

    cells (F, h, w) int64, bit k where identity k acts, or None for everywhere. Queries are the video's
    tokens, `patch` cells on a side, then those of references `beside` it, which read the identities that act
    everywhere. None where everyone reads all.
    """
    if cells is None:
        return None
    stops = [text + sum(sizes[: index + 1]) for index in range(len(sizes))]
    spans = {
        index + 1: (stop - size, stop) for index, (stop, size) in enumerate(zip(stops, sizes, strict=True))
    }
    seen: dict[frozenset[int], list[Tensor]] = defaultdict(list)
    for visible, rows in video_parts(tuple(range(len(sizes))), cells, video, patch):
        seen[visible].append(rows)
    if beside:
        unbound = {index + 1 for index in range(len(sizes)) if (cells >> index & 1).all()}
        seen[frozenset({VIDEO, *unbound})].append(torch.arange(video, video + beside))
    queries = tuple(torch.cat(rows).to(device) for rows in seen.values())
    spans[VIDEO] = (0, text)
    keys = tuple(merged_spans([spans[segment] for segment in sorted(visible)]) for visible in seen)
    return Groups(keys, queries, torch.cat(queries).argsort(), text)


def merged_spans(spans: list[Span]) -> tuple[Span, ...]:
    """Spans that touch become one, so that their keys need no copy."""
    merged = [spans[0]]
    for start, stop in spans[1:]:
        if start == merged[-1][1]:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    return tuple(merged)
