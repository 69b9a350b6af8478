"""BiRefNet: masks of what stands out in a picture (Zheng et al., arXiv 2401.03407), from the one file that
ComfyUI's models/background_removal has. Modules bear the names of the published weights; sizes are read from
shapes, so that the small and the large release are read alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.checkpoint import require_values
from .squares import imagenet_square
from .swin import SWIN_SCALES, Swin, SwinSizes, swin_sizes

_KERNELS = (1, 3, 7)  # of deformable convolutions side by side
# Heads that only its training reads.
_TRAINING = ("decoder.conv_ms_spvn_", "decoder.gdt_convs_pred_")


@dataclass(frozen=True)
class BiRefNetSizes:
    """Sizes of BiRefNet.

    swin    of its backbone
    inner   features inside a block of the decoder
    branch  features of each of the convolutions side by side
    guide   features of what gates a scale
    """

    swin: SwinSizes
    inner: int
    branch: int
    guide: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of four scales, the finest first: those of the picture and of it at half the size."""
        return tuple(2 * self.swin.width << scale for scale in range(SWIN_SCALES))


class MaskModel:
    """Masks of pictures by BiRefNet, which sees them as squares of `side` pixels
    [choice: imagenet-pixels]."""

    def __init__(self, path: Path, side: int, device: str = "cpu"):
        dtype = torch.float32 if device == "cpu" else torch.float16
        self.model = load_birefnet(path).to(device, dtype)
        self._side, self._device, self._dtype = side, device, dtype

    @torch.no_grad()
    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """A picture (H, W, 3) uint8 -> its mask (side, side) in [0, 1], float32."""
        logits = self.model(imagenet_square(picture, self._side, self._device).to(self._dtype))
        return logits[0, 0].float().sigmoid().cpu().numpy()


def load_birefnet(path: Path) -> "BiRefNet":
    """BiRefNet of a safetensors file. ValueError for a file that is none, and, by its name, for a key that is
    missing, unknown or of another shape."""
    from safetensors.torch import load_file

    require_values(path, "birefnet")
    state = load_file(path)
    needed = {name: one for name, one in state.items() if not name.startswith(_TRAINING)}
    try:
        sizes = birefnet_sizes({name: tuple(one.shape) for name, one in needed.items()})
    except KeyError as error:
        raise ValueError(
            f"birefnet: {path} has no {error.args[0]}; needed BiRefNet with a Swin backbone"
        ) from error
    with torch.device("meta"):
        model = BiRefNet(sizes)
    own = model.state_dict()
    counts = [name for name in own if name.endswith("num_batches_tracked")]  # of no use, and not always there
    needed = {**{name: torch.zeros((), dtype=torch.int64) for name in counts}, **needed}
    _require_same(own, needed, path)
    floats = {
        name: one.to(torch.float32, copy=True) if one.is_floating_point() else one
        for name, one in needed.items()
    }
    model.load_state_dict(floats, assign=True)
    return model.eval().requires_grad_(False)


def birefnet_sizes(shapes: Mapping[str, tuple[int, ...]]) -> BiRefNetSizes:
    """Sizes by the shapes of weights. KeyError for a name that is missing."""
    return BiRefNetSizes(
        swin_sizes(shapes, "bb."),
        shapes["squeeze_module.0.conv_in.weight"][0],
        shapes["squeeze_module.0.dec_att.conv1.weight"][1] // (2 + len(_KERNELS)),
        shapes["decoder.gdt_convs_4.0.weight"][0],
    )


def _require_same(own: Mapping[str, Tensor], given: Mapping[str, Tensor], path: Path) -> None:
    missing, unknown = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
    if missing:
        raise ValueError(f"birefnet: {path} has no {missing[0]} ({len(missing)} such keys)")
    if unknown:
        raise ValueError(f"birefnet: {path} has {unknown[0]}, which is not known ({len(unknown)} such keys)")
    for name, one in own.items():
        if one.shape != given[name].shape:
            raise ValueError(
                f"birefnet: {path}: {name} is {tuple(given[name].shape)}; needed {tuple(one.shape)}"
            )


