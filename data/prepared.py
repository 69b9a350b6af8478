"""Prepared clips as trainers read them: the index and the shards, in a folder or in object storage."""

from dataclasses import dataclass
from functools import cached_property
from io import StringIO

import numpy as np
from torch import Tensor

from .buckets import Bucket
from .index import TRAIN, Clip, row_of
from .order import Order
from .shards import Shard, read_text


@dataclass(frozen=True)
class Prepared:
    """Encoded clips at an address: a folder, or a place that fsspec knows. Only what is asked for is
    fetched."""

    address: str

    @cached_property
    def clips(self) -> list[Clip]:
        """Rows that were encoded, in the order of the index. ValueError where there is none."""
        text = read_text(f"{self.address}/index.jsonl")
        lines = enumerate(StringIO(text), 1)  # str.splitlines also breaks at letters that captions may hold
        rows = [row_of(one, f"{self.address}: line {number}") for number, one in lines]
        encoded = [clip for clip in rows if clip.ok and clip.shard]
        if not encoded:
            raise ValueError(f"{self.address} holds no encoded clip; make them by `refvid data encode`")
        return encoded

    def order(self, batch: int, seed: int, split: str = TRAIN) -> Order:
        """Order of the clips of a split; numbers are those of `clips`."""
        buckets: dict[Bucket, list[int]] = {}
        for number, clip in enumerate(self.clips):
            if clip.split == split and clip.bucket is not None:
                buckets.setdefault(Bucket(*clip.bucket), []).extend([number] * clip.repeats)
        return Order(buckets, batch, seed)

    def latent(self, clip: Clip, window: int) -> Tensor:
        """Latent (channels, F, h, w) of a window."""
        return self._read(clip, "latent", window)

    def source(self, clip: Clip, window: int) -> Tensor:
        """Latent of a window of the clip before the edit, as `latent`."""
        return self._read(clip, "source", window)

    def semantic(self, clip: Clip, window: int) -> Tensor:
        """Semantic tokens (65, width) of a window's first picture."""
        return self._read(clip, "semantic", window)

    def text(self, clip: Clip, name: str = "text") -> Tensor:
        """States (tokens, width) of a caption: `text`, `short_text` or `instruction`."""
        return self._read(clip, name)

    def has(self, clip: Clip, name: str) -> bool:
        """True where a clip was encoded with tensors of this name."""
        return name in self._shard(clip).names(clip.row)

    def pool(self, clip: Clip) -> list[tuple[int, np.ndarray]]:
        """Pictures (H, W, 3) uint8 that references are drawn from, each with its number in the clip."""
        numbers = self._read(clip, "pool").tolist()
        return [(number, self._picture(clip, one)) for one, number in enumerate(numbers)]

    def _picture(self, clip: Clip, number: int) -> np.ndarray:
        import cv2

        picture = cv2.imdecode(self._read(clip, f"pool.{number}").numpy(), cv2.IMREAD_COLOR)
        if picture is None:
            raise ValueError(f"{self.address}: picture {number} of {clip.id} is damaged; encode it again")
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)

    def _read(self, clip: Clip, name: str, first: int | None = None) -> Tensor:
        return self._shard(clip).read(clip.row, name, first)

    def _shard(self, clip: Clip) -> Shard:
        if clip.shard not in self._shards:
            self._shards[clip.shard] = Shard(f"{self.address}/{clip.shard}")
        return self._shards[clip.shard]

    @cached_property
    def _shards(self) -> dict[str, Shard]:
        return {}
