"""Focus of attention: keys of a reference weigh more for the queries that look at it already.

The weight depends on the query and on the key, but it is a product of the two. So it is exact in any
attention as a few more features of each head, without a mask of queries by keys.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .grouped import Attend

_MULTIPLE = 8  # features of a head that fused kernels take


@dataclass(frozen=True)
class Focus:
    """Focus of one evaluation. Its keys come last, its queries, the video's, first.

    of        (n,) int64, the map that weighs each of the last n keys; `len(levels)` for none
    levels    (R,), log of the factor that a key's weight is multiplied by where its map is 1
    maps      (B, R, L) in [0, 1], how much each query looks at each reference; None: it is not known yet
    measured  (B, R, L), where maps of this evaluation are left
    """

    of: Tensor
    levels: Tensor
    measured: Tensor
    maps: Tensor | None = None

    def bias(self, queries: int, keys: int) -> Tensor:
        """Bias (B, queries, keys) on the logits of every pair: for checks, it is what this class avoids."""
        assert self.maps is not None
        return self._of_queries(queries) @ self._of_keys(keys).transpose(1, 2)

    def _of_queries(self, queries: int) -> Tensor:
        """Maps (B, queries, R), 0 for queries behind the video's."""
        assert self.maps is not None
        return F.pad(self.maps, (0, queries - self.maps.shape[2])).transpose(1, 2)

    def _of_keys(self, keys: int) -> Tensor:
        """Levels (1, keys, R), each at the keys of its reference, 0 elsewhere."""
        return (_members(self.of, len(self.levels), keys).to(self.levels) * self.levels)[None]


def wide_size(size: int, maps: int) -> int:
    """Features of a head of `size` that carries so many maps."""
    return -(-(size + maps) // _MULTIPLE) * _MULTIPLE


def widened(
    focus: Focus, query: Tensor, key: Tensor, value: Tensor, axis: int = -2
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values whose plain attention is the focused one, in their first D features.

    query, key, value (B, N, L, D), or (B, L, N, D) where `axis`, of the tokens, is -3. Queries are scaled by
    what the softmax divides by too much.
    """
    size, heads = query.shape[-1], 1 if axis == -2 else 2
    wide = wide_size(size, len(focus.levels))
    looks = focus._of_queries(query.shape[axis]).to(query) * wide**0.5
    weighs = focus._of_keys(key.shape[axis]).to(key)
    return (
        _beside(query * (wide / size) ** 0.5, looks.unsqueeze(heads), wide),
        _beside(key, weighs.unsqueeze(heads), wide),
        F.pad(value, (0, wide - size)),
    )


def focused(attend: Attend, focus: Focus) -> Attend:
    """`attend` over (B, N, L, D) with the focus; itself where no map is known."""
    if focus.maps is None:
        return attend

    def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        return attend(*widened(focus, query, key, value), bias)[..., : value.shape[-1]]

    return attention


def measure_maps(focus: Focus, attend: Attend, query: Tensor, key: Tensor, bias: Tensor | None) -> None:
    """Leave the maps of an attention of (B, N, L, D) in `focus.measured`.

    A map is the share of a query's attention that a reference gets, the mean over heads, scaled so that its
    largest is 1. `attend` gives it as the result for values that say whose each key is, without the focus
    itself, at the cost of one attention [choice: focus-map].
    """
    count = len(focus.levels)
    whose = F.pad(_members(focus.of, count, key.shape[2]), (0, max(0, query.shape[-1] - count)))
    shares = attend(query, key, whose.to(key).expand(*key.shape[:2], -1, -1), bias)
    maps = shares[:, :, : focus.measured.shape[2], :count].float().mean(1).transpose(1, 2)
    largest = maps.amax(dim=-1, keepdim=True)
    focus.measured.copy_(torch.where(largest > 0, maps / largest, 0))


def _members(of: Tensor, count: int, keys: int) -> Tensor:
    """1 where a key (of `keys`, the last of which are `of`) belongs to a map, (keys, count) int64."""
    return F.pad(F.one_hot(of, count + 1)[:, :count], (0, 0, keys - len(of), 0))


def _beside(values: Tensor, features: Tensor, wide: int) -> Tensor:
    """Values (..., D) with features that all heads share behind them, and zeros up to `wide`."""
    features = F.pad(features, (0, wide - values.shape[-1] - features.shape[-1]))
    return torch.cat([values, features.expand(*values.shape[:-1], -1)], dim=-1)
