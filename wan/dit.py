"""The Wan 2.1/2.2 video DiT (arXiv 2503.20314) in plain torch, with the original parameter names.

One safetensors file loads here and in ComfyUI. The forward differs from the published one in a single place: extra
tokens may follow the video (`Tail`). They share every block and are cut off before the head.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..core.positions import grid_positions, rope_angles, sinusoid
from ..kernels.grouped import Attend

PATCH = (1, 2, 2)
EPSILON = 1e-6


@dataclass(frozen=True)
class DiTConfig:
    """Sizes of a Wan DiT; every one but `heads` can be read from the parameter shapes."""

    width: int
    ffn_width: int
    heads: int
    layers: int
    in_channels: int
    out_channels: int
    text_width: int
    time_width: int = 256
    image_width: int | None = None  # CLIP features of the image-to-video variants: 1280


@dataclass(frozen=True)
class Tail:
    """Tokens that follow the video: tokens (B, R, C), angles (B or 1, R, D/2) in radians, key_bias (B or 1, R), added to
    every query's logits for these keys: 0 untouched, -inf removed; and the self-attention of the joined sequence,
    where not every query sees every key."""

    tokens: Tensor
    angles: Tensor
    key_bias: Tensor | None = None
    attend: Attend | None = None


@dataclass(frozen=True)
class Context:
    """What cross-attention reads: text (B, S, C), its key bias (B, S), image tokens (B, 257, C) where trained."""

    text: Tensor
    text_bias: Tensor | None = None
    image: Tensor | None = None


class RMSNorm(nn.RMSNorm):
    """With the weight in the features' type, which is what the fused kernels ask for under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


def rotate(features: Tensor, rotation: Tensor) -> Tensor:
    """Turn feature pairs by an angle. features (B, L, N, D), rotation (B or 1, L, 1, D/2, 2) = (cos, sin)."""
    even, odd = features.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rotation.unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2).type_as(features)


def attend_all(query: Tensor, key: Tensor, value: Tensor, key_bias: Tensor | None) -> Tensor:
    """torch's attention, every query over every key. query (B, N, L, D), key and value (B, N, S, D), key_bias (B or 1, S)"""
    mask = None if key_bias is None else key_bias[:, None, None, :].to(query.dtype)
    if query.requires_grad and query.device.type == "cpu":
        return _plain_attention(query, key, value, mask)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def _plain_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """The same by matrix products: over short sequences torch's fused CPU kernel takes twice the time, most of it for
    gradients (docs/log.md)."""
    logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    weights = torch.softmax((logits if mask is None else logits + mask).float(), dim=-1)
    return weights.to(value.dtype) @ value


class SelfAttention(nn.Module):
    """Multi-head attention with RMS-normalised queries and keys."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.norm_q, self.norm_k = (RMSNorm(width, eps=EPSILON) for _ in range(2))

    def forward(
        self, tokens: Tensor, rotation: Tensor, key_bias: Tensor | None = None, attend: Attend = attend_all
    ) -> Tensor:
        """tokens (B, L, C), rotation (B or 1, L, 1, D/2, 2), key_bias (B or 1, L) -> (B, L, C)"""
        query, key = (
            rotate(self._split(t), rotation)
            for t in (self.norm_q(self.q(tokens)), self.norm_k(self.k(tokens)))
        )
        return self.o(self._attend(query, key, self._split(self.v(tokens)), key_bias, attend))

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
        key, value = self.norm_k(self.k(context.text)), self.v(context.text)
        return self._attend(self._split(query), self._split(key), self._split(value), context.text_bias)


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
        key, value = self.norm_k_img(self.k_img(context.image)), self.v_img(context.image)
        return seen + self._attend(self._split(query), self._split(key), self._split(value), None)


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward, modulated by the timestep (adaLN, gated)."""

    def __init__(self, config: DiTConfig):
        super().__init__()
        width, cross = config.width, CrossAttention if config.image_width is None else ImageCrossAttention
        self.norm1 = nn.LayerNorm(width, EPSILON, elementwise_affine=False)
        self.self_attn = SelfAttention(width, config.heads)
        self.norm3 = nn.LayerNorm(width, EPSILON)
        self.cross_attn = cross(width, config.heads)
        self.norm2 = nn.LayerNorm(width, EPSILON, elementwise_affine=False)
        self.ffn = nn.Sequential(
            nn.Linear(width, config.ffn_width),
            nn.GELU(approximate="tanh"),
            nn.Linear(config.ffn_width, width),
        )
        self.modulation = nn.Parameter(torch.randn(1, 6, width) / width**0.5)

    def forward(
        self,
        tokens: Tensor,
        modulation: Tensor,
        context: Context,
        rotation: Tensor,
        key_bias: Tensor | None,
        attend: Attend = attend_all,
    ) -> Tensor:
        """tokens (B, L, C), modulation (B, 1 or L, 6, C) -> (B, L, C)"""
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (
            self.modulation.unsqueeze(0) + modulation
        ).unbind(2)
        modulated = self.norm1(tokens) * (1 + scale) + shift
        tokens = tokens + self.self_attn(modulated, rotation, key_bias, attend) * gate
        tokens = tokens + self.cross_attn(self.norm3(tokens), context)
        return tokens + self.ffn(self.norm2(tokens) * (1 + ffn_scale) + ffn_shift) * ffn_gate


