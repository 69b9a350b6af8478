"""Small BiRefNet with random weights, a file of it, and deformable convolution by another way."""

from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from refvid.data.models.birefnet import BiRefNet, BiRefNetSizes
from refvid.data.models.swin import SwinSizes

SIZES = BiRefNetSizes(SwinSizes(8, (2, 1, 1, 1), (1, 2, 2, 4), 5, 4), 8, 16, 4)


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Every weight drawn, statistics too, so that none stays at what hides a fault."""
    draw = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        fan = value[0].numel() if value.ndim > 1 else 1
        drawn = torch.randn(value.shape, generator=draw) / fan**0.5
        if name.endswith(("running_var", "norm.weight", "norm1.weight", "norm2.weight")):
            drawn = 1 + 0.1 * drawn.abs()
        value.copy_(drawn)
    return model.eval()


def indices(side: int) -> Tensor:
    """Row of Swin's table for each two places of a window, as its authors count them."""
    down, across = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    places = torch.stack([down.flatten(), across.flatten()])
    apart = places[:, :, None] - places[:, None, :] + side - 1
    return apart[0] * (2 * side - 1) + apart[1]


@cache
def small(seed: int = 0) -> BiRefNet:
    """BiRefNet of a million weights."""
    model = BiRefNet(SIZES)
    for name, value in model.state_dict().items():
        if name.endswith("relative_position_index"):
            value.copy_(indices(SIZES.swin.window))
    randomise(model, seed)
    return model


def write_birefnet(path: Path, seed: int = 0, **changed: Tensor) -> Path:
    """A file in the published layout, with the heads that only training reads."""
    heads = {
        f"decoder.{name}_{level}.{part}": torch.zeros(1)
        for level in (2, 3, 4)
        for name, part in (("conv_ms_spvn", "weight"), ("gdt_convs_pred", "0.bias"))
    }
    state = {name: one.contiguous() for name, one in small(seed).state_dict().items()}
    save_file({**state, **heads, **changed}, path)
    return path


def deformed(
    x: Tensor, offset: Tensor, weight: Tensor, bias: None = None, padding: int = 0, mask: Tensor | None = None,
    stride: tuple[int, int] = (1, 1),
) -> Tensor:  # fmt: skip
    """Deformable convolution as torchvision's function has it, by reading four neighbours of each place."""
    assert mask is not None and bias is None and set(stride) == {1}
    (batch, _, height, width), kernel = x.shape, weight.shape[-1]
    total = torch.zeros(batch, len(weight), height, width, dtype=x.dtype)
    for b in range(batch):
        for p in range(kernel * kernel):
            y = offset[b, 2 * p] + torch.arange(height)[:, None] + p // kernel - padding
            z = offset[b, 2 * p + 1] + torch.arange(width) + p % kernel - padding
            read = torch.zeros_like(x[b])
            for dy in (0, 1):
                for dz in (0, 1):
                    row, column = y.floor().long() + dy, z.floor().long() + dz
                    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
                    share = (1 - (y - row).abs()) * (1 - (z - column).abs()) * inside
                    read += share * x[b][:, row.clamp(0, height - 1), column.clamp(0, width - 1)]
            point = weight[:, :, p // kernel, p % kernel]
            total[b] += torch.einsum("oc,chw->ohw", point, read * mask[b, p])
    return total
