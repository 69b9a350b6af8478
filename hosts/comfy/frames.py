"""Pictures onto frames of a video, for a model that is to make the others."""

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...core.frames import Placed, given_frames
from . import sidecar
from .apply import video_latent
from .conditioning import Conditioning, attach_frames
from .families import wan
from .halves import FRAMES


def length_of(latent: dict[str, Tensor], model: ModelPatcher) -> int:
    """Pictures of a video latent; ValueError where it is not a video's, and for a model that is no Wan."""
    wan.require(model)
    return wan.geometry(model).pictures(video_latent(latent, model).shape[2])


def replace_frames(
    models: list[ModelPatcher],
    positive: Conditioning,
    negative: Conditioning,
    vae,
    latent: dict[str, Tensor],
    placed: Placed,
) -> tuple[list[ModelPatcher], Conditioning, Conditioning, dict[str, Tensor]]:
    """Pictures onto the video. -> models, positive, negative, and the latent with the pictures in it, where a run that begins below full
    noise finds them. Everything that may be refused is refused before anything is encoded."""
    for given, what in zip(models, ("model", "low_noise_model"), strict=False):
        wan.require(given, what)
        _require_frames(given, what, placed.clock)
    wan.require_vae(vae, models[0])
    samples = video_latent(latent, models[0])
    made = given_frames(placed, vae.encode, torch.zeros_like(samples[:1]), wan.geometry(models[0]))
    return (
        [sidecar.install(model, FRAMES) for model in models],
        attach_frames(positive, made),
        attach_frames(negative, made),
        {**latent, "samples": made.on(samples)},
    )


def _require_frames(model: ModelPatcher, what: str, clock: str) -> None:
    if wan.input_channels(model) != wan.geometry(model).channels:
        raise ValueError(
            f"{what} takes {wan.input_channels(model)} input channels: image-to-video weights are given their frames by their own nodes "
            "(WanImageToVideo, WanFirstLastFrameToVideo, WanFunInpaintToVideo)"
        )
    if clock == "own" and wan.makes_one_clock(model):
        raise ValueError(
            f"clock is own, but {what} is a VACE model, whose forward has one timestep for the whole video; choose shared, or give the "
            "frames to WanVaceToVideo"
        )
