"""Reports of steps: lines of the log with means since the line before, and progress for who waits."""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from ..engine.loop import Losses, Update
from .log import RunLog

logger = logging.getLogger(__name__)
KIND = "step"  # of its lines in the log


class Report(Protocol):
    """Callback of a run that is told, too, after which step the run begins."""

    def before(self, first: int, seconds: float) -> None:
        """The run begins, or goes on after `first` steps, for which it took so many seconds."""
        ...

    def after(self, done: int, losses: Sequence[Losses], update: Update) -> None:
        """As `engine.loop.Callback` says."""
        ...


class Reports:
    """Reports of a run as one callback of the loop; the log is cut before the first of them begins."""

    def __init__(self, log: RunLog, reports: Sequence[Report], steps: int):
        """`steps` of the run; the log is closed after the last."""
        self._log, self._reports, self._steps = log, reports, steps

    def before(self, first: int) -> None:
        """Begin, or go on after `first` steps. Errors as `RunLog.begin`'s."""
        taken = [line["seconds"] for line in self._log.begin(first) if line.get("kind") == KIND]
        for report in self._reports:
            report.before(first, taken[-1] if taken else 0.0)

    def after(self, done: int, losses: Sequence[Losses], update: Update) -> None:
        """Tell every report."""
        for report in self._reports:
            report.after(done, losses, update)
        if done == self._steps:
            self._log.close()


class Progress(Protocol):
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

        self._bar = tqdm(total=steps, initial=first, unit="step")

    def step(self, done: int) -> None:
        """Move on to a step."""
        self._bar.update(done - self._bar.n)

    def tell(self, done: int, said: str) -> None:
        """Write numbers beside the bar."""
        self._bar.set_postfix_str(said)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


class Lines:
    """Progress as lines of the program's log, where nobody looks at a terminal."""

    def __init__(self, steps: int, first: int):
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
    tokens. Its rate is the last step's; its `seconds` are the whole run's, also over a resume.
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
        self._log, self._steps, self._every, self._rate = log, steps, every, rate
        self._tokens, self._planned, self._clock = tokens, planned, clock
        self._progress: Progress = Lines(steps, 0)

    def before(self, first: int, seconds: float) -> None:
        """Show progress from here."""
        self._progress = (Bar if sys.stderr.isatty() else Lines)(self._steps, first)
        self._start = self._clock() - seconds
        self._anew(first)

    def after(self, done: int, losses: Sequence[Losses], update: Update) -> None:
        """Count a step; write the line if it is time."""
        self._seen += losses
        self._norms.append(update.norm)
        self._progress.step(done)
        if done % self._every == 0 or done == self._steps:
            self._write(done, update)
            self._anew(done)
        if done == self._steps:
            self._progress.close()

    def _anew(self, done: int) -> None:
        """Begin the next line. What other reports took in between counts for none."""
        self._seen: list[Losses] = []
        self._norms: list[float] = []
        self._before = done, self._clock()

    def _write(self, done: int, update: Update) -> None:
        (begun, before), now = self._before, self._clock()
        each = (now - before) / (done - begun)
        speed = sum(self._tokens(step) for step in range(begun, done)) / max(now - before, 1e-9)
        means = _means(self._seen)
        norm = sum(self._norms) / len(self._norms)
        self._log.write(
            KIND, done, seconds=round(now - self._start, 3), losses=means, norm=norm,
            rate=self._rate * update.factor, seconds_each=each, tokens_per_second=speed, peak_bytes=peak_memory(),
        )  # fmt: skip
        told = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
        plan = f" (plan: {self._planned:,.0f})" if self._planned else ""
        left = duration(each * (self._steps - done))
        self._progress.tell(done, f"{told}, {each:.3g} s a step, {speed:,.0f} tokens/s{plan}, {left} left")


def _means(losses: Sequence[Losses]) -> dict[str, float]:
    """Mean of every part of the loss over batches; of their weighted sum, too, where there are several."""
    parts = {name: [one.parts[name][1] for one in losses if name in one.parts] for name in losses[-1].parts}
    means = {name: torch.stack(values).mean().item() for name, values in parts.items()}
    if len(parts) > 1:
        means["total"] = torch.stack([one.total() for one in losses]).mean().item()
    return means


def duration(seconds: float) -> str:
    """Time in words: `2 h 41 min`, `12 min`, `40 s`."""
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
