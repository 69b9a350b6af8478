"""Automatic regions (DIAL, arXiv 2609.11507, the part without training) beside uniform strength.

The demo model makes clips as it is shipped, at cfg 1, where only attention can act. Nothing is trained."""

from dataclasses import asdict, replace

import torch
from torch import Tensor

from ...core.controls import Controls
from ...core.recipe import Recipe
from ...core.recipes import saber
from ...drawing.sheet import column_sheet
from ...hosts.plain.pipeline import Pipeline, generate_in_rows
from ...hosts.plain.references import ReferencesRider, kept_references_in_rows
from ...training.masks.references import GROUND
from .. import toy_figures
from ..claims import Claim, Side, sentence
from ..runs import Ablation
from ..tables import FigureValues, Runs, interval_cell, markdown, mean_over_noises, number_of
from ..trials.clips import seeds_of
from ..trials.controls import Duets, half_similarities, sample_duets
from ..trials.references import Trial

ONE, TWO = "one subject", "two subjects"
FOCUS_ARMS = {
    "strength 1": Controls(),
    "strength 2": Controls(2.0),
    "strength 4": Controls(4.0),
    "focus 2": Controls(focus=2.0),
    "focus 4": Controls(focus=4.0),
    "focus 8": Controls(focus=8.0),
    "focus 16": Controls(focus=16.0),
}
ONE_FIGURES = ("own", "retrieval", "shape", "texture", "direction", "background", "leak", "motion")
TWO_FIGURES = ("own", "mixed", "apart", "direction", "background")
_MOST_ROWS = 8  # of the sheet


def _better(says: str, first: str, second: str, variant: str, figure: str, **how) -> Claim:
    return Claim(says, Side(first, variant), Side(second, variant), figure, **how)


FOCUS_CLAIMS = (
    _better("focus 8 brings more of the reference", "focus 8", "strength 1", ONE, "own"),
    _better("strength 2 brings more of the reference", "strength 2", "strength 1", ONE, "own"),
    _better("focus 8 brings no less of it than strength 2", "focus 8", "strength 2", ONE, "own", margin=0.02),
    _better(
        "focus 8 keeps the direction of strength 1", "focus 8", "strength 1", ONE, "direction", margin=0.05
    ),
    _better("focus 8 keeps the shape better than strength 2", "focus 8", "strength 2", ONE, "shape"),
    _better("focus 8 keeps two subjects apart better than strength 1", "focus 8", "strength 1", TWO, "apart"),
    _better("focus 8 keeps two subjects apart better than strength 2", "focus 8", "strength 2", TWO, "apart"),
    _better(
        "focus 8 mixes two subjects less than strength 1", "focus 8", "strength 1", TWO, "mixed", sign=-1
    ),
)


def ablate_focus(ablation: Ablation) -> list[str]:
    """Measure every one of FOCUS_ARMS on the base, and say what holds; what is there already is kept. Writes
    focus.md and a sheet, focus.jpg; -> the lines of focus.md."""
    backbone = ablation.backbone()
    backbone = replace(backbone, settings=replace(backbone.settings, scale=1.0))
    recipe = saber()
    runs = {name: [_measured(ablation, backbone, recipe, name)] for name in FOCUS_ARMS}
    head = (
        f"{ablation.toys} unseen toys alone and as many pairs, {number_of(ablation.noises, 'noise')} each; recipe "
        f"{recipe.name}, cfg 1. In brackets 95 % intervals over toys and pairs."
    )
    lines = [head, "", *_table(runs, ONE, ONE_FIGURES), "", *_table(runs, TWO, TWO_FIGURES), ""]
    lines += [sentence(one, runs) for one in FOCUS_CLAIMS]
    _sheet(ablation, backbone, recipe)
    return ablation.written("focus", lines)


def _measured(ablation: Ablation, backbone: Pipeline, recipe: Recipe, name: str) -> FigureValues:
    controls, settings, toys = FOCUS_ARMS[name], backbone.settings, ablation.toys
    trial = Trial(toys, settings.frames, settings.height)
    pairs = sample_duets(toys, settings.height)

    def alone(noise: int) -> dict[str, Tensor]:
        clips = clips_alone(backbone, recipe, controls, trial, noise)
        found = trial.measure(trial.own(), clips)
        return {figure: found[figure].float() for figure in ONE_FIGURES}

    def paired(noise: int) -> dict[str, Tensor]:
        return pair_figures(clips_of_pairs(backbone, recipe, controls, pairs, noise), pairs)

    return ablation.kept(
        ablation.place(name),
        [asdict(controls), toys, ablation.noises],
        lambda: {
            ONE: mean_over_noises(ablation.noises, alone),
            TWO: mean_over_noises(ablation.noises, paired),
        },
    )


