"""Rotary positions of video and reference tokens, as angles that every host can turn into its own rotation format."""

import torch
from torch import Tensor

from .layout import Layout

ROPE_THETA = 10000.0


def grid_positions(frames: int, rows: int, columns: int, first_frame: int = 0) -> Tensor:
    """(frame, row, column) of every token of a grid, row-major. -> (frames*rows*columns, 3) float64."""
    axes = (torch.arange(first_frame, first_frame + frames), torch.arange(rows), torch.arange(columns))
    return torch.cartesian_prod(*(axis.double() for axis in axes))


def rope_angles(positions: Tensor, head_size: int, source_id: int = 0) -> Tensor:
    """Rotation angle of each feature pair. positions (L, 3) -> (L, head_size/2) float64, radians.

    The head splits into frame, row and column parts of d-4(d//6), 2(d//6), 2(d//6) features (Wan 2.1).
    A source id other than 0 adds source_id·θ^(-2j/d) over the whole head (Bernini's in-context streams), so that
    streams which share a grid can be told apart.
    """
    third = 2 * (head_size // 6)
    parts = (head_size - 2 * third, third, third)
    angles = torch.cat([positions[:, i : i + 1] * _frequencies(size) for i, size in enumerate(parts)], dim=1)
    return angles + source_id * _frequencies(head_size)


def _frequencies(size: int) -> Tensor:
    return ROPE_THETA ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)


def sinusoid(value: Tensor, width: int) -> Tensor:
    """value (...,) -> (..., width): cosines, then sines, of geometric frequencies from 1 down to 1 / 10000."""
    half = torch.arange(width // 2, device=value.device, dtype=torch.float32)
    angles = value.float()[..., None] * 10000.0 ** (-half / (width // 2))
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def reference_angles(layout: Layout, video_frames: int, head_size: int) -> Tensor:
    """Angles of all reference tokens of a layout, before removal. -> (tokens, head_size/2) float64. A source video has the video's
    positions; semantic tokens have none (`Layout.unturned`)."""
    parts = []
    for index, stream in enumerate(layout.streams):
        frame, source_id = (
            layout.recipe.placement(index, video_frames) if stream.role == "picture" else (0, 0)
        )
        grid = grid_positions(stream.frames, stream.rows, stream.columns, frame)
        parts.append(rope_angles(grid, head_size, source_id))
    return torch.cat(parts)
