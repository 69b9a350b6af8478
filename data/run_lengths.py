"""Masks as run lengths in COCO's compressed form, which pycocotools reads, and the good masks of a clip."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from .index import Clip

GOOD = ""  # what the quality of a good mask says
_BITS, _SIGN, _MORE, _ZERO = 5, 16, 32, 48  # of a character: five bits of a number, from "0" on


def pack_mask(mask: np.ndarray) -> str:
    """A mask (H, W) bool as text: its runs of 0 and 1 down the columns, from 0 on. From the third run but one
    each is told as its difference to the run two before."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = [0, *edges.tolist(), flat.size] if flat.size else [0]
    runs = [after - before for before, after in pairwise(ends)]
    if flat.size and flat[0]:
        runs.insert(0, 0)
    return "".join(_text(run - (runs[k - 2] if k > 2 else 0)) for k, run in enumerate(runs))


def unpack_mask(text: str, size: Sequence[int]) -> np.ndarray:
    """The mask (H, W) bool that a text tells. ValueError for one that is none of this size."""
    runs: list[int] = []
    for number in _numbers(text):
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
    if any(run < 0 for run in runs) or sum(runs) != size[0] * size[1]:
        raise ValueError(f"mask {text[:40]!r} has {sum(runs)} pixels; needed {size[0]} x {size[1]}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(tuple(size), order="F")


def good_masks(clip: Clip) -> dict[int, np.ndarray]:
    """Masks (h, w) bool of a clip's subject that it may be cut out by, by the clip's picture. None of a clip
    whose subject was not looked for. They are smaller than the pictures, of the same aspect."""
    told = clip.subject or {}
    return {frame: unpack_mask(text, told["size"]) for frame, text in _good(clip)}


def has_good_mask(clip: Clip) -> bool:
    """True where a clip's subject may be cut out of one of its pictures."""
    return bool(_good(clip))


def _good(clip: Clip) -> list[tuple[int, str]]:
    """Pictures of a clip with good masks, and these, packed."""
    told = clip.subject or {"frames": (), "masks": (), "quality": ()}
    rows = zip(told["frames"], told["masks"], told["quality"], strict=True)
    return [(frame, text) for frame, text, quality in rows if quality == GOOD]


def _text(number: int) -> str:
    """A whole number, five bits a character, the lowest first."""
    said = ""
    while True:
        low, number = number & (_MORE - 1), number >> _BITS
        done = number == (-1 if low & _SIGN else 0)
        said += chr(_ZERO + (low if done else low | _MORE))
        if done:
            return said


def _numbers(text: str) -> list[int]:
    numbers, number, shift = [], 0, 0
    for one in text:
        low = ord(one) - _ZERO
        number |= (low & (_MORE - 1)) << shift
        shift += _BITS
        if not low & _MORE:
            numbers.append(number - (1 << shift) if low & _SIGN else number)
            number = shift = 0
    if shift:
        raise ValueError(f"mask {text[:40]!r} ends within a number")
    return numbers
