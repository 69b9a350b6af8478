"""Validation of a run: the loss on held-out clips and the reference gain, now and then."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from ..engine.loop import Callback, Losses, Update
from .gain import HOW_TO_READ, GainReport, HeldOut, HeldOutLosses, measure
from .log import RunLog

logger = logging.getLogger(__name__)
MEASURED = "held_out"  # in the folder of a run: losses of every clip, a file a measurement


class Validation(Callback):
    """Report that measures held-out clips before learning, every so many steps, and after the last."""

    def __init__(self, held_out: HeldOut, log: RunLog, steps: int, every: int):
        """`every` so many steps of `steps`; the clips' losses go beside the log. ValueError for fewer than
        1."""
        if every < 1:
            raise ValueError(f"report.validate_every is {every}; needed 1 or more, or no validation at all")
        self._held_out, self._log, self._steps, self._every = held_out, log, steps, every
        self._folder: Path = log.path.parent / MEASURED
        self._start: HeldOutLosses | None = None

    def before(self, first: int) -> None:
        """Measure before learning; a run that goes on reads what it measured then. ValueError where that was
        measured on other clips."""
        if first:
            kept = self._file(0)
            self._start = HeldOutLosses.read(kept) if kept.exists() else None
            if self._start is not None and self._start.clips != tuple(self._held_out.clips):
                raise ValueError(f"{kept} was measured on other held-out clips than this run's; move it away")
            return
        logger.info("reference gain, in %% of the loss without references: %s", HOW_TO_READ)
        self._start = self._measure(0)

    def due(self, done: int) -> bool:
        """True where it is time after so many steps."""
        return done % self._every == 0 or done == self._steps

    def after(self, done: int, losses: Sequence[Losses], update: Update) -> None:
        """Measure if it is time."""
        if self.due(done):
            self._measure(done)

    def _measure(self, step: int) -> HeldOutLosses:
        begun = time.monotonic()
        losses = measure(self._held_out)
        seconds = time.monotonic() - begun
        losses.write(self._file(step))
        report = GainReport(losses, self._start)
        self._log.write("validation", step, seconds=round(seconds, 3), **report.record())
        logger.info("step %d, %s (%.3g s)", step, "\n".join(report.lines()), seconds)
        return losses

    def _file(self, step: int) -> Path:
        return self._folder / f"{step}.json"