class Head(nn.Module):
    """From tokens to the values of their patch."""

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.width, EPSILON, elementwise_affine=False)
        self.head = nn.Linear(config.width, math.prod(PATCH) * config.out_channels)
        self.modulation = nn.Parameter(torch.randn(1, 2, config.width) / config.width**0.5)

    def forward(self, tokens: Tensor, time: Tensor) -> Tensor:
        """tokens (B, L, C), time (B, 1 or L, C) -> (B, L, 4 * out_channels)"""
        shift, scale = (self.modulation.unsqueeze(0) + time.unsqueeze(2)).unbind(2)
        return self.head(self.norm(tokens) * (1 + scale) + shift)


class ImageEmbedding(nn.Module):
    """CLIP features (B, 257, 1280) to image tokens (B, 257, C)."""

    def __init__(self, image_width: int, width: int):
        super().__init__()
        norm, project = nn.LayerNorm(image_width), nn.Linear(image_width, image_width)
        self.proj = nn.Sequential(
            norm, project, nn.GELU(), nn.Linear(image_width, width), nn.LayerNorm(width)
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.proj(features)


class WanDiT(nn.Module):
    """Predicts the flow velocity of a video latent."""

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.config, width = config, config.width
        self.patch_embedding = nn.Conv3d(config.in_channels, width, PATCH, PATCH)
        self.text_embedding = _mlp(config.text_width, nn.GELU(approximate="tanh"), width)
        self.time_embedding = _mlp(config.time_width, nn.SiLU(), width)
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.head = Head(config)
        if config.image_width is not None:
            self.img_emb = ImageEmbedding(config.image_width, width)

    @property
    def head_size(self) -> int:
        return self.config.width // self.config.heads

    def forward(
        self,
        latent: Tensor,
        timestep: Tensor,
        context: Tensor,
        context_bias: Tensor | None = None,
        image_features: Tensor | None = None,
        tail: Tail | None = None,
    ) -> Tensor:
        """Flow velocity.

        latent (B, in_channels, F, H, W), H and W even; timestep (B,) or, one per frame, (B, F), in 0…1000; context
        (B, S, text_width); context_bias (B, S); image_features (B, 257, 1280). -> (B, out_channels, F, H, W)
        """
        frames, rows, columns = latent.shape[2:]
        video = self.embed_patches(latent)
        time, modulation = self._embed_time(timestep)
        text = Context(self.text_embedding(context), context_bias, self._embed_image(image_features))
        angles = rope_angles(grid_positions(frames, rows // 2, columns // 2), self.head_size).to(
            latent.device
        )[None]
        tokens, bias, length = video, None, video.shape[1]
        if timestep.ndim == 2:
            time, modulation = (t.repeat_interleave(length // frames, dim=1) for t in (time, modulation))
        if tail is not None:
            tokens, angles, bias = _append(video, angles, tail)
            modulation = self._tail_modulation(modulation, timestep, tail)
        rotation = torch.stack([angles.cos(), angles.sin()], dim=-1).float().unsqueeze(2)
        attend = attend_all if tail is None or tail.attend is None else tail.attend
        for block in self.blocks:
            tokens = block(tokens, modulation, text, rotation, bias, attend)
        values = self.head(tokens[:, :length], time)
        return rearrange(
            values, "b (f h w) (q r c) -> b c f (h q) (w r)", f=frames, h=rows // 2, w=columns // 2, q=2, r=2
        )

    def embed_patches(self, latent: Tensor) -> Tensor:
        """latent (B, in_channels, F, H, W) -> tokens (B, F*H*W/4, C)"""
        return rearrange(self.patch_embedding(latent), "b c f h w -> b (f h w) c")

    def _embed_time(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """timestep (B,) or (B, F) -> (B, 1 or F, C) and its six modulation vectors (B, 1 or F, 6, C)"""
        waves = sinusoid(timestep.reshape(timestep.shape[0], -1), self.config.time_width)
        time = self.time_embedding(waves.to(self.head.modulation.dtype))
        return time, self.time_projection(time).unflatten(2, (6, self.config.width))

    def _tail_modulation(self, modulation: Tensor, timestep: Tensor, tail: Tail) -> Tensor:
        """With a timestep per frame the tail takes the noisiest: replaced frames are clean, the rest is the clock."""
        if timestep.ndim == 1:
            return modulation
        _, last = self._embed_time(timestep.amax(dim=1))
        return torch.cat([modulation, last.expand(-1, tail.tokens.shape[1], -1, -1)], dim=1)

    def _embed_image(self, features: Tensor | None) -> Tensor | None:
        if features is None:
            return None
        if self.config.image_width is None:
            raise ValueError(
                "image_features were given, but this DiT has no image embedding (img_emb): leave them out"
            )
        return self.img_emb(features)


def _mlp(width_in: int, activation: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width_in, width), activation, nn.Linear(width, width))


def _append(video: Tensor, angles: Tensor, tail: Tail) -> tuple[Tensor, Tensor, Tensor | None]:
    """Tokens, angles and key bias of the video followed by its tail."""
    rows = max(angles.shape[0], tail.angles.shape[0])
    both = torch.cat([angles.expand(rows, -1, -1), tail.angles.to(angles).expand(rows, -1, -1)], dim=1)
    tokens = torch.cat([video, tail.tokens.to(video.dtype)], dim=1)
    if tail.key_bias is None:
        return tokens, both, None
    return tokens, both, F.pad(tail.key_bias.to(video.device), (video.shape[1], 0))
