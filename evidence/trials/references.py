"""Trial of references: whether they reach the video, on toys the model never saw, pictured in another scene.

Directions of effect on the demo world only; they say nothing about the papers' figures.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from ...core.recipes import AUTO_RECIPE, choose_recipe
from ...core.references import Reference, make_reference
from ...demo import captions, casting, world
from ...drawing.sheet import column_sheet, masked_cell
from ...evaluation.figures import dynamic_degree
from ...evaluation.statistics import hits
from ...hosts.plain.pipeline import Pipeline, Progress, Request, generate
from .. import toy_figures
from ..tables import (
    FigureValues,
    Interval,
    Means,
    interval_lines,
    intervals_of,
    mean_over_noises,
    means,
    row_lines,
    share_of_ceiling,
    write_report,
)
from .clips import CODED, TRUTH, UNSEEN_SEED, seeded, through

_MOST_ROWS = 12  # of the sheet
OWN_REFERENCE, PLACED = "own reference", "own reference and place"
OTHERS_REFERENCE, NO_REFERENCE = "another's reference", "no reference"
OTHERS_CAPTION = "another's caption"
REFERENCE_FIGURES = {
    "own": "similarity to the toy's own reference",
    "other": "to those of the other toys, mean",
    "given": "to the reference that was given",
    "retrieval": "the own reference is the most similar of all",
    "shape": "shape as the toy's",
    "texture": "texture as the toy's",
    "direction": "direction as asked",
    "background": "background as asked",
    "leak": "background of the given reference in the clip's",
    "motion": "dynamic degree: diagonals per frame, fastest 5 %",
}


@dataclass(frozen=True)
class Variant:
    """Conditions that the toys are generated with.

    given   (N,) whose reference, or none
    asked   (N,) whose caption
    placed  the caption says where the toy is; else any lane is as good
    """

    name: str
    given: Tensor | None
    asked: Tensor
    placed: bool = False


@dataclass(frozen=True)
class ReferenceReport:
    """Everything one evaluation says: means over the toys by row and figure, and the toys' own values; None
    where a figure does not apply."""

    toys: int
    rows: Means
    intervals: list[Interval]
    values: dict[str, dict[str, list[float | None]]]


class Trial:
    """Unseen toys, the scene each is asked for, and its reference from another scene: a picture of its front.

    moving  share of the toys that moves in itself, of which captions say nothing
    """

    def __init__(self, toys: int, frames: int, size: int, seed: int = UNSEEN_SEED, moving: float = 0.0):
        generator = Generator().manual_seed(seed)
        self.toys = casting.sample_identities(toys, generator, moving)
        self.scenes = casting.sample_scenes(toys, generator)
        self.elsewhere = casting.other_scenes(self.scenes, generator)
        self.truth, _ = world.render(self.toys, self.scenes, frames, size)
        pictures, alpha = world.render(casting.steady(self.toys), self.elsewhere, 1, size)
        self.pictures, self.masks = pictures[:, :, 0], alpha[:, :, 0].gt(0.5).float()
        cast = [(self.toys, self.scenes)]
        self.prompts = captions.captions(cast)
        self.placed_prompts = captions.captions(cast, captions.telling(toys, "place"))

    def __len__(self) -> int:
        return len(self.prompts)

    def reference(self, index: int) -> Reference:
        """One toy's reference, masked."""
        return make_reference(self.pictures[index].movedim(0, -1) / 2 + 0.5, self.masks[index, 0])

    def similarity(self, clips: Tensor) -> Tensor:
        """Similarity of every clip to every reference, (clips, references)."""
        return toy_figures.toy_similarity(clips, self.pictures, self.masks)

    def variants(self) -> list[Variant]:
        """Variants in which the given reference and the caption are changed, each while the other stays."""
        straight = torch.arange(len(self))
        turned = straight.roll(1)
        return [
            self.own(),
            Variant(PLACED, straight, straight, placed=True),
            Variant(OTHERS_REFERENCE, turned, straight),
            Variant(NO_REFERENCE, None, straight),
            Variant(OTHERS_CAPTION, straight, turned),
        ]

    def own(self) -> Variant:
        """Each toy with its own reference and caption."""
        straight = torch.arange(len(self))
        return Variant(OWN_REFERENCE, straight, straight)

    def measure(self, variant: Variant, clips: Tensor) -> dict[str, Tensor]:
        """One value per toy of every one of REFERENCE_FIGURES, (N,); NaN where a figure does not apply."""
        alike, n = self.similarity(clips), len(self)
        own, asked = alike.diagonal(), self.scenes[variant.asked]
        given = (
            torch.full((n,), torch.nan) if variant.given is None else alike[torch.arange(n), variant.given]
        )
        return {
            "own": own,
            "other": (alike.sum(1) - own) / (n - 1),
            "given": given,
            "retrieval": hits(alike, torch.arange(n)),
            **toy_figures.agreements(clips, self.toys, asked),
            "leak": self._leak(variant, clips),
            "motion": torch.tensor([dynamic_degree(clip.permute(1, 2, 3, 0) / 2 + 0.5) for clip in clips]),
        }

    def _leak(self, variant: Variant, clips: Tensor) -> Tensor:
        asked = self.scenes.background[variant.asked]
        source = self.elsewhere.background[variant.asked if variant.given is None else variant.given]
        told_apart = asked != source
        leak = torch.full((len(self),), torch.nan)
        leak[told_apart] = toy_figures.backdrop_leak(clips[told_apart], asked[told_apart], source[told_apart])
        return leak


