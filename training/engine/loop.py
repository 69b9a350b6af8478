"""Loop in which everything is trained, and its callbacks: average, log, save, and what a run brings."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ...core.ranks import ALONE, Ranks, average_gradients
from .failures import Watch, all_finite, poison
from .learner import Learner
from .noise import Draws
from .precision import mixed
from .state import RunState

logger = logging.getLogger(__name__)
SAVE_EVERY = 60.0  # seconds, between two lines of the log and between two states


@dataclass(frozen=True)
class Losses:
    """Losses of a batch of B clips.

    parts   by name: the weight in what is minimised, and the value
    clips   names of the batch's clips, where the method tells them
    levels  (B,) their noise levels, where it tells them
    each    (B,) their losses, where it tells them
    """

    parts: dict[str, tuple[float, Tensor]]
    clips: tuple[str, ...] = ()
    levels: Tensor | None = None
    each: Tensor | None = None

    def total(self) -> Tensor:
        """Sum of the parts, each by its weight: what is minimised."""
        return torch.stack([weight * value for weight, value in self.parts.values()]).sum()

    def detached(self) -> "Losses":
        """Values alone, without the graph that they came from."""
        parts = {name: (weight, value.detach()) for name, (weight, value) in self.parts.items()}
        return replace(self, parts=parts, each=None if self.each is None else self.each.detach())


@dataclass(frozen=True)
class Update:
    """Update of the weights by a step.

    norm     of its gradients, before they are clipped
    factor   of its rate
    skipped  steps that were left out so far, for a loss or gradient that is not finite
    """

    norm: float
    factor: float
    skipped: int = 0


class Callback(Protocol):
    """Work before the first step and after every one: a preview, an average, a log, a state."""

    def before(self, first: int) -> None:
        """The run begins, or goes on after `first` steps; nothing is to be done."""

    def after(self, done: int, losses: Sequence[Losses], update: Update) -> None:
        """`done` steps are taken; `losses` are those of the last one, one for each of its batches, and none
        where that step was left out."""
        ...


@dataclass(frozen=True)
class Pace:
    """Pace of a run.

    accumulate    batches whose mean gradient makes one step
    log_every     steps from one line of the log to the next; None: by the clock; 0: no line
    save_seconds  between two states; None: SAVE_EVERY
    nonfinite     stop at a loss or gradient that is not finite, or skip that step
    """

    accumulate: int = 1
    log_every: int | None = None
    save_seconds: float | None = None
    nonfinite: str = "stop"

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise ValueError(f"train.accumulate is {self.accumulate}; needed 1 or more")
        if self.nonfinite not in ("stop", "skip"):
            raise ValueError(f"train.nonfinite is {self.nonfinite}; needed stop or skip")


@dataclass(frozen=True)
class Run:
    """Run of `steps`. Batches have numbers of their own, `turn`: step * accumulate + part.

    rate    of a step: its factor of the optimiser's rate
    seed    sets the generators of a batch. What it draws depends on its seed and turn alone where a run
            that goes on has to end in the same file
    draw    a batch, by its turn
    losses  of a batch. What is minimised is the sum of its parts, each by its weight
    told    size of a batch, for a message
    """

    state: RunState
    learner: Learner
    steps: int
    rate: Callable[[int], float]
    seed: Callable[[Draws, int], None]
    draw: Callable[[Draws, int], Any]
    losses: Callable[[Any], Losses]
    ranks: Ranks = ALONE
    pace: Pace = field(default_factory=Pace)
    told: Callable[[Any], str] = lambda batch: ""


def take_steps(run: Run, device: str = "cpu", callbacks: Sequence[Callback] = ()) -> None:
    """Take every step of a run that its state has not taken. `callbacks` come before the state is saved, in
    the process that writes files alone: what a kill kept from being made is made again. TrainingStopped for
    a loss or gradient that is not finite, and where memory ends; the state is kept."""
    learner, draws = run.learner, Draws.on(device)
    first = run.state.first_step(learner, draws.own, run.steps)
    after: list[Callback] = [_Averaging(learner)]
    if run.ranks.first:
        after += [*callbacks, _Log(run), _Save(run, draws)]
    watch = Watch(run.state, learner, draws.own, run.ranks.first)
    for callback in after:
        callback.before(first)
    for step in range(first, run.steps):
        watch.begin(step)
        losses = _batches(run, draws, step, device, watch)
        try:
            update, losses = _moved(run, step, losses, watch)
            for callback in after:
                callback.after(step + 1, losses, update)
        except torch.OutOfMemoryError as error:
            raise watch.out_of_memory("what follows the batches", device, save=False) from error


def _batches(run: Run, draws: Draws, step: int, device: str, watch: Watch) -> list[Losses]:
    """Losses of a step's batches, of which the mean gradient is left in the parameters."""
    found = []
    for turn in range(step * run.pace.accumulate, (step + 1) * run.pace.accumulate):
        told = "the drawing of a batch"
        try:
            with mixed(device):
                run.seed(draws, turn)
                batch = run.draw(draws, turn)
                told = run.told(batch) or "a batch"
                losses = run.losses(batch)
            (losses.total() / run.pace.accumulate).backward()
        except torch.OutOfMemoryError as error:
            raise watch.out_of_memory(told, device, save=True) from error
        found.append(losses.detached())
    return found


