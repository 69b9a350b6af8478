"""Attention in parts: queries that see the same keys, over those keys alone, by whatever attention the host
has."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Span = tuple[int, int]
Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Groups:
    """Queries of a sequence in parts that see the same keys. The video's tokens come first.

    keys     spans [start, stop) of the keys of each part: hashable, so that a compiled model is guarded by
             them
    queries  (n,) int64 each; every query is in one part, or in several
    order    (L,) int64: where each query's result stands in the parts, joined; the first of several
    video    tokens of the video averaged rows (R,) of queries that are in several parts and take the mean,
             and where in the parts those stand (R, m). None: there are none
    """

    keys: tuple[tuple[Span, ...], ...]
    queries: tuple[Tensor, ...]
    order: Tensor
    video: int
    averaged: tuple[Tensor, Tensor] | None = None

    def sees_references(self, part: int) -> bool:
        """True where the keys of a part reach beyond the video."""
        return self.keys[part][-1][1] > self.video

    def dense(self, rows: Tensor | None = None) -> Tensor:
        """(L, L) bool, True = query sees key; for a query that takes a mean, in any of its parts. rows (n,)
        int64: of these queries alone, (n, L)."""
        length, device = len(self.order), self.order.device
        rows = torch.arange(length, device=device) if rows is None else rows
        seen = torch.zeros(len(rows), length, dtype=torch.bool, device=device)
        for spans, own in zip(self.keys, self.queries, strict=True):
            here = torch.isin(rows, own)[:, None]
            for start, stop in spans:
                seen[:, start:stop] |= here
        return seen


def grouped_attention(
    attend: Attend,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    groups: Groups,
    key_bias: Tensor | None = None,
    axis: int = -2,
    out_axis: int | None = None,
) -> Tensor:
    """Run `attend(query, key, value, key_bias)` where every query sees its group's keys only.

    query, key, value with their tokens at `axis`, the result's tokens at `out_axis` (`axis` where not given).
    key_bias (B or 1, S), handed on as the part's (B or 1, s); a part that sees the video alone gets none.
    Exact: keys that a query may not see are not in its call.
    """
    parts = []
    for part, (spans, rows) in enumerate(zip(groups.keys, groups.queries, strict=True)):
        bias = _cut(key_bias, spans, -1) if key_bias is not None and groups.sees_references(part) else None
        parts.append(
            attend(query.index_select(axis, rows), _cut(key, spans, axis), _cut(value, spans, axis), bias)
        )
    place = axis if out_axis is None else out_axis
    joined = torch.cat(parts, dim=place)
    out = joined.index_select(place, groups.order)
    if groups.averaged is None:
        return out
    rows, places = groups.averaged
    place %= joined.ndim
    several = joined.index_select(place, places.flatten()).unflatten(place, places.shape)
    return out.index_copy(place, rows, several.mean(place + 1))


def in_groups(attend: Attend, groups: Groups | None) -> Attend:
    """`attend` over (B, N, L, D) in parts; itself where there are none."""
    if groups is None:
        return attend
    return lambda query, key, value, bias: grouped_attention(attend, query, key, value, groups, bias)


def _cut(tensor: Tensor, spans: tuple[Span, ...], axis: int) -> Tensor:
    pieces = [tensor.narrow(axis, start, stop - start) for start, stop in spans]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=axis)
