"""Image-to-video weights as backbones of references: their channels beside the latent are an unknown grey
video."""

from dataclasses import dataclass

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...core.geometry import Geometry
from ...core.recipe import Recipe
from ...core.references import reference_input
from . import wire
from .evaluation import Options
from .families import wan
from .wire import Conditioning


@dataclass(frozen=True)
class AttachedImage:
    """The mark of a condition that carries a grey video. blank: the model's image features are zero."""

    blank: bool


def on_grey(
    model: ModelPatcher, sides: tuple[Conditioning, Conditioning], vae, samples: Tensor
) -> tuple[Conditioning, Conditioning]:
    """Conditions of a model, for a masked input with a grey video of the latent's size; else as they are.
    Wan-I2V pads with grey, Saber draws it grey. ValueError where they carry a start image."""
    geometry = wan.geometry(model)
    if wan.input_channels(model) == geometry.channels:
        return sides
    given = [options for side in sides for _, options in side if wire.read(AttachedImage, options) is None]
    if any("concat_latent_image" in options for options in given):
        raise ValueError(
            "positive or negative carries a start image (image-to-video) together with references for a "
            f"{geometry.masked_channels}-channel model: no recipe defines that yet. Leave one of them out"
        )
    mark = wire.pack(AttachedImage(wan.takes_image_features(model)))
    blank = _grey_video(vae, samples, geometry) | mark
    positive, negative = (
        [[text, wire.without(AttachedImage, options) | blank] for text, options in side] for side in sides
    )
    return positive, negative


def image_features_on_grey(cond: Options, model: ModelPatcher) -> Options:
    """Image features of zero, for a condition without any of its own, beside a grey video."""
    image = wire.read(AttachedImage, cond)
    wanted = image is not None and image.blank and "clip_vision_output" not in cond
    return wan.zero_image_features() if wanted and wan.takes_image_features(model) else {}


def require_input(models: list[ModelPatcher], recipe: Recipe) -> None:
    """ValueError unless the recipe can feed every model's patch embedding."""
    channels = [wan.input_channels(model) for model in models]
    if len(set(channels)) > 1:
        raise ValueError(
            "low_noise_model takes other input channels than model; connect the two experts of one Wan 2.2 "
            "model"
        )
    geometry = wan.geometry(models[0])
    latent = torch.zeros(1, geometry.channels, 1, geometry.patch, geometry.patch)
    reference_input(latent, torch.zeros(geometry.token, geometry.token), channels[0], recipe, geometry)


def _grey_video(vae, samples: Tensor, geometry: Geometry) -> dict[str, Tensor]:
    """Condition channels of the video itself: an unknown grey video, as Wan-I2V pads."""
    return {
        "concat_latent_image": grey_latent(vae, samples, geometry),
        "concat_mask": torch.ones(1, 1, *samples.shape[2:]),
    }


def grey_latent(vae, samples: Tensor, geometry: Geometry) -> Tensor:
    """The latent (1, C, F, h, w) of a grey video of the size of these samples."""
    (frames, rows, columns), stride = samples.shape[2:], geometry.stride
    return vae.encode(torch.full((geometry.pictures(frames), rows * stride, columns * stride, 3), 0.5))
