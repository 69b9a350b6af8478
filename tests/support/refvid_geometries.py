"""Geometries of backbones that are no Wan: what asks a geometry has to take these too."""

import pytest
from torch import Tensor

from refvid.core.geometry import Geometry

COARSE = Geometry(patch=1, stride=32, group=8, channels=128, clock=1000, head_split=(1, 1, 1))
UNEVEN = Geometry(patch=2, stride=8, group=4, channels=16, clock=1000, head_split=(2, 7, 7))  # HunyuanVideo's
STRANGE = Geometry(
    patch=3, stride=2, group=3, channels=5, clock=1, head_split=(2, 3, 1)
)  # no number is Wan's
FOREIGN = {"coarse": COARSE, "uneven": UNEVEN, "strange": STRANGE}
foreign = pytest.mark.parametrize("geometry", FOREIGN.values(), ids=FOREIGN)


def spans(geometry: Geometry, frames: int) -> list[tuple[int, int]]:
    """Pictures [start, stop) of each latent frame, counted on one by one."""
    found = [(0, 1)]
    while len(found) < frames:
        found.append((found[-1][1], found[-1][1] + geometry.group))
    return found


def cells_of(latent: Tensor, geometry: Geometry, token: tuple[int, int, int]) -> Tensor:
    """Parts of a latent (..., F, h, w) that a token holds; fewer cells at the edges."""
    frame, row, column = token
    patch = geometry.patch
    return latent[..., frame, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
