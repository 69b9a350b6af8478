"""Wan 2.2's video VAE (TI2V-5B's) in plain torch, with the original parameter names. It is causal in time and
has 48 channels: 16x16 in space, of which 2x2 are pixels folded into channels, and 4 in time.

It differs from Wan 2.1's by that fold, and by shortcuts around every stage. They are means of the cells that
a stage makes one of, and copies of the cell that it makes many of.
"""

from typing import ClassVar

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...core.geometry import Geometry
from .geometry import WAN_2_2
from .vae import VAEDecoder, VAEEncoder, WanVAE
from .vae_layers import Downsample, Past, Remembers, Residual, Upsample, run_layers

# Wan 2.2's published statistics: the DiT sees (latent - mean) / deviation.
LATENT_MEAN_48 = (-0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557,
               -0.1382, 0.0542, 0.2813, 0.0891, 0.1570, -0.0098, 0.0375, -0.1825,
               -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
               -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230,
               -0.0313, -0.1649, 0.0117, 0.0723, -0.2839, -0.2083, -0.0520, 0.3748,
               0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667)  # fmt: skip
LATENT_DEVIATION_48 = (0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013,
                    0.8158, 1.0344, 0.5894, 1.0901, 0.6885, 0.6165, 0.8454, 0.4978,
                    0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
                    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093,
                    0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887,
                    0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744)  # fmt: skip


class AverageDown(nn.Module):
    """Cells of `frames` x `side` x `side` as one; its channels are means of theirs, of neighbours among
    (channel, frame, row, column) in this order. A first frame alone has zeros before it."""

    def __init__(self, channels_out: int, frames: int, side: int):
        super().__init__()
        self.channels_out, self.frames, self.side = channels_out, frames, side

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, F, H, W) -> (B, channels_out, F / frames, H / side, W / side)"""
        x = F.pad(x, (0, 0, 0, 0, -x.shape[2] % self.frames, 0))
        cells = rearrange(
            x, "b c (f p) (h q) (w r) -> b (c p q r) f h w", p=self.frames, q=self.side, r=self.side
        )
        return cells.unflatten(1, (self.channels_out, -1)).mean(2)


class CopyUp(Remembers, nn.Module):
    """A cell as `frames` x `side` x `side`: channels are repeated, then dealt over (channel, frame, row,
    column) in this order. The first frame stays one, the last of its copies."""

    def __init__(self, channels_out: int, frames: int, side: int):
        super().__init__()
        self.channels_out, self.frames, self.side = channels_out, frames, side

    def forward(self, x: Tensor, past: Past) -> Tensor:
        """x (B, C, F, H, W) -> (B, channels_out, F * frames, H * side, W * side), fewer frames at first"""
        values = self.channels_out * self.frames * self.side**2
        copies = rearrange(
            x.repeat_interleave(values // x.shape[1], dim=1),
            "b (c p q r) f h w -> b c (f p) (h q) (w r)",
            p=self.frames, q=self.side, r=self.side,
        )  # fmt: skip
        first, past[self] = self not in past, None
        return copies[:, :, self.frames - 1 :] if first else copies


class DownStage(Remembers, nn.Module):
    """Residual blocks, then half the rows and columns where `in_space` and half the frames where `in_time`,
    beside a mean."""

    def __init__(self, channels_in: int, channels_out: int, in_time: bool, in_space: bool):
        super().__init__()
        self.avg_shortcut = AverageDown(channels_out, 1 + in_time, 1 + in_space)
        blocks = [Residual(channels_in, channels_out), Residual(channels_out, channels_out)]
        self.downsamples = nn.Sequential(*blocks, *([Downsample(channels_out, in_time)] if in_space else []))

    def forward(self, x: Tensor, past: Past) -> Tensor:
        return run_layers(self.downsamples, x, past) + self.avg_shortcut(x)


class UpStage(Remembers, nn.Module):
    """Residual blocks, then twice the rows and columns where `in_space` and twice the frames where `in_time`,
    beside copies. A stage that keeps its size has no shortcut."""

    def __init__(self, channels_in: int, channels_out: int, in_time: bool, in_space: bool):
        super().__init__()
        self.avg_shortcut = CopyUp(channels_out, 1 + in_time, 1 + in_space) if in_space else None
        blocks = [
            Residual(channels_in, channels_out),
            *(Residual(channels_out, channels_out) for _ in range(2)),
        ]
        grown = [Upsample(channels_out, channels_out, in_time)] if in_space else []
        self.upsamples = nn.Sequential(*blocks, *grown)

    def forward(self, x: Tensor, past: Past) -> Tensor:
        out = run_layers(self.upsamples, x, past)
        return out if self.avg_shortcut is None else out + self.avg_shortcut(x, past)


class Encoder22(VAEEncoder):
    """Folded pictures to latent channels."""

    def stages(self, width: int) -> list[nn.Module]:
        return [
            DownStage(width, width, False, True),
            DownStage(width, 2 * width, True, True),
            DownStage(2 * width, 4 * width, True, True),
            DownStage(4 * width, 4 * width, False, False),
        ]


class Decoder22(VAEDecoder):
    """Latent channels to folded pictures."""

    def stages(self, width: int) -> list[nn.Module]:
        return [
            UpStage(4 * width, 4 * width, True, True),
            UpStage(4 * width, 4 * width, True, True),
            UpStage(4 * width, 2 * width, False, True),
            UpStage(2 * width, width, False, False),
        ]


class Wan22VAE(WanVAE):
    """VAE of Wan 2.2, with 48 channels and a stride of 16; the published one is 160 wide and its decoder
    256."""

    statistics = (LATENT_MEAN_48, LATENT_DEVIATION_48)
    parts = (Encoder22, Decoder22)
    fold: ClassVar[int] = 2

    @property
    def geometry(self) -> Geometry:
        return WAN_2_2
