"""Backbone of videos, as the plain host asks for it: a DiT and the VAE of its latents.

The DiT lets tokens travel behind the video's."""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.geometry import Geometry
from ..core.token_lora import TokenLora
from ..kernels.grouped import Attend

_LONG = 2048**2  # pairs of a query and a key of a head, from which on the fused CPU kernel is faster


@dataclass(frozen=True)
class Tail:
    """Tokens that follow the video.

    tokens      (B, R, C)
    angles      (B or 1, R, D/2) of their rotation, in radians
    key_bias    (B or 1, R), added to every query's logits for these keys: 0 untouched, -inf removed
    attend      self-attention of the joined sequence, where not every query sees every key
    clock       (1 or B,), the timestep of their own, where they have one
    unturned    (R,) bool, which of them have a rotation of zero, which leaves their queries and keys zero
    video_type  (C,), added to the video's own tokens
    reads_text  whether they read the text
    lora        what their queries, keys and values have beside the video's
    """

    tokens: Tensor
    angles: Tensor
    key_bias: Tensor | None = None
    attend: Attend | None = None
    clock: Tensor | None = None
    unturned: Tensor | None = None
    video_type: Tensor | None = None
    reads_text: bool = True
    lora: TokenLora | None = None


@dataclass(frozen=True)
class IdentityTokens:
    """Tokens of identities that cross-attention reads behind the text (Slot-ID): tokens (B or 1, n, C) in the
    backbone's width, key_bias (B or 1, n). attend is the attention over text and tokens together, where not
    every query sees every identity."""

    tokens: Tensor
    key_bias: Tensor | None = None
    attend: Attend | None = None


@dataclass(frozen=True)
class HintFrames:
    """Frames that a hint branch is shown beside the video's (VACE).

    shown     (1 or B, channels, F, h, w), of as many frames as the latent
    strength  weight of what the branch adds
    key_bias  (1 or B, L), added to every query's logits, in blocks and branch
    attend    self-attention there, where not every query sees every key
    """

    shown: Tensor
    strength: float = 1.0
    key_bias: Tensor | None = None
    attend: Attend | None = None


class Backbone(Protocol):
    """A DiT that predicts the flow velocity of a video latent."""

    @property
    def geometry(self) -> Geometry: ...

    @property
    def width(self) -> int:
        """Features of a token, C."""
        ...

    @property
    def heads(self) -> int: ...

    @property
    def head_size(self) -> int: ...

    @property
    def layers(self) -> int:
        """Number of blocks."""
        ...

    @property
    def in_channels(self) -> int:
        """Channels that the patch embedding takes: the geometry's, or its masked ones."""
        ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    def embed_patches(self, latent: Tensor) -> Tensor:
        """latent (B, in_channels, F, H, W) -> tokens (B, n, C), row-major"""
        ...

    def embed_text(self, states: Tensor) -> Tensor:
        """States of the text encoder (..., S, text width) -> (..., S, C)"""
        ...

    def no_image(self, batch: int) -> Tensor | None:
        """Image features that say nothing, for a model that reads a picture beside the text; None for one
        that does not."""
        ...

    def through(
        self,
        latent: Tensor,
        timestep: Tensor,
        context: Tensor,
        context_bias: Tensor | None = None,
        image_features: Tensor | None = None,
        tail: Tail | None = None,
        identities: IdentityTokens | None = None,
        hints: HintFrames | None = None,
    ) -> tuple[Tensor, Tensor]:
        """latent (B, in_channels, F, H, W); timestep (B,) or, one for each frame, (B, F), from 0 to the
        geometry's clock; context (B, S, text width), its key bias (B, S). -> the velocity (B, channels, F, H,
        W), and the tail's tokens after the last block (B, R, C)."""
        ...


class VideoVAE(Protocol):
    """The VAE of a backbone's latents, causal in time."""

    @property
    def geometry(self) -> Geometry: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    def encode(self, video: Tensor) -> Tensor:
        """video (B, 3, pictures, height, width) in [-1, 1] -> latent (B, channels, F, h, w), as the DiT sees
        it"""
        ...

    def decode(self, latent: Tensor) -> Tensor:
        """latent (B, channels, F, h, w) -> video (B, 3, pictures, height, width), not clamped"""
        ...


def attend_all(query: Tensor, key: Tensor, value: Tensor, key_bias: Tensor | None) -> Tensor:
    """torch's attention, every query over every key. query (B, N, L, D), key and value (B, N, S, D), key_bias
    (B or 1, S)"""
    mask = None if key_bias is None else key_bias[:, None, None, :].to(query.dtype)
    short = query.shape[-2] * key.shape[-2] < _LONG
    if short and query.requires_grad and query.device.type == "cpu":
        return _plain_attention(query, key, value, mask)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def _plain_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention by matrix products. Over short sequences torch's fused CPU kernel takes up to twice the time,
    most of it for gradients (docs/log.md). Over long ones these products are slower, and hold every pair."""
    logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    weights = torch.softmax((logits if mask is None else logits + mask).float(), dim=-1)
    return weights.to(value.dtype) @ value
