"""Reach of a reference in the video: its region and its frame window, cell by cell, then token by token."""

from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from .controls import CROP, FrameWindow
from .fit import fitted_masks
from .geometry import Geometry


def reach(
    window: FrameWindow,
    region: Tensor | None,
    grid: tuple[int, int, int],
    geometry: Geometry,
    stride: int | None = None,
    fit: str = CROP,
) -> Tensor:
    """Cells of the video latent that the reference acts on: (F or 1, h or 1, w or 1) bool, ones where nothing
    limits it.

    region (H, W) or (pictures, H, W) in [0, 1], above 0.5 = may act; grid, frames, rows and columns of the
    latent. stride, pixels per cell where they are not the geometry's. A region of another size is laid over
    the video by `fit` (`core.fit`). A cell counts where any of its pixels and any of its pictures does
    [choice: reach-cells]. ValueError for a region of another length, one without pixels, or a window outside
    the clip.
    """
    cells = _window_cells(window, grid[0], geometry)
    if region is not None:
        cells = cells & _region_cells(region, grid, geometry, stride or geometry.stride, fit)
    if not cells.any():
        raise ValueError("region and frame window have no cell in common: the reference would never act")
    return cells


def _window_cells(window: FrameWindow, frames: int, geometry: Geometry) -> Tensor:
    """(F or 1, 1, 1) bool"""
    count = geometry.pictures(frames)
    last = count - 1 if window.last is None else window.last
    if last >= count or window.first >= count:
        raise ValueError(
            f"frame window is {window.first} to {last}; the video has the frames 0 to {count - 1}"
        )
    if (window.first, last) == (0, count - 1):
        return torch.ones(1, 1, 1, dtype=torch.bool)
    inside = torch.zeros(count)
    inside[window.first : last + 1] = 1
    return _latent_frames(inside.view(-1, 1, 1), geometry.group).gt(0.5)


def _region_cells(
    region: Tensor, grid: tuple[int, int, int], geometry: Geometry, stride: int, fit: str
) -> Tensor:
    """(F or 1, h, w) bool"""
    region = region[None] if region.ndim == 2 else region
    count, (height, width) = geometry.pictures(grid[0]), (side * stride for side in grid[1:])
    if region.ndim != 3 or len(region) not in (1, count):
        raise ValueError(
            f"region has shape {tuple(region.shape)}; needed one mask, or one for each of the video's {count} frames"
        )
    if not torch.isfinite(region).all():
        raise ValueError("region holds NaN or infinite values; check the node or file it comes from")
    if not region.gt(0.5).any():
        raise ValueError("region has no pixels: the reference would never act. Paint where it may act")
    region = fitted_masks(region, height, width, fit)
    cells = F.max_pool2d(region[:, None].float(), stride)[:, 0]
    return (cells if len(cells) == 1 else _latent_frames(cells, geometry.group)).gt(0.5)


def _latent_frames(values: Tensor, group: int) -> Tensor:
    """(pictures, ...) -> (F, ...): the largest value of the pictures in each latent frame, 1 + group + group
    + …"""
    rest = values[1:].unflatten(0, (-1, group)).amax(1) if len(values) > 1 else values[1:]
    return torch.cat([values[:1], rest])


def reach_words(reaches: Sequence[Tensor], frames: int, rows: int, columns: int) -> Tensor:
    """(F, h, w) int64 with bit k set where reference k acts."""
    grids = [cells.expand(frames, rows, columns).long() << index for index, cells in enumerate(reaches)]
    return torch.stack(grids).sum(0)


def words_on(reached: Sequence[Tensor], grid: tuple[int, ...]) -> Tensor | None:
    """`reach_words` of a video latent of grid (frames, rows, columns); None where all act everywhere.
    ValueError for another latent than they were made for."""
    if all(cells.all() for cells in reached):
        return None
    for cells in reached:
        if any(side not in (1, whole) for side, whole in zip(cells.shape, grid, strict=True)):
            raise ValueError(
                f"latent has {grid[0]} frames of {grid[2]}x{grid[1]} cells, but a region or frame window was applied for "
                f"{tuple(cells.shape)}; connect the latent that they were applied with"
            )
    return reach_words(reached, *grid)


def everywhere(cells: Tensor | None, references: range) -> Tensor | None:
    """Words in which these references act too, on all cells; None stays None, where all act everywhere."""
    return None if cells is None else cells | sum(1 << index for index in references)


def joined_words(first: tuple[Tensor | None, int], second: tuple[Tensor | None, int]) -> Tensor | None:
    """Words of two, each with how many references it is of: the second's bits follow the first's. None where
    all act everywhere."""
    (one, count), (other, more) = first, second
    if other is None:
        return everywhere(one, range(count, count + more))
    behind = other << count
    return everywhere(behind, range(count)) if one is None else one | behind


def token_words(cells: Tensor, patch: int) -> Tensor:
    """Bits of the video's tokens, `patch` cells on a side: cells (F, h, w) int64 -> (F * ⌈h/patch⌉ *
    ⌈w/patch⌉,), each the union of its cells."""
    even = F.pad(cells, (0, -cells.shape[2] % patch, 0, -cells.shape[1] % patch))
    corners = [even[:, row::patch, column::patch] for row in range(patch) for column in range(patch)]
    return reduce(torch.bitwise_or, corners).flatten()
