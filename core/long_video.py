"""Long video in two passes: key pictures far apart, then what lies between neighbours (STIV, arXiv
2412.07730, §3.5)."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from .frames import Placed


@dataclass(frozen=True)
class LongVideo:
    """Plan of a long video: `keys` key pictures, `stride` pictures apart. A segment has its first key, the
    pictures up to the second, and the latent frame that holds the second. The video arrives at the second key
    where that frame begins, so the rest of the segment is cut off. Of its pictures every `keep`-th is kept. A
    clip's own pictures as keys are then its temporal upsampling by stride / keep (STIV-TUP, §3.5) [choice:
    upsampling-stride]. ValueError for fewer than 2 keys, and for a stride that is no multiple of a latent
    frame's `group` pictures. ValueError too for a `keep` that does not divide it."""

    group: int
    keys: int
    stride: int
    keep: int = 1

    def __post_init__(self) -> None:
        if self.keys < 2:
            raise ValueError(f"keys is {self.keys}; a long video needs 2 key pictures or more")
        if self.stride < self.group or self.stride % self.group:
            raise ValueError(f"stride is {self.stride}; needed a multiple of {self.group} pictures")
        if self.keep < 1 or self.stride % self.keep:
            raise ValueError(f"keep is {self.keep}; needed a number that divides the stride {self.stride}")

    @property
    def segment(self) -> int:
        """Pictures of a segment as it is generated."""
        return self.stride + 1 + self.group

    @property
    def length(self) -> int:
        """Pictures of the joined video."""
        return (self.keys - 1) * self.stride // self.keep

    def pairs(self, clip: Tensor) -> list[Tensor]:
        """Neighbouring key pictures (2, H, W, 3) from a clip (n, H, W, 3) of them; what it has more than
        `keys` is left out."""
        if len(clip) < self.keys:
            raise ValueError(f"keys is {self.keys}, but the clip has {len(clip)} pictures")
        return [clip[index : index + 2] for index in range(self.keys - 1)]

    def given(self, pair: Tensor, clock: str) -> Placed:
        """A pair in its segment."""
        return Placed(pair, [0, self.segment - 1], clock)

    def join(self, segments: list[Tensor]) -> Tensor:
        """Join segments (n, H, W, 3), each from its first key up to the second, which begins the next:
        (length, H, W, 3). At a shared key stands the mean of what the two segments say of it. A VAE decodes a
        segment's first picture otherwise than one inside it, and that alone would be a jump [choice:
        segment-joins]. ValueError for another number or length of them."""
        if [len(one) for one in segments] != [self.segment] * (self.keys - 1):
            raise ValueError(
                f"segments have {', '.join(str(len(one)) for one in segments)} pictures; needed {self.keys - 1} segments of {self.segment}"
            )
        meetings = [segments[0][:1]]
        meetings += [(before[self.stride] + after[0])[None] / 2 for before, after in pairwise(segments)]
        inner = [one[self.keep : self.stride : self.keep] for one in segments]
        return torch.cat([part for pair in zip(meetings, inner, strict=True) for part in pair])
