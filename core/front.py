"""References in front of the video, as whole frames of the model's own sequence (VACE, arXiv 2503.07598).

Their tokens stay in the sequence, since they are denoised with the video. So what hides a reference hides its
keys: a mask, a step window, a region. A key that a query may not see is not in its attention call, which
equals a bias of minus infinity (`kernels.grouped`) [choice: vace-keys]."""

import math
from collections import defaultdict
from collections.abc import Iterable
from itertools import accumulate

import torch
from torch import Tensor

from ..kernels.grouped import Groups, Span
from .controls import Controls
from .layout import Layout
from .references import Arranged
from .visibility import VIDEO, Turn, merged_spans, video_parts

ShownSpans = tuple[tuple[Span, ...], ...]  # of each reference: spans of its tokens whose keys may be seen


def shown_spans(arranged: Arranged) -> ShownSpans:
    """Spans of the tokens that masks keep, for each reference, counted from its first token."""
    kept, spans = set(arranged.keep.flatten().tolist()), []
    for begin, stream in zip(_begins(arranged.layout), arranged.layout.streams, strict=True):
        places = [place for place in range(stream.tokens) if begin + place in kept]
        spans.append(merged_spans([(place, place + 1) for place in places]))
    return tuple(spans)


def require_visible(controls: Iterable[Controls]) -> None:
    """ValueError for a reference that reads frame by frame, or has an automatic region, which frames of the
    sequence itself cannot."""
    controls = list(controls)
    if any(one.focus != 1 for one in controls):
        raise ValueError(
            f"focus is {max(one.focus for one in controls):g}, but the references are frames of the video's own "
            "sequence here; needed 1, or a region"
        )
    if any(one.sees == "frames" for one in controls):
        raise ValueError(
            "sees is frames, but the references are frames of the video's own sequence here; choose all, video or "
            "itself"
        )


def front_turn(
    layout: Layout,
    shown: ShownSpans,
    share: float,
    cells: Tensor | None,
    soft: Tensor | None,
    video: int,
    device: torch.device,
) -> Turn:
    """Turn of references in front of `video` tokens, at a share of the schedule.

    shown  spans of each reference whose keys may be seen
    cells  (F, h, w) int64 of the video's latent, bit k where reference k acts; None: everywhere
    soft   (1 or B, kept), log of the share of each shown token that its mask covers

    Its bias is of the whole sequence, (1 or B, L). A reference outside of its steps is seen by nobody; its
    own queries go on reading.
    """
    levels = [stream.controls.log_strength(share) for stream in layout.streams]
    return Turn(
        None,
        _bias(layout, shown, levels, soft, video, device),
        _groups(layout, shown, levels, cells, video, device),
    )


def _begins(layout: Layout) -> list[int]:
    """First token of each reference in the sequence."""
    return list(accumulate((stream.tokens for stream in layout.streams), initial=0))[:-1]


def _front(layout: Layout) -> int:
    return sum(stream.tokens for stream in layout.streams)


def _bias(
    layout: Layout, shown: ShownSpans, levels: list[float], soft: Tensor | None, video: int, device
) -> Tensor | None:
    hard = [
        level if level > -math.inf else 0.0  # hidden by groups
        for level, spans in zip(levels, shown, strict=True)
        for start, stop in spans
        for _ in range(stop - start)
    ]
    weights = torch.tensor([hard], device=device)
    if soft is not None and any(stream.controls.soft for stream in layout.streams):
        weights = weights + soft.to(device, torch.float32)
    elif not any(hard):
        return None
    places = torch.cat([torch.arange(*span) for spans in _spans(layout, shown) for span in spans])
    row = torch.zeros(len(weights), _front(layout) + video, device=device)
    row[:, places.to(device)] = weights
    return row


def _spans(layout: Layout, shown: ShownSpans) -> list[list[Span]]:
    """Spans of each reference, counted from the first token of the sequence."""
    return [
        [(begin + start, begin + stop) for start, stop in spans]
        for begin, spans in zip(_begins(layout), shown, strict=True)
    ]


def _groups(
    layout: Layout, shown: ShownSpans, levels: list[float], cells: Tensor | None, video: int, device
) -> Groups | None:
    acting = tuple(index for index, level in enumerate(levels) if level > -math.inf)
    everyone = frozenset({VIDEO, *(index + 1 for index in acting)})
    front, seen = _front(layout), defaultdict(list)
    for index, begin in enumerate(_begins(layout)):
        own = torch.arange(begin, begin + layout.streams[index].tokens)
        seen[layout.seen_by(index) & everyone or frozenset({index + 1})].append(own)
    for visible, rows in video_parts(acting, cells, video, layout.geometry.patch):
        seen[visible].append(rows + front)
    segments: list[list[Span]] = [[(front, front + video)], *_spans(layout, shown)]
    counted = sum(stop - start for index in acting for start, stop in shown[index])
    if set(seen) == {everyone} and counted == front:
        return None
    # Video last in a part's keys, as in the sequence.
    order = sorted(range(len(segments)), key=lambda segment: segments[segment][0])
    keys = tuple(
        merged_spans([span for segment in order if segment in visible for span in segments[segment]])
        for visible in seen
    )
    queries = tuple(torch.cat(rows).to(device) for rows in seen.values())
    return Groups(keys, queries, torch.cat(queries).argsort(), 0)
