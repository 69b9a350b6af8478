"""Losses of single clips: what each lost last, and which lose more than others at the same noise."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...core.files import clear_left, write_text
from ..engine.loop import Callback, Losses, Update

logger = logging.getLogger(__name__)
CLIPS = "clips.jsonl"  # in the folder of a run
_BANDS = 20  # of noise levels; the loss of the same clip changes little within one
_DECAY = 0.98  # of a band's mean, in clips: the loss falls while a run learns
_NAMED = 10  # clips, at the end


@dataclass(frozen=True)
class ClipLoss:
    """Loss of a clip: the last one, with its step and noise level.

    seen      how often the clip was seen
    relative  mean of its losses, each over what clips at that level lost then
    """

    clip: str
    step: int
    level: float
    loss: float
    seen: int
    relative: float


class ClipLosses(Callback):
    """Report of single clips: a file with a line for each that was seen, rewritten now and then.

    A loss is divided by the moving mean of its band of noise levels: the loss depends on the level more than
    on the clip [choice: loss-of-clips].

    A run that goes on drops lines past its state and takes the bands from the others. What was taken between
    the last writing and the state is missed.
    """

    def __init__(self, folder: Path, steps: int, every: int):
        """File in the folder of a run of `steps`, rewritten every so many."""
        self._path, self._steps, self._every = folder / CLIPS, steps, every

    def before(self, first: int) -> None:
        """Read what is known of the steps that were taken. ValueError where it cannot be read."""
        clear_left(self._path)
        kept = [one for one in _read(self._path) if one.step <= first] if first else []
        self._clips = {one.clip: one for one in kept}
        self._bands: dict[int, float] = {}
        for one in sorted(kept, key=lambda one: one.step):
            self._expected(one.level, one.loss)

    def after(self, done: int, losses: Sequence[Losses], update: Update) -> None:
        """Take the losses of a step's clips; write the file if it is time."""
        for batch in losses:
            if batch.levels is not None and batch.each is not None:
                for row in zip(batch.clips, batch.levels.tolist(), batch.each.tolist(), strict=True):
                    self._take(done, *row)
        if done % self._every == 0 or done == self._steps:
            rows = sorted(self._clips.values(), key=lambda one: one.clip)
            write_text(
                self._path, "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in rows)
            )
        if done == self._steps and self._clips:
            logger.info(
                "clips that lose most at their noise levels: %s; all: %s",
                worst(self._clips.values()),
                self._path,
            )

    def _take(self, step: int, clip: str, level: float, loss: float) -> None:
        relative = loss / max(self._expected(level, loss), 1e-12)
        before = self._clips.get(clip)
        if before is None:
            self._clips[clip] = ClipLoss(clip, step, level, loss, 1, relative)
        else:
            mean = (before.relative * before.seen + relative) / (before.seen + 1)
            self._clips[clip] = ClipLoss(clip, step, level, loss, before.seen + 1, mean)

    def _expected(self, level: float, loss: float) -> float:
        """Mean of the level's band, into which this loss goes."""
        band = min(int(level * _BANDS), _BANDS - 1)
        mean = self._bands.get(band, loss)
        self._bands[band] = mean + (1 - _DECAY) * (loss - mean)
        return self._bands[band]


def worst(clips: Iterable[ClipLoss], count: int = _NAMED) -> str:
    """Clips with the largest relative losses, the largest first: `a (1.83 times, seen 12)`."""
    found = sorted(clips, key=lambda one: (-one.relative, one.clip))[:count]
    return ", ".join(f"{one.clip} ({one.relative:.2f} times, seen {one.seen})" for one in found)


def _read(path: Path) -> list[ClipLoss]:
    if not path.exists():
        return []
    try:
        return [ClipLoss(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no losses of clips ({error}); move it away") from error
