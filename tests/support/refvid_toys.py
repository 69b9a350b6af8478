"""Clips of the demo world that no command makes."""

from torch import Tensor

from refvid.demo import world


def without_toys(background: Tensor, frames: int, size: int) -> Tensor:
    """Backgrounds (N,) without any toy: (N, 3, frames, size, size) in [-1, 1]."""
    return world.backdrop(background, size).unsqueeze(2).repeat(1, 1, frames, 1, 1) * 2 - 1
