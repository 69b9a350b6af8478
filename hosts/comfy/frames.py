"""Pictures onto frames of a video, for a model that is to make the others."""

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...core.frames import GROUP, Placed, given_frames
from . import sidecar
from .apply import video_latent
from .conditioning import Conditioning, attach_frames
from .halves import FRAMES
from .variants import input_channels, latent_channels, makes_one_clock, require_vae, require_wan


def length_of(latent: dict[str, Tensor], model: ModelPatcher) -> int:
    """Pictures of a video latent; ValueError where it is not a video's."""
    return GROUP * (video_latent(latent, model).shape[2] - 1) + 1


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
        require_wan(given, what)
        _require_frames(given, what, placed.clock)
    require_vae(vae, models[0])
    samples = video_latent(latent, models[0])
    made = given_frames(placed, vae.encode, torch.zeros_like(samples[:1]), vae.spacial_compression_encode())
    return (
        [sidecar.install(model, FRAMES) for model in models],
        attach_frames(positive, made),
        attach_frames(negative, made),
        {**latent, "samples": made.on(samples)},
    )


def _require_frames(model: ModelPatcher, what: str, clock: str) -> None:
    if input_channels(model) != latent_channels(model):
        raise ValueError(
            f"{what} takes {input_channels(model)} input channels: image-to-video weights are given their frames by their own nodes "
            "(WanImageToVideo, WanFirstLastFrameToVideo, WanFunInpaintToVideo)"
        )
    if clock == "own" and makes_one_clock(model):
        raise ValueError(
            f"clock is own, but {what} is a VACE model, whose forward has one timestep for the whole video; choose shared, or give the "
            "frames to WanVaceToVideo"
        )