def _moved(run: Run, step: int, losses: list[Losses], watch: Watch) -> tuple[Update, list[Losses]]:
    """Update of the weights by a step, and its losses, of which there are none where it is left out.
    TrainingStopped where a loss or the gradient is not finite."""
    optimiser, factor = run.learner.optimiser, run.rate(step)
    if not all_finite(losses):
        poison(optimiser.parameters)
    average_gradients(optimiser.parameters, run.ranks)
    norm = optimiser.step(run.learner.module, factor)
    if not math.isfinite(norm):
        if run.pace.nonfinite == "stop":
            raise watch.not_finite(losses, norm)
        watch.skip(losses, norm)
        losses = []
    return Update(norm, factor, watch.skipped), losses


class _Averaging(Callback):
    """Average of the weights, moved in every process."""

    def __init__(self, learner: Learner):
        self._average = learner.average

    def after(self, done: int, losses: Sequence[Losses], update: Update) -> None:
        if losses:
            self._average.update()


class _Every:
    """Clock of log and states: due once in so many seconds, and after the last step."""

    def __init__(self, steps: int, seconds: float | None = None):
        self._steps, self._before = steps, time.monotonic()
        self._seconds = SAVE_EVERY if seconds is None else seconds

    def due(self, done: int) -> bool:
        if time.monotonic() - self._before < self._seconds and done < self._steps:
            return False
        self._before = time.monotonic()
        return True


class _Log(Callback):
    """A line with the mean of every part of the loss since the line before."""

    def __init__(self, run: Run):
        self._name, self._steps, self._steps_between = run.state.files.name, run.steps, run.pace.log_every
        self._every, self._seen, self._names = _Every(run.steps), [], []

    def after(self, done: int, losses: Sequence[Losses], update: Update) -> None:
        if self._steps_between == 0:
            return
        self._seen += [torch.stack([value for _, value in one.parts.values()]) for one in losses]
        if losses:
            self._names = list(losses[0].parts)
        if self._due(done) and self._seen:
            means = zip(self._names, torch.stack(self._seen).mean(0).tolist(), strict=True)
            told = ", ".join(f"{name} {value:.4f}" for name, value in means)
            logger.info("%s step %d of %d: %s", self._name, done, self._steps, told)
            self._seen = []

    def _due(self, done: int) -> bool:
        if self._steps_between is None:
            return self._every.due(done)
        return done % self._steps_between == 0 or done == self._steps


class _Save(Callback):
    """State of the run, saved now and then."""

    def __init__(self, run: Run, draws: Draws):
        self._run, self._draws = run, draws
        self._every = _Every(run.steps, run.pace.save_seconds)

    def after(self, done: int, losses: Sequence[Losses], update: Update) -> None:
        if self._every.due(done):
            self._run.state.save(self._run.learner, self._draws.own, done)
