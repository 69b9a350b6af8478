"""References without reference data: a masked, augmented frame of the very clip (Saber, arXiv 2512.06905,
§3.1)."""

import math
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from ...core.recipe import GREY
from .generator import MaskGenerator

GROUND = 2 * GREY - 1  # in [-1, 1]
TRIES = 64  # turns and shears drawn before a mask stays where it is


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random affine map of a reference; the defaults are the paper's.

    rotation   degrees to either side
    scale      from and to
    shear      degrees to either side, in x and in y, independent
    flip       chance of a mirror image
    translate  the mask's bounding box is put anywhere inside the frame

    The box never leaves the frame: where the largest scale does not fit, the scale is drawn up to what does
    [choice: largest-scale]. ValueError for a range that is none.
    """

    rotation: float = 10.0
    scale: tuple[float, float] = (0.8, 2.0)
    shear: float = 10.0
    flip: float = 0.5
    translate: bool = True

    def __post_init__(self) -> None:
        bounds = (("rotation", self.rotation, 180), ("shear", self.shear, 44), ("flip", self.flip, 1))
        for name, value, most in bounds:
            if not 0 <= value <= most:
                raise ValueError(f"{name} is {value}; give a number from 0 to {most}")
        if not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise ValueError(f"scale is {self.scale}; give (lo, hi) with 0 < lo <= hi")

    def __call__(self, picture: Tensor, mask: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Move pictures (N, 3, H, W), bilinear, and masks (N, 1, H, W), nearest, by the same matrix each.

        A mask for which nothing feasible is found, or of which no pixel would be left, stays as it is, bit
        for bit.
        """
        from kornia.geometry.transform import warp_affine  # nothing else that learns needs it

        matrix = self.matrices(mask, generator)
        size = (mask.shape[-2], mask.shape[-1])
        moved = warp_affine(picture, matrix, size, padding_mode="border", align_corners=True)
        seen = warp_affine(mask, matrix, size, mode="nearest", align_corners=True)
        still = matrix.eq(torch.eye(2, 3)).all(2).all(1) | seen.amax((1, 2, 3)).le(0.5)
        still = still.view(-1, 1, 1, 1)
        return torch.where(still, picture, moved), torch.where(still, mask, seen)

    def matrices(self, mask: Tensor, generator: Generator) -> Tensor:
        """Maps (N, 2, 3) of pixel coordinates (right, down), from the picture to what becomes of it. They
        keep the box around each mask (N, 1, H, W) inside the frame. The same matrix is tested here and warps
        there."""
        n, _, height, width = mask.shape
        frame, box = torch.tensor([width, height]), boxes(mask)
        matrix = torch.eye(2, 3).repeat(n, 1, 1)
        open_rows = torch.arange(n)  # masks for which no map fits yet
        for _ in range(TRIES):
            low, high = box[open_rows].unbind(2)
            linear = self._linear(len(open_rows), generator)
            side = (linear.abs() @ (high - low)[:, :, None])[:, :, 0]  # of the box at scale 1
            least, most = self.scale
            # Largest scale (rows,) at which the box fits; below `least` this draw does not count.
            fitting = (frame / side).amin(1).clamp_max(most)
            luck = torch.rand(len(open_rows), 3, generator=generator)
            scale = least + (fitting - least) * luck[:, 0]
            linear, side = linear * scale[:, None, None], side * scale[:, None]
            # About the middle of the frame; pixels are squares around whole numbers.
            middle = (frame - 1) / 2
            centre = (linear @ ((low + high) / 2 - middle)[:, :, None])[:, :, 0] + middle
            # Shifts (rows, 2) between which the box touches neither border.
            first, last = side / 2 - 0.5 - centre, frame - 0.5 - side / 2 - centre
            shift = first + (last - first) * luck[:, 1:] if self.translate else torch.zeros_like(first)
            fits = (fitting >= least) & (first <= shift).all(1) & (shift <= last).all(1)
            offset = middle - linear @ middle + shift
            rows = open_rows[fits]
            matrix[rows] = torch.cat([linear, offset[:, :, None]], 2)[fits]
            open_rows = open_rows[~fits]
            if not len(open_rows):
                break
        return matrix

    def _linear(self, n: int, generator: Generator) -> Tensor:
        """Shear · rotation · flip, (n, 2, 2)."""
        luck = torch.rand(n, 4, generator=generator)
        turn, right, down = ((2 * luck[:, :3] - 1) * torch.tensor([self.rotation, *2 * (self.shear,)])).T
        turn, ones = turn.deg2rad(), torch.ones(n)
        mirror = torch.where(luck[:, 3] < self.flip, -ones, ones)

        def square(*values: Tensor) -> Tensor:
            return torch.stack(values, 1).view(n, 2, 2)

        shear = square(ones, right.deg2rad().tan(), down.deg2rad().tan(), ones)
        rotation = square(mirror * turn.cos(), turn.sin(), -mirror * turn.sin(), turn.cos())
        return shear @ rotation


@dataclass(frozen=True)
class MaskedFrames:
    """Making of references: which masks, and how the masked frame is moved. `subject_share` of the masks are
    the subject itself [choice: subject-masks], the others come from the generator. `augmentation` None: left
    in place. ValueError where subject_share is no share."""

    generator: MaskGenerator = field(default_factory=MaskGenerator)
    subject_share: float = 0.75
    augmentation: Augmentation | None = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if not 0 <= self.subject_share <= 1:
            raise ValueError(f"subject_share is {self.subject_share}; give a share from 0 to 1")


DEFAULT = MaskedFrames()


def masked_frames(
    video: Tensor, alpha: Tensor, generator: Generator, how: MaskedFrames = DEFAULT
) -> tuple[Tensor, Tensor]:
    """References, one per clip. video (N, 3, F, H, W) in [-1, 1], alpha (N, 1, F, H, W) of the subject
    -> pictures (N, 3, H, W), grey outside the mask, and masks (N, 1, H, W) of 0 and 1, never empty.

    A subject that is not to be seen in the chosen frame (no alpha above 0.5) gives way to a random mask.
    ValueError where alpha does not fit the video.
    """
    n, _, frames, height, width = video.shape
    if alpha.shape != (n, 1, frames, height, width):
        raise ValueError(
            f"alpha is {tuple(alpha.shape)}; this video needs {(n, 1, frames, height, width)}: one channel, same clip"
        )
    rows, frame = torch.arange(n), torch.randint(0, frames, (n,), generator=generator)
    picture, mask = video[rows, :, frame], alpha[rows, :, frame].gt(0.5).float()
    own = torch.rand(n, generator=generator) < how.subject_share
    other = (~own | mask.amax((1, 2, 3)).eq(0)).nonzero()[:, 0]
    mask[other] = how.generator(len(other), height, width, generator)
    if how.augmentation is not None:
        picture, mask = how.augmentation(picture, mask, generator)
    return torch.where(mask > 0.5, picture, GROUND), mask


def boxes(mask: Tensor) -> Tensor:
    """Boxes (N, 2, 2) around masks (N, 1, H, W), none empty: right and down, first and last edge in pixels. A
    pixel reaches 0.5 to each side of its number."""
    edges = []
    for axis in (2, 3):  # rows away: right; columns away: down
        held = mask[:, 0].gt(0.5).any(axis - 1).float()
        last = held.shape[1] - held.flip(1).argmax(1)
        edges.append(torch.stack([held.argmax(1) - 0.5, last - 0.5], 1))
    return torch.stack(edges, 1)
