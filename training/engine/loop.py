"""Loop in which everything is trained, and its callbacks: average, log, save, and what a run brings."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ...core.ranks import ALONE, Ranks, average_gradients
from .learner import Learner
from .noise import Draws
from .state import RunState

logger = logging.getLogger(__name__)
SAVE_EVERY = 60.0  # seconds, between two lines of the log and between two states
Losses = dict[str, tuple[float, Tensor]]  # by name: the weight in what is minimised, and the value


class Callback(Protocol):
    """Work after every step: a preview, an average, a log, a state."""

    def after(self, done: int, losses: Losses) -> None:
        """`done` steps are taken; `losses` are those of the last one."""
        ...


@dataclass(frozen=True)
class Run:
    """Run of `steps`.

    rate    of a step: its factor of the optimiser's rate
    seed    sets the generators of a step. What it draws depends on its seed and the step alone where a run
            that goes on has to end in the same file
    losses  of a step. What is minimised is the sum of its parts, each by its weight
    """

    state: RunState
    learner: Learner
    steps: int
    rate: Callable[[int], float]
    seed: Callable[[Draws, int], None]
    losses: Callable[[Draws, int], Losses]
    ranks: Ranks = ALONE


def take_steps(run: Run, device: str = "cpu", callbacks: Sequence[Callback] = ()) -> None:
    """Take every step of a run that its state has not taken. `callbacks` come before the state is saved, in
    the process that writes files alone: what a kill kept from being made is made again."""
    learner, draws = run.learner, Draws.on(device)
    first = run.state.first_step(learner, draws.own, run.steps)
    after: list[Callback] = [_Averaging(learner)]
    if run.ranks.first:
        after += [*callbacks, _Log(run), _Save(run, draws)]
    for step in range(first, run.steps):
        run.seed(draws, step)
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
            losses = run.losses(draws, step)
        torch.stack([weight * value for weight, value in losses.values()]).sum().backward()
        average_gradients(learner.optimiser.parameters, run.ranks)
        learner.optimiser.step(learner.module, run.rate(step))
        for callback in after:
            callback.after(step + 1, losses)


class _Averaging:
    """Average of the weights, moved in every process."""

    def __init__(self, learner: Learner):
        self._average = learner.average

    def after(self, done: int, losses: Losses) -> None:
        self._average.update()


class _Every:
    """Clock of log and states: due once in SAVE_EVERY seconds, and after the last step."""

    def __init__(self, steps: int):
        self._steps, self._before = steps, time.monotonic()

    def due(self, done: int) -> bool:
        if time.monotonic() - self._before <= SAVE_EVERY and done < self._steps:
            return False
        self._before = time.monotonic()
        return True


class _Log:
    """A line with the mean of every part of the loss since the line before."""

    def __init__(self, run: Run):
        self._name, self._steps = run.state.files.name, run.steps
        self._every, self._seen = _Every(run.steps), []

    def after(self, done: int, losses: Losses) -> None:
        self._seen.append(torch.stack([value.detach() for _, value in losses.values()]))
        if self._every.due(done):
            means = zip(losses, torch.stack(self._seen).mean(0).tolist(), strict=True)
            told = ", ".join(f"{name} {value:.4f}" for name, value in means)
            logger.info("%s step %d of %d: %s", self._name, done, self._steps, told)
            self._seen = []


class _Save:
    """State of the run, saved now and then."""

    def __init__(self, run: Run, draws: Draws):
        self._run, self._draws, self._every = run, draws, _Every(run.steps)

    def after(self, done: int, losses: Losses) -> None:
        if self._every.due(done):
            self._run.state.save(self._run.learner, self._draws.own, done)
