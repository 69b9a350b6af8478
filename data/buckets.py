"""Sizes that clips are trained at: sides of equal area by aspect, and 4n + 1 pictures at a stated rate."""

import math
from dataclasses import dataclass
from functools import cache

from ..backbones.wan.geometry import GROUP
from .index import Clip, Refused

ASPECTS = (21 / 9, 16 / 9, 3 / 2, 4 / 3, 1.0, 3 / 4, 2 / 3, 9 / 16, 9 / 21)  # width : height
MOST_SCALE = 4 / 3  # that a clip is enlarged by: the short side is 0.75 of the bucket's or more


@dataclass(frozen=True, order=True)
class Bucket:
    """Size of clips that can be in one batch, in pixels and pictures."""

    width: int
    height: int
    frames: int

    def tokens(self, multiple: int) -> int:
        """Tokens of a clip, where one is `multiple` pixels a side and `GROUP` pictures long."""
        return self.width // multiple * (self.height // multiple) * ((self.frames - 1) // GROUP + 1)


def sides(aspect: float, pixels: int, multiple: int) -> tuple[int, int]:
    """Width and height, multiples of `multiple`, of `pixels` or fewer. They are those nearest to the aspect
    and the area, each counted as the logarithm of its ratio. ValueError where none fits."""
    if pixels < multiple**2:
        raise ValueError(f"pixels is {pixels}; needed {multiple**2} or more, one token")

    def miss(size: tuple[int, int]) -> float:
        width, height = size
        return abs(math.log(width / height / aspect)) + math.log(pixels / (width * height))

    most = pixels // multiple  # of a side whose other is one multiple
    fitting = (
        (width, min(pixels // width, most) // multiple * multiple)
        for width in range(multiple, most + 1, multiple)
    )
    return min((size for size in fitting if size[1]), key=miss)


@cache
def bucket_sides(pixels: int, multiple: int) -> tuple[tuple[int, int], ...]:
    """Sides of all buckets, from the widest to the highest."""
    return tuple(dict.fromkeys(sides(aspect, pixels, multiple) for aspect in ASPECTS))


def sides_for(clip: Clip, pixels: int, multiple: int) -> tuple[int, int]:
    """Sides of the bucket whose aspect is nearest to the clip's. `Refused` where the clip would have to be
    enlarged by more than MOST_SCALE."""
    width, height = clip.size

    def miss(size: tuple[int, int]) -> float:
        return abs(math.log(width / height * size[1] / size[0]))

    found = min(bucket_sides(pixels, multiple), key=miss)
    if max(found[0] / width, found[1] / height) > MOST_SCALE:
        raise Refused("smaller than its bucket", f"{width}x{height} of {found[0]}x{found[1]} pixels")
    return found


def longest(count: int, frames: tuple[int, ...]) -> int:
    """The longest of `frames` that `count` pictures give. `Refused` where there are too few."""
    fitting = [one for one in frames if one <= count]
    if not fitting:
        raise Refused(f"shorter than {min(frames)} pictures", f"{count} of them")
    return max(fitting)


def require_lengths(frames: tuple[int, ...], what: str) -> None:
    """ValueError for a number of pictures that is not 4n + 1."""
    wrong = [one for one in frames if one < 1 or one % GROUP != 1]
    if wrong or not frames:
        raise ValueError(f"{what} is {list(frames)}; needed one or more of 4n + 1 pictures: 1, 5, 9, 13 …")
