"""An instruction put onto a source video (SAMA): the model, its conditioning and the latent of the edited
video."""

from dataclasses import dataclass

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....core.controls import CROP
from ....core.editing import PREFIX, Windows, edit_prompt, padded
from ....core.fit import fitted_pictures, three_colours, whole_tokens
from ....core.recipe import Recipe
from ....core.recipes import AUTO_RECIPE, EDITING, choose_recipe, recipe_for
from ....core.references import Reference
from .. import wire
from ..families import wan
from ..files import file_recipe, recognised
from ..install import install
from ..references import apply_references
from ..wire import Conditioning
from .modules import modules_of, require_modules
from .rider import Source, attach


@dataclass(frozen=True)
class Setup:
    """Models and conditioning for a sampler, and the number of pictures of the source: the rest of the result
    is padding."""

    model: ModelPatcher
    positive: Conditioning
    negative: Conditioning
    latent: dict[str, Tensor]
    frames: int


def instruction_edit(
    model: ModelPatcher, clip, vae, source: Tensor, instruction: str, references: list[Reference],
    windows: Windows, recipe_name: str = AUTO_RECIPE, fit: str = CROP,
) -> Setup:  # fmt: skip
    """Set up the edit of a source (F, H, W, 3), fitted to the nearest size of whole tokens (`core.fit`).
    Everything that may be refused is refused before anything is encoded."""
    wan.require(model)
    wan.require_vae(vae, model)
    geometry = wan.geometry(model)
    height, width = whole_tokens(source.shape[1], source.shape[2], geometry.token)
    prompt, pictures = (
        edit_prompt(instruction),
        padded(fitted_pictures(three_colours(source), height, width, fit), geometry),
    )
    recipe = _recipe(recipe_name, model)
    _require_plain(model, recipe)
    encoded = vae.encode(pictures)
    latent = {"samples": torch.zeros_like(encoded)}
    positive, negative = (_words(clip, text) for text in (prompt, PREFIX))
    patched = with_context_windows(install(model, Source), windows, encoded.shape[2])
    positive, negative = (attach(words, encoded, recipe) for words in (positive, negative))
    out = apply_references(patched, None, positive, negative, vae, latent, references, recipe)
    return Setup(out.model, out.positive, out.negative, latent, len(source))


def _recipe(name: str, model: ModelPatcher) -> Recipe:
    """The recipe by name; for auto sama where the model has its modules, else what its file says."""
    return choose_recipe(name, recipe_for(modules_of(model), file_recipe(model)), EDITING, recognised(model))


def _require_plain(model: ModelPatcher, recipe: Recipe) -> None:
    require_modules(model, recipe)
    if wan.input_channels(model) != wan.geometry(model).channels:
        raise ValueError(
            f"model takes {wan.input_channels(model)} input channels (image-to-video): editing needs a "
            "text-to-video model"
        )
    if wan.takes_hints(model):
        raise ValueError(
            "model is a VACE model, which edits by its own control video: connect WanVaceToVideo, or a "
            "text-to-video model here"
        )


def _words(clip, text: str) -> Conditioning:
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def with_context_windows(model: ModelPatcher, windows: Windows, frames: int) -> ModelPatcher:
    """A model with core's context windows, where the video is longer than one. Windows that are on the model
    already stay."""
    if frames <= windows.frames or wire.WINDOWS in model.model_options:
        return model
    import comfy.context_windows as core  # newer than the rest of what is needed

    model = model.clone()
    model.model_options[wire.WINDOWS] = core.IndexListContextHandler(
        context_schedule=core.get_matching_context_schedule(core.ContextSchedules.STATIC_STANDARD),
        fuse_method=core.get_matching_fuse_method(core.ContextFuseMethods.PYRAMID),
        context_length=windows.frames,
        context_overlap=windows.shared,
        dim=2,
    )
    core.create_prepare_sampling_wrapper(model)
    return model
