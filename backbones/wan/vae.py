"""The Wan 2.1 video VAE in plain torch, with the original parameter names: causal in time, 8x8 in space, 4 in time.

Frame 0 stands alone, every later latent frame covers four pictures. A clip is coded in chunks; what a layer must
remember of the past travels in a dict keyed by layer, so that a clip in any chunking gives the same numbers.
"""

from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...core.geometry import Geometry
from .geometry import WAN_2_1

# Wan 2.1's published statistics: the DiT sees (latent - mean) / deviation.
LATENT_MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
               0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)  # fmt: skip
LATENT_DEVIATION = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
                    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)  # fmt: skip

Past = dict[nn.Module, Tensor | None]


class Normalise(nn.Module):
    """Each position's channels scaled to unit root mean square, times gamma."""

    def __init__(self, channels: int, axes: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *(1,) * axes))

    def forward(self, x: Tensor) -> Tensor:
        # Not F.normalize: under autocast that returns fp32, which costs a CPU half of its time again.
        inverse = x.float().pow(2).sum(1, keepdim=True).clamp_min(1e-24).rsqrt() * self.gamma.shape[0] ** 0.5
        return x * inverse.to(x.dtype) * self.gamma.to(x.dtype)


class CausalConv(nn.Conv3d):
    """A convolution that sees the present and the past, never the future."""

    bias: nn.Parameter  # pyright: ignore[reportIncompatibleVariableOverride] (never built without)

    def __init__(
        self, channels_in: int, channels_out: int, kernel: tuple[int, int, int], frame_stride: int = 1
    ):
        super().__init__(
            channels_in, channels_out, kernel, (frame_stride, 1, 1), (0, kernel[1] // 2, kernel[2] // 2)
        )
        # True: only the tap of the present frame is used (the others must be zero), which makes the layer a picture
        # convolution and training on a CPU three times cheaper. See training/vae.py.
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


class Residual(nn.Module):
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
        out = _run(self.residual, x, past)
        return out + _run([self.shortcut], x, past)


class FrameAttention(nn.Module):
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


class Downsample(nn.Module):
    """Half the rows and columns; half the frames too where `in_time`, but never the first."""

    def __init__(self, channels: int, in_time: bool):
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, channels, 3, stride=2))
        self.time_conv = CausalConv(channels, channels, (3, 1, 1), frame_stride=2) if in_time else None

    def forward(self, x: Tensor, past: Past) -> Tensor:
        x = _per_frame(self.resample, x)
        if self.time_conv is None:
            return x
        before, past[self] = past.get(self), x[:, :, -1:]
        return x if before is None else self.time_conv(torch.cat([before, x], dim=2), past)


