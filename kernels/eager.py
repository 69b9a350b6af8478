"""Masked attention in plain torch, written to be read: the oracle for token removal and for every faster
path."""

import torch
from torch import Tensor

from .grouped import Attend, Groups, in_groups


def masked_attention(
    query: Tensor, key: Tensor, value: Tensor, keep: Tensor | None = None, key_bias: Tensor | None = None
) -> Tensor:
    """softmax(query keyᵀ / √D + key_bias) value over the kept keys only.

    query (B, N, L, D), key and value (B, N, S, D). `keep` bool, True = may be seen: (B or 1, S), or (B or 1,
    L, S) where queries see different keys. `key_bias` is added to the logits: (B or 1, S), of a key for every
    query, or (B, L, S), of each pair. A query that may see nothing returns zeros, never NaN [choice:
    nothing-seen]. Computed in fp32 or wider, returned in query's dtype.
    """
    wide = torch.promote_types(query.dtype, torch.float32)
    logits = query.to(wide) @ key.to(wide).transpose(-1, -2) / query.shape[-1] ** 0.5
    if key_bias is not None:
        pairs = key_bias if key_bias.ndim == 3 else key_bias[:, None]
        logits = logits + pairs.to(wide)[:, None]
    if keep is not None:
        seen = keep[:, None, None, :] if keep.ndim == 2 else keep[:, None]
        logits = logits.masked_fill(~seen, float("-inf"))
    weights = torch.softmax(logits, dim=-1).nan_to_num(0.0)
    return (weights @ value.to(wide)).to(query.dtype)


def eager_attention(groups: Groups | None) -> Attend:
    """`masked_attention` with what queries see as one whole mask: what the other paths are checked by."""
    if groups is not None and groups.averaged is not None:  # no whole mask says a mean
        return in_groups(
            lambda query, key, value, bias: masked_attention(query, key, value, None, bias), groups
        )
    keep = None if groups is None else groups.dense()[None]
    return lambda query, key, value, bias: masked_attention(query, key, value, keep, bias)
