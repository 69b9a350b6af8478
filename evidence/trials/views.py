"""Trial of views: whether several pictures of a toy tell more of it than one. Unseen toys turn, so that
clips show their back too.

Directions of effect on the demo world only.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from ...core.references import Reference, make_reference
from ...demo import captions, casting, world
from ...drawing.sheet import column_sheet, masked_cell
from ...hosts.plain.pipeline import Pipeline, Progress, Request, generate
from .. import toy_figures
from ..tables import (
    FigureValues,
    Interval,
    Means,
    interval_lines,
    interval_of,
    mean_over_noises,
    means,
    number_of,
    row_lines,
    write_report,
)
from .clips import CODED, TRUTH, UNSEEN_SEED, seeded, through

_MOST_ROWS = 8  # of a sheet
ONE_FRONT, TWO_FRONTS, BOTH_SIDES = "front", "two of the front", "front and back"
# Sides that are given, in order: 0 the front, 1 the back.
GIVEN_VIEWS: dict[str, tuple[int, ...]] = {ONE_FRONT: (0,), TWO_FRONTS: (0, 0), BOTH_SIDES: (0, 1)}
VIEW_FIGURES = {
    "own": "similarity of colours to the true clip's, over all pictures",
    "back": "to the back's, in the half of the pictures in which it is seen",
    "front": "to the front's, in the other half",
}


@dataclass(frozen=True)
class ViewReport:
    """Everything one evaluation says: means over the toys by row and figure, and 95 % intervals."""

    toys: int
    seeds: int
    rows: Means
    intervals: list[Interval]


class ViewTrial:
    """Unseen toys that turn slowly, the scene each is asked for, and pictures of both sides elsewhere."""

    def __init__(self, toys: int, frames: int, size: int):
        generator = Generator().manual_seed(UNSEEN_SEED + 4)
        looks = casting.sample_identities(toys, generator)
        turning = torch.full_like(looks.dynamics, world.DYNAMICS.index("turning"))
        self.toys = replace(looks, dynamics=turning, tempo=torch.ones_like(looks.tempo))
        self.scenes = casting.sample_scenes(toys, generator)
        self.prompts = captions.captions([(self.toys, self.scenes)], captions.telling(toys, "motion"))
        self.truth, _ = world.render(self.toys, self.scenes, frames, size)
        # (toys, view): two of the front and two of the back, each in a scene of its own
        steady = casting.steady(self.toys)
        taken = [
            world.render(steady, casting.other_scenes(self.scenes, generator, side), 1, size)
            for side in (0, 0, 1, 1)
        ]
        self.pictures = torch.stack([video[:, :, 0] for video, _ in taken], 1)
        self.masks = torch.stack([alpha[:, :, 0].gt(0.5).float() for _, alpha in taken], 1)

    def references(self, index: int, sides: tuple[int, ...]) -> tuple[Reference, ...]:
        """References of one toy, of these sides."""
        taken = [2 * side + sides[:turn].count(side) for turn, side in enumerate(sides)]
        return tuple(
            make_reference(self.pictures[index, view].movedim(0, -1) / 2 + 0.5, self.masks[index, view, 0])
            for view in taken
        )

    def measure(self, clips: Tensor) -> dict[str, Tensor]:
        """One value per toy of every one of VIEW_FIGURES, (N,) in [0, 1]."""
        behind = (torch.pi * (world.moments(clips.shape[2]) + 1)).cos() < 0  # as `world` has a slow turn
        parts = {"own": slice(None), "back": behind, "front": ~behind}
        return {name: _alike(clips[:, :, part], self.truth[:, :, part]) for name, part in parts.items()}


def _alike(clips: Tensor, truth: Tensor) -> Tensor:
    """Intersection of the histograms of the toys' colours, (N,)."""
    one, other = (toy_figures.colour_histogram(clip, toy_figures.segment(clip)) for clip in (clips, truth))
    return torch.minimum(one, other).sum(1)


def evaluate_views(
    backbone: Pipeline, toys: int, folder: Path, progress: Progress, seeds: int = 1
) -> ViewReport:
    """Generate every toy from each of GIVEN_VIEWS at the same noise; write views.json and views.png."""
    settings = backbone.settings
    trial = ViewTrial(toys, settings.frames, settings.height)
    truths = {TRUTH: trial.truth, CODED: through(backbone.vae, trial.truth)}
    values: FigureValues = {name: trial.measure(clips) for name, clips in truths.items()}
    shown: dict[str, Tensor] = {}
    for turn, (name, sides) in enumerate(GIVEN_VIEWS.items()):

        def measure(
            noise: int, turn: int = turn, name: str = name, sides: tuple[int, ...] = sides
        ) -> dict[str, Tensor]:
            made = []
            for index in range(toys):
                own = seeded(settings, index, noise)
                made.append(
                    generate(backbone, Request(trial.prompts[index], own, trial.references(index, sides)))
                )
                progress((turn * seeds + noise) * toys + index + 1, toys * seeds * len(GIVEN_VIEWS))
            shown[name] = torch.stack(made)
            return trial.measure(shown[name])

        values[name] = mean_over_noises(seeds, measure)
    intervals = [
        interval_of(
            f"{BOTH_SIDES} minus {other}, {figure}", values[BOTH_SIDES][figure] - values[other][figure]
        )
        for figure in VIEW_FIGURES
        for other in (ONE_FRONT, TWO_FRONTS)
    ]
    report = ViewReport(toys, seeds, means(values), intervals)
    folder.mkdir(parents=True, exist_ok=True)
    write_report(report, folder / "views.json")
    pictures = {name: masked_cell(trial.pictures[:, 2 * side], trial.masks[:, 2 * side])
                for name, side in (("front picture", 0), ("back picture", 1))}  # fmt: skip
    column_sheet({**pictures, **shown, TRUTH: trial.truth}, folder / "views.png", most=_MOST_ROWS)
    return report


def view_table(report: ViewReport) -> str:
    """The report for a terminal: the rows, then the intervals."""
    head = f"{report.toys} unseen toys that turn, {number_of(report.seeds, 'noise')} a toy"
    return "\n".join([head, *row_lines(report.rows, VIEW_FIGURES), *interval_lines(report.intervals)])
