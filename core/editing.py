"""Instruction editing: what a model is told, and how long a source video may be (SAMA, arXiv 2603.19228,
released code)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .geometry import Geometry

PREFIX = "[Video edit]"
LONGEST_EDIT = 961  # pictures: a minute at 16 a second [choice: longest-edit]


def edit_prompt(instruction: str) -> str:
    """The released prompt form; the negative prompt is the prefix alone. ValueError for an instruction
    without words."""
    if not instruction.strip():
        raise ValueError("instruction is empty; say what to change, such as 'make the car red'")
    return f"{PREFIX} {instruction.strip()}"


def padded(clip: Tensor, geometry: Geometry) -> Tensor:
    """A clip (F, H, W, C) with its last picture repeated until the latent frames are full; cut the result
    back to F. ValueError for fewer than 2 pictures or more than LONGEST, and for NaN."""
    count = len(clip)
    if count < 2 or count > LONGEST_EDIT:
        raise ValueError(
            f"source has {count} pictures; needed 2 to {LONGEST_EDIT} (edit a picture as a video of it, and longer films in parts)"
        )
    if not torch.isfinite(clip).all():
        raise ValueError("source holds NaN or infinite values; check the node or file it comes from")
    more = geometry.whole(count) - count
    return torch.cat([clip, clip[-1:].expand(more, *clip.shape[1:])])


def fitted_size(width: int, height: int, pixels: int, stride: int) -> tuple[int, int]:
    """The size nearest to a film's aspect, in multiples of `stride`, of about so many pixels: (width,
    height)."""
    scale = (pixels / (width * height)) ** 0.5
    return tuple(max(stride, round(side * scale / stride) * stride) for side in (width, height))  # pyright: ignore[reportReturnType]


@dataclass(frozen=True)
class Windows:
    """Windows that overlap, in which a longer video is evaluated. Each has so many pictures and shares so
    many with the next; latent frames hold `group` of them. ValueError for a length that does not fill its
    latent frames, and for an overlap that is not some of them within it."""

    group: int
    length: int = 81
    overlap: int = 32

    def __post_init__(self) -> None:
        group = self.group
        if self.length < 1 + group or self.length % group != 1 % group:
            raise ValueError(
                f"window is {self.length}; needed {group}k + 1 pictures: {1 + group}, {1 + 2 * group}, …"
            )
        if self.overlap < group or self.overlap % group or self.overlap >= self.length - 1:
            raise ValueError(
                f"overlap is {self.overlap}; needed a multiple of {group}, from {group} to less than the window's {self.length - 1}"
            )

    @property
    def frames(self) -> int:
        """Latent frames of a window."""
        return (self.length - 1) // self.group + 1

    @property
    def shared(self) -> int:
        """Latent frames of the overlap."""
        return self.overlap // self.group

    def spans(self, frames: int) -> list[tuple[int, int]]:
        """Latent frames [start, stop) of each window over so many of a video; the last ends with it."""
        starts = range(0, max(1, frames - self.shared), self.frames - self.shared)
        return [
            (max(0, min(start, frames - self.frames)), min(start + self.frames, frames)) for start in starts
        ]

    def weights(self, frames: int) -> Tensor:
        """Weights of a window's latent frames where windows share them: a pyramid, as ComfyUI's. (frames,)"""
        rising = torch.arange(1, frames + 1)
        return torch.minimum(rising, rising.flip(0)).float()
