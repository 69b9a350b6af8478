"""The recipe of a model in ComfyUI: chosen by name, or as its weights say, and told to the user."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfy.model_patcher import ModelPatcher

from ...core.recipe import Recipe
from ...core.recipes import AUTO_RECIPE, choose_recipe, contradiction
from ...core.recognition import Recognised
from .files import file_recipe, recognised

logger = logging.getLogger(__name__)
_told: set[str] = set()
_MODEL_FILES = (".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class ChosenRecipe:
    """A recipe, for the user why it is this one, and lines of what the weights say against it."""

    recipe: Recipe
    why: str
    against: tuple[str, ...]


def recipe_of(name: str, models: Sequence[ModelPatcher], files: Sequence[str | None] = ()) -> ChosenRecipe:
    """The recipe of that name; for auto that of the first model whose weights say one. Experts that say
    another are told of. `files` are names of the models' files, for loaders that keep none. ValueError as
    `choose_recipe` says."""
    named = [*files, *[None] * len(models)]
    claims = [
        (file_recipe(model), recognised(model, file)) for model, file in zip(models, named, strict=False)
    ]
    first = next((claim for claim in claims if any(claim)), (None, None))
    recipe = choose_recipe(name, first[0], found=first[1])
    for trained, found in claims:  # of both experts, refused where neither name nor recipe can be right
        choose_recipe(recipe.name, trained, found=found)
    against = dict.fromkeys(contradiction(recipe.name, *claim) for claim in claims)
    why = f"recipe {recipe.name}{_reason(name, *first)}"
    if not any(first):
        _tell_untold(recipe)
    return ChosenRecipe(recipe, why, tuple(line for line in against if line))


def _reason(name: str, trained: str | None, found: Recognised | None) -> str:
    if name != AUTO_RECIPE or (trained is None and found is None):
        return ""
    return f", by {found.by}" if trained is None and found is not None else ", as the model's file says"


def _tell_untold(recipe: Recipe) -> None:
    """Log once per recipe that the model's file does not claim to be trained for it."""
    if recipe.name not in _told:
        _told.add(recipe.name)
        logger.info(
            "refvid: the model's file does not say it was trained for %s references; fine for public weights of "
            "that method, plain Wan will mostly ignore them",
            recipe.name,
        )


def loaded_file(graph: Mapping[str, Any] | None, node: str | None, name: str) -> str | None:
    """The file's name that the loader behind an input of a graph's node reads; None where that is not one.

    graph  nodes by id, each with its inputs: values, or links [id, output]
    name   of an input that takes a model
    """
    inputs, link, seen = {}, _inputs(graph, node).get(name), set()
    while isinstance(link, list) and link[0] not in seen:
        seen.add(link[0])
        inputs = _inputs(graph, link[0])
        link = inputs.get("model")  # of what changes a model: a LoRA, a shift
    files = [value for value in inputs.values() if isinstance(value, str) and value.endswith(_MODEL_FILES)]
    return files[0] if len(files) == 1 and not isinstance(link, list) else None


def _inputs(graph: Mapping[str, Any] | None, node: str | None) -> Mapping[str, Any]:
    return (graph or {}).get(str(node), {}).get("inputs", {})
