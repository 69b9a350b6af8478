"""Failures of a run: losses that are not finite, and memory that is not there. Each is told in one sentence,
and the state is kept as it was before the step."""

import json
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from ...core.files import write_text
from ..stopped import TrainingStopped
from .learner import Learner
from .state import RunState

if TYPE_CHECKING:
    from .loop import Losses

logger = logging.getLogger(__name__)
BAD = "bad"  # folder of batches with a loss that was not finite, in that of the run
REMEDIES = 'memory.checkpointing = "blocks", a smaller train.batch, fewer data.frames, or fewer pixels'


class Watch:
    """Watch over the steps of a run, which knows what to go back to."""

    def __init__(self, state: RunState, learner: Learner, generator: Generator, writes: bool):
        """`writes`: this process writes files."""
        self._state, self._learner, self._generator, self._writes = state, learner, generator, writes
        self._before, self._done = generator.get_state(), 0
        self.skipped = 0

    def begin(self, done: int) -> None:
        """Remember a step's beginning, after `done` steps."""
        self._before, self._done = self._generator.get_state(), done

    def skip(self, losses: "Sequence[Losses]", norm: float) -> None:
        """Count a step that is left out, and say so."""
        self.skipped += 1
        logger.warning("%s; the step is left out, %d so far", self._not_finite(losses, norm), self.skipped)

    def not_finite(self, losses: "Sequence[Losses]", norm: float) -> TrainingStopped:
        """Stop at a loss or gradient that is not finite, with the state and the batch kept."""
        told = self._not_finite(losses, norm)
        return TrainingStopped(f"{told}; {self._kept(save=True)}")

    def out_of_memory(self, where: str, device: str, save: bool) -> TrainingStopped:
        """Stop where memory ended, at `where`. The state is saved where the weights have not moved yet."""
        peak = _peak(device)
        measured = f"; {peak:.1f} GiB were used at most" if peak else ""
        return TrainingStopped(
            f"step {self._done + 1}: memory ended at {where}{measured}; to need less, set {REMEDIES}; "
            f"{self._kept(save)}"
        )

    def _kept(self, save: bool) -> str:
        """Sentence of the state to go on from, which is saved before."""
        if not self._writes:
            return "the first process keeps the state"
        if save and self._state.kept != self._done:
            self._generator.set_state(self._before)
            self._state.save(self._learner, self._generator, self._done)
        if self._state.kept is None:
            return "there is no state to go on from"
        return f"the state after {self._state.kept} steps is kept"

    def _not_finite(self, losses: "Sequence[Losses]", norm: float) -> str:
        """Sentence that names the step, its clips and levels; they are written down in full too."""
        wrong = [one for one in losses if not bool(one.total().isfinite())]
        rows = [row for one in wrong or losses for row in _rows(one)]
        what = "loss" if wrong else "gradient"
        told = f"step {self._done + 1}: the {what} is not finite"
        if names := ", ".join(name for name, _ in rows if name):
            told += f"; clips {names}"
        if levels := ", ".join(f"{level:.3g}" for _, level in rows if level is not None):
            told += f"; noise {levels}"
        if not self._writes:
            return told
        path = self._state.folder / BAD / f"{self._done + 1}.json"
        write_text(path, json.dumps(_described(self._done + 1, losses, norm), indent=1))
        return f"{told}; {path} says more"


def _peak(device: str) -> float:
    """Most memory that was held at once, in GiB; 0 where nothing counts it."""
    counted = torch.device(device).type == "cuda"
    return torch.cuda.max_memory_allocated(device) / 2**30 if counted else 0.0


def all_finite(losses: "Sequence[Losses]") -> bool:
    """True where every loss of a step is a number that is not NaN and not infinite."""
    return bool(torch.stack([one.total() for one in losses]).isfinite().all())


def poison(parameters: Sequence[Tensor]) -> None:
    """Make every gradient NaN. The mean over processes is then NaN, so that all of them stop at one step."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.fill_(torch.nan)


def _rows(losses: "Losses") -> list[tuple[str, float | None]]:
    """Names and levels of a batch's rows; of those alone whose loss is not finite, where that is known."""
    count = max(len(losses.clips), 0 if losses.levels is None else len(losses.levels))
    names = [*losses.clips, *[""] * (count - len(losses.clips))]
    levels = [None] * count if losses.levels is None else losses.levels.tolist()
    each = [] if losses.each is None else losses.each.tolist()
    bad = [place for place, value in enumerate(each) if not math.isfinite(value)]
    return [(names[place], levels[place]) for place in bad or range(count)]


def _described(step: int, losses: "Sequence[Losses]", norm: float) -> dict[str, object]:
    """Everything that is known of a step's batches, for JSON: what is not finite as text."""
    batches = [
        {
            "losses": {name: _plain(value) for name, (_, value) in one.parts.items()},
            "clips": list(one.clips),
            "levels": None if one.levels is None else [_plain(level) for level in one.levels],
            "each": None if one.each is None else [_plain(value) for value in one.each],
        }
        for one in losses
    ]
    return {"step": step, "gradient_norm": _plain(norm), "batches": batches}


def _plain(value: Tensor | float) -> float | str:
    number = float(value)
    return number if math.isfinite(number) else str(number)
