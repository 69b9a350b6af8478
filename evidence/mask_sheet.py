"""Sheet of random masks and augmented references, for the docs: `python -m refvid.evidence.mask_sheet
FILE.jpg`."""

import sys

import torch
from torch import Generator, Tensor

from ..demo import casting, world
from ..drawing.sheet import contact_sheet
from ..training.masks.generator import MODES, MaskGenerator
from ..training.masks.references import MaskedFrames, masked_frames
from ..training.masks.shapes import FAMILIES

COLUMNS, SIZE = 10, 64


def sheet(path: str) -> None:
    """Draw a row per family and interval with the shares of the picture, and the mixture in both modes. Below
    stand references of toys: subjects in place, subjects moved, random masks moved."""
    generator = Generator().manual_seed(0)
    rows, captions = [], []
    makers = {
        f"{family}, {low:.0%} to {high:.0%}": MaskGenerator((family,), ((1.0, (low, high)),))
        for family in FAMILIES
        for low, high in ((0.0, 0.1), (0.1, 0.5), (0.5, 1.0))
    }
    makers |= {f"mixture, {mode}": MaskGenerator(mode=mode) for mode in MODES}
    for name, maker in makers.items():
        masks = maker(COLUMNS, SIZE, SIZE, generator)
        rows.append([_shown(mask) for mask in masks])
        captions.append(f"{name}:  " + "  ".join(f"{share:.3f}" for share in masks.mean((1, 2, 3)).tolist()))
    for caption, how in (
        ("subjects in place", MaskedFrames(subject_share=1.0, augmentation=None)),
        ("subjects, augmented", MaskedFrames(subject_share=1.0)),
        ("random masks, augmented", MaskedFrames(subject_share=0.0)),
    ):
        toys = Generator().manual_seed(0)
        video, alpha = world.render(
            casting.sample_identities(COLUMNS, toys), casting.sample_scenes(COLUMNS, toys), size=SIZE
        )
        rows.append(list(masked_frames(video, alpha, generator, how)[0]))
        captions.append(caption)
    contact_sheet(rows, [""] * COLUMNS, path, captions, scale=1)


def _shown(mask: Tensor) -> Tensor:
    """A mask (1, H, W) as a picture (3, H, W), light on dark."""
    return torch.where(mask > 0.5, 0.9, -0.9).expand(3, -1, -1)


if __name__ == "__main__":
    sheet(sys.argv[1])
