"""SAMA's ablation (arXiv 2603.19228) on the demo world: semantic anchoring and motion alignment, each alone
and together, at equal steps. Every figure is over unseen edits, averaged over training and sampling seeds
[choice: sama-ablation-runs]."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ...backbones.wan.loading import load_vae
from ...demo.edits import EDIT_KINDS
from ...hosts.plain.edit_film import with_editing_adapter
from ...hosts.plain.pipeline import Pipeline
from ...training.methods.sama.config import SamaTraining
from ...training.methods.sama.method import Sama
from ..runs import Ablation
from ..tables import FigureValues, Runs, by_seed, interval_cell, markdown, mean_over_seeds, number_of
from ..trials.clips import CODED
from ..trials.edits import (
    WITHOUT_MODEL,
    EditTrial,
    edit_sheet,
    edited,
    evaluate_edits,
    without_model,
)

BARE, SA, MA, BOTH = "base", "+SA", "+MA", "both"
SAMA_ARMS: dict[str, Callable[[SamaTraining], SamaTraining]] = {
    BARE: lambda config: replace(_edits_only(config), semantic_weight=0.0),
    SA: lambda config: _edits_only(config),
    MA: lambda config: replace(config, semantic_weight=0.0),
    BOTH: lambda config: config,
}
AGAINST_BARE = (BOTH, SA, MA)
FIGURES = ("way", "nearer", "kept", "motion")  # of the tables: those that every kind of edit has
SHEET_ARMS = BARE, BOTH  # of the sheet


def of_length(config: SamaTraining, steps: int) -> SamaTraining:
    """Change the length of a run to so many steps, shared out between pretexts and edits as they are."""
    first = round(steps * config.motion_steps / (config.motion_steps + config.steps))
    return replace(config, motion_steps=first, steps=steps - first)


def _edits_only(config: SamaTraining) -> SamaTraining:
    return replace(config, motion_steps=0, steps=config.motion_steps + config.steps)


def ablate_sama(config: SamaTraining, ablation: Ablation) -> list[str]:
    """Train every one of SAMA_ARMS with every seed, measure each on unseen edits of every kind, and tabulate;
    what is there already is kept. Writes sama.md and a sheet, sama.jpg; -> the lines of sama.md."""
    trained = ablation.runs({name: change(config) for name, change in SAMA_ARMS.items()}, sama_run)
    runs = trained | {name: [_without_model(name, ablation, config)] for name in WITHOUT_MODEL}
    steps = config.motion_steps + config.steps
    head = (
        f"{ablation.toys} unseen edits of each of {len(EDIT_KINDS)} kinds, {number_of(steps, 'step')} a run, "
        f"of which +MA and both spend {config.motion_steps} on pretexts first, "
        f"{number_of(ablation.seeds, 'training seed')}, "
        f"{number_of(ablation.noises, 'noise')} an edit. In brackets 95 % intervals over the edits."
    )
    seeds = by_seed("way", trained, lambda values: _of_kinds([values], "way"))
    lines = [head, "", *_arms(runs), "", *_differences(runs), "", *_by_kind(runs), "", seeds]
    _sheet(ablation, config)
    return ablation.written("sama", lines)


def sama_run(ablation: Ablation, config: SamaTraining, folder: Path) -> FigureValues:
    """Train one run in its folder and measure it, unless that is there."""

    def measure() -> FigureValues:
        backbone = _trained_model(ablation, config, folder)
        return evaluate_edits(backbone, config.recipe, ablation.toys, ablation.noises)

    return ablation.measured(folder, Sama(), config, measure)


def _trained_model(ablation: Ablation, config: SamaTraining, folder: Path) -> Pipeline:
    """A run's model, set to the size and length of the pairs that it learned."""
    backbone = ablation.backbone(config.edits.size, config.edits.frames)
    return with_editing_adapter(backbone, folder / "sama.safetensors", 1.0, "adapter")


def _sheet(ablation: Ablation, config: SamaTraining) -> None:
    """A few unseen edits, unselected, as the first runs of SHEET_ARMS make them."""

    def made(name: str) -> Callable[[EditTrial], Tensor]:
        arm = SAMA_ARMS[name](config)
        backbone = _trained_model(ablation, arm, ablation.place(name, 0))
        return lambda trial: edited(backbone, arm.recipe, trial, 0)

    size = config.edits.frames, config.edits.size
    edit_sheet({name: made(name) for name in SHEET_ARMS}, *size, ablation.folder / "sama.jpg")


def _without_model(name: str, ablation: Ablation, config: SamaTraining) -> FigureValues:
    size, vae = (config.edits.frames, config.edits.size), ablation.models.vae
    return ablation.kept(
        ablation.place(name, 0),
        [size, ablation.toys],
        lambda: without_model(name, load_vae(vae), ablation.toys, *size),
    )


def _of_kinds(runs: list[FigureValues], figure: str, kinds: tuple[str, ...] = EDIT_KINDS) -> Tensor:
    """Each edit's mean over the training seeds, kinds in turn."""
    return torch.cat([mean_over_seeds(runs, kind, figure) for kind in kinds])


def _arms(runs: Runs) -> list[str]:
    rows = [[name, *(interval_cell(_of_kinds(one, f)) for f in FIGURES)] for name, one in runs.items()]
    return markdown(["run", *FIGURES], rows)


def _differences(runs: Runs) -> list[str]:
    """Gain of each arm over the base, edit by edit."""

    def gain(name: str, figure: str) -> str:
        return interval_cell(_of_kinds(runs[name], figure) - _of_kinds(runs[BARE], figure), "+.3f")

    rows = [[f"{name} minus {BARE}", *(gain(name, figure) for figure in FIGURES)] for name in AGAINST_BARE]
    return markdown(["difference", *FIGURES], rows)


def _by_kind(runs: Runs) -> list[str]:
    """The whole method on each kind of edit, beside how far the truth comes through the VAE."""

    def cell(name: str, figure: str, kind: str) -> str:
        return interval_cell(_of_kinds(runs[name], figure, (kind,)))

    rows = [
        [kind, *(cell(BOTH, figure, kind) for figure in FIGURES), cell(CODED, "way", kind)]
        for kind in EDIT_KINDS
    ]
    return markdown([BOTH, *FIGURES, f"way, {CODED}"], rows)
