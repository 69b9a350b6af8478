"""The Wan 2.1 video VAE in plain torch, with the original parameter names: causal in time, 8x8 in space, 4 in
time.

Frame 0 stands alone, every later latent frame covers four pictures.
"""

from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn

from ...core.geometry import Geometry
from .geometry import WAN_2_1
from .vae_layers import CausalConv, Downsample, Normalise, Past, Residual, Upsample, middle, run_layers

# Wan 2.1's published statistics: the DiT sees (latent - mean) / deviation.
LATENT_MEAN_16 = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
               0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)  # fmt: skip
LATENT_DEVIATION_16 = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
                    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)  # fmt: skip


class VAEEncoder(nn.Module):
    """Pictures of so many colours to latent channels."""

    def __init__(self, width: int, channels: int, colours: int = 3):
        super().__init__()
        self.conv1 = CausalConv(colours, width, (3, 3, 3))
        self.downsamples = nn.Sequential(*self.stages(width))
        self.middle = middle(4 * width)
        self.head = nn.Sequential(
            Normalise(4 * width, 3), nn.SiLU(), CausalConv(4 * width, channels, (3, 3, 3))
        )

    def stages(self, width: int) -> list[nn.Module]:
        """Stages from `width` channels to four times as many, on an eighth of the rows and columns and a
        quarter of the frames."""
        stages: list[nn.Module] = [Residual(width, width), Residual(width, width), Downsample(width, False)]
        stages += [Residual(width, 2 * width), Residual(2 * width, 2 * width), Downsample(2 * width, True)]
        stages += [
            Residual(2 * width, 4 * width),
            Residual(4 * width, 4 * width),
            Downsample(4 * width, True),
        ]
        return [*stages, Residual(4 * width, 4 * width), Residual(4 * width, 4 * width)]

    def forward(self, x: Tensor, past: Past) -> Tensor:
        return run_layers([self.conv1, *self.downsamples, *self.middle, *self.head], x, past)


class VAEDecoder(nn.Module):
    """Latent channels to pictures of so many colours."""

    def __init__(self, width: int, channels: int, colours: int = 3):
        super().__init__()
        self.conv1 = CausalConv(channels, 4 * width, (3, 3, 3))
        self.middle = middle(4 * width)
        self.upsamples = nn.Sequential(*self.stages(width))
        self.head = nn.Sequential(Normalise(width, 3), nn.SiLU(), CausalConv(width, colours, (3, 3, 3)))

    def stages(self, width: int) -> list[nn.Module]:
        """The encoder's way back."""
        stages: list[nn.Module] = [
            *(Residual(4 * width, 4 * width) for _ in range(3)),
            Upsample(4 * width, 2 * width, True),
        ]
        stages += [Residual(2 * width, 4 * width), *(Residual(4 * width, 4 * width) for _ in range(2))]
        stages += [Upsample(4 * width, 2 * width, True), *(Residual(2 * width, 2 * width) for _ in range(3))]
        return [*stages, Upsample(2 * width, width, False), *(Residual(width, width) for _ in range(3))]

    def forward(self, x: Tensor, past: Past) -> Tensor:
        return run_layers([self.conv1, *self.middle, *self.upsamples, *self.head], x, past)


class WanVAE(nn.Module):
    """Codes video in [-1, 1] as latents the DiT sees (normalised), and back."""

    statistics: ClassVar = (LATENT_MEAN_16, LATENT_DEVIATION_16)
    parts: ClassVar[tuple[type[VAEEncoder], type[VAEDecoder]]] = (VAEEncoder, VAEDecoder)
    fold: ClassVar[int] = (
        1  # pixels on a side that the encoder sees as one position; their colours are its channels
    )
    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int, decoder_width: int | None = None):
        super().__init__()
        encoder, decoder = self.parts
        channels, colours = self.geometry.channels, 3 * self.fold**2
        self.encoder = encoder(width, 2 * channels, colours)
        self.conv1 = CausalConv(2 * channels, 2 * channels, (1, 1, 1))
        self.conv2 = CausalConv(channels, channels, (1, 1, 1))
        self.decoder = decoder(decoder_width or width, channels, colours)
        self.set_statistics()

    def set_statistics(self, device: str | None = None) -> None:
        """Mean and deviation of the latents, as published: no file holds them."""
        for name, values in zip(("mean", "deviation"), self.statistics, strict=True):
            shaped = torch.tensor(values, device=device).view(1, -1, 1, 1, 1)
            self.register_buffer(name, shaped, persistent=False)

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
        """video (B, 3, F, H, W) in [-1, 1], F = 4k + 1, H and W multiples of the stride. `chunk` pictures go
        at a time, a multiple of 4: more is faster and takes more memory. -> latent (B, channels, k + 1,
        H/stride, W/stride), normalised."""
        _check_clip(video, chunk, self.geometry)
        past: Past = {}
        # (B, 3 fold², F, H/fold, W/fold); the first picture is a latent frame of its own
        seen = rearrange(video, "b c f (h q) (w r) -> b (c r q) f h w", q=self.fold, r=self.fold)
        pieces = [seen[:, :, :1], *seen[:, :, 1:].split(chunk, dim=2)] if seen.shape[2] > 1 else [seen]
        # (B, 2 channels, k + 1, h, w), means and log-variances; the means are the latent: nothing is drawn
        moments = torch.cat([self.encoder(piece, past) for piece in pieces], dim=2)
        latent = self.conv1(moments, {})[:, : self.geometry.channels]
        return (latent - self.mean.to(latent)) / self.deviation.to(latent)

    def decode(self, latent: Tensor, chunk: int = 1) -> Tensor:
        """latent (B, channels, k + 1, h, w), normalised; `chunk` latent frames at a time. -> video (B, 3, 4k
        + 1, H, W), stride times as high and wide, unclamped."""
        raw = self.conv2(latent * self.deviation.to(latent) + self.mean.to(latent), {})
        past: Past = {}
        pieces = [raw[:, :, :1], *raw[:, :, 1:].split(chunk, dim=2)] if raw.shape[2] > 1 else [raw]
        seen = torch.cat([self.decoder(piece, past) for piece in pieces], dim=2)
        return rearrange(seen, "b (c r q) f h w -> b c f (h q) (w r)", q=self.fold, r=self.fold)


def _check_clip(video: Tensor, chunk: int, geometry: Geometry) -> None:
    (frames, height, width), group, stride = video.shape[2:], geometry.group, geometry.stride
    if frames != geometry.whole(frames):
        raise ValueError(f"video has {frames} frames; the Wan VAE codes {group}k + 1: {geometry.lengths}")
    if height % stride or width % stride or not height or not width:
        raise ValueError(f"video is {height} x {width} pixels; both must be multiples of {stride}")
    if chunk < group or chunk % group:
        raise ValueError(f"chunk is {chunk} pictures; it must be a positive multiple of {group}")
