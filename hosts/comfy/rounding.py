"""Latents that agree but for rounding."""

import torch
from torch import Tensor

# Of latents about 1 large: more than a VAE in bf16 rounds, less than a picture that looks otherwise.
_ROUNDING = 0.02


def alike(one: Tensor, other: Tensor) -> bool:
    """True for latents of the same pictures: a saved conditioning may come from another machine, whose VAE
    rounds otherwise."""
    return one.shape == other.shape and torch.allclose(one, other.to(one), rtol=0, atol=_ROUNDING)
