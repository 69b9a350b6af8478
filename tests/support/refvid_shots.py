"""Films as arrays (F, H, W, 3) uint8: of real files, of a camera that moves, of pictures in dark bars."""

from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
import refvid_footage as footage


@cache
def frames_of(path: Path, *places: int) -> np.ndarray:
    """Pictures of a file, those at the places or all of them, kept for later tests."""
    with av.open(str(path)) as file:
        frames = enumerate(file.decode(video=0))
        kept = [one.to_ndarray(format="rgb24") for place, one in frames if not places or place in places]
    return np.stack(kept)


def photograph() -> np.ndarray:
    """A picture (272, 640, 3) that a camera took."""
    with av.open(str(footage.bikes())) as file:
        return next(file.decode(video=0)).to_ndarray(format="rgb24")


def pan(photo: np.ndarray, frames: int, size=(144, 256)) -> np.ndarray:
    """A hand that pans over a photograph: it waits, jerks, whips across and shakes, blurred as it moves."""
    height, width = size
    room = photo.shape[1] - width
    speed = np.concatenate(
        [np.zeros(12), np.full(8, 14.0), np.full(8, 3.0), np.full(9, -22.0), np.full(30, 1.5)]
    )
    place = np.cumsum(np.resize(speed, frames)) % (2 * room)
    place = np.where(place > room, 2 * room - place, place)
    shake = np.random.default_rng(1).integers(0, 9, frames)
    out = []
    for at, move, down in zip(place, np.resize(speed, frames), shake, strict=True):
        window = photo[30 + down : 30 + down + height, int(at) : int(at) + width]
        out.append(cv2.blur(np.ascontiguousarray(window), (1 + int(abs(move)), 1)))
    return np.stack(out)


def noisy(frames: int, size=(72, 128), seed: int = 0) -> np.ndarray:
    """A film (F, H, W, 3) of a picture of blocks that wanders: bright everywhere, never still."""
    drawn = np.random.default_rng(seed).integers(60, 255, (9, 24, 3), dtype=np.uint8)
    wide = cv2.resize(drawn, (size[1] + 2 * frames, size[0]), interpolation=cv2.INTER_LINEAR)
    return np.stack([wide[:, 2 * one : 2 * one + size[1]] for one in range(frames)])


def boxed(pictures: np.ndarray, top=0, bottom=0, left=0, right=0, level=0) -> np.ndarray:
    """A film with dark bars around its pictures."""
    sides = ((0, 0), (top, bottom), (left, right), (0, 0))
    return np.pad(pictures, sides, constant_values=level)
