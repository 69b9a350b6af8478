"""SAMA's ablation (arXiv 2603.19228) on the demo world: semantic anchoring and motion alignment, each alone and together, at equal steps.
Directions only; every figure is over unseen edits, averaged over training and sampling seeds; runs and figures are our choice."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from ...backbones.wan.loading import load_vae
from ...demo.edits import KINDS
from ...drawing.sheet import contact_sheet
from ...evaluation.figures import paired_interval
from ...hosts.plain.edit_film import with_editing_adapter
from ...hosts.plain.pipeline import Pipeline, load_pipeline
from ...training.engine.method import train
from ...training.methods.sama.config import SamaTraining
from ...training.methods.sama.method import Sama
from ..runs import Ablation, Values
from ..trials.edits import CODED, FIGURES, WITHOUT_MODEL, EditTrial, edited, evaluate_edits, without_model

BASE, SA, MA, BOTH = "base", "+SA", "+MA", "both"
ARMS: dict[str, Callable[[SamaTraining], SamaTraining]] = {
    BASE: lambda config: replace(_edits_only(config), semantic_weight=0.0),
    SA: lambda config: _edits_only(config),
    MA: lambda config: replace(config, semantic_weight=0.0),
    BOTH: lambda config: config,
}
AGAINST_BASE = (BOTH, SA, MA)
SHOWN, SHEET_ROWS = (BASE, BOTH), 2  # of every kind


def of_length(config: SamaTraining, steps: int) -> SamaTraining:
    """The same with so many steps in all, shared out between pretexts and edits as they are."""
    first = round(steps * config.motion_steps / (config.motion_steps + config.steps))
    return replace(config, motion_steps=first, steps=steps - first)


def _edits_only(config: SamaTraining) -> SamaTraining:
    return replace(config, motion_steps=0, steps=config.motion_steps + config.steps)


def ablate_sama(config: SamaTraining, ablation: Ablation) -> list[str]:
    """Train every one of ARMS with every seed, measure each on unseen edits of every kind, and tabulate; what is there already is kept.
    Writes sama.md and a sheet, sama.jpg; -> the lines of sama.md."""
    runs = ablation.runs({name: change(config) for name, change in ARMS.items()}, measured_run)
    for name in WITHOUT_MODEL:
        runs[name] = [_without_model(name, ablation, config)]
    head = (
        f"{ablation.toys} unseen edits of each of {len(KINDS)} kinds, {config.motion_steps + config.steps} steps a run, of which +MA and both spend "
        f"{config.motion_steps} on pretexts first, {ablation.seeds} training seeds, {ablation.noises} noises an edit. In brackets 95 % intervals over the edits."
    )
    lines = [head, "", *_arms(runs), "", *_differences(runs), "", *_by_kind(runs), "", _by_seed(runs)]
    _sheet(ablation, config)
    return ablation.written("sama", lines)


def measured_run(ablation: Ablation, config: SamaTraining, folder: Path) -> Values:
    """Train one run in its folder and measure it, unless that is there."""

    def measure() -> Values:
        ablation.begin(folder, asdict(config), Sama.files)
        train(Sama(), config, ablation.setting(folder))
        return evaluate_edits(
            _trained(ablation, config, folder), config.recipe, ablation.toys, ablation.noises
        )

    return ablation.kept(folder, [asdict(config), ablation.toys, ablation.noises], measure)


def _trained(ablation: Ablation, config: SamaTraining, folder: Path) -> Pipeline:
    """A run's model, set to the size and length of the pairs that it learned."""
    models, pairs = ablation.models, config.edits
    backbone = load_pipeline(models.dit, models.vae, models.text_encoder, device=ablation.device)
    backbone = with_editing_adapter(backbone, folder / "sama.safetensors", 1.0, "adapter")
    settings = replace(backbone.settings, width=pairs.size, height=pairs.size, frames=pairs.frames)
    return replace(backbone, settings=settings)


def _sheet(ablation: Ablation, config: SamaTraining) -> None:
    """The first unseen edits of every kind, unselected, as the first runs of SHOWN make them."""
    pairs = config.edits
    trials = [EditTrial(kind, SHEET_ROWS, pairs.frames, pairs.size) for kind in KINDS]
    made = []
    for name in SHOWN:
        arm = ARMS[name](config)
        backbone = _trained(ablation, arm, ablation.place(name, 0))
        made.append([edited(backbone, arm.recipe, trial, 0) for trial in trials])
    rows = [
        [trial.source[row], *(clips[kind][row] for clips in made), trial.truth[row]]
        for kind, trial in enumerate(trials)
        for row in range(len(trial))
    ]
    said = [prompt for trial in trials for prompt in trial.prompts]
    contact_sheet(rows, ["source", *SHOWN, "truth"], ablation.folder / "sama.jpg", said, scale=1)


def _without_model(name: str, ablation: Ablation, config: SamaTraining) -> Values:
    size, vae = (config.edits.frames, config.edits.size), ablation.models.vae
    made = [size, ablation.toys]
    return ablation.kept(
        ablation.place(name, 0), made, lambda: without_model(name, load_vae(vae), ablation.toys, *size)
    )


def _mean(runs: list[Values], figure: str, kinds: tuple[str, ...] = KINDS) -> Tensor:
    """Each edit's mean over the training seeds, kinds in turn."""
    return torch.cat([torch.stack([values[kind][figure] for values in runs]).mean(0) for kind in kinds])


def _arms(runs: dict[str, list[Values]]) -> list[str]:
    rows = [[name, *(_cell(_mean(runs[name], figure)) for figure in FIGURES)] for name in runs]
    return _table(["run", *FIGURES], rows)


def _differences(runs: dict[str, list[Values]]) -> list[str]:
    """What each arm adds to the base, edit by edit."""
    rows = [
        [
            f"{name} minus {BASE}",
            *(_cell(_mean(runs[name], f) - _mean(runs[BASE], f), "+.3f") for f in FIGURES),
        ]
        for name in AGAINST_BASE
    ]
    return _table(["difference", *FIGURES], rows)


def _by_kind(runs: dict[str, list[Values]]) -> list[str]:
    """The whole method on each kind of edit, beside how far the truth comes through the VAE."""
    rows = [
        [
            kind,
            *(_cell(_mean(runs[BOTH], figure, (kind,))) for figure in FIGURES),
            _cell(_mean(runs[CODED], "way", (kind,))),
        ]
        for kind in KINDS
    ]
    return _table([BOTH, *FIGURES, f"way, {CODED}"], rows)


def _by_seed(runs: dict[str, list[Values]]) -> str:
    """How far training seeds lie apart, which the intervals do not say."""
    said = [
        f"{name} " + ", ".join(f"{_mean([one], 'way').nanmean():.3f}" for one in values)
        for name, values in runs.items()
        if name in ARMS
    ]
    return f"way, by training seed: {'; '.join(said)}."


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]


def _cell(values: Tensor, form: str = ".3f") -> str:
    """Mean and interval over the edits that a figure applies to."""
    applying = values[~values.isnan()]
    if not len(applying):
        return "-"
    mean, low, high = (format(one, form) for one in paired_interval(applying))
    return f"{mean} [{low}, {high}]"
