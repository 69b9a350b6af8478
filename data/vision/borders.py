"""Black borders: bars above and below a picture, or beside it, that stay dark while the film goes on."""

from collections.abc import Iterable

import numpy as np

Crop = tuple[int, int, int, int]  # left, top, width, height

DARK = 20  # of 255: bars are 0 to 16, and noise of compression
OFTEN = 0.4  # share of pictures; letters that come and go light a pixel in fewer
BLACK_SHARE = 0.02  # lit share of a picture that is black as a whole, and of rows of a bar
INSIDE_SHARE = 0.5  # lit share of rows within the picture, of the most lit row's
SOFT = 180  # an edge is blurred over at most a 180th of the side
THIN = 16  # a bar without one opposite is at most a 16th of the side


def lit_pixels(pictures: Iterable[np.ndarray]) -> np.ndarray | None:
    """Pixels (H, W) that are lit in many of the pictures (H, W, 3) uint8. Black pictures do not count; None
    where all are."""
    lit, count = None, 0
    for picture in pictures:
        bright = np.maximum(np.maximum(picture[..., 0], picture[..., 1]), picture[..., 2]) > DARK
        if bright.mean() >= BLACK_SHARE:
            lit = bright.astype(np.int32) if lit is None else lit + bright
            count += 1
    return None if lit is None else lit > OFTEN * count


def picture_box(lit: np.ndarray) -> Crop | None:
    """Box of even sides within black borders, from the lit pixels (H, W); None where there are no borders.

    A border ends in a straight edge along the whole side, and has its like opposite, or is thin
    [choice: black-borders]. A dark scene has neither, so that it stays whole.
    """
    height, width = lit.shape
    top, bottom = _bars(lit.mean(axis=1))
    left, right = _bars(lit[top : height - bottom].mean(axis=0))
    if not any((top, bottom, left, right)):
        return None
    top, left = top + top % 2, left + left % 2
    return left, top, _even(width - left - right), _even(height - top - bottom)


def dark_outside(lit: np.ndarray, box: Crop) -> bool:
    """True where a picture shows next to nothing outside of a box, and something inside."""
    left, top, width, height = box
    inside = int(lit[top : top + height, left : left + width].sum())
    outside = int(lit.sum()) - inside
    return inside > 0 and outside <= BLACK_SHARE * (lit.size - width * height)


def _bars(share: np.ndarray) -> tuple[int, int]:
    """Widths of the bars at both ends of a side, from the lit share of each of its rows."""
    side, most = len(share), float(share.max())
    if not most:
        return 0, 0
    first, last = _bar(share / most), _bar(share[::-1] / most)
    if abs(first - last) > max(4, 0.1 * max(first, last)):
        first, last = (one if one <= side // THIN else 0 for one in (first, last))
    return (first, last) if first + last <= 3 * side // 4 else (0, 0)


def _bar(share: np.ndarray) -> int:
    """Rows before the picture begins; 0 where they do not end in a sharp edge."""
    begin = int(np.argmax(share >= INSIDE_SHARE))
    soft = max(2, len(share) // SOFT)
    before = share[max(0, begin - soft - 2) : max(1, begin - soft)]
    after = share[begin : begin + 8]
    return begin if begin and before.max() <= BLACK_SHARE and after.mean() >= INSIDE_SHARE else 0


def _even(side: int) -> int:
    return side - side % 2
