"""Perceptual hashes of clips, and the search for clips that show the same pictures."""

from collections.abc import Sequence

import numpy as np

from .measures import grey_of, scaled

HASHED, BITS = 3, 64  # of a clip, of each of its pictures
NEAR = 6  # bits of 64 in each picture; what was measured is in log.md
_SIDE, _WAVES = 32, 8
_BLOCK = 512  # clips compared at once
# The lowest waves of a discrete cosine transform, as rows (8, 32).
_COSINES = np.cos(np.pi / _SIDE * (np.arange(_SIDE) + 0.5) * np.arange(_WAVES)[:, None])


def hash_of(pictures: Sequence[np.ndarray]) -> str:
    """Hash of a clip in hex, 16 digits a picture, from one to three pictures (H, W, 3) uint8; the last one
    stands for those that lack.

    Each bit says whether one of the 64 lowest cosines of a picture of 32 pixels is above their median
    (Zauner 2010). Hashes of differences do not tell copies from other stretches of a scene
    [choice: hash-by-cosines].
    """
    digits = [_bits(one) for one in pictures]
    return "".join([*digits, *digits[-1:] * (HASHED - len(digits))])


def distance(one: str, other: str) -> int:
    """Most bits by which two hashes differ in any of their pictures."""
    return int(_distances(hash_words([one]), hash_words([other]))[0, 0])


def copies(hashes: Sequence[str], films: Sequence[str]) -> dict[int, int]:
    """Copies among clips: place of each copy, and of the nearest of the clips before it that it shows again.

    hashes, films  of each clip, by preference; parts of one film are no copies of one another

    Clips are held against those that are kept alone, so that a chain of small changes ends.
    """
    words, names = hash_words(hashes), np.unique(np.array(films), return_inverse=True)[1]
    kept: list[int] = []
    found: dict[int, int] = {}
    for start in range(0, len(hashes), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(hashes)))
        earlier = np.concatenate([np.array(kept, dtype=int), block])
        near = _distances(words[block], words[earlier])
        near[names[block][:, None] == names[earlier]] = BITS
        _settle(block, earlier, near, kept, found)
    return found


def _settle(
    block: np.ndarray, earlier: np.ndarray, near: np.ndarray, kept: list[int], found: dict[int, int]
) -> None:
    """Tell which clips of a block are kept, one after another; `near` (block, earlier) in bits."""
    known = len(kept)
    free = np.concatenate([np.ones(known, dtype=bool), np.zeros(len(block), dtype=bool)])
    for row, clip in enumerate(block):
        bits = np.where(free, near[row], BITS)
        nearest = int(np.argmin(bits)) if len(bits) else 0
        if bits[nearest] <= NEAR:
            found[int(clip)] = int(earlier[nearest])
        else:
            kept.append(int(clip))
            free[known + row] = True


def _distances(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Bits (N, M) by which words (N, 3) differ from others (M, 3), the most of three."""
    most = np.zeros((len(some), len(others)), dtype=np.uint8)
    for word in range(HASHED):
        np.maximum(most, bits_set(some[:, None, word] ^ others[None, :, word]), out=most)
    return most


def bits_set(words: np.ndarray) -> np.ndarray:
    """Bits that are set, in each of the words."""
    return np.bitwise_count(words)


def hash_words(hashes: Sequence[str]) -> np.ndarray:
    """Hashes as numbers (N, 3) uint64."""
    data = bytes.fromhex("".join(hashes))
    return np.frombuffer(data, dtype=">u8").astype(np.uint64).reshape(len(hashes), HASHED)


def _bits(picture: np.ndarray) -> str:
    import cv2

    grey = cv2.resize(grey_of(scaled(picture)), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    waves = (_COSINES @ grey.astype(np.float64) @ _COSINES.T).round(3).ravel()
    return np.packbits(waves > np.median(waves)).tobytes().hex()
