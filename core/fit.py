"""Pictures and masks of any size, fitted to another: cut to its aspect, with margins, or stretched
[choice: fit]."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .controls import CROP, FITS, PAD, STRETCH
from .recipe import GREY

_SAME_ASPECT = 0.01  # of a side: what rounding to whole pixels does to thumbnails


def fitted_pictures(pictures: Tensor, height: int, width: int, how: str = CROP) -> Tensor:
    """Pictures (N, H, W, C) in [0, 1] -> (N, height, width, C), themselves where that is their size.

    crop     the middle of the picture, in the aspect that is asked for
    pad      all of it, with grey margins
    stretch  all of it, in another aspect

    ValueError for another word.
    """
    return _fitted(pictures.movedim(-1, 1), (height, width), how, "bicubic", GREY).movedim(1, -1)


def three_colours(pictures: Tensor) -> Tensor:
    """Pictures (..., 1, 3 or 4) in three colours: grey in each, without transparency."""
    return pictures.expand(*pictures.shape[:-1], 3) if pictures.shape[-1] == 1 else pictures[..., :3]


def fitted_masks(masks: Tensor, height: int, width: int, how: str = CROP) -> Tensor:
    """Masks (N, H, W) in [0, 1] -> (N, height, width), as `fitted_pictures` does; margins are 0. What is
    thinner than a pixel keeps its strongest ones."""
    if masks.shape[1:] == (height, width):
        return masks
    shown = _middle(masks, (height, width)) if how == CROP else masks
    return not_lost(_fitted(masks[:, None].float(), (height, width), how, "bilinear", 0.0)[:, 0], shown)


def whole_tokens(height: int, width: int, stride: int) -> tuple[int, int]:
    """The nearest height and width, in pixels, that are multiples of `stride`."""
    return max(1, round(height / stride)) * stride, max(1, round(width / stride)) * stride


def fit_told(what: str, size: tuple[int, int], onto: str, target: tuple[int, int], how: str) -> str | None:
    """A sentence on a thing of one size (height, width) that was laid onto one of another aspect; None where
    aspects agree."""
    (rows, columns), (height, width) = size, target
    if abs(rows * width - columns * height) <= _SAME_ASPECT * max(rows * width, columns * height):
        return None
    return f"{what} is {columns}x{rows}, {onto} {width}x{height}: {_TOLD[how]}"


_TOLD = {
    CROP: "its middle is used (fit: crop)",
    PAD: "margins are added (fit: pad)",
    STRETCH: "it is stretched",
}


def _fitted(values: Tensor, size: tuple[int, int], how: str, mode: str, fill: float) -> Tensor:
    """Values (N, C, H, W) at that size."""
    if how not in FITS:
        raise ValueError(f"fit is {how!r}; choose one of {', '.join(FITS)}")
    if tuple(values.shape[-2:]) == size:
        return values
    if how == PAD:
        return with_margins(
            resampled(values, *inside(values.shape[-2], values.shape[-1], size), mode), size, fill
        )
    return resampled(_middle(values, size) if how == CROP else values, *size, mode)


def resampled(values: Tensor, height: int, width: int, mode: str = "bilinear") -> Tensor:
    """Values (N, C, H, W) in [0, 1] at another size, by averages where that is smaller."""
    return F.interpolate(values, size=(height, width), mode=mode, antialias=True).clamp(0, 1)


def not_lost(masks: Tensor, before: Tensor) -> Tensor:
    """Masks (N, H, W) that were scaled from those before; one that lost all its pixels keeps its strongest
    ones."""
    peaks, had = masks.amax((1, 2)), before.flatten(1).gt(0.5).any(1)
    lost = (had & peaks.le(0.5) & peaks.gt(0))[:, None, None]
    return torch.where(lost, masks / peaks.clamp_min(1e-12)[:, None, None], masks)


def _middle(values: Tensor, size: tuple[int, int]) -> Tensor:
    """The largest part in the middle that has the aspect, to a pixel."""
    rows, columns = values.shape[-2:]
    height = min(rows, max(1, round(columns * size[0] / size[1])))
    width = min(columns, max(1, round(rows * size[1] / size[0])))
    top, left = (rows - height) // 2, (columns - width) // 2
    return values[..., top : top + height, left : left + width]


def inside(rows: int, columns: int, size: tuple[int, int]) -> tuple[int, int]:
    """The largest height and width of an aspect that lie within a size."""
    scale = min(size[0] / rows, size[1] / columns)
    return max(1, round(rows * scale)), max(1, round(columns * scale))


def with_margins(values: Tensor, size: tuple[int, int], fill: float) -> Tensor:
    """Values (..., H, W) in the middle of a size, and `fill` around them."""
    top, left = (size[0] - values.shape[-2]) // 2, (size[1] - values.shape[-1]) // 2
    margins = (left, size[1] - values.shape[-1] - left, top, size[0] - values.shape[-2] - top)
    return F.pad(values, margins, value=fill)