def clips_alone(backbone: Pipeline, recipe: Recipe, controls: Controls, trial: Trial, noise: int) -> Tensor:
    """Clips (N, 3, F, H, W) of toys, each with its own reference."""
    return _clips(backbone, recipe, controls, trial.prompts, (trial.pictures,), (trial.masks,), noise)


def clips_of_pairs(
    backbone: Pipeline, recipe: Recipe, controls: Controls, pairs: Duets, noise: int
) -> Tensor:
    """Clips (N, 3, F, H, W) of pairs of toys, each with both references and no region."""
    return _clips(backbone, recipe, controls, pairs.prompts, pairs.pictures, pairs.masks, noise)


@torch.no_grad()
def _clips(
    backbone: Pipeline,
    recipe: Recipe,
    controls: Controls,
    prompts: list[str],
    pictures: tuple[Tensor, ...],
    masks: tuple[Tensor, ...],
    noise: int,
) -> Tensor:
    """Clips of prompts with references: of each, pictures (N, 3, H, W) in [-1, 1] and masks (N, 1, H, W)."""
    dit, vae = backbone.dit, backbone.vae
    shown = [torch.where(m > 0.5, p, GROUND) for p, m in zip(pictures, masks, strict=True)]

    def riders(rows: slice) -> tuple[ReferencesRider, ...]:
        latents = [vae.encode(one[rows].unsqueeze(2).to(dit.device, vae.dtype)) for one in shown]
        kept = torch.cat([one[rows] for one in masks], dim=1)
        made = kept_references_in_rows(torch.cat(latents, dim=2), kept, recipe, dit.geometry)
        return () if made is None else (_under(made, controls),)

    return generate_in_rows(backbone, prompts, seeds_of(backbone.settings, len(prompts), noise), riders)


def _under(rider: ReferencesRider, controls: Controls) -> ReferencesRider:
    layout = rider.arranged.layout
    streams = tuple(replace(stream, controls=controls) for stream in layout.streams)
    return replace(rider, arranged=replace(rider.arranged, layout=replace(layout, streams=streams)))


def pair_figures(clips: Tensor, pairs: Duets) -> dict[str, Tensor]:
    """Figures of pairs, (N,) each.

    Nothing says which toy goes where, so the better of both ways counts. own is the similarity of the halves
    to the references they fit, mixed that to the other ones. apart is what is between them.
    """
    first, second = half_similarities(clips, pairs)
    ways = torch.stack([first[0] + second[1], first[1] + second[0]]) / 2
    own, mixed = ways.amax(0), ways.amin(0)
    scenes = pairs.scenes
    return {
        "own": own,
        "mixed": mixed,
        "apart": own - mixed,
        "direction": (toy_figures.direction_of(clips) == scenes.direction).float(),
        "background": (toy_figures.background_of(clips) == scenes.background).float(),
    }


def _table(runs: Runs, variant: str, figures: tuple[str, ...]) -> list[str]:
    rows = [
        [name, *(interval_cell(values[variant][figure]) for figure in figures)]
        for name, (values,) in runs.items()
    ]
    return markdown([variant, *figures], rows)


def _sheet(ablation: Ablation, backbone: Pipeline, recipe: Recipe) -> None:
    """A few unselected pairs, not those that are measured, under every arm."""
    pairs = sample_duets(min(_MOST_ROWS, ablation.toys), backbone.settings.height)
    columns = {
        title: torch.where(pairs.masks[k] > 0.5, pairs.pictures[k], GROUND)
        for k, title in enumerate(("first", "second"))
    }
    columns |= {
        name: clips_of_pairs(backbone, recipe, controls, pairs, 0) for name, controls in FOCUS_ARMS.items()
    }
    column_sheet(columns, ablation.folder / "focus.jpg", pairs.prompts, scale=1)
