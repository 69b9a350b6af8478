"""Where in the video a reference acts: its region and its frame window, cell by cell, then token by token."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .controls import FrameWindow

LATENT_FRAMES = 4  # pictures in a latent frame of a video; the first holds one


def reach(
    window: FrameWindow, region: Tensor | None, frames: int, rows: int, columns: int, stride: int
) -> Tensor:
    """Cells of the video latent that the reference acts on: (F or 1, h or 1, w or 1) bool, ones where nothing limits it.

    region (H, W) or (pictures, H, W) in [0, 1], above 0.5 = may act; frames, rows, columns of the latent; stride, pixels
    per cell. A cell counts where any of its pixels and any of its pictures does (our choice). ValueError for a region
    of another size, one without pixels, or a window outside the clip.
    """
    cells = _window_cells(window, frames)
    if region is not None:
        cells = cells & _region_cells(region, frames, rows, columns, stride)
    if not cells.any():
        raise ValueError("region and frame window have no cell in common: the reference would never act")
    return cells


def pictures(frames: int) -> int:
    """Pictures that F latent frames hold."""
    return LATENT_FRAMES * (frames - 1) + 1


def _window_cells(window: FrameWindow, frames: int) -> Tensor:
    """(F or 1, 1, 1) bool"""
    count = pictures(frames)
    last = count - 1 if window.last is None else window.last
    if last >= count or window.first >= count:
        raise ValueError(
            f"frame window is {window.first} to {last}; the video has the frames 0 to {count - 1}"
        )
    if (window.first, last) == (0, count - 1):
        return torch.ones(1, 1, 1, dtype=torch.bool)
    inside = torch.zeros(count)
    inside[window.first : last + 1] = 1
    return _latent_frames(inside.view(-1, 1, 1)).gt(0.5)


def _region_cells(region: Tensor, frames: int, rows: int, columns: int, stride: int) -> Tensor:
    """(F or 1, h, w) bool"""
    region = region[None] if region.ndim == 2 else region
    count, (height, width) = pictures(frames), (rows * stride, columns * stride)
    if region.ndim != 3 or tuple(region.shape[1:]) != (height, width) or len(region) not in (1, count):
        raise ValueError(
            f"region has shape {tuple(region.shape)}; needed {width}x{height} pixels, the video's size, as one mask or "
            f"one for each of its {count} frames"
        )
    if not torch.isfinite(region).all():
        raise ValueError("region holds NaN or infinite values; check the node or file it comes from")
    if not region.gt(0.5).any():
        raise ValueError("region has no pixels: the reference would never act. Paint where it may act")
    cells = F.max_pool2d(region[:, None].float(), stride)[:, 0]
    return (cells if len(cells) == 1 else _latent_frames(cells)).gt(0.5)


def _latent_frames(values: Tensor) -> Tensor:
    """(pictures, ...) -> (F, ...): the largest value of the pictures in each latent frame, 1 + 4 + 4 + …"""
    rest = values[1:].unflatten(0, (-1, LATENT_FRAMES)).amax(1) if len(values) > 1 else values[1:]
    return torch.cat([values[:1], rest])


def words(reaches: list[Tensor], frames: int, rows: int, columns: int) -> Tensor:
    """(F, h, w) int64 with bit k set where reference k acts."""
    grids = [cells.expand(frames, rows, columns).long() << index for index, cells in enumerate(reaches)]
    return torch.stack(grids).sum(0)


def everywhere(cells: Tensor | None, references: range) -> Tensor | None:
    """Words in which these references act too, on all cells; None stays None, where all act everywhere."""
    return None if cells is None else cells | sum(1 << index for index in references)


def token_words(cells: Tensor) -> Tensor:
    """Bits of the video's tokens: cells (F, h, w) int64 -> (F * ⌈h/2⌉ * ⌈w/2⌉,), each the union of its four cells."""
    even = F.pad(cells, (0, cells.shape[2] % 2, 0, cells.shape[1] % 2))
    corners = [even[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    return (corners[0] | corners[1] | corners[2] | corners[3]).flatten()
