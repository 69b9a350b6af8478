"""Rotary positions of video and reference tokens, as angles that every host can turn into its own rotation
format."""

import torch
from torch import Tensor

from .layout import Layout

ROPE_THETA = 10000.0


def grid_positions(frames: int, rows: int, columns: int, first: tuple[int, int, int] = (0, 0, 0)) -> Tensor:
    """(frame, row, column) of every token of a grid, row-major, the first of which stands at `first`. ->
    (frames*rows*columns, 3) float64."""
    axes = (
        torch.arange(begin, begin + size) for begin, size in zip(first, (frames, rows, columns), strict=True)
    )
    return torch.cartesian_prod(*(axis.double() for axis in axes))


def rope_angles(positions: Tensor, split: tuple[int, int, int], source_id: int = 0) -> Tensor:
    """Rotation angle of each feature pair. positions (L, 3) -> (L, head_size/2) float64, radians.

    split: features of a head that turn with the frame, the row and the column
    (`core.geometry.Geometry.split`). A source id other than 0 adds source_id·θ^(-2j/d) over the whole head
    (Bernini's in-context streams). Streams which share a grid can so be told apart.
    """
    # (L, 1) positions along an axis x (size/2,) frequencies of its share of the head, side by side
    angles = torch.cat([positions[:, i : i + 1] * _frequencies(size) for i, size in enumerate(split)], dim=1)
    return angles + source_id * _frequencies(sum(split))


def _frequencies(size: int) -> Tensor:
    return ROPE_THETA ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)


def sinusoid(value: Tensor, width: int) -> Tensor:
    """value (...,) -> (..., width): cosines, then sines, of frequencies from 1 down to 1 / 10000."""
    half = torch.arange(width // 2, device=value.device, dtype=torch.float32)
    angles = value.float()[..., None] * 10000.0 ** (-half / (width // 2))
    return torch.cat([angles.cos(), angles.sin()], dim=-1)  # (..., width)


def reference_angles(layout: Layout, video: tuple[int, int, int], head_size: int) -> Tensor:
    """Angles of all reference tokens of a layout, before removal, beside a video of (frames, rows, columns)
    tokens. -> (tokens, head_size/2) float64. A source video has the video's positions; semantic tokens have
    none (`unturned`)."""
    split, parts = layout.geometry.split(head_size), []
    for stream, at in zip(layout.streams, layout.placements(video), strict=True):
        grid = grid_positions(stream.frames, stream.rows, stream.columns, (at.frame, at.row, at.column))
        parts.append(rope_angles(grid, split, at.source))
    return torch.cat(parts)


def unturned(layout: Layout) -> Tensor | None:
    """Tokens of a layout, before removal, whose rotation is zero: (tokens,) bool, or None where none has one.
    It leaves their queries and keys zero. Semantic tokens have it."""
    if all(stream.role != "semantic" for stream in layout.streams):
        return None
    roles = [torch.full((stream.tokens,), stream.role == "semantic") for stream in layout.streams]
    return torch.cat(roles)
