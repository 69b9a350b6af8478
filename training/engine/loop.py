"""What the training of every adapter shares: a frozen DiT, and a loop in which only what is added to it learns."""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ..methods.saber.config import SAVE_EVERY
from .optimise import Optimiser, warm_hold_decay
from .state import RunFiles, RunState, weights_digest

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Models:
    """The frozen backbone: DiT, VAE and text encoder files."""

    dit: Path
    vae: Path
    text_encoder: Path

    def digests(self) -> dict[str, str]:
        """Of the weights of each, by name. ValueError where one is missing."""
        return {one.name: weights_digest(getattr(self, one.name), f"base {one.name}") for one in fields(self)}


def adapter_state(
    files: RunFiles, config: Any, models: Models, folder: Path, resume: bool, device: str, **besides: str
) -> RunState:
    """The state of an adapter's run, of which `config` and what is given besides says all but the base. Comes
    before any work; ValueError as `RunState` says."""
    made_by = {
        "config": asdict(config),
        "base": models.digests(),
        "device": torch.device(device).type,
        **besides,
    }
    return RunState(files, folder, made_by, resume)


@dataclass(frozen=True)
class AdapterRun:
    """One run of `steps`.

    losses  of a step, from a generator: its parts by name, each by its weight in what is minimised, which is their sum, and its value
            for the log. What a step draws depends on the seed and the step alone, so that a run that goes on ends in the same file
    after   is called with the number of steps done
    """

    state: RunState
    seed: int
    steps: int
    trainee: nn.Module
    optimiser: Optimiser
    losses: Callable[[int, Generator], dict[str, tuple[float, Tensor]]]
    after: Callable[[int], None] = lambda done: None


def train_adapter(run: AdapterRun, device: str = "cpu") -> None:
    """Take every step that its state has not taken. The averaged weights are the optimiser's."""
    generator = Generator(device)
    first = run.state.first_step(run.trainee, run.optimiser, generator, run.steps)
    shown, seen = time.monotonic(), []
    for step in range(first, run.steps):
        generator.manual_seed(run.seed * run.steps + step)
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
            parts = run.losses(step, generator)
        torch.stack([weight * value for weight, value in parts.values()]).sum().backward()
        run.optimiser.step(run.trainee, warm_hold_decay(step, run.steps))
        seen.append(torch.stack([value.detach() for _, value in parts.values()]))
        run.after(step + 1)  # before the state is saved: what a kill kept from being made is made again
        if time.monotonic() - shown > SAVE_EVERY or step + 1 == run.steps:
            means = zip(parts, torch.stack(seen).mean(0).tolist(), strict=True)
            told = ", ".join(f"{name} {value:.4f}" for name, value in means)
            logger.info("%s step %d of %d: %s", run.state.files.name, step + 1, run.steps, told)
            shown, seen = time.monotonic(), []
            run.state.save(run.trainee, run.optimiser, generator, step + 1)
