"""Score: motion, sharpness and perceptual hashes; copies refused, and the ends of the set's range."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np

from ..index import A_FILM, A_STILL, Clip
from ..pairs import clips_of_edits, with_their_sources
from ..pictures import at_rate, pictures_of, spread
from ..stage import PlainStage, StageContext
from ..vision.hashing import copies, hash_of
from ..vision.measures import FLOW_SIDE, grey_of, scaled, sharpness_of, shift_between, six_digits
from ..weights import Weights
from .cut import pictures_key

A_SECOND = 4  # pictures that motion and sharpness are read in
TRAINED = 832  # pixels along the long side at most, where sharpness is read: a training picture's


@dataclass(frozen=True)
class ScoreOptions:
    """Options of the stage. Percentiles are of the clips that nothing else speaks against, films and stills
    apart (training.md 3.2).

    least_motion, most_motion  percentiles; films outside are refused
    least_sharpness            percentile
    least_aesthetic            percentile, where weights `aesthetic` are given; 0: none is refused
    most_text                  share of the middle picture that text may cover, where weights `text_detector`
                               are given (VideoX-Fun: 0.02; 0.1 suits products)
    least_clips                percentiles refuse nothing where there are fewer clips; copies always fall
    """

    least_motion: float = 2.0
    most_motion: float = 98.0
    least_sharpness: float = 2.0
    least_aesthetic: float = 0.0
    most_text: float = 0.02
    least_clips: int = 200

    def __post_init__(self):
        for name in ("least_motion", "most_motion", "least_sharpness", "least_aesthetic"):
            if not 0 <= getattr(self, name) <= 100:
                raise ValueError(f"score: {name} is {getattr(self, name):g}; needed a percentile, 0 to 100")
        if self.least_motion >= self.most_motion:
            raise ValueError(
                f"score: least_motion is {self.least_motion:g} and most_motion {self.most_motion:g}; needed the first "
                "below the second"
            )
        if not 0 <= self.most_text <= 1:
            raise ValueError(f"score: most_text is {self.most_text:g}; needed a share of a picture, 0 to 1")


class Score(PlainStage):
    """Stage `score`."""

    name, version, defaults = "score", 1, ScoreOptions()
    concluding = tuple(field.name for field in fields(ScoreOptions))  # pictures are measured without them

    def uses(self, options: ScoreOptions, weights: Weights) -> Sequence[str]:
        """The scorers that were given. ValueError where one is asked for that was not."""
        if options.least_aesthetic and not weights.has("aesthetic"):
            weights.path("aesthetic", "score")
        return tuple(name for name in ("aesthetic", "text_detector") if weights.has(name))

    def depends(self, clip: Clip, options: ScoreOptions) -> Any:
        """The pictures that the clip shows."""
        return pictures_key(clip) if clip.kind in (A_FILM, A_STILL) else None

    def look(self, clip: Clip, context: StageContext) -> dict[str, Any]:
        """Scores of the clip by itself."""
        chosen = list(pictures_of(clip, spread(clip.frames, 3)))
        motion, sharpness = _motion_and_sharpness(clip)
        return {
            "motion": motion,
            "sharpness": sharpness,
            "hash": hash_of(chosen),
            "aesthetic": _mean(_asked(context, "aesthetic", chosen)),
            "text_area": _mean(_asked(context, "text_detector", [chosen[len(chosen) // 2]])),
        }

    def conclude(
        self, clips: list[Clip], found: Mapping[str, dict[str, Any]], context: StageContext
    ) -> list[Clip]:
        """Rows with their scores: first text, then copies, then the ends of the range are refused."""
        rows = [replace(clip, **found[clip.id]) if clip.id in found else clip for clip in clips]
        rows = [_read(row, context.options) for row in rows]
        rows = _without_copies(rows)
        for kind in (A_FILM, A_STILL):
            rows = _within_range(rows, kind, context.options)
        return with_their_sources(rows)


def _motion_and_sharpness(clip: Clip) -> tuple[float | None, float | None]:
    """Mean flow in pixels of 256 a second, None where there is one picture; and the median sharpness."""
    rate = min(A_SECOND, clip.fps) or A_SECOND  # a still has none
    shifts, sharp, before = [], [], None
    for picture in pictures_of(clip, at_rate(clip, rate)):
        sharp.append(sharpness_of(scaled(picture, TRAINED)))
        now = grey_of(scaled(picture))
        if before is not None:
            shifts.append(shift_between(before, now) * FLOW_SIDE / max(now.shape))
        before = now
    motion = float(np.mean(shifts)) * rate if shifts else None
    return (None if motion is None else six_digits(motion)), six_digits(float(np.median(sharp)))


def _asked(context: StageContext, name: str, pictures: list[np.ndarray]) -> list[float]:
    """Scores of pictures by local weights; none without them."""
    if not context.weights.has(name):
        return []
    return context.weights.load(name, "score", _loader(name, context.device))(pictures)


def _loader(name: str, device: str) -> Callable:
    from ..models.aesthetic import load_aesthetic
    from ..models.text_area import load_text_detector

    aesthetic = partial(load_aesthetic, device=device)
    return {"aesthetic": aesthetic, "text_detector": load_text_detector}[name]


def _mean(values: list[float]) -> float | None:
    return six_digits(float(np.mean(values))) if values else None


def _read(row: Clip, options: ScoreOptions) -> Clip:
    """A row, refused where text covers too much of it."""
    if row.text_area is None or row.text_area <= options.most_text:
        return row
    return row.refused("text in the picture", f"covers {row.text_area:.1%} of the middle picture")


def _without_copies(rows: list[Clip]) -> list[Clip]:
    """Rows, refused where another one shows the same. The largest stays, then the longest, then the one with
    a caption, then the sharpest. Films of edits are like one another by their nature, and stay."""
    edits = clips_of_edits(rows)
    refused = {}
    for kind in (A_FILM, A_STILL):
        held = [row for row in rows if row.ok and row.hash and row.kind == kind and row.id not in edits]
        held.sort(key=_preference)
        for copy, kept in copies([row.hash for row in held], [row.path for row in held]).items():
            refused[held[copy].id] = held[kept].id
    return [
        row.refused("same picture as another", refused[row.id]) if row.id in refused else row for row in rows
    ]


def _preference(row: Clip) -> tuple:
    width, height = row.size
    return -width * height, -row.seconds, not row.caption, -(row.sharpness or 0), row.path, row.start, row.id


def _within_range(rows: list[Clip], kind: str, options: ScoreOptions) -> list[Clip]:
    """Rows, refused at the ends of the range of their kind."""
    held = [row for row in rows if row.ok and row.kind == kind]
    if len(held) < options.least_clips:
        return rows
    ends = (
        ("motion", options.least_motion, "too little motion", -1),
        ("motion", options.most_motion, "too much motion", 1),
        ("sharpness", options.least_sharpness, "blurred", -1),
        ("aesthetic", options.least_aesthetic, "low aesthetic score", -1),
    )
    judged = {row.id: row for row in held}
    for score, percentile, reason, side in ends:
        values = [value for row in held if (value := getattr(row, score)) is not None]
        if not values:
            continue
        bound = float(np.percentile(values, percentile))
        for name, row in judged.items():
            value = getattr(row, score)
            if value is not None and side * (value - bound) > 0:
                judged[name] = row.refused(reason, f"{value:g}; percentile {percentile:g} is {bound:g}")
    return [judged.get(row.id, row) for row in rows]
