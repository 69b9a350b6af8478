"""Reports of steps: lines of the log with means since the line before, and progress for who waits."""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Protocol

import torch

from ..engine.loop import Callback, Losses, Update
from .log import RunLog

logger = logging.getLogger(__name__)
STEPS = "step"  # of its lines in the log


class Reports(Callback):
    """Reports of a run as one callback of the loop. The log is cut before any of them begins; what they take
    is no time of a step."""

    def __init__(self, log: RunLog, steps: "StepReport", others: Sequence[Callback]):
        """`others` come after the report of steps, in their order."""
        self._log, self._steps, self._others = log, steps, others

    def before(self, first: int) -> None:
        """Begin, or go on after `first` steps. Errors as `RunLog.begin`'s and the reports'."""
        taken = [line["seconds"] for line in self._log.begin(first) if line.get("kind") == STEPS]
        self._steps.before(first, taken[-1] if taken else 0.0)
        for report in self._others:
            report.before(first)
        self._steps.go_on()
        if first == self._steps.steps:
            self._log.close()

    def after(self, done: int, losses: Sequence[Losses], update: Update) -> None:
        """Tell every report; close the log after the last step."""
        self._steps.after(done, losses, update)
        for report in self._others:
            report.after(done, losses, update)
        self._steps.go_on()
        if done == self._steps.steps:
            self._log.close()


class Display(Protocol):
    """Progress for who waits."""

    def step(self, done: int) -> None:
        """A step is taken."""
        ...

    def tell(self, done: int, said: str) -> None:
        """Numbers are there."""
        ...

    def close(self) -> None: ...


class Bar:
    """Progress as a bar on a terminal."""

    def __init__(self, steps: int, first: int):
        from tqdm import tqdm
        from tqdm.contrib.logging import logging_redirect_tqdm

        self._bar = tqdm(total=steps, initial=first, unit="step")
        self._above = ExitStack()  # lines of the program's log stand above the bar
        self._above.enter_context(logging_redirect_tqdm([logging.getLogger("refvid")]))

    def step(self, done: int) -> None:
        """Move on to a step."""
        self._bar.update(done - self._bar.n)

    def tell(self, done: int, said: str) -> None:
        """Write numbers beside the bar."""
        self._bar.set_postfix_str(said)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._above.close()
        self._bar.close()


class Lines:
    """Progress as lines of the program's log, where nobody looks at a terminal."""

    def __init__(self, steps: int):
        self._steps = steps

    def step(self, done: int) -> None:
        """Say nothing yet."""

    def tell(self, done: int, said: str) -> None:
        """Say a line."""
        logger.info("step %d of %d: %s", done, self._steps, said)

    def close(self) -> None:
        """Nothing is open."""


class StepReport:
    """Report of steps: every so many a line of the log, and progress.

    A line holds means since the line before: of the losses by name, of the gradients' norm, of seconds and
    tokens. Steps that were left out, `skipped`, are in no mean of losses and norms. The rate is the last
    step's; `seconds` are the whole run's, also over a resume.
    """

    def __init__(
        self,
        log: RunLog,
        steps: int,
        every: int,
        rate: float,
        tokens: Callable[[int], int],
        planned: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """rate     of learning, which a step's factor changes
        tokens   of a step, by its number from 0
        planned  tokens a second; None: no plan says it
        """
        self.steps, self._log, self._every, self._rate = steps, log, every, rate
        self._tokens, self._planned, self._clock = tokens, planned, clock
        self._progress: Display = Lines(steps)

    def before(self, first: int, seconds: float) -> None:
        """Show progress after `first` steps, for which the run took so many seconds."""
        if first < self.steps and sys.stderr.isatty():
            self._progress = Bar(self.steps, first)
        self._start = self._clock() - seconds
        self._anew(first)

    def go_on(self) -> None:
        """The next step begins now: what other reports took is none of its time."""
        self._left = self._clock()

    def after(self, done: int, losses: Sequence[Losses], update: Update) -> None:
        """Count a step; write the line if it is time."""
        self._spent += self._clock() - self._left
        self._seen += losses
        if losses:
            self._norms.append(update.norm)
        self._progress.step(done)
        if done % self._every == 0 or done == self.steps:
            self._write(done, update)
            self._anew(done)
        if done == self.steps:
            self._progress.close()

    def _anew(self, done: int) -> None:
        """Begin the next line."""
        self._seen: list[Losses] = []
        self._norms: list[float] = []
        self._begun, self._spent = done, 0.0

    def _write(self, done: int, update: Update) -> None:
        each = self._spent / (done - self._begun)
        speed = sum(self._tokens(step) for step in range(self._begun, done)) / max(self._spent, 1e-9)
        means, skipped = _means(self._seen), done - self._begun - len(self._norms)
        self._log.write(
            STEPS, done, seconds=round(self._clock() - self._start, 3), losses=means,
            norm=sum(self._norms) / len(self._norms) if self._norms else None, skipped=skipped,
            rate=self._rate * update.factor, seconds_each=each, tokens_per_second=speed,
            peak_bytes=peak_memory(),
        )  # fmt: skip
        numbers = [f"{name} {value:.4f}" for name, value in means.items()]
        told = ", ".join(numbers + ([f"steps left out: {skipped}"] if skipped else []))
        plan = f" (plan: {self._planned:,.0f})" if self._planned else ""
        left = time_left(each * (self.steps - done))
        self._progress.tell(done, f"{told}, {each:.3g} s a step, {speed:,.0f} tokens/s{plan}, {left} left")


def _means(losses: Sequence[Losses]) -> dict[str, float]:
    """Mean of every part of the loss over batches; of their weighted sum, too, where there are several."""
    names = losses[-1].parts if losses else ()
    parts = {name: [one.parts[name][1] for one in losses if name in one.parts] for name in names}
    means = {name: torch.stack(values).mean().item() for name, values in parts.items()}
    if len(parts) > 1:
        means["total"] = torch.stack([one.total() for one in losses]).mean().item()
    return means


def time_left(seconds: float) -> str:
    """Time that is left, in words: `2 h 41 min`, `12 min`, `40 s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def peak_memory() -> int | None:
    """Most memory that was held so far, in bytes: the GPU's where there is one, else the program's; None
    where the system does not say."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
