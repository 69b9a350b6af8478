"""Pictures of a sheet: a clip's window as training sees it, and subjects cut out on grey. NumPy and Pillow
alone, so that a sheet is there in seconds."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from .index import Clip, Refused

VIEW = 200  # height of a picture in the file; pages show it smaller
WIDEST = 420  # of a picture in the file
GREY = 128  # of what is removed from a reference
OUTLINE = (230, 159, 0)
Pictures = Callable[[Clip, Sequence[int]], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Window:
    """Part of a clip that one step of training sees: its first and last pictures, counted from the clip's
    first, and those of them that are shown."""

    first: int
    last: int
    shown: tuple[int, ...]


def middle_window(clip: Clip, frames: int, rate: float, count: int) -> Window:
    """Window of `frames` pictures at a rate in the middle of a clip, and `count` places in it, from its first
    picture to its last. All of a clip that is shorter."""
    step = clip.fps / rate if clip.fps else 1.0
    length = max(1, min(clip.frames, round((frames - 1) * step) + 1))
    first = (max(1, clip.frames) - length) // 2
    steps = np.linspace(0, length - 1, min(count, length))
    return Window(first, first + length - 1, tuple(first + round(float(one)) for one in steps))


class Viewer:
    """Pictures of clips that may not be there: each is looked for once, and a problem is a sentence."""

    def __init__(self, pictures: Pictures | None = None):
        self._pictures = pictures

    def look(self, clip: Clip, places: Sequence[int]) -> dict[int, np.ndarray] | str:
        """Pictures by place, those that could be read; or why there are none."""
        wanted = sorted(set(places))
        if not Path(clip.path).exists():
            return "the file is not there"
        found: dict[int, np.ndarray] = {}
        try:
            found.update(zip(wanted, self._read(clip, wanted), strict=False))
        except (Refused, ValueError, OSError) as error:
            return found or f"cannot be read: {error}"
        return found or "holds no picture here"

    def _read(self, clip: Clip, places: Sequence[int]) -> Iterator[np.ndarray]:
        if self._pictures is None:
            from .pictures import pictures_of  # decoders come with it

            self._pictures = pictures_of
        return self._pictures(clip, places)


def fitted_view(picture: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """A picture (H, W, 3) small enough for a page; with the size of a bucket, as much of it as fits there."""
    image = Image.fromarray(picture)
    width, height = size or image.size
    scale = min(VIEW / height, WIDEST / width, 1.0)
    view = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(ImageOps.fit(image, view, Image.Resampling.LANCZOS))


def cut_out(picture: np.ndarray, mask: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """A picture's view with the subject of a mask (h, w), of any resolution, on grey, and its outline."""
    view = fitted_view(picture, size)
    whole = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).resize(
        (picture.shape[1], picture.shape[0]), Image.Resampling.BILINEAR
    )
    fit = ImageOps.fit(whole, (view.shape[1], view.shape[0]), Image.Resampling.BILINEAR)
    inside = np.asarray(fit) > 127
    grown = np.asarray(Image.fromarray(inside).convert("L").filter(ImageFilter.MaxFilter(3))) > 0
    shown = np.where(inside[..., None], view, GREY).astype(np.uint8)
    shown[grown & ~inside] = OUTLINE
    return shown


def masks_of(clip: Clip) -> dict[int, np.ndarray]:
    """Masks (h, w) of a clip's subject by place in the clip."""
    subject = clip.subject or {}
    height, width = subject.get("size", (0, 0))
    found = {}
    for place, counts in zip(subject.get("frames", ()), subject.get("masks", ()), strict=True):
        bits = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        found[place] = bits.reshape((height, width), order="F")
    return found
