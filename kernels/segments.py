"""Segments: who sees whom as a few numbers. Keys lie in segments, queries hold a word of the segments they
see. Blocks of queries and keys are sorted from these into seen whole, in part and not at all, without a table
of queries by keys."""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from .grouped import Groups

MOST = 31  # segments: bits of an int32 word beside its sign
NOBODY = -1  # the segment of keys that nobody sees


@dataclass(frozen=True)
class Segments:
    """sees (B or 1, L) int32: bit s of a query's word says that it sees segment s. of (B or 1, S) int32: the
    segment of each key, or NOBODY."""

    sees: Tensor
    of: Tensor

    def dense(self) -> Tensor:
        """(B or 1, L, S) bool, True = query sees key: for checks, it is what this class avoids."""
        held = self.of.clamp_min(0)[:, None, :]
        return (self.sees[:, :, None] >> held & 1).bool() & (self.of >= 0)[:, None, :]


def everyone(queries: int, keys: int, device: torch.device) -> Segments:
    """Every query sees every key."""
    return Segments(
        torch.ones(1, queries, dtype=torch.int32, device=device),
        torch.zeros(1, keys, dtype=torch.int32, device=device),
    )


def kept_keys(keep: Tensor, queries: int) -> Segments:
    """Every query sees the kept keys of its row: keep (B, S) bool."""
    of = torch.where(keep, 0, NOBODY).to(torch.int32)
    return Segments(torch.ones(1, queries, dtype=torch.int32, device=keep.device), of)


def too_many(groups: Groups) -> str | None:
    """Reason why the segments of a sequence in groups are more than the kernels take, or None."""
    count = len(_cuts(groups)) - 1
    if count <= MOST:
        return None
    return (
        f"what {len(groups.keys)} groups of tokens see cuts the keys into {count} segments; "
        f"the kernel takes {MOST}"
    )


def segments_of(groups: Groups) -> Segments:
    """The segments of a sequence in groups: pieces of it that no group's keys cut. ValueError for more than
    MOST."""
    length, device, cuts, reason = len(groups.order), groups.order.device, _cuts(groups), too_many(groups)
    if reason is not None:
        raise ValueError(f"references: {reason}")
    sees = torch.zeros(1, length, dtype=torch.int32, device=device)
    of = torch.zeros(1, length, dtype=torch.int32, device=device)
    for segment, (start, stop) in enumerate(pairwise(cuts)):
        of[:, start:stop] = segment
    for spans, rows in zip(groups.keys, groups.queries, strict=True):
        word = sum(
            1 << segment
            for segment, place in enumerate(cuts[:-1])
            if any(start <= place < stop for start, stop in spans)
        )
        sees[:, rows] = word
    return Segments(sees, of)


def _cuts(groups: Groups) -> list[int]:
    return sorted({0, len(groups.order), *(end for spans in groups.keys for span in spans for end in span)})


def visits(segments: Segments, rows: int, columns: int) -> Tensor:
    """Blocks of keys that each block of `rows` queries visits: (B or 1, query blocks, 2 + key blocks) int32.
    First the number of blocks of `columns` keys of which it sees every pair. Then the number of those it sees
    in part, and their numbers in this order."""
    return _table(*_seen(segments, rows, columns))


def visitors(segments: Segments, rows: int, columns: int) -> Tensor:
    """Blocks of queries that visit each block of keys: (B or 1, key blocks, 2 + query blocks) int32, as
    `visits` has them."""
    whole, part = _seen(segments, rows, columns)
    return _table(whole.transpose(1, 2), part.transpose(1, 2))


def _seen(segments: Segments, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Blocks seen whole and in part: (B or 1, query blocks, key blocks) bool each. A last block of keys that
    is not full is seen in part, so that only such blocks are read with a bounds check."""
    bits = torch.arange(MOST, device=segments.of.device, dtype=torch.int32)
    queries, keys = segments.sees.shape[1], segments.of.shape[1]
    real = F.pad(torch.ones(queries, dtype=torch.bool, device=bits.device), (0, -queries % rows))
    sees = (F.pad(segments.sees, (0, -queries % rows))[..., None] >> bits & 1).bool()
    some = sees.unflatten(1, (-1, rows)).any(2)
    every = (sees | ~real[None, :, None]).unflatten(1, (-1, rows)).all(2)
    of = F.pad(segments.of, (0, -keys % columns), value=NOBODY).unflatten(1, (-1, columns))
    holds = (of[..., None] == bits).any(2).float().transpose(1, 2)
    # Products of zeros and ones over 31 segments: exact in every type.
    touched = some.float() @ holds > 0
    missed = (~every).float() @ holds > 0
    whole = touched & ~missed & ~(of == NOBODY).any(2)[:, None, :]
    return whole, touched & ~whole


def _table(whole: Tensor, part: Tensor) -> Tensor:
    order = (2 - 2 * whole.to(torch.int8) - part.to(torch.int8)).argsort(dim=-1, stable=True)
    counts = torch.stack([whole.sum(-1), part.sum(-1)], dim=-1)
    return torch.cat([counts, order], dim=-1).to(torch.int32).contiguous()
