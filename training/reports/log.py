"""Log of a run: one JSON object a line, beside it TensorBoard's events where they are asked for."""

import json
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ...core.files import clear_left, write_text

logger = logging.getLogger(__name__)
LOG, EVENTS = "log.jsonl", "tensorboard"  # in the folder of a run
STEP_KIND = "step"


class _Events(Protocol):
    """Writer of TensorBoard's events, as far as it is used."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class RunLog:
    """Log of a run, appended to and flushed line by line.

    A line says its kind (`step`, `validation`, `sample`, `note`), the step after which it was written, and
    what else it is given. A run that goes on cuts the log back to the step of its state, because a killed
    run leaves lines past it. A line that was cut short goes too.
    """

    def __init__(self, folder: Path, done: int = 0, tensorboard: bool = False):
        """Open the log in a run's folder; `done` steps are taken, 0 for a run that begins. ValueError where a
        line inside the log is no object with a step."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / LOG
        clear_left(self.path)
        self.kept = _lines(self.path, done) if done else []
        write_text(self.path, "".join(_line(one) + "\n" for one in self.kept))
        self._file = self.path.open("a", encoding="utf-8")
        self._events = _events(folder / EVENTS, done) if tensorboard else None

    def last(self, kind: str, name: str, otherwise: Any) -> Any:
        """Value of this name in the last line of this kind that was kept from before."""
        said = [line[name] for line in self.kept if line.get("kind") == kind and name in line]
        return said[-1] if said else otherwise

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Append a line. Its numbers are scalars of TensorBoard's too, by kind and name; lists are not."""
        self._file.write(_line({"kind": kind, "step": step, **values}) + "\n")
        self._file.flush()
        if self._events is not None:
            for name, value in _scalars(values, kind):
                self._events.add_scalar(name, value, step)
            self._events.flush()

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._events is not None:
            self._events.close()


def _lines(path: Path, done: int) -> list[dict[str, Any]]:
    """Lines of a log up to a step. Only what ends in a newline is a line."""
    if not path.exists():
        return []
    kept = []
    for number, text in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            said = json.loads(text)
            step = said["step"]
            if step <= done:
                kept.append(said)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}, line {number}: {text[:60]!r} is no line of a log ({error!r}); move the log away"
            ) from error
    return kept


def _line(said: Mapping[str, Any]) -> str:
    return json.dumps(_finite(said), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    """Value as JSON has it: numbers that are not finite are told as words, since JSON knows none."""
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _scalars(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{prefix}/{name}")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}/{name}", float(value)


def _events(folder: Path, done: int) -> _Events | None:
    """Writer of events, which hides those past the step that is gone on from; None where tensorboard is not
    installed, which is said."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        logger.info(
            "report.tensorboard: it cannot be imported (%s); %s is written alone. pip install tensorboard, or "
            "set it to false",
            *(error, LOG),
        )
        return None
    return SummaryWriter(str(folder), purge_step=done + 1)