def evaluate_references(
    backbone: Pipeline,
    toys: int,
    folder: Path,
    progress: Progress | None = None,
    seeds: int = 1,
    level: str = "still",
) -> ReferenceReport:
    """Clips of every toy by every one of `Trial.variants`, at the same noise.

    Writes score.json and score.png into `folder`. With several seeds a toy's value is the mean over its
    noises. Toys move in themselves as those of the `level` do (`casting.WORLD_LEVELS`)."""
    choose_recipe(AUTO_RECIPE, backbone.recipe, found=backbone.found)  # refused before anything is rendered
    settings = backbone.settings
    moving = casting.WORLD_LEVELS[level].moving
    trial = Trial(toys, settings.frames, settings.height, moving=moving)
    variants = trial.variants()
    truths = {TRUTH: trial.truth, CODED: through(backbone.vae, trial.truth)}
    values = {name: trial.measure(trial.own(), clips) for name, clips in truths.items()}
    shown: dict[str, Tensor] = {}
    for turn, variant in enumerate(variants):

        def measure(noise: int, variant: Variant = variant, turn: int = turn) -> dict[str, Tensor]:
            done = (turn * seeds + noise) * toys
            told = _offset(progress, done, toys * seeds * len(variants))
            clips = clips_of_variant(backbone, trial, variant, noise, told)
            shown.setdefault(variant.name, clips)
            return trial.measure(variant, clips)

        values[variant.name] = mean_over_noises(seeds, measure)
    report = summary(toys, values)
    folder.mkdir(parents=True, exist_ok=True)
    write_report(report, folder / "score.json")
    _sheet(trial, shown, folder / "score.png")
    return report


def summary(toys: int, values: FigureValues) -> ReferenceReport:
    """Means, and paired intervals of what the world is meant to show."""
    first = values[OWN_REFERENCE]["own"]
    intervals = {
        f"{OWN_REFERENCE} minus {name}, similarity": first - values[name]["own"]
        for name in (OTHERS_REFERENCE, NO_REFERENCE)
    }
    told = (OWN_REFERENCE, PLACED)
    for row in told:
        share = share_of_ceiling(values[row]["own"], values[CODED]["own"])
        intervals[f"{row}, share of the ceiling"] = share
    intervals[f"{OTHERS_CAPTION} minus own caption, similarity"] = values[OTHERS_CAPTION]["own"] - first
    intervals |= {
        f"{row}, {name}": values[row][name].double()
        for row in told
        for name in ("retrieval", "shape", "texture", "direction")
    }
    single = {
        row: {name: [_said(value) for value in kept[name].tolist()] for name in REFERENCE_FIGURES}
        for row, kept in values.items()
    }
    return ReferenceReport(toys, means(values), intervals_of(intervals), single)


def _said(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


def reference_table(report: ReferenceReport) -> str:
    """The report for a terminal: the rows, then the intervals."""
    head = f"{report.toys} unseen toys, each pictured in another scene"
    return "\n".join([head, *row_lines(report.rows, REFERENCE_FIGURES), *interval_lines(report.intervals)])


def clips_of_variant(
    backbone: Pipeline,
    trial: Trial,
    variant: Variant,
    noise: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """The variant's clips (N, 3, F, H, W); noise depends on the toy and the seed alone."""
    made = []
    for index in range(len(trial)):
        references = () if variant.given is None else (trial.reference(int(variant.given[index])),)
        prompts = trial.placed_prompts if variant.placed else trial.prompts
        prompt = prompts[int(variant.asked[index])]
        asked = Request(prompt, seeded(backbone.settings, index, noise), references)
        made.append(generate(backbone, asked))
        progress(index + 1)
    return torch.stack(made)


def _offset(progress: Progress | None, done: int, of: int) -> Callable[[int], None]:
    return lambda more: progress(done + more, of) if progress is not None else None


def _sheet(trial: Trial, clips: dict[str, Tensor], path: Path) -> None:
    columns = {
        "reference picture": trial.pictures,
        "what the model sees": masked_cell(trial.pictures, trial.masks),
        **clips,
        TRUTH: trial.truth,
    }
    column_sheet(columns, path, [f'"{prompt}"' for prompt in trial.prompts], scale=2, most=_MOST_ROWS)
