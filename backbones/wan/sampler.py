"""Euler steps along the rectified flow, on the schedule that ComfyUI calls "simple" (equal to it at any step
count)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .geometry import WAN_2_1

_TICKS = WAN_2_1.clock  # of the schedule a model was trained on, one to a timestep


def flow_sigmas(steps: int, shift: float) -> Tensor:
    """Noise levels of a run, 1 … 0, (steps + 1,): shift·t / (1 + (shift - 1)·t) (SD3, arXiv 2403.03206, eq.
    23)."""
    if steps < 1:
        raise ValueError(f"steps is {steps}; at least 1 is needed")
    if not 0 < shift < math.inf:
        raise ValueError(f"shift is {shift}; needed a number above 0")
    # The clock has so many ticks and "simple" picks whole ones, so the count is rounded as there.
    ticks = torch.tensor([_TICKS - int(i * _TICKS / steps) for i in range(steps)] + [0])
    clock = ticks.double() / _TICKS
    return (shift * clock / (1 + (shift - 1) * clock)).float()


@torch.no_grad()
def sample_euler(
    velocity: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    sigmas: Tensor,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Integrate dx/dσ = velocity(x, σ) from noise. velocity takes (latent, sigma scalar); noise (B, C, F, H,
    W)."""
    latent, steps = noise * sigmas[0], len(sigmas) - 1
    for i in range(steps):
        latent = latent + (sigmas[i + 1] - sigmas[i]) * velocity(latent, sigmas[i])
        if progress is not None:
            progress(i + 1, steps)
    return latent
