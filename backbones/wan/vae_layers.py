"""Layers of the Wan VAEs, causal in time, in plain torch, with the original parameter names.

A clip is coded in chunks; what a layer must remember of the past travels in a dict keyed by layer. A clip in
any chunking then gives the same numbers.
"""

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

Past = dict[nn.Module, Tensor | None]


class Remembers:
    """A layer that is called with the past, and may keep something of its own there."""


class Normalise(nn.Module):
    """Each position's channels scaled to unit root mean square, times gamma."""

    def __init__(self, channels: int, axes: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *(1,) * axes))

    def forward(self, x: Tensor) -> Tensor:
        # Not F.normalize: under autocast that returns fp32, which costs a CPU half of its time again.
        inverse = x.float().pow(2).sum(1, keepdim=True).clamp_min(1e-24).rsqrt() * self.gamma.shape[0] ** 0.5
        return x * inverse.to(x.dtype) * self.gamma.to(x.dtype)


class CausalConv(Remembers, nn.Conv3d):
    """A convolution that sees the present and the past, never the future."""

    bias: nn.Parameter  # pyright: ignore[reportIncompatibleVariableOverride] (never built without)

    def __init__(
        self, channels_in: int, channels_out: int, kernel: tuple[int, int, int], frame_stride: int = 1
    ):
        super().__init__(
            channels_in, channels_out, kernel, (frame_stride, 1, 1), (0, kernel[1] // 2, kernel[2] // 2)
        )
        # True: only the tap of the present frame is used (the others must be zero), which makes the layer a
        # picture convolution, three times cheaper. See training/base/vae.py.
        self.present_only = False

    def forward(self, x: Tensor, past: Past) -> Tensor:
        """x (B, C, F, H, W)"""
        remembered = self.kernel_size[0] - 1
        if self.stride[0] == 1 and (
            self.present_only or (x.shape[2] == 1 and remembered and self not in past)
        ):
            if not self.present_only:
                past[self] = x
            return self._picture_convolution(x)
        if remembered == 0 or self.stride[0] > 1:
            return super().forward(x)
        before = past.get(self)
        joined = x if before is None else torch.cat([before, x], dim=2)
        past[self] = joined[:, :, -remembered:]
        missing = remembered - (joined.shape[2] - x.shape[2])
        return super().forward(F.pad(joined, (0, 0, 0, 0, missing, 0)))

    def _picture_convolution(self, x: Tensor) -> Tensor:
        """The last time tap on every frame: exact where the frames before are zero."""
        frames = rearrange(x, "b c f h w -> (b f) c h w")
        out = F.conv2d(
            frames, self.weight[:, :, -1], self.bias, padding=cast(tuple[int, int], self.padding[1:])
        )
        return rearrange(out, "(b f) c h w -> b c f h w", f=x.shape[2])


def skip_unused_past(model: nn.Module) -> None:
    """Let convolutions whose taps of the past are all zero use the present frame alone: the same numbers for
    a third of the work."""
    for layer in model.modules():
        if isinstance(layer, CausalConv) and layer.kernel_size == (3, 3, 3):
            layer.present_only = not bool(layer.weight[:, :, :-1].any())


class Residual(Remembers, nn.Module):
    """Two normalised convolutions beside a shortcut."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.residual = nn.Sequential(
            Normalise(channels_in, 3),
            nn.SiLU(),
            CausalConv(channels_in, channels_out, (3, 3, 3)),
            Normalise(channels_out, 3),
            nn.SiLU(),
            nn.Identity(),
            CausalConv(channels_out, channels_out, (3, 3, 3)),
        )  # fmt: skip  (the Identity stands where the original has a dropout, to keep its key numbers)
        same = channels_in == channels_out
        self.shortcut = nn.Identity() if same else CausalConv(channels_in, channels_out, (1, 1, 1))

    def forward(self, x: Tensor, past: Past) -> Tensor:
        out = run_layers(self.residual, x, past)
        return out + run_layers([self.shortcut], x, past)


class FrameAttention(Remembers, nn.Module):
    """One head over the positions of each frame."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = Normalise(channels, 2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, past: Past) -> Tensor:
        frames = rearrange(x, "b c f h w -> (b f) c h w")
        packed = rearrange(self.to_qkv(self.norm(frames)), "n (three c) h w -> three n 1 (h w) c", three=3)
        seen = F.scaled_dot_product_attention(*packed.unbind(0))
        seen = rearrange(seen, "n 1 (h w) c -> n c h w", h=x.shape[3])
        return x + rearrange(self.proj(seen), "(b f) c h w -> b c f h w", f=x.shape[2])


class Downsample(Remembers, nn.Module):
    """Half the rows and columns; half the frames too where `in_time`, but never the first."""

    def __init__(self, channels: int, in_time: bool):
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, channels, 3, stride=2))
        self.time_conv = CausalConv(channels, channels, (3, 1, 1), frame_stride=2) if in_time else None

    def forward(self, x: Tensor, past: Past) -> Tensor:
        x = per_frame(self.resample, x)
        if self.time_conv is None:
            return x
        before, past[self] = past.get(self), x[:, :, -1:]
        return x if before is None else self.time_conv(torch.cat([before, x], dim=2), past)


class Upsample(Remembers, nn.Module):
    """Twice the rows and columns; twice the frames where `in_time`, but never the first."""

    def __init__(self, channels: int, channels_out: int, in_time: bool):
        super().__init__()
        self.resample = nn.Sequential(
            nn.Upsample(scale_factor=2.0, mode="nearest-exact"),
            nn.Conv2d(channels, channels_out, 3, padding=1),
        )
        self.time_conv = CausalConv(channels, 2 * channels, (3, 1, 1)) if in_time else None

    def forward(self, x: Tensor, past: Past) -> Tensor:
        if self.time_conv is not None:
            # The first latent frame is one picture. The second starts with an empty past: as published.
            if self in past:
                x = rearrange(self.time_conv(x, past), "b (two c) f h w -> b c (f two) h w", two=2)
            past[self] = None
        return per_frame(self.resample, x)


def middle(channels: int) -> nn.Sequential:
    """Two residual blocks, attention between them."""
    return nn.Sequential(Residual(channels, channels), FrameAttention(channels), Residual(channels, channels))


def run_layers(layers: Iterable[nn.Module], x: Tensor, past: Past) -> Tensor:
    """x (B, C, F, H, W) through layers one after the other."""
    for layer in layers:
        x = layer(x, past) if isinstance(layer, Remembers) else layer(x)
    return x


def per_frame(layer: nn.Module, x: Tensor) -> Tensor:
    """x (B, C, F, H, W) through a layer of pictures."""
    out = layer(rearrange(x, "b c f h w -> (b f) c h w"))
    return rearrange(out, "(b f) c h w -> b c f h w", f=x.shape[2])
