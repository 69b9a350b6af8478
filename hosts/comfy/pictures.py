"""IMAGE and MASK to references."""

import torch
from torch import Tensor

from ...core.recipes import GREY
from ...core.references import Reference, make_reference

MASK_SENSES = ("subject", "background")
PLACEHOLDER = (64, 64)  # Load Image's mask for a picture without transparency: this size, all zero


def make_references(image: Tensor, mask: Tensor | None, marks: str, strength: float) -> list[Reference]:
    """image (K, H, W, 3 or 4), mask (K or 1, H, W) of the subject or the background -> K references."""
    masks = None if mask is None else _subject_masks(image, mask, marks)
    return [
        make_reference(picture, None if masks is None else masks[index % len(masks)], strength)
        for index, picture in enumerate(image)
    ]


def _subject_masks(image: Tensor, mask: Tensor, marks: str) -> Tensor | None:
    if mask.ndim == 2:
        mask = mask[None]
    if len(mask) not in (1, len(image)):
        raise ValueError(
            f"mask holds {len(mask)} masks for {len(image)} pictures; give one, or one per picture"
        )
    if marks == "subject":
        return mask
    if tuple(mask.shape[1:]) == PLACEHOLDER and not mask.any():
        return None
    return 1 - mask


def preview(references: list[Reference]) -> Tensor:
    """(K, H, W, 3): the pictures with their ground filled grey; they come from one batch, so sizes agree."""
    return torch.stack([r.picture * r.mask[..., None] + GREY * (1 - r.mask[..., None]) for r in references])
