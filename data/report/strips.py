"""Pictures of a sheet: a clip's window as training sees it, and subjects cut out on grey. NumPy and Pillow
alone, so that a sheet is there in seconds."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from ...core.recipe import GREY
from ..index import Clip, Refused
from ..stages.encode import EncodeOptions, windows_of

VIEW_HEIGHT = 200  # height of a picture in the file; pages show it smaller
VIEW_WIDTH = 420  # of a picture in the file
REMOVED = round(255 * GREY)  # of a reference
OUTLINE = (230, 159, 0)
Pictures = Callable[[Clip, Sequence[int]], Iterator[np.ndarray]]


@dataclass(frozen=True)
class ClipView:
    """View of a clip: places of the pictures that are shown of one window. Without a bucket the whole clip is
    shown.

    size, frames  of the bucket
    windows       first and last places of every one
    misfit        why there is no bucket
    """

    size: tuple[int, int] | None
    frames: int
    places: tuple[int, ...]
    windows: tuple[tuple[int, int], ...] = ()
    misfit: str = ""


def view_of(clip: Clip, options: EncodeOptions, count: int) -> ClipView:
    """ClipView of a clip's middle window, with `count` pictures of it from its first to its last."""
    try:
        bucket, starts, shown = windows_of(clip, options)
    except Refused as refusal:
        return ClipView(None, clip.frames, _some(range(max(1, clip.frames)), count), (), refusal.reason)
    windows = [shown[start : start + bucket.frames] for start in starts]
    ends = tuple((window[0], window[-1]) for window in windows)
    size = (bucket.width, bucket.height)
    return ClipView(size, bucket.frames, _some(windows[len(windows) // 2], count), ends)


def _some(places: Sequence[int], count: int) -> tuple[int, ...]:
    steps = np.linspace(0, len(places) - 1, min(count, len(places)))
    return tuple(places[round(float(one))] for one in steps)


class Viewer:
    """Viewer of clips whose files may not be there, or not be whole."""

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
        except Refused as refusal:
            why = f"cannot be read: {refusal.reason}" if clip.ok else "no picture can be read"
            return found or why
        return found or "holds no picture here"

    def _read(self, clip: Clip, places: Sequence[int]) -> Iterator[np.ndarray]:
        if self._pictures is None:
            from ..pictures import pictures_of  # decoders come with it

            self._pictures = pictures_of
        return self._pictures(clip, places)


def fitted_view(picture: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """A picture (H, W, 3) small enough for a page; with the size of a bucket, as much of it as fits there."""
    image = Image.fromarray(picture)
    width, height = size or image.size
    scale = min(VIEW_HEIGHT / height, VIEW_WIDTH / width, 1.0)
    view = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(ImageOps.fit(image, view, Image.Resampling.LANCZOS))


def subject_view(picture: np.ndarray, mask: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """A picture's view with the subject of a mask (h, w), of any resolution, on grey, and its outline."""
    view = fitted_view(picture, size)
    whole = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).resize(
        (picture.shape[1], picture.shape[0]), Image.Resampling.BILINEAR
    )
    fit = ImageOps.fit(whole, (view.shape[1], view.shape[0]), Image.Resampling.BILINEAR)
    inside = np.asarray(fit) > 127
    grown = np.asarray(Image.fromarray(inside).convert("L").filter(ImageFilter.MaxFilter(3))) > 0
    shown = np.where(inside[..., None], view, REMOVED).astype(np.uint8)
    shown[grown & ~inside] = OUTLINE
    return shown
