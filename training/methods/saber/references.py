"""References of a clip of people: pictures of its own, masked and moved (Saber, arXiv 2512.06905, §3.1)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator, Tensor

from ....data.fitting import fitted
from ....data.index import Clip
from ....data.prepared import Prepared
from ....data.run_lengths import good_masks
from ...masks.generator import MaskGenerator
from ...masks.references import Augmentation, MaskedFrames, masked_frames
from .config import SUBJECT_SHARES, ReferenceSettings


def draw_references(
    prepared: Prepared, clip: Clip, window: int, count: int, settings: ReferenceSettings, generator: Generator
) -> tuple[Tensor, Tensor]:
    """References of a clip: pictures (count, 3, H, W) in [-1, 1], grey outside of their masks, and the masks
    (count, H, W) of 0 and 1, none empty."""
    pool = prepared.pool(clip)
    shown = pool if settings.moment == "clip" else _within(pool, prepared.span(clip, window))
    masks = good_masks(clip)
    alpha = np.stack([_alpha(masks.get(number), picture.shape) for number, picture in shown])
    film = torch.from_numpy(np.stack([picture for _, picture in shown])).movedim(-1, 0).float() / 127.5 - 1
    pictures, kept = masked_frames(
        film.expand(count, -1, -1, -1, -1),  # (count, 3, P, H, W): each draws one of the P pictures
        torch.from_numpy(alpha).expand(count, 1, -1, -1, -1),
        generator,
        _masked_by(settings),
    )
    return pictures, kept[:, 0]


def _within(pool: Sequence[tuple[int, np.ndarray]], span: tuple[int, int]) -> list[tuple[int, np.ndarray]]:
    """Pictures of the pool that a window shows; where it shows none, the one nearest to its middle."""
    first, last = span
    shown = [(number, picture) for number, picture in pool if first <= number <= last]
    return shown or [min(pool, key=lambda one: abs(2 * one[0] - first - last))]


def _alpha(mask: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """The subject's mask (H, W) at a picture's size; nothing where it is not known."""
    height, width = shape[:2]
    if mask is None:
        return np.zeros((height, width), np.float32)
    return fitted(mask[:, :, None] * np.uint8(255), width, height).reshape(height, width) / np.float32(255)


def _masked_by(settings: ReferenceSettings) -> MaskedFrames:
    share = SUBJECT_SHARES[settings.masks]
    return MaskedFrames(
        MaskGenerator(mode=settings.ratio_mode),
        settings.subject_share if share is None else share,
        Augmentation(flip=settings.flip) if settings.augment else None,
    )
