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


class _Events(Protocol):
    """Writer of TensorBoard's events, as far as it is used."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class RunLog:
    """Log of a run, appended to line by line.

    A line says its kind (`step`, `validation`, `sample`), the step after which it was written, and what else
    it is given.
    """

    def __init__(self, folder: Path, tensorboard: bool = False):
        """Log in a run's folder, and TensorBoard's events where they are asked for."""
        self.path = folder / LOG
        self._tensorboard, self._events = tensorboard, None

    def begin(self, first: int) -> list[dict[str, Any]]:
        """Begin, or go on after `first` steps. -> the lines up to there; the others are cut.

        A killed run leaves lines past its state, and those steps are taken again. A line that was cut short
        goes too. ValueError where a line inside the log is no object with a step.
        """
        kept = _lines(self.path, first) if first else []
        clear_left(self.path)
        write_text(self.path, "".join(f"{_line(one)}\n" for one in kept))
        if self._tensorboard:
            self._events = _events(self.path.parent / EVENTS, first)
        return kept

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Append a line. Its numbers are scalars of TensorBoard's too, by kind and name; lists are not."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{_line({'kind': kind, 'step': step, **values})}\n")
        if self._events is not None:
            for name, value in _scalars(values, kind):
                self._events.add_scalar(name, value, step)
            self._events.flush()

    def close(self) -> None:
        """Close TensorBoard's events."""
        if self._events is not None:
            self._events.close()


def _lines(path: Path, first: int) -> list[dict[str, Any]]:
    """Lines of a log up to a step. Only what ends in a newline is a line."""
    if not path.exists():
        return []
    kept = []
    for number, text in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            said = json.loads(text)
            step = said["step"]
            if step <= first:
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


def _events(folder: Path, first: int) -> _Events | None:
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
    return SummaryWriter(str(folder), purge_step=first + 1 if first else 0)
