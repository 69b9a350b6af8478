"""References onto a model and its conditioning: check everything, then encode, then attach."""

import logging
from dataclasses import dataclass

import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...core.checkpoint import read_metadata
from ...core.geometry import Geometry
from ...core.reach import reach
from ...core.recipes import AUTO, TRAINED_FOR, Recipe, choose_recipe
from ...core.references import Reference, active, prepare, reference_input
from ...kernels.paths import AUTO as ANY_ATTENTION
from ...kernels.paths import attention_asked
from . import sidecar
from .conditioning import AS_RECIPE, BLANK_IMAGE, ZERO, Attached, Conditioning, attach, with_values
from .families import wan
from .halves import REFERENCES

logger = logging.getLogger(__name__)
LORA_METADATA = "lora_metadata"  # a model's attachment by core's LoRA loaders; older ComfyUIs keep none
_told: set[str] = set()


@dataclass(frozen=True)
class Applied:
    """What ApplyReferences gives back."""

    model: ModelPatcher
    low_noise_model: ModelPatcher | None
    positive: Conditioning
    negative: Conditioning


def apply_references(
    model: ModelPatcher,
    low_noise_model: ModelPatcher | None,
    positive: Conditioning,
    negative: Conditioning,
    vae,
    latent: dict[str, Tensor],
    references: list[Reference],
    recipe: str | Recipe = AUTO,
    null_pass: str = AS_RECIPE,
    attention: str = ANY_ATTENTION,
) -> Applied:
    """Everything that may be refused is refused before anything is encoded. Without an active reference the inputs
    come back as they are, so that nothing of the graph changes. `null_pass` (`conditioning.NULL_PASSES`) is what the
    negative has of them, and what the null pass of our guiders has, where it is not the recipe's to say."""
    models = [model] if low_noise_model is None else [model, low_noise_model]
    for given, what in zip(models, ("model", "low_noise_model"), strict=False):
        wan.require(given, what)
    wan.require_vae(vae, model)
    attention_asked(attention)
    recipe = recipe if isinstance(recipe, Recipe) else _recipe(recipe, model)
    references = active(references, recipe)
    if not references:
        return Applied(model, low_noise_model, positive, negative)
    samples = video_latent(latent, model)
    frames, rows, columns = samples.shape[2:]
    geometry = wan.geometry(model)
    cells = [reach(r.controls.frames, r.region, (frames, rows, columns), geometry) for r in references]
    _require_input(models, recipe)
    if wan.input_channels(model) != geometry.channels:
        _require_no_start_image(positive, negative, geometry)
        blank = {**_grey_video(vae, samples, geometry), BLANK_IMAGE: wan.takes_image_features(model)}
        positive, negative = with_values(positive, blank), with_values(negative, blank)
    prepared, latents = _encoded(references, recipe, vae, samples, geometry)
    attached = Attached(latents, [r.mask for r in prepared], [r.controls for r in prepared], cells)
    values = (recipe, attached, attention)
    null = recipe.null_pass if null_pass == AS_RECIPE else null_pass
    if null != "drop":
        negative = attach(negative, *values)
    if null == "zero":
        negative = with_values(negative, {ZERO: True})
    return Applied(
        sidecar.install(model, REFERENCES),
        None if low_noise_model is None else sidecar.install(low_noise_model, REFERENCES),
        attach(positive, *values, null_pass),
        negative,
    )


def _recipe(name: str, model: ModelPatcher) -> Recipe:
    """The recipe to use; says once per recipe where the model's file does not claim to be trained for it."""
    trained = file_recipe(model)
    recipe = choose_recipe(name, trained)
    if trained is None and recipe.name not in _told:
        _told.add(recipe.name)
        logger.info(
            "refvid: the model's file does not say it was trained for %s references; fine for public weights of that "
            "method, plain Wan will mostly ignore them",
            recipe.name,
        )
    return recipe


