"""The Wan 2.1/2.2 video DiT (arXiv 2503.20314) in plain torch, with the original parameter names.

One safetensors file loads here and in ComfyUI. The forward differs from the published one in a single place:
extra tokens may follow the video (`Tail`). They share every block and are cut off before the head.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...core.geometry import Geometry
from ...core.positions import grid_positions, rope_angles, sinusoid
from ...kernels.grouped import Attend
from ..base import HintFrames, IdentityTokens, Tail, attend_all
from .attention import EPSILON, Changed, Context, CrossAttention, ImageCrossAttention, SelfAttention
from .files import DiTConfig

IMAGE_TOKENS = 257  # CLIP's of one picture


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
        readers: int | None = None,
        changed: Changed | None = None,
    ) -> Tensor:
        """tokens (B, L, C), modulation (B, 1 or L, 6, C) -> (B, L, C); only the first `readers` tokens read
        the text, or all. `changed`: of queries, keys and values"""
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (  # each (B, 1 or L, C)
            self.modulation.unsqueeze(0) + modulation
        ).unbind(2)
        modulated = self.norm1(tokens) * (1 + scale) + shift
        tokens = tokens + self.self_attn(modulated, rotation, key_bias, attend, changed) * gate
        if readers is None:
            tokens = tokens + self.cross_attn(self.norm3(tokens), context)
        else:  # what is behind the readers stays as it is
            reading = tokens[:, :readers]
            read = reading + self.cross_attn(self.norm3(reading), context)
            tokens = torch.cat([read, tokens[:, readers:]], dim=1)
        return tokens + self.ffn(self.norm2(tokens) * (1 + ffn_scale) + ffn_shift) * ffn_gate


class Head(nn.Module):
    """Head of the DiT: from tokens to the values of their patch."""

    def __init__(self, config: DiTConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.width, EPSILON, elementwise_affine=False)
        self.head = nn.Linear(config.width, config.geometry.patch**2 * config.out_channels)
        self.modulation = nn.Parameter(torch.randn(1, 2, config.width) / config.width**0.5)

    def forward(self, tokens: Tensor, time: Tensor) -> Tensor:
        """tokens (B, L, C), time (B, 1 or L, C) -> (B, L, patch² * out_channels)"""
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
        patch = (1, config.geometry.patch, config.geometry.patch)
        self.patch_embedding = nn.Conv3d(config.in_channels, width, patch, patch)
        self.text_embedding = _mlp(config.text_width, nn.GELU(approximate="tanh"), width)
        self.time_embedding = _mlp(config.time_width, nn.SiLU(), width)
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.head = Head(config)
        if config.image_width is not None:
            self.img_emb = ImageEmbedding(config.image_width, width)

    @property
    def geometry(self) -> Geometry:
        return self.config.geometry

    @property
    def width(self) -> int:
        return self.config.width

    @property
    def heads(self) -> int:
        return self.config.heads

    @property
    def head_size(self) -> int:
        return self.config.width // self.config.heads

    @property
    def layers(self) -> int:
        return self.config.layers

    @property
    def in_channels(self) -> int:
        return self.config.in_channels

    @property
    def dtype(self) -> torch.dtype:
        return self.head.head.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.head.head.weight.device

    def forward(
        self,
        latent: Tensor,
        timestep: Tensor,
        context: Tensor,
        context_bias: Tensor | None = None,
        image_features: Tensor | None = None,
        tail: Tail | None = None,
        identities: IdentityTokens | None = None,
    ) -> Tensor:
        """Flow velocity.

        latent (B, in_channels, F, H, W), H and W whole tokens; timestep (B,) or, one per frame, (B, F), in
        0…1000; context (B, S, text_width); context_bias (B, S); image_features (B, 257, 1280). -> (B,
        out_channels, F, H, W)
        """
        return self.through(latent, timestep, context, context_bias, image_features, tail, identities)[0]

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
        """Run `forward` with a tail. -> what `forward` gives, and the tail's tokens after the last block (B,
        R, C). ValueError for hints that a DiT has no branch for."""
        grid = (latent.shape[2], latent.shape[3], latent.shape[4])
        frames, video = grid[0], self.embed_patches(latent)  # (B, L, C), L tokens of the video
        time, modulation = self.embed_time(timestep)  # (B, 1 or F, C), (B, 1 or F, 6, C)
        text = Context(self.text_embedding(context), context_bias, self._embed_image(image_features))
        if identities is not None:
            text = _with_identities(text, identities)
        positions = grid_positions(*self.geometry.tokens(*grid))
        angles = rope_angles(positions, self.geometry.split(self.head_size)).to(latent.device)[None]
        tokens, bias, length = video, None, video.shape[1]
        if timestep.ndim == 2:  # a level per frame: (B, F, …) -> (B, L, …), tokens of a frame alike
            time, modulation = (t.repeat_interleave(length // frames, dim=1) for t in (time, modulation))
        if tail is not None:  # tokens (B, L + R, C), angles (B or 1, L + R, D/2), bias (B or 1, L + R)
            tokens, angles, bias = _append(video, angles, tail)
            modulation = self._tail_modulation(modulation, timestep, tail, length)
        # (B or 1, L + R, 1, D/2, 2): one axis for the heads
        rotation = torch.stack([angles.cos(), angles.sin()], dim=-1).float().unsqueeze(2)
        if tail is not None and tail.unturned is not None:  # cos = sin = 0: queries and keys become zero
            rotation[:, length:][:, tail.unturned] = 0
        attend = attend_all if tail is None or tail.attend is None else tail.attend
        if hints is not None:  # of the same tokens, none behind them
            bias, attend = hints.key_bias, hints.attend or attend_all
        readers = length if tail is not None and not tail.reads_text else None
        changed = dict(zip(self.blocks, self._changed(tail), strict=True))

        def run(block: nn.Module, tokens: Tensor) -> Tensor:
            return block(tokens, modulation, text, rotation, bias, attend, readers, changed.get(block))

        tokens = self.run_blocks(run, tokens, hints)
        return self.to_latent(tokens[:, :length], time, grid), tokens[:, length:]

    def run_blocks(
        self, run: Callable[[nn.Module, Tensor], Tensor], tokens: Tensor, hints: HintFrames | None
    ) -> Tensor:
        """Tokens (B, L, C) after the last block, by `run(block, tokens)`."""
        if hints is not None:
            raise ValueError("hints were given, but this DiT has no hint branch (VACE): leave them out")
        for block in self.blocks:
            tokens = run(block, tokens)
        return tokens

    def to_latent(self, tokens: Tensor, time: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Tokens after the last block (B, L, C), time (B, 1 or L, C) -> velocity (B, out_channels, F, H, W)
        of a latent of grid (F, H, W)"""
        frames, rows, columns = self.geometry.tokens(*grid)
        return rearrange(
            self.head(tokens, time),
            "b (f h w) (q r c) -> b c f (h q) (w r)",
            f=frames,
            h=rows,
            w=columns,
            q=self.geometry.patch,
            r=self.geometry.patch,
        )

    def embed_patches(self, latent: Tensor) -> Tensor:
        """latent (B, in_channels, F, H, W) -> tokens (B, n, C)"""
        return rearrange(self.patch_embedding(latent), "b c f h w -> b (f h w) c")

    def embed_text(self, states: Tensor) -> Tensor:
        """States of the text encoder (..., S, text_width) -> (..., S, C)"""
        return self.text_embedding(states)

    def no_image(self, batch: int) -> Tensor | None:
        """Features (B, 257, 1280) of zeros, where the model reads a picture's."""
        width = self.config.image_width
        return None if width is None else self.head.head.weight.new_zeros(batch, IMAGE_TOKENS, width)

    def embed_time(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """timestep (B,) or (B, F) -> (B, 1 or F, C) and its six modulation vectors (B, 1 or F, 6, C)"""
        waves = sinusoid(timestep.reshape(timestep.shape[0], -1), self.config.time_width)  # (B, 1 or F, 256)
        time = self.time_embedding(waves.to(self.head.modulation.dtype))
        return time, self.time_projection(time).unflatten(2, (6, self.config.width))

    def _tail_modulation(self, modulation: Tensor, timestep: Tensor, tail: Tail, length: int) -> Tensor:
        """Modulation of the tail. Where the timestep is per frame the tail takes the noisiest: given frames
        are clean, the rest is the clock."""
        if timestep.ndim == 1 and tail.clock is None:
            return modulation
        noisiest = timestep.amax(dim=1) if timestep.ndim == 2 else timestep
        _, last = self.embed_time(noisiest if tail.clock is None else tail.clock)
        if modulation.shape[1] == 1:
            modulation = modulation.expand(-1, length, -1, -1)
        last = last.expand(len(modulation), tail.tokens.shape[1], -1, -1)
        return torch.cat([modulation, last], dim=1)

    def _changed(self, tail: Tail | None) -> list[Changed | None]:
        """Changes of queries, keys and values, block by block."""
        if tail is None or tail.lora is None:
            return [None] * len(self.blocks)
        return [partial(block, count=tail.tokens.shape[1]) for block in tail.lora.blocks]

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


def _with_identities(context: Context, identities: IdentityTokens) -> Context:
    """The context with the identities' tokens behind the text: cross-attention has no positions."""
    text, tokens = context.text, identities.tokens.to(context.text)
    joined = torch.cat([text, tokens.expand(len(text), -1, -1)], dim=1)
    bias = None
    if context.text_bias is not None or identities.key_bias is not None:
        parts = [
            text.new_zeros(1, size) if one is None else one.to(text.device, torch.float32)
            for one, size in ((context.text_bias, text.shape[1]), (identities.key_bias, tokens.shape[1]))
        ]
        bias = torch.cat([part.expand(len(text), -1) for part in parts], dim=1)
    return Context(joined, bias, context.image, identities.attend)


def _append(video: Tensor, angles: Tensor, tail: Tail) -> tuple[Tensor, Tensor, Tensor | None]:
    """Tokens, angles and key bias of the video followed by its tail."""
    rows = max(angles.shape[0], tail.angles.shape[0])
    both = torch.cat([angles.expand(rows, -1, -1), tail.angles.to(angles).expand(rows, -1, -1)], dim=1)
    typed = video if tail.video_type is None else video + tail.video_type.to(video)
    tokens = torch.cat([typed, tail.tokens.to(video.dtype)], dim=1)
    if tail.key_bias is None:
        return tokens, both, None
    return tokens, both, F.pad(tail.key_bias.to(video.device), (video.shape[1], 0))
