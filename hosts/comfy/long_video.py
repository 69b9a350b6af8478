"""Long video in ComfyUI: one segment, ready to be sampled."""

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...core.long_video import LongVideo
from .families import wan
from .frames import replace_frames
from .wire import Conditioning


def between(
    models: list[ModelPatcher],
    positive: Conditioning,
    negative: Conditioning,
    vae,
    plan: LongVideo,
    pair: Tensor,
    clock: str,
) -> tuple[list[ModelPatcher], Conditioning, Conditioning, dict[str, Tensor]]:
    """Put two neighbouring key frames (2, H, W, 3) on the segment between them. -> models, positive,
    negative, latent.

    ValueError for pictures that are no whole number of tokens, for a model that is no Wan, and as
    `replace_frames` says.
    """
    wan.require(models[0])
    geometry, (height, width) = wan.geometry(models[0]), pair.shape[1:3]
    if height % geometry.token or width % geometry.token:
        raise ValueError(f"key frames are {width}x{height} pixels; needed multiples of {geometry.token}")
    grid = geometry.frames(plan.segment), height // geometry.stride, width // geometry.stride
    empty = {"samples": torch.zeros(1, geometry.channels, *grid)}
    return replace_frames(models, positive, negative, vae, empty, plan.given(pair, clock))