def file_recipe(model: ModelPatcher) -> str | None:
    """The recipe in the metadata of the last LoRA that core's loader put on the model, else of the file it
    was read from by a loader of core's or ours."""
    lora = (model.get_attachment(LORA_METADATA) or {}).get(TRAINED_FOR)
    return lora or _own_recipe(model)


def _own_recipe(model: ModelPatcher) -> str | None:
    source = getattr(model, "cached_patcher_init", None)
    path = source[1][0] if source and source[1] else None
    if not isinstance(path, str) or not path.endswith(".safetensors"):
        return None
    try:
        return read_metadata(path, "model").get(TRAINED_FOR)
    except ValueError as error:
        logger.info("refvid: cannot read the metadata of the model's file (%s)", error)
        return None


def video_latent(latent: dict[str, Tensor], model: ModelPatcher) -> Tensor:
    samples = latent["samples"]
    if getattr(samples, "is_nested", False) or samples.ndim != 5:
        raise ValueError(
            "latent is not a video's: connect EmptyHunyuanLatentVideo (Wan22ImageToVideoLatent for TI2V-5B)"
        )
    (rows, columns), geometry = samples.shape[-2:], wan.geometry(model)
    patch = geometry.patch
    if rows % patch or columns % patch or not samples.numel():
        raise ValueError(
            f"latent is {columns}x{rows} cells; a token is {patch}x{patch}, so both must be multiples of {patch}: use sizes "
            f"in steps of {geometry.token}"
        )
    if samples.shape[1] != geometry.channels:
        raise ValueError(
            f"latent has {samples.shape[1]} channels, the model makes {geometry.channels}; connect the empty latent "
            "node of its family (Wan22ImageToVideoLatent for TI2V-5B)"
        )
    return samples


def _require_input(models: list[ModelPatcher], recipe: Recipe) -> None:
    """The recipe can feed every model's patch embedding."""
    channels = [wan.input_channels(model) for model in models]
    if len(set(channels)) > 1:
        raise ValueError(
            "low_noise_model takes other input channels than model; connect the two experts of one Wan 2.2 model"
        )
    geometry = wan.geometry(models[0])
    latent = torch.zeros(1, geometry.channels, 1, geometry.patch, geometry.patch)
    reference_input(latent, torch.zeros(geometry.token, geometry.token), channels[0], recipe, geometry)


def _require_no_start_image(positive: Conditioning, negative: Conditioning, geometry: Geometry) -> None:
    given = [options for _, options in [*positive, *negative] if BLANK_IMAGE not in options]
    if any("concat_latent_image" in options for options in given):
        raise ValueError(
            "positive or negative carries a start image (image-to-video) together with references for a "
            f"{geometry.masked_channels}-channel model: no recipe defines that yet. Leave one of them out"
        )


def _grey_video(vae, samples: Tensor, geometry: Geometry) -> dict[str, Tensor]:
    """The condition part of the video itself: an unknown grey video, as Wan-I2V pads (Saber draws it grey)."""
    (frames, rows, columns), stride = samples.shape[2:], geometry.stride
    grey = torch.full((geometry.pictures(frames), rows * stride, columns * stride, 3), 0.5)
    return {
        "concat_latent_image": vae.encode(grey),
        "concat_mask": torch.ones(1, 1, frames, rows, columns),
    }


def _encoded(
    references: list[Reference], recipe: Recipe, vae, samples: Tensor, geometry: Geometry
) -> tuple[list[Reference], list[Tensor]]:
    """Prepared references and their latents, one single-frame clip each."""
    height, width = (side * geometry.stride for side in samples.shape[-2:])
    prepared = [prepare(r, recipe, height, width, geometry.token) for r in references]
    bar, latents = comfy.utils.ProgressBar(len(prepared)), []
    for reference in prepared:
        latents.append(vae.encode(reference.picture[None]))
        bar.update(1)
    return prepared, latents
