"""Agreement of shots: which of them show the same identity, from features and with guards against chance.

Features are whole numbers. Their products and every partial sum fit float32's 24 bits, so that no order of
sums, blocks or threads changes a similarity.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .index import Clip, sort_key
from .vision.hashing import NEAR, bits_set, hash_words

LENGTH = 4000  # of a feature: 16 million, its square, is under 2**24 with room for what rounding adds
UNIT = 1_000_000  # similarities are cosines in millionths
_MOST = 32_768  # numbers of a feature; their rounding adds at most half of the root of it to the length
_BLOCK = 256  # shots that are compared with all others at a time
_NONE = -2 * UNIT


@dataclass(frozen=True)
class Pair:
    """Two shots that agree, by their numbers, the first the smaller; and their cosine in millionths."""

    first: int
    second: int
    similarity: int


def quantised(features: np.ndarray) -> np.ndarray:
    """Mean direction of features (n, D), each with the same weight, as whole numbers (D,) int16 of length
    4000. ValueError for features that have no direction, or too many numbers."""
    rows = np.asarray(features, np.float64)
    if rows.ndim != 2 or not len(rows) or rows.shape[1] > _MOST or not np.isfinite(rows).all():
        raise ValueError(f"features are {rows.shape}; needed (n, D) finite numbers, D at most {_MOST}")
    lengths = np.sqrt((rows**2).sum(1, keepdims=True))
    mean = (rows / np.where(lengths > 0, lengths, 1)).mean(0)
    length = np.sqrt((mean**2).sum())
    if length < 1e-6:
        raise ValueError("features are 0, or cancel out; needed a direction")
    return np.rint(mean * (LENGTH / length)).astype(np.int16)


class Shots:
    """N shots to compare, in the order of the index, whatever order they came in.

    clips     (N) their rows
    features  (N, D) float32, whole numbers of `quantised`
    hashes    (N, 3) uint64
    """

    def __init__(self, clips: Sequence[Clip], features: Sequence[np.ndarray]):
        order = sorted(range(len(clips)), key=lambda one: sort_key(clips[one]))
        self.clips = [clips[one] for one in order]
        self.features = np.stack([features[one] for one in order]).astype(np.float32)
        self.hashes = hash_words([clip.hash for clip in self.clips])
        self.films = _codes([clip.path for clip in self.clips])
        self.names = _codes([clip.identity for clip in self.clips], "")
        self.spans = np.array([(clip.start, clip.stop) for clip in self.clips])

    def __len__(self) -> int:
        return len(self.clips)

    def blocks(self, of: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Similarities of some shots to each other: numbers of rows and of columns, and cosines in
        millionths (rows, columns). Every pair comes once or twice, in ascending order."""
        for start in range(0, len(of), _BLOCK):
            rows, columns = of[start : start + _BLOCK], of[start:]
            products = self.features[rows] @ self.features[columns].T
            yield rows, columns, np.rint(products / (LENGTH**2 // UNIT)).astype(np.int32)

    def are_copies(self, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        """True where shots are near-duplicates. Numbers of shots broadcast, here and below."""
        return bits_set(self.hashes[one] ^ self.hashes[two]).max(-1) <= NEAR

    def share_film(self, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        """True where shots are of one film."""
        return self.films[one] == self.films[two]

    def share_name(self, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        """True where shots were given the same name."""
        return (self.names[one] == self.names[two]) & (self.names[one] >= 0)

    def differ_in_name(self, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        """True where shots were given two names."""
        return (self.names[one] != self.names[two]) & (self.names[one] >= 0) & (self.names[two] >= 0)

    def share_frames(self, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        """True where shots of one film share frames, as each does with itself."""
        starts, stops = self.spans.T
        return self.share_film(one, two) & (starts[one] < stops[two]) & (starts[two] < stops[one])


def different_pairs(clips: Sequence[Clip]) -> int:
    """Number of pairs of different sources: two films, or two names given; never one name twice."""
    films, bare = Counter(clip.path for clip in clips), Counter(clip.path for clip in clips if clip.identity)
    names = Counter(clip.identity for clip in clips if clip.identity)
    # Of one film only pairs with two names count, so that those with an unnamed shot come off.
    one_film = sum(_twos(count) - _twos(bare[path]) for path, count in films.items())
    return _twos(len(clips)) - one_film - sum(map(_twos, names.values()))


def threshold(shots: Shots, percentile: float, least: int) -> int | None:
    """Percentile of the similarities, in millionths, of pairs of different sources, by nearest rank. None
    where there are fewer than `least` of them."""
    total = different_pairs(shots.clips)
    if total < max(least, 1):
        return None
    counts = np.zeros(2 * UNIT + 1 + 2 * _SLACK, np.int64)
    for rows, columns, similar in shots.blocks(np.arange(len(shots))):
        one, two = rows[:, None], columns[None]
        differ = ~shots.share_film(one, two) | shots.differ_in_name(one, two)
        differ &= ~shots.share_name(one, two) & (one < two)
        np.add(counts, np.bincount(similar[differ] + (UNIT + _SLACK), minlength=len(counts)), out=counts)
    rank = -(-total * round(percentile * 10_000) // 1_000_000)  # in whole numbers, rounded up
    return int(np.searchsorted(np.cumsum(counts), max(rank, 1))) - UNIT - _SLACK


def agreeing(shots: Shots, percentile: float, least: int, across: bool = True) -> list[Pair]:
    """Pairs of shots that agree: shots of one film, and, where `across`, of different films.

    Each is the other's nearest of those that could be its partner, in its film or in all others. Shots that
    share frames, near-duplicates and shots of two names cannot be. Their cosine reaches `threshold`.
    """
    bar = threshold(shots, percentile, least) if len(shots) > 1 else None
    if bar is None:
        return []
    films = [np.flatnonzero(shots.films == code) for code in range(shots.films.max() + 1)]
    found = [_mutual(shots, film, True, bar) for film in films if len(film) > 1]
    found += [_mutual(shots, np.arange(len(shots)), False, bar)] if across else []
    return sorted((pair for pairs in found for pair in pairs), key=lambda one: (one.first, one.second))


def _mutual(shots: Shots, of: np.ndarray, film: bool, bar: int) -> list[Pair]:
    """Mutual nearest neighbours at `bar` or above; of equals the first is the nearest."""
    nearest, best = np.full(len(shots), -1), np.full(len(shots), _NONE, np.int32)
    for rows, columns, similar in shots.blocks(of):
        row, column = np.nonzero(similar >= bar)
        one, two = rows[row], columns[column]
        fit = ~(shots.share_frames(one, two) | shots.differ_in_name(one, two) | shots.are_copies(one, two))
        fit &= shots.share_film(one, two) == film
        likely = np.full_like(similar, _NONE)
        likely[row[fit], column[fit]] = similar[row[fit], column[fit]]
        for those, others, axis in ((rows, columns, 1), (columns, rows, 0)):
            value = likely.max(axis)
            better = value > best[those]
            nearest[those[better]] = others[likely.argmax(axis)[better]]
            best[those[better]] = value[better]
    pairs = ((int(one), int(nearest[one])) for one in of if nearest[one] >= 0)
    return [Pair(one, two, int(best[one])) for one, two in pairs if one < two and nearest[two] == one]


def joined(names: Sequence[str], pairs: Sequence[Pair]) -> tuple[list[int], list[Pair]]:
    """Connected components of shots by pairs, the closest first. A pair that would join two names is left
    out. -> the number of each shot's component, and the pairs that were kept."""
    root, called, kept = list(range(len(names))), list(names), []

    def top(one: int) -> int:
        while root[one] != one:
            root[one] = one = root[root[one]]
        return one

    for pair in sorted(pairs, key=lambda one: (-one.similarity, one.first, one.second)):
        low, high = sorted((top(pair.first), top(pair.second)))
        if called[low] and called[high] and called[low] != called[high]:
            continue
        root[high], called[low] = low, called[low] or called[high]
        kept.append(pair)
    return [top(one) for one in range(len(names))], kept


_SLACK = UNIT // 20  # rounded features can be longer than 4000: by 2.3 % of 32,768 numbers, so 4.6 % squared


def _codes(values: Sequence[str], none: str | None = None) -> np.ndarray:
    known = {value: code for code, value in enumerate(sorted(set(values) - {none}))}
    return np.array([known.get(value, -1) for value in values])


def _twos(count: int) -> int:
    return count * (count - 1) // 2
