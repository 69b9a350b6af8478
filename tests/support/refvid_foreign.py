"""A backbone that is no Wan: tokens of one latent cell, latent frames of three pictures, six channels of four
pixels, a clock that runs to 100, heads split 2 : 7 : 7. Small, of random weights, in float64; and a VAE for
its latents."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refvid.backbones.base import HintFrames, IdentityTokens, Tail, attend_all
from refvid.core.geometry import Geometry
from refvid.core.positions import grid_positions, rope_angles, sinusoid

FOREIGN = Geometry(patch=1, stride=4, group=3, channels=6, clock=100, head_split=(2, 7, 7))
HEADS, HEAD, TEXT = 2, 16, 12


class ForeignBackbone(nn.Module):
    """Self-attention, the reading of the text and a product with the timestep, once."""

    geometry, width, heads, head_size, in_channels = FOREIGN, HEADS * HEAD, HEADS, HEAD, FOREIGN.channels
    dtype, device = torch.float64, torch.device("cpu")

    def __init__(self):
        super().__init__()
        width = self.width
        self.take, self.give = nn.Linear(self.in_channels, width), nn.Linear(width, self.in_channels)
        self.text, self.time = nn.Linear(TEXT, width), nn.Linear(8, width)
        self.qkv, self.asked, self.read = (
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
            nn.Linear(width, 2 * width),
        )
        self.double().requires_grad_(False)

    def embed_patches(self, latent: Tensor) -> Tensor:
        return self.take(latent.flatten(2).mT)

    def embed_text(self, states: Tensor) -> Tensor:
        return self.text(states)

    def no_image(self, batch: int) -> Tensor | None:
        return None

    def through(
        self, latent: Tensor, timestep: Tensor, context: Tensor, context_bias: Tensor | None = None,
        image_features: Tensor | None = None, tail: Tail | None = None, identities: IdentityTokens | None = None,
        hints: HintFrames | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        batch, _, *grid = latent.shape
        tokens = self.embed_patches(latent)
        length = tokens.shape[1]
        angles = rope_angles(grid_positions(*grid), FOREIGN.split(HEAD))[None]
        each = timestep if timestep.ndim == 2 else timestep[:, None].expand(-1, grid[0])
        clock = each.repeat_interleave(length // grid[0], 1)
        bias, attend = None, attend_all
        if tail is not None:
            tokens = torch.cat([tokens, tail.tokens], 1)
            angles = torch.cat([angles, tail.angles], 1)
            own = timestep.reshape(batch, -1).amax(1) if tail.clock is None else tail.clock
            clock = torch.cat([clock, own.expand(batch)[:, None].expand(-1, tail.tokens.shape[1])], 1)
            bias = None if tail.key_bias is None else F.pad(tail.key_bias, (length, 0))
            attend = tail.attend or attend_all
        query, key, value = (
            part.unflatten(2, (HEADS, HEAD)).transpose(1, 2) for part in self.qkv(tokens).chunk(3, 2)
        )
        seen = attend(turned(query, angles), turned(key, angles), value, bias).transpose(1, 2).flatten(2)
        tokens = tokens + seen * (1 + self.time(sinusoid(clock, 8).double()))
        text, weights, read = self.text(context), context_bias, attend_all
        if identities is not None:
            text = torch.cat([text, identities.tokens.expand(batch, -1, -1)], 1)
            read = identities.attend or attend_all
            if identities.key_bias is not None:
                weights = F.pad(identities.key_bias, (context.shape[1], 0))
        keys, values = (
            part.unflatten(2, (HEADS, HEAD)).transpose(1, 2) for part in self.read(text).chunk(2, 2)
        )
        readers = length if tail is not None and not tail.reads_text else tokens.shape[1]
        asked = self.asked(tokens[:, :readers]).unflatten(2, (HEADS, HEAD)).transpose(1, 2)
        said = read(asked, keys, values, weights).transpose(1, 2).flatten(2)
        tokens = tokens + F.pad(said, (0, 0, 0, tokens.shape[1] - readers))
        return self.give(tokens[:, :length]).mT.unflatten(2, grid), tokens[:, length:]


def turned(features: Tensor, angles: Tensor) -> Tensor:
    """Pairs of features (B, N, L, D) as complex numbers, turned."""
    pairs = torch.view_as_complex(features.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.exp(1j * angles)[:, None]).flatten(-2)


class ForeignVAE:
    """Means over a cell's pixels and a latent frame's pictures, of the three colours and of their
    negatives."""

    geometry, dtype, device = FOREIGN, torch.float64, torch.device("cpu")

    def encode(self, video: Tensor) -> Tensor:
        cells = F.avg_pool3d(video, (1, FOREIGN.stride, FOREIGN.stride))
        rest = cells[:, :, 1:].unflatten(2, (-1, FOREIGN.group)).mean(3)
        frames = torch.cat([cells[:, :, :1], rest], 2)
        return torch.cat([frames, -frames], 1)

    def decode(self, latent: Tensor) -> Tensor:
        frames = (latent[:, :3] - latent[:, 3:]) / 2
        rest = frames[:, :, 1:].repeat_interleave(FOREIGN.group, 2)
        cells = torch.cat([frames[:, :, :1], rest], 2)
        return cells.repeat_interleave(FOREIGN.stride, 3).repeat_interleave(FOREIGN.stride, 4)
