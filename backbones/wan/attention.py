"""Attention of the Wan DiT: tokens over tokens, and tokens over the text."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...kernels.grouped import Attend
from ..base import attend_all

EPSILON = 1e-6
QueriesKeysValues = tuple[Tensor, Tensor, Tensor]  # (B, L, C) each
Changed = Callable[[QueriesKeysValues, Tensor], QueriesKeysValues]  # what was made of these tokens (B, L, C)


@dataclass(frozen=True)
class Context:
    """Context of cross-attention: text (B, S, C), its key bias (B, S), image tokens (B, 257, C) where
    trained, and how the text is read."""

    text: Tensor
    text_bias: Tensor | None = None
    image: Tensor | None = None
    attend: Attend | None = None


class RMSNorm(nn.RMSNorm):
    """RMS norm with its weight in the features' type, which is what the fused kernels ask for under
    autocast."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


def rotate(features: Tensor, rotation: Tensor) -> Tensor:
    """Turn feature pairs by an angle. features (B, L, N, D), rotation (B or 1, L, 1, D/2, 2) = (cos, sin)."""
    even, odd = features.float().unflatten(-1, (-1, 2)).unbind(-1)  # (B, L, N, D/2) each, in fp32
    cos, sin = rotation.unbind(-1)  # (B or 1, L, 1, D/2)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2).type_as(features)


class SelfAttention(nn.Module):
    """Multi-head attention with RMS-normalised queries and keys."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.norm_q, self.norm_k = (RMSNorm(width, eps=EPSILON) for _ in range(2))

    def forward(
        self,
        tokens: Tensor,
        rotation: Tensor,
        key_bias: Tensor | None = None,
        attend: Attend = attend_all,
        changed: Changed | None = None,
    ) -> Tensor:
        """tokens (B, L, C), rotation (B or 1, L, 1, D/2, 2), key_bias (B or 1, L) -> (B, L, C)"""
        made = self.q(tokens), self.k(tokens), self.v(tokens)
        query, key, value = made if changed is None else changed(made, tokens)
        query, key = (  # (B, L, N, D), normed over all heads together, then turned
            rotate(self._split(t), rotation) for t in (self.norm_q(query), self.norm_k(key))
        )
        return self.o(self._attend(query, key, self._split(value), key_bias, attend))

    def _split(self, features: Tensor) -> Tensor:
        return rearrange(features, "b l (n d) -> b l n d", n=self.heads)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, key_bias: Tensor | None, attend: Attend = attend_all
    ) -> Tensor:
        query, key, value = (rearrange(t, "b l n d -> b n l d") for t in (query, key, value))
        return rearrange(attend(query, key, value, key_bias), "b n l d -> b l (n d)")


class CrossAttention(SelfAttention):
    """Tokens read the text; no positions."""

    def forward(self, tokens: Tensor, context: Context) -> Tensor:
        return self.o(self._read(self.norm_q(self.q(tokens)), context))

    def _read(self, query: Tensor, context: Context) -> Tensor:
        key, value = self.norm_k(self.k(context.text)), self.v(context.text)  # (B, S, C)
        return self._attend(
            self._split(query),
            self._split(key),
            self._split(value),
            context.text_bias,
            context.attend or attend_all,
        )


class ImageCrossAttention(CrossAttention):
    """Tokens read the text and, separately, the image tokens of the image-to-video variants."""

    def __init__(self, width: int, heads: int):
        super().__init__(width, heads)
        self.k_img, self.v_img = nn.Linear(width, width), nn.Linear(width, width)
        self.norm_k_img = RMSNorm(width, eps=EPSILON)

    def _read(self, query: Tensor, context: Context) -> Tensor:
        seen = super()._read(query, context)
        if context.image is None:
            return seen
        # A softmax of its own, over (B, 257, C): text and picture do not compete for a token's attention.
        key, value = self.norm_k_img(self.k_img(context.image)), self.v_img(context.image)
        return seen + self._attend(self._split(query), self._split(key), self._split(value), None)
