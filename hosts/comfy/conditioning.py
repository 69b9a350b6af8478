"""References inside ComfyUI's CONDITIONING, as plain tensors, lists of tensors and strings, so that core's nodes for
saving, combining and areas keep working. Lists that come in are never changed: other nodes hold them too."""

from typing import Any

import torch
from torch import Tensor

from ...core.recipes import Recipe

Conditioning = list[list[Any]]

RECIPE = "refvid_recipe"  # str
LATENTS = "refvid_latents"  # list of (1, C, 1, h, w), as the VAE made them
MASKS = "refvid_masks"  # list of (H, W) in [0, 1], prepared
STRENGTHS = "refvid_strengths"  # (K,) float64
BLANK_IMAGE = "refvid_blank_image"  # True: the image features of an image-to-video model are zero

REFERENCE_KEYS = (RECIPE, LATENTS, MASKS, STRENGTHS)


def with_values(conditioning: Conditioning, values: dict[str, Any]) -> Conditioning:
    """A copy whose entries carry these values too."""
    return [[text, {**options, **values}] for text, options in conditioning]


def attach(
    conditioning: Conditioning,
    recipe: Recipe,
    latents: list[Tensor],
    masks: list[Tensor],
    strengths: list[float],
) -> Conditioning:
    """A copy that carries these references after those it has. ValueError on another recipe, or too many."""
    return [[text, _appended(options, recipe, latents, masks, strengths)] for text, options in conditioning]


def strip(conditioning: Conditioning) -> Conditioning:
    """A copy without references."""
    return [
        [text, {k: v for k, v in options.items() if k not in REFERENCE_KEYS}]
        for text, options in conditioning
    ]


def _appended(
    options: dict, recipe: Recipe, latents: list[Tensor], masks: list[Tensor], strengths: list[float]
) -> dict:
    present = options.get(RECIPE, recipe.name)
    if present != recipe.name:
        raise ValueError(
            f"recipe is {recipe.name}, but the conditioning carries references for {present}: use one recipe"
        )
    joined = [*options.get(LATENTS, ()), *latents]
    if len(joined) > recipe.max_references:
        raise ValueError(
            f"references: with those already in the conditioning there are {len(joined)}, the recipe {recipe.name} "
            f"takes at most {recipe.max_references}"
        )
    values = torch.tensor(strengths, dtype=torch.float64)
    return {
        **options,
        RECIPE: recipe.name,
        LATENTS: joined,
        MASKS: [*options.get(MASKS, ()), *masks],
        STRENGTHS: torch.cat([options[STRENGTHS], values]) if STRENGTHS in options else values,
    }