class Upsample(nn.Module):
    """Twice the rows and columns, half the channels; twice the frames where `in_time`, but never the first."""

    def __init__(self, channels: int, in_time: bool):
        super().__init__()
        self.resample = nn.Sequential(
            nn.Upsample(scale_factor=2.0, mode="nearest-exact"),
            nn.Conv2d(channels, channels // 2, 3, padding=1),
        )
        self.time_conv = CausalConv(channels, 2 * channels, (3, 1, 1)) if in_time else None

    def forward(self, x: Tensor, past: Past) -> Tensor:
        if self.time_conv is not None:
            # The first latent frame is one picture. The second starts with an empty past: as published.
            if self in past:
                x = rearrange(self.time_conv(x, past), "b (two c) f h w -> b c (f two) h w", two=2)
            past[self] = None
        return _per_frame(self.resample, x)


class Encoder(nn.Module):
    """Pictures to latent channels."""

    def __init__(self, width: int, channels: int):
        super().__init__()
        self.conv1 = CausalConv(3, width, (3, 3, 3))
        stages: list[nn.Module] = [Residual(width, width), Residual(width, width), Downsample(width, False)]
        stages += [Residual(width, 2 * width), Residual(2 * width, 2 * width), Downsample(2 * width, True)]
        stages += [
            Residual(2 * width, 4 * width),
            Residual(4 * width, 4 * width),
            Downsample(4 * width, True),
        ]
        stages += [Residual(4 * width, 4 * width), Residual(4 * width, 4 * width)]
        self.downsamples = nn.Sequential(*stages)
        self.middle = _middle(4 * width)
        self.head = nn.Sequential(
            Normalise(4 * width, 3), nn.SiLU(), CausalConv(4 * width, channels, (3, 3, 3))
        )

    def forward(self, x: Tensor, past: Past) -> Tensor:
        return _run([self.conv1, *self.downsamples, *self.middle, *self.head], x, past)


class Decoder(nn.Module):
    """Latent channels to pictures."""

    def __init__(self, width: int, channels: int):
        super().__init__()
        self.conv1 = CausalConv(channels, 4 * width, (3, 3, 3))
        self.middle = _middle(4 * width)
        stages: list[nn.Module] = [
            *(Residual(4 * width, 4 * width) for _ in range(3)),
            Upsample(4 * width, True),
        ]
        stages += [Residual(2 * width, 4 * width), *(Residual(4 * width, 4 * width) for _ in range(2))]
        stages += [Upsample(4 * width, True), *(Residual(2 * width, 2 * width) for _ in range(3))]
        stages += [Upsample(2 * width, False), *(Residual(width, width) for _ in range(3))]
        self.upsamples = nn.Sequential(*stages)
        self.head = nn.Sequential(Normalise(width, 3), nn.SiLU(), CausalConv(width, 3, (3, 3, 3)))

    def forward(self, x: Tensor, past: Past) -> Tensor:
        return _run([self.conv1, *self.middle, *self.upsamples, *self.head], x, past)


class WanVAE(nn.Module):
    """Codes video in [-1, 1] as latents the DiT sees (normalised), and back."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int):
        super().__init__()
        channels = self.geometry.channels
        self.encoder = Encoder(width, 2 * channels)
        self.conv1 = CausalConv(2 * channels, 2 * channels, (1, 1, 1))
        self.conv2 = CausalConv(channels, channels, (1, 1, 1))
        self.decoder = Decoder(width, channels)
        for name, values in (("mean", LATENT_MEAN), ("deviation", LATENT_DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1, 1), persistent=False)

    @property
    def geometry(self) -> Geometry:
        return WAN_2_1

    @property
    def dtype(self) -> torch.dtype:
        return self.conv1.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.conv1.weight.device

    def encode(self, video: Tensor, chunk: int = WAN_2_1.group) -> Tensor:
        """video (B, 3, F, H, W) in [-1, 1], F = 4k + 1, H and W multiples of 8; `chunk` pictures at a time, a
        multiple of 4: more is faster and takes more memory. -> latent (B, 16, k + 1, H/8, W/8), normalised."""
        _check_clip(video, chunk, self.geometry)
        past: Past = {}
        pieces = [video[:, :, :1], *video[:, :, 1:].split(chunk, dim=2)] if video.shape[2] > 1 else [video]
        moments = torch.cat([self.encoder(piece, past) for piece in pieces], dim=2)
        latent = self.conv1(moments, {})[:, : self.geometry.channels]
        return (latent - self.mean.to(latent)) / self.deviation.to(latent)

    def decode(self, latent: Tensor, chunk: int = 1) -> Tensor:
        """latent (B, 16, k + 1, h, w), normalised; `chunk` latent frames at a time. -> video (B, 3, 4k + 1, 8h, 8w),
        unclamped."""
        raw = self.conv2(latent * self.deviation.to(latent) + self.mean.to(latent), {})
        past: Past = {}
        pieces = [raw[:, :, :1], *raw[:, :, 1:].split(chunk, dim=2)] if raw.shape[2] > 1 else [raw]
        return torch.cat([self.decoder(piece, past) for piece in pieces], dim=2)


def _middle(channels: int) -> nn.Sequential:
    return nn.Sequential(Residual(channels, channels), FrameAttention(channels), Residual(channels, channels))


def _run(layers: "list[nn.Module] | nn.Sequential", x: Tensor, past: Past) -> Tensor:
    for layer in layers:
        stateful = isinstance(layer, (CausalConv, Residual, FrameAttention, Downsample, Upsample))
        x = layer(x, past) if stateful else layer(x)
    return x


def _per_frame(layer: nn.Module, x: Tensor) -> Tensor:
    out = layer(rearrange(x, "b c f h w -> (b f) c h w"))
    return rearrange(out, "(b f) c h w -> b c f h w", f=x.shape[2])


def _check_clip(video: Tensor, chunk: int, geometry: Geometry) -> None:
    (frames, height, width), group, stride = video.shape[2:], geometry.group, geometry.stride
    if frames != geometry.whole(frames):
        raise ValueError(f"video has {frames} frames; the Wan VAE codes {group}k + 1: {geometry.lengths}")
    if height % stride or width % stride or not height or not width:
        raise ValueError(f"video is {height} x {width} pixels; both must be multiples of {stride}")
    if chunk < group or chunk % group:
        raise ValueError(f"chunk is {chunk} pictures; it must be a positive multiple of {group}")
