"""Trial of words: whether a clip shows what its prompt says of a toy: colour, shape, place, and how it
moves in itself.

Directions of effect on the demo world only.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ...core.references import Reference
from ...demo import captions
from ...drawing.sheet import FRAMES_OF_MOTION, column_sheet
from ...hosts.plain.pipeline import Pipeline, Progress, Request, generate
from .. import toy_figures
from ..dynamics import dynamics_of, kind_of
from ..tables import (
    FigureValues,
    Interval,
    Means,
    interval_lines,
    intervals_of,
    means,
    row_lines,
    share_of_ceiling,
    write_report,
)
from .clips import CODED, TRUTH, UNSEEN_SEED, seeded, through
from .references import Trial

_MOST_ROWS = 8  # of a sheet
LOOKS_SAID, MOTION_SAID = "looks in words", "motion in words, with the reference"
MOTION_UNSAID = "reference alone"
WORD_FIGURES = {
    "colour": "a quarter of the toy or more is of the hue that is said",
    "shape": "shape as said",
    "place": "place across the path as said",
    "dynamics": "moves in itself as said, of thirteen ways; over toys that do",
}


@dataclass(frozen=True)
class WordReport:
    """Everything one evaluation says: means over the toys by row and figure, and 95 % intervals."""

    toys: int
    rows: Means
    intervals: list[Interval]


class WordTrial:
    """Unseen toys that all move in themselves, in scenes of their own, with a picture of each elsewhere."""

    def __init__(self, toys: int, frames: int, size: int):
        self.trial = Trial(toys, frames, size, UNSEEN_SEED + 3, moving=1.0)
        cast = [(self.trial.toys, self.trial.scenes)]
        self.looks = captions.captions(cast, captions.telling(toys, "colour", "shape", "place"))
        self.motion = captions.captions(cast, captions.telling(toys, "motion"))

    def measure(self, clips: Tensor) -> dict[str, Tensor]:
        """One value per toy of every one of WORD_FIGURES, (N,) 0 or 1."""
        toys, scenes = self.trial.toys, self.trial.scenes
        there = replace(scenes, offset=toy_figures.place_of(clips, scenes))
        places = zip(captions.place_words(there), captions.place_words(scenes), strict=True)
        seen = toy_figures.segment(clips).flatten(1).any(1)  # without a toy its place would be the middle
        return {
            "colour": toy_figures.shows_colour(clips, toys).float(),
            "shape": toy_figures.shape_of(clips, toys).eq(toys.shape).float(),
            "place": (torch.tensor([found == said for found, said in places]) & seen).float(),
            "dynamics": dynamics_of(clips, toys, scenes).eq(kind_of(toys)).float(),
        }


def evaluate_words(backbone: Pipeline, toys: int, folder: Path, progress: Progress) -> WordReport:
    """Generate every toy from words of its looks, without a reference. Then with it, from words of how it
    moves, and without; write words.json and words.png into `folder`."""
    settings = backbone.settings
    words = WordTrial(toys, settings.frames, settings.height)
    trial = words.trial
    given = [(trial.reference(index),) for index in range(toys)]
    asked: dict[str, tuple[list[str], list[tuple[Reference, ...]]]] = {
        LOOKS_SAID: (words.looks, [()] * toys),
        MOTION_SAID: (words.motion, given),
        MOTION_UNSAID: (trial.prompts, given),
    }
    clips: dict[str, Tensor] = {}
    for turn, (name, (prompts, references)) in enumerate(asked.items()):
        made = []
        for index in range(toys):
            request = Request(prompts[index], seeded(settings, index), references[index])
            made.append(generate(backbone, request))
            progress(turn * toys + index + 1, toys * len(asked))
        clips[name] = torch.stack(made)
    clips |= {TRUTH: trial.truth, CODED: through(backbone.vae, trial.truth)}
    values = {name: words.measure(one) for name, one in clips.items()}
    report = WordReport(toys, means(values), _intervals(values))
    folder.mkdir(parents=True, exist_ok=True)
    write_report(report, folder / "words.json")
    said = [f'"{looks}"; "{motion}"' for looks, motion in zip(words.looks, words.motion, strict=True)]
    column_sheet(clips, folder / "words.png", said, scale=1, most=_MOST_ROWS, shown=FRAMES_OF_MOTION)
    return report


def _intervals(values: FigureValues) -> list[Interval]:
    """Shares of the ceiling of what is said, and what saying brings."""
    told = {"colour": LOOKS_SAID, "shape": LOOKS_SAID, "place": LOOKS_SAID, "dynamics": MOTION_SAID}
    shares = {
        f"{name}, {figure}, share of the ceiling": share_of_ceiling(
            values[name][figure], values[CODED][figure]
        )
        for figure, name in told.items()
    }
    more = values[MOTION_SAID]["dynamics"] - values[MOTION_UNSAID]["dynamics"]
    return intervals_of({**shares, "words of motion bring, dynamics": more})


def word_table(report: WordReport) -> str:
    """The report for a terminal: the rows, then the intervals."""
    head = f"{report.toys} unseen toys, all of which move in themselves"
    return "\n".join([head, *row_lines(report.rows, WORD_FIGURES), *interval_lines(report.intervals)])
