"""References from ComfyUI's IMAGE and MASK."""

import comfy.utils
import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.controls import CROP, Controls
from ...core.geometry import Geometry
from ...core.recipe import GREY, Recipe
from ...core.references import Reference, make_reference, prepare
from .subject import MARKS_BACKGROUND, MARKS_SUBJECT

# Load Image's mask for a picture without transparency has this size and is all zero, whatever the picture's.
PLACEHOLDER = (64, 64)
THUMBNAIL = 512
MOST_REFERENCES = 8


def make_references(
    image: Tensor, mask: Tensor | None, marks: str, controls: Controls, region: Tensor | None = None,
    fit: str = CROP,
) -> list[Reference]:  # fmt: skip
    """References (K of them) from a batch of pictures, with the same controls and region.

    image   (K, H, W, 3 or 4) in [0, 1]
    mask    (K or 1, H', W'); `marks` says whether it is of the subject or of the background
    region  (1 or frames, H'', W'') of the video, where they act
    fit     of `core.fit`, lays the mask over the picture and the region over the video

    ValueError for a film: more pictures than references can act.
    """
    if len(image) > MOST_REFERENCES:
        raise ValueError(
            f"image holds {len(image)} pictures; at most {MOST_REFERENCES} references act. For a film of one subject "
            "use Encode Slot Identity; else choose pictures with ImageFromBatch"
        )
    masks = None if mask is None else _subject_masks(image, mask, marks)
    return [
        make_reference(
            picture, None if masks is None else masks[index % len(masks)], controls, region, "image", fit
        )
        for index, picture in enumerate(image)
    ]


def _subject_masks(image: Tensor, mask: Tensor, marks: str) -> Tensor | None:
    if mask.ndim == 2:
        mask = mask[None]
    if len(mask) not in (1, len(image)):
        raise ValueError(
            f"mask is a batch of {len(mask)}, image one of {len(image)}; give one mask, or one for each "
            "picture"
        )
    if is_placeholder(mask) and (marks == MARKS_BACKGROUND or tuple(image.shape[1:3]) != PLACEHOLDER):
        return None
    return mask if marks == MARKS_SUBJECT else 1 - mask


def is_placeholder(mask: Tensor) -> bool:
    """True for Load Image's mask of a picture without transparency."""
    return tuple(mask.shape[1:]) == PLACEHOLDER and not mask.any()


def preview(references: list[Reference]) -> Tensor:
    """Pictures (K, H, W, 3) with their background grey. They come from one batch, so sizes agree."""
    return torch.stack([r.picture * r.mask[..., None] + GREY * (1 - r.mask[..., None]) for r in references])


def thumbnails(pictures: Tensor) -> Tensor:
    """Pictures (K, H, W, 3) no longer than `THUMBNAIL` pixels on a side, to be shown on a node."""
    scale = THUMBNAIL / max(pictures.shape[1:3])
    if scale >= 1:
        return pictures
    sides = [max(1, round(side * scale)) for side in pictures.shape[1:3]]
    return (
        F.interpolate(pictures.movedim(-1, 1), sides, mode="bilinear", antialias=True)
        .movedim(1, -1)
        .clamp(0, 1)
    )


def encoded(
    references: list[Reference], recipe: Recipe, vae, samples: Tensor, geometry: Geometry
) -> tuple[list[Reference], tuple[Tensor, ...]]:
    """References as their recipe has them beside a video's latent (B, C, F, h, w), and their own latents, one
    single-frame clip each."""
    height, width = (side * geometry.stride for side in samples.shape[-2:])
    prepared = [prepare(r, recipe, height, width, geometry.token) for r in references]
    bar, latents = comfy.utils.ProgressBar(len(prepared)), []
    for reference in prepared:
        latents.append(vae.encode(reference.picture[None]))
        bar.update(1)
    return prepared, tuple(latents)
