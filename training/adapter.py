"""What the training of every adapter shares: a frozen DiT, and a loop in which only what is added to it learns."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from .dit import SAVE_EVERY
from .optimise import Optimiser, load_run, save_run, warm_hold_decay

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Models:
    """The frozen backbone: DiT, VAE and text encoder files."""

    dit: Path
    vae: Path
    text_encoder: Path


@dataclass(frozen=True)
class AdapterRun:
    """One run of `steps`. Its state is kept as NAME-run.safetensors.

    losses  of a step, from a generator: its parts by name, each by its weight in what is minimised, which is their sum, and its value
            for the log. What a step draws depends on the seed and the step alone, so that a run that goes on ends in the same file
    after   is called with the number of steps done
    """

    name: str
    seed: int
    steps: int
    trainee: nn.Module
    optimiser: Optimiser
    losses: Callable[[int, Generator], dict[str, tuple[float, Tensor]]]
    after: Callable[[int], None] = lambda done: None


def train_adapter(run: AdapterRun, folder: Path, resume: bool = False, device: str = "cpu") -> None:
    """Take every step, or with `resume` those that the state in `folder` has not taken. The averaged weights are the optimiser's."""
    state, generator, first = folder / f"{run.name}-run.safetensors", Generator(device), 0
    if resume and state.exists():
        first = load_run(state, run.trainee, run.optimiser, generator)
    shown, seen = time.monotonic(), []
    for step in range(first, run.steps):
        generator.manual_seed(run.seed * run.steps + step)
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
            parts = run.losses(step, generator)
        torch.stack([weight * value for weight, value in parts.values()]).sum().backward()
        run.optimiser.step(run.trainee, warm_hold_decay(step, run.steps))
        seen.append(torch.stack([value.detach() for _, value in parts.values()]))
        if time.monotonic() - shown > SAVE_EVERY or step + 1 == run.steps:
            means = zip(parts, torch.stack(seen).mean(0).tolist(), strict=True)
            told = ", ".join(f"{name} {value:.4f}" for name, value in means)
            logger.info("%s step %d of %d: %s", run.name, step + 1, run.steps, told)
            shown, seen = time.monotonic(), []
            save_run(state, run.trainee, run.optimiser, generator, step + 1)
        run.after(step + 1)
