"""Pictures of a clip of the index: upright, with square pixels, cropped, one after another."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np

from .index import Clip


def pictures_of(clip: Clip, wanted: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    """Pictures (H, W, 3) uint8 of a clip, of `clip.size`; `wanted` counts from the clip's first and ascends;
    None: all. `Refused` where the file does not give them."""
    places = None if wanted is None else {clip.start + one for one in wanted}
    with av.open(str(Path(clip.path))) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if clip.start <= index < clip.stop and (places is None or index in places):
                yield cropped(frame.to_ndarray(format="rgb24"), clip)


def cropped(picture: np.ndarray, clip: Clip) -> np.ndarray:
    """A whole picture (H, W, C) of the file as the clip shows it."""
    if clip.crop is None:
        return picture
    left, top, width, height = clip.crop
    return picture[top : top + height, left : left + width]


def spread(frames: int, count: int) -> list[int]:
    """Places of `count` pictures, spread evenly over `frames`, each once; fewer where there are fewer."""
    count = min(count, frames)
    return [(2 * one + 1) * frames // (2 * count) for one in range(count)]


def at_rate(clip: Clip, fps: float) -> list[int]:
    """Places of the pictures that a clip shows at a rate: at 0, 1/fps, 2/fps … seconds the one that is
    nearest, the earlier of two. Of a still the one there is."""
    if not clip.fps:
        return [0]
    count = int(clip.frames / clip.fps * fps + 1e-6)
    return [min(clip.frames - 1, math.ceil(one * clip.fps / fps - 0.5)) for one in range(count)]
