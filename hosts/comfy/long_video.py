"""Long video in ComfyUI: one segment, ready to be sampled."""

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...core.fit import whole_tokens
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
    """Put two neighbouring key frames (2, H, W, 3) on the segment between them, in the nearest size of whole
    tokens (`core.fit`). -> models, positive, negative, latent.

    ValueError for a model that is no Wan, and as `replace_frames` says.
    """
    wan.require(models[0])
    geometry = wan.geometry(models[0])
    height, width = whole_tokens(pair.shape[1], pair.shape[2], geometry.token)
    grid = geometry.frames(plan.segment), height // geometry.stride, width // geometry.stride
    empty = {"samples": torch.zeros(1, geometry.channels, *grid)}
    return replace_frames(models, positive, negative, vae, empty, plan.given(pair, clock))
