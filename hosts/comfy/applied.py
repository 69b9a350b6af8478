"""Models and conditioning that references were put on, whichever way they travel."""

from dataclasses import dataclass
from typing import Any

from comfy.model_patcher import ModelPatcher

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
