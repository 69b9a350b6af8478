"""Models and conditioning that references were put on, whichever way they travel."""

from dataclasses import dataclass
from typing import Any

from comfy.model_patcher import ModelPatcher

from ...core.recipe import Recipe
from .evaluation import Options, recipe_carried
from .wire import Conditioning


@dataclass(frozen=True)
class Applied:
    """The result of `apply_references`: patched models, and conditioning that carries the references.

    latent  the one to sample: with frames more in front where the recipe has its references there
    trim    latent frames to cut off its start after sampling
    lines   for the user, on the recipe and what is said against it
    """

    model: ModelPatcher
    low_noise_model: ModelPatcher | None
    positive: Conditioning
    negative: Conditioning
    latent: dict[str, Any]
    trim: int = 0
    lines: tuple[str, ...] = ()


def require_room(options: Options, recipe: Recipe, total: int) -> None:
    """ValueError where a condition carries references for another recipe, or where `total`, with those that
    it carries, are too many."""
    present = recipe_carried(options) or recipe.name
    if present != recipe.name:
        raise ValueError(
            f"recipe is {recipe.name}, but the conditioning carries references, or a source video, for "
            f"{present}: use one recipe"
        )
    if total > recipe.max_references:
        raise ValueError(
            f"references: with those already in the conditioning there are {total}, the recipe {recipe.name} "
            f"takes at most {recipe.max_references}"
        )
