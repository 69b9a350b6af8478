"""Swin transformer as a backbone of four scales (Liu et al., arXiv 2103.14030), under the names of its
published weights. Its sizes are read from the weights' shapes."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_PATCH, SWIN_SCALES = 4, 4
_APART = -100.0  # what is added to attention between regions that only a shift brought together


@dataclass(frozen=True)
class SwinSizes:
    """Sizes of a Swin transformer.

    width   features of its first scale; each later one has twice as many
    depths  blocks of each scale
    heads   of attention of each scale
    window  side of the windows of attention, in places
    hidden  features inside a block's MLP, by its width
    """

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    hidden: int


def swin_sizes(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> SwinSizes:
    """Sizes of weights whose names begin with a prefix. KeyError for a name that is missing."""
    layers = [f"{prefix}layers.{scale}.blocks" for scale in range(SWIN_SCALES)]
    depths = [len({name.split(".")[4] for name in shapes if name.startswith(f"{one}.")}) for one in layers]
    tables = [shapes[f"{one}.0.attn.relative_position_bias_table"] for one in layers]
    width = shapes[f"{prefix}patch_embed.proj.weight"][0]
    hidden = shapes[f"{layers[0]}.0.mlp.fc1.weight"][0] // width
    window = (round(tables[0][0] ** 0.5) + 1) // 2
    return SwinSizes(width, tuple(depths), tuple(one[1] for one in tables), window, hidden)


class Swin(nn.Module):
    """Pictures (B, 3, H, W) -> features of four scales, (B, width, H/4, W/4) to (B, 8 width, H/32, W/32)."""

    def __init__(self, sizes: SwinSizes):
        super().__init__()
        self.patch_embed = _Patches(sizes.width)
        self.layers = nn.ModuleList()
        for scale in range(SWIN_SCALES):
            width = sizes.width << scale
            self.layers.append(_Scale(width, scale, sizes))
            self.add_module(f"norm{scale}", nn.LayerNorm(width))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        x, found = self.patch_embed(pictures), []
        for scale, layer in enumerate(self.layers):
            x, after = layer(x)
            found.append(getattr(self, f"norm{scale}")(x).permute(0, 3, 1, 2).contiguous())
            x = after
        return found


class _Patches(nn.Module):
    """Pictures -> (B, H/4, W/4, width)."""

    def __init__(self, width: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, _PATCH, _PATCH)
        self.norm = nn.LayerNorm(width)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.norm(self.proj(pictures).permute(0, 2, 3, 1))


class _Scale(nn.Module):
    """Blocks of one scale, every other one with shifted windows -> what they say, and the next scale's."""

    def __init__(self, width: int, scale: int, sizes: SwinSizes):
        super().__init__()
        half = sizes.window // 2
        self.blocks = nn.ModuleList(
            _Block(width, sizes.heads[scale], sizes.window, half * (index % 2), sizes.hidden)
            for index in range(sizes.depths[scale])
        )
        self.downsample = _Merging(width) if scale + 1 < SWIN_SCALES else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for block in self.blocks:
            x = block(x)
        return x, self.downsample(x)


class _Merging(nn.Module):
    """Features of 2 x 2 places as one, down the columns: (B, H, W, C) -> (B, H/2, W/2, 2 C)."""

    def __init__(self, width: int):
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        quarters = [x[:, down::2, across::2] for across in range(2) for down in range(2)]
        return self.reduction(self.norm(torch.cat(quarters, dim=-1)))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, window: int, shift: int, hidden: int):
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = _WindowAttention(width, heads, window)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = _Mlp(width, hidden * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def _attend(self, x: Tensor) -> Tensor:
        """Attention within windows, of places (B, H, W, C) that are padded to whole windows."""
        side, (height, width) = self.window, x.shape[1:3]
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = x.shape[1] // side, x.shape[2] // side
        apart = None
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
            apart = _apart(rows, columns, side, self.shift, x)
        windows = x.unflatten(1, (rows, side)).unflatten(3, (columns, side)).transpose(2, 3)
        windows = self.attn(windows.flatten(3, 4).flatten(0, 2), apart)
        x = windows.unflatten(0, (-1, rows, columns)).unflatten(3, (side, side)).transpose(2, 3)
        x = x.flatten(3, 4).flatten(1, 2)
        if self.shift:
            x = x.roll((self.shift, self.shift), (1, 2))
        return x[:, :height, :width]


class _WindowAttention(nn.Module):
    """Attention in windows (N, side * side, C), with a bias by how far two places lie apart."""

    relative_position_index: Tensor

    def __init__(self, width: int, heads: int, side: int):
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * side - 1) ** 2, heads))
        self.register_buffer("relative_position_index", torch.zeros(side**2, side**2, dtype=torch.int64))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, apart: Tensor | None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index.long()].permute(2, 0, 1)
        if apart is not None:  # (windows of a picture, 1, places, places), for each picture
            bias = (bias + apart).repeat(len(x) // len(apart), 1, 1, 1)
        x = F.scaled_dot_product_attention(q, k, v, bias.to(q.dtype).expand(len(x), -1, -1, -1))
        return self.proj(x.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


def _apart(rows: int, columns: int, side: int, shift: int, like: Tensor) -> Tensor:
    """Addends (rows * columns, 1, places, places) to attention in shifted windows: `_APART` between places of
    different regions, which are not neighbours in the picture."""
    down, across = (_regions(count, side, shift, like) for count in (rows, columns))
    regions = 3 * down.view(rows, 1, side, 1) + across.view(1, columns, 1, side)
    regions = regions.reshape(rows * columns, side**2)
    return (regions[:, None, :, None] != regions[:, None, None, :]) * torch.tensor(
        _APART, dtype=like.dtype, device=like.device
    )


def _regions(count: int, side: int, shift: int, like: Tensor) -> Tensor:
    """Regions 0, 1, 2 of the places along one axis: before the last window, of it, and those rolled over."""
    places = torch.arange(count * side, device=like.device)
    return (places >= (count - 1) * side).long() + (places >= count * side - shift).long()