class BiRefNet(nn.Module):
    """Pictures (B, 3, H, W) with ImageNet's mean and deviation, sides multiples of 32 -> logits
    (B, 1, H, W)."""

    def __init__(self, sizes: BiRefNetSizes):
        super().__init__()
        widths = sizes.widths
        self.bb = Swin(sizes.swin)
        self.squeeze_module = nn.Sequential(_DecoderBlock(sum(widths), widths[-1], sizes))
        self.decoder = _Decoder(sizes)

    def forward(self, pictures: Tensor) -> Tensor:
        whole = self.bb(pictures)
        half = self.bb(_resized(pictures, (pictures.shape[2] // 2, pictures.shape[3] // 2)))
        scales = [torch.cat([one, _like(two, one)], 1) for one, two in zip(whole, half, strict=True)]
        coarsest = torch.cat([_like(one, scales[-1]) for one in scales], 1)
        return self.decoder(pictures, [*scales[:-1], self.squeeze_module(coarsest)])


class _Decoder(nn.Module):
    """Decoder from the coarsest scale to the picture. Each block also sees the picture itself, cut into
    patches, and what it says is gated by a guide."""

    def __init__(self, sizes: BiRefNetSizes):
        super().__init__()
        widths = sizes.widths
        for level in range(1, SWIN_SCALES + 1):  # of the names; the finest is 1
            seen = widths[min(level, SWIN_SCALES - 1)] // 8  # features of the picture's patches
            out = widths[level - 2] if level > 1 else widths[0] // 2
            patches = _TwoConvolutions(3 * 4 ** (level + 1), seen, sizes.inner)
            self.add_module(f"ipt_blk{level + 1}", patches)
            self.add_module(f"decoder_block{level}", _DecoderBlock(widths[level - 1] + seen, out, sizes))
            if level > 1:
                guide = nn.Sequential(
                    nn.Conv2d(out, sizes.guide, 3, padding=1), nn.BatchNorm2d(sizes.guide), nn.ReLU()
                )
                self.add_module(f"gdt_convs_{level}", guide)
                self.add_module(f"gdt_convs_attn_{level}", nn.Sequential(nn.Conv2d(sizes.guide, 1, 1)))
                self.add_module(f"lateral_block{level}", _Lateral(out))
        self.ipt_blk1 = _TwoConvolutions(3, widths[0] // 8, sizes.inner)
        self.conv_out1 = nn.Sequential(nn.Conv2d(widths[0] // 2 + widths[0] // 8, 1, 1))

    def forward(self, picture: Tensor, scales: list[Tensor]) -> Tensor:
        x = scales[-1]
        for level in range(SWIN_SCALES, 0, -1):
            seen = self._part("ipt_blk", level + 1)(_patches(picture, 2 ** (level + 1)))
            x = self._part("decoder_block", level)(torch.cat([x, seen], 1))
            if level > 1:
                guide = self._part("gdt_convs_attn_", level)(self._part("gdt_convs_", level)(x))
                finer = scales[level - 2]
                x = _like(x * guide.sigmoid(), finer) + self._part("lateral_block", level)(finer)
        return self.conv_out1(torch.cat([_like(x, picture), self.ipt_blk1(picture)], 1))

    def _part(self, name: str, level: int) -> nn.Module:
        return self.get_submodule(f"{name}{level}")


class _DecoderBlock(nn.Module):
    def __init__(self, width: int, out: int, sizes: BiRefNetSizes):
        super().__init__()
        self.conv_in = nn.Conv2d(width, sizes.inner, 3, padding=1)
        self.bn_in = nn.BatchNorm2d(sizes.inner)
        self.dec_att = _Pyramid(sizes.inner, sizes.branch)
        self.conv_out = nn.Conv2d(sizes.inner, out, 3, padding=1)
        self.bn_out = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn_out(self.conv_out(self.dec_att(self.bn_in(self.conv_in(x)).relu())))


class _Pyramid(nn.Module):
    """Deformable convolutions of several sizes side by side, and the mean of all places."""

    def __init__(self, width: int, branch: int):
        super().__init__()
        self.aspp1 = _Branch(width, branch, 1)
        self.aspp_deforms = nn.ModuleList(_Branch(width, branch, kernel) for kernel in _KERNELS)
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, branch, 1, bias=False),
            nn.BatchNorm2d(branch),
            nn.ReLU(),
        )
        self.conv1 = nn.Conv2d((2 + len(_KERNELS)) * branch, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.global_avg_pool(x).expand(-1, -1, *x.shape[2:])
        found = [self.aspp1(x), *(branch(x) for branch in self.aspp_deforms), mean]
        return self.bn1(self.conv1(torch.cat(found, 1))).relu()


class _Branch(nn.Module):
    def __init__(self, width: int, out: int, kernel: int):
        super().__init__()
        self.atrous_conv = _Deformable(width, out, kernel)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.atrous_conv(x)).relu()


class _Deformable(nn.Module):
    """Convolution that reads beside its places, where and how much it says itself (DCNv2, arXiv
    1811.11168)."""

    def __init__(self, width: int, out: int, kernel: int):
        super().__init__()
        points, padding = kernel**2, kernel // 2
        self.offset_conv = nn.Conv2d(width, 2 * points, kernel, padding=padding)
        self.modulator_conv = nn.Conv2d(width, points, kernel, padding=padding)
        self.regular_conv = nn.Conv2d(width, out, kernel, padding=padding, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        strength = 2 * self.modulator_conv(x).sigmoid()
        return deformable_convolution(x, self.offset_conv(x), strength, self.regular_conv.weight)


class _TwoConvolutions(nn.Module):
    def __init__(self, width: int, out: int, inner: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, inner, 3, padding=1)
        self.conv_out = nn.Conv2d(inner, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.conv1(x))


class _Lateral(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def deformable_convolution(x: Tensor, offsets: Tensor, strength: Tensor, weight: Tensor) -> Tensor:
    """Convolution of x (B, C, H, W) by weights (out, C, k, k), k odd, to (B, out, H, W).

    Point p of the kernel, row-major, reads at its place plus offsets (2p down, 2p + 1 across). It reads
    between places in straight lines, 0 outside, and times strength[p]. Points follow one another: all at once
    would take k * k times the memory.
    """
    height, width = x.shape[2:]
    kernel, wide = weight.shape[-1], x.float()  # places in half precision are some pixels off
    down, across = (torch.arange(n, device=x.device, dtype=torch.float32) for n in (height, width))
    total = x.new_zeros(len(x), len(weight), height, width)
    for point in range(kernel**2):
        row, column = point // kernel - kernel // 2, point % kernel - kernel // 2
        y = down[:, None] + row + offsets[:, 2 * point].float()
        across_of = across + column + offsets[:, 2 * point + 1].float()
        # grid_sample's -1 and 1 are the outer edges of the first and the last pixel
        grid = torch.stack([(2 * across_of + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
        read = F.grid_sample(wide, grid, padding_mode="zeros", align_corners=False).to(x.dtype)
        part = read * strength[:, point, None]
        total += F.conv2d(part, weight[:, :, point // kernel, point % kernel, None, None])
    return total


def _patches(picture: Tensor, count: int) -> Tensor:
    """A picture (B, 3, H, W) as count x count patches on top of one another, down the columns:
    (B, 3 count^2, H / count, W / count)."""
    parts = picture.unflatten(3, (count, -1)).unflatten(2, (count, -1))  # (B, 3, rows, h, columns, w)
    return parts.permute(0, 4, 2, 1, 3, 5).flatten(1, 3)


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def _like(x: Tensor, other: Tensor) -> Tensor:
    return _resized(x, (other.shape[2], other.shape[3]))
