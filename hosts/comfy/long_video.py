"""One segment of a long video, ready to be sampled."""

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...core.frames import GROUP
from ...core.long_video import LongVideo
from .conditioning import Conditioning
from .frames import replace_frames
from .variants import latent_channels


def between(
    models: list[ModelPatcher],
    positive: Conditioning,
    negative: Conditioning,
    vae,
    plan: LongVideo,
    pair: Tensor,
    clock: str,
) -> tuple[list[ModelPatcher], Conditioning, Conditioning, dict[str, Tensor]]:
    """Two neighbouring key frames (2, H, W, 3) in the segment between them -> models, positive, negative, latent. ValueError for pictures
    that are no whole number of tokens, and as `replace_frames` says."""
    stride = vae.spacial_compression_encode()
    height, width = pair.shape[1:3]
    if height % (2 * stride) or width % (2 * stride):
        raise ValueError(f"key frames are {width}x{height} pixels; needed multiples of {2 * stride}")
    grid = ((plan.segment - 1) // GROUP + 1, height // stride, width // stride)
    empty = {"samples": torch.zeros(1, latent_channels(models[0]), *grid)}
    return replace_frames(models, positive, negative, vae, empty, plan.given(pair, clock))
