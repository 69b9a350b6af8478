"""Order of training: which clips a step sees, as a pure function of the seed and the step. Nothing has to be
saved to go on, and the number of processes does not matter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np

from .buckets import Bucket


@dataclass(frozen=True)
class Step:
    """A step's clips, all of one bucket, and the epoch that it belongs to."""

    bucket: Bucket
    clips: tuple[int, ...]
    epoch: int


@dataclass(frozen=True)
class Order:
    """Order of clips over steps of `batch` clips each.

    clips  numbers of the clips of each bucket; one that is repeated stands there as often

    Each bucket goes through its clips in a new order every time; what does not fill a batch begins the next
    epoch's first batch. So no clip is dropped: of k times through a bucket every clip is seen k times
    [choice: order-of-clips]. The steps of an epoch come in an order of their own.
    """

    clips: Mapping[Bucket, Sequence[int]]
    batch: int
    seed: int

    def __post_init__(self) -> None:
        if not any(self.clips.values()):
            raise ValueError("clips: there is none to learn from")
        if self.batch < 1:
            raise ValueError(f"batch is {self.batch}; needed 1 or more")

    @cached_property
    def _sizes(self) -> list[tuple[Bucket, int]]:
        return [(bucket, len(self.clips[bucket])) for bucket in sorted(self.clips) if self.clips[bucket]]

    def steps(self, epochs: int) -> int:
        """Steps of so many epochs."""
        return sum(self._batches(size, epochs) for _, size in self._sizes)

    def step(self, number: int) -> Step:
        """Clips of a step, counted from 0."""
        epoch = self._epoch(number)
        kinds = [
            (bucket, batch)
            for bucket, size in self._sizes
            for batch in range(self._batches(size, epoch), self._batches(size, epoch + 1))
        ]
        place = number - self.steps(epoch)
        bucket, batch = kinds[self._permutation(len(kinds), "steps", epoch)[place]]
        drawn = range(batch * self.batch, (batch + 1) * self.batch)
        return Step(bucket, tuple(self._clip(bucket, one) for one in drawn), epoch)

    def _batches(self, size: int, epochs: int) -> int:
        """Whole batches that a bucket has given after so many epochs."""
        return epochs * size // self.batch

    def _epoch(self, number: int) -> int:
        """The epoch of a step: the first after which there are more steps."""
        low, high = 0, 1
        while self.steps(high) <= number:
            low, high = high, 2 * high
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (middle, high) if self.steps(middle) <= number else (low, middle)
        return low

    def _clip(self, bucket: Bucket, draw: int) -> int:
        """The clip of a bucket's draw, counted over all epochs."""
        clips = self.clips[bucket]
        turn, place = divmod(draw, len(clips))
        return clips[self._permutation(len(clips), f"{bucket}", turn)[place]]

    def _permutation(self, count: int, what: str, turn: int) -> np.ndarray:
        return generator(self.seed, what, turn).permutation(count)


def generator(seed: int, *what: object) -> np.random.Generator:
    """Random numbers of a purpose: the same for the same words, whoever drew what before."""
    text = "/".join(map(str, (seed, *what)))
    return np.random.Generator(np.random.Philox(key=int(sha256(text.encode()).hexdigest()[:32], 16)))
