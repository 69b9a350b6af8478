"""Prepared clips as trainers read them: the index and the shards, in a folder or in object storage."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from io import StringIO
from typing import Any

import numpy as np
from torch import Tensor

from .buckets import Bucket
from .index import TRAIN, Clip, row_of
from .order import Order
from .settings import filled
from .shards import Shard, read_text
from .shares import SharedOrder
from .stages.encode import ENCODING, EncodeOptions


@dataclass(frozen=True)
class Prepared:
    """Encoded clips at an address: a folder, or a place that fsspec knows. Only what is asked for is
    fetched."""

    address: str

    @cached_property
    def rows(self) -> list[Clip]:
        """Rows of the index, encoded or not."""
        text = read_text(f"{self.address}/index.jsonl")
        lines = enumerate(StringIO(text), 1)  # str.splitlines also breaks at letters that captions may hold
        return [row_of(one, f"{self.address}: line {number}") for number, one in lines]

    @cached_property
    def clips(self) -> list[Clip]:
        """Rows that were encoded, in the order of the index. ValueError where there is none."""
        encoded = [clip for clip in self.rows if clip.ok and clip.shard]
        if not encoded:
            raise ValueError(f"{self.address} holds no encoded clip; make them by `refvid data encode`")
        return encoded

    @property
    def name(self) -> str:
        """Name by all that was encoded, and how."""
        said = json.dumps([[asdict(clip) for clip in self.clips], self._encoding], sort_keys=True)
        return f"prepared {sha256(said.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"

    @property
    def options(self) -> EncodeOptions:
        """Options that the clips were encoded with."""
        return filled(EncodeOptions(), self._encoding["options"], f"{self.address}: {ENCODING}")

    @property
    def weights(self) -> dict[str, str]:
        """Digests of the weights that encoded the clips: `vae`, `text_encoder`."""
        return self._encoding["weights"]

    @cached_property
    def _encoding(self) -> dict[str, Any]:
        return json.loads(read_text(f"{self.address}/{ENCODING}"))

    def buckets(self, split: str = TRAIN) -> dict[Bucket, list[int]]:
        """Numbers in `clips` of those of a split that have a caption, by their bucket; one that is repeated
        stands there as often."""
        found: dict[Bucket, list[int]] = {}
        for number, clip in enumerate(self.clips):
            if clip.split == split and clip.bucket is not None and clip.caption:
                found.setdefault(Bucket(*clip.bucket), []).extend([number] * clip.repeats)
        return found

    def order(
        self, batch: int, seed: int, split: str = TRAIN, frames: Sequence[int] = (),
        shares: Sequence[float] = (),
    ) -> Order | SharedOrder:  # fmt: skip
        """Order of the clips of a split; numbers are those of `clips`. With `frames` only clips of these
        lengths, with `shares` each length in its share of the steps. ValueError where no clip has
        one of them, or one that has a share."""
        found = self.buckets(split)
        lengths = {bucket.frames for bucket in found}
        missing = [one for one in frames if one not in lengths]
        if missing and (shares or len(missing) == len(frames)):
            raise ValueError(
                f"data.frames: no clip was encoded in {missing[0]} pictures; there are clips of "
                f"{', '.join(map(str, sorted(lengths))) or 'none'}"
            )

        def of(*wanted: int) -> Order:
            return Order({one: clips for one, clips in found.items() if one.frames in wanted}, batch, seed)

        if shares:
            return SharedOrder(tuple(of(one) for one in frames), tuple(shares))
        return of(*(frames or lengths))

    def latent(self, clip: Clip, window: int) -> Tensor:
        """Latent (channels, F, h, w) of a window."""
        return self._read(clip, "latent", window)

    def source(self, clip: Clip, window: int) -> Tensor:
        """Latent of a window of the clip before the edit, as `latent`."""
        return self._read(clip, "source", window)

    def semantic(self, clip: Clip, window: int) -> Tensor:
        """Semantic tokens (65, width) of a window's first picture."""
        return self._read(clip, "semantic", window)

    def span(self, clip: Clip, window: int) -> tuple[int, int]:
        """The clip's first and last picture of a window."""
        first, last = self._read(clip, "span", window).tolist()
        return first, last

    def text(self, clip: Clip, name: str = "text") -> Tensor:
        """States (tokens, width) of a caption: `text`, `short_text`, `instruction` or `no_text`."""
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
