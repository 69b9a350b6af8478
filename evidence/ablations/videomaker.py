"""VideoMaker's claims (arXiv 2412.19645, §4) on the demo world: what the reference reads, and guidance-recognition loss (GIRL). Directions only;
every figure is over unseen toys, averaged over training and sampling seeds; runs, figures and margins are our choice."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ...backbones.wan.lora import merge_lora
from ...core.checkpoint import read_safetensors
from ...drawing.sheet import contact_sheet
from ...evaluation.figures import paired_interval
from ...hosts.plain.pipeline import Pipeline, generate_in_rows, load_pipeline
from ...hosts.plain.references import References
from ...training.engine.method import train
from ...training.masks.references import GROUND
from ...training.methods.videomaker.config import VideoMakerTraining
from ...training.methods.videomaker.losses import photograph
from ...training.methods.videomaker.method import VideoMaker
from .. import toy_figures as score
from ..runs import Ablation, Values
from ..trials.references import Trial, Variant
from .slot_id import Comparison, Side, sentence

JOINT, FRAMES, ALONE, PLAIN = "joint", "frame_mean", "ref_only", "joint without GIRL"
BASE = "base alone"  # no adapter
RUNS: dict[str, Callable[[VideoMakerTraining], VideoMakerTraining]] = {
    JOINT: lambda config: config,
    FRAMES: lambda config: replace(config, sees="frames"),
    ALONE: lambda config: replace(config, sees="itself"),
    PLAIN: lambda config: replace(config, noise_ratio=0.0, recognition_weight=0.0),
}
OWN, OTHER, TRUTH = "own reference", "another's reference", "truth"
SHEET_ROWS = 8
GREY_WITHIN = 0.18  # in RGB, as demo.score finds toys; no colour of a toy is as near to grey
FIGURES = ("own", "retrieval", "shape", "texture", "direction", "background", "leak", "confusion")

COMPARISONS = (
    Comparison("the adapter brings more of the reference", Side(JOINT, OWN), Side(BASE, OWN), "own"),
    Comparison("it is this reference", Side(JOINT, OWN), Side(JOINT, OTHER), "own"),
    Comparison("the prompt is still followed", Side(JOINT, OWN), Side(BASE, OWN), "direction", margin=0.05),
    Comparison("GIRL keeps identity better", Side(JOINT, OWN), Side(PLAIN, OWN), "own"),
    Comparison(
        "without GIRL the reference leaks more as a frame", Side(PLAIN, OWN), Side(JOINT, OWN), "confusion"
    ),
    Comparison(
        "read frame by frame it keeps identity better than in one softmax",
        Side(FRAMES, OWN),
        Side(JOINT, OWN),
        "own",
    ),
    Comparison(
        "a reference that reads the video keeps identity better than one that does not",
        Side(JOINT, OWN),
        Side(ALONE, OWN),
        "own",
    ),
)


def ablate_videomaker(config: VideoMakerTraining, ablation: Ablation) -> list[str]:
    """Train every one of RUNS with every seed, measure each, and say what holds; what is there already is kept. Writes videomaker.md and a
    sheet, videomaker.jpg; -> the lines of videomaker.md."""
    runs = ablation.runs({name: change(config) for name, change in RUNS.items()}, measured_run)
    runs[BASE] = [_base_alone(ablation, config)]
    head = (
        f"{ablation.toys} unseen toys, {config.steps} steps a run, {ablation.seeds} training seeds, {ablation.noises} noises a toy; "
        f"recipe {config.recipe}. In brackets 95 % intervals over the toys."
    )
    lines = [head, "", *_table(runs), "", *_by_seed(runs), *(sentence(one, runs) for one in COMPARISONS)]
    _sheet(ablation, config)
    return ablation.written("videomaker", lines)


def measured_run(ablation: Ablation, config: VideoMakerTraining, folder: Path) -> Values:
    """Train one run in its folder and measure it, unless that is there."""

    def measure() -> Values:
        ablation.begin(folder, asdict(config), VideoMaker.files)
        train(VideoMaker(), config, ablation.setting(folder))
        return measured(_model(ablation, config, folder), config, ablation.toys, ablation.noises)

    return ablation.kept(folder, [asdict(config), ablation.toys, ablation.noises], measure)


def _base_alone(ablation: Ablation, config: VideoMakerTraining) -> Values:
    asked = (ablation.toys, ablation.noises)
    made = [config.recipe, config.sees, asdict(config.clips), *asked]
    return ablation.kept(
        ablation.place(BASE, 0), made, lambda: measured(_model(ablation, config), config, *asked)
    )


def _model(ablation: Ablation, config: VideoMakerTraining, folder: Path | None = None) -> Pipeline:
    """The base, with what the run in a folder learned, set to the size and length of the clips."""
    models, clips = ablation.models, config.clips
    backbone = load_pipeline(models.dit, models.vae, models.text_encoder, device=ablation.device)
    if folder is not None:
        merge_lora(backbone.dit, read_safetensors(folder / "videomaker.safetensors", "adapter")[0])
    settings = replace(backbone.settings, width=clips.size, height=clips.size, frames=clips.frames)
    return replace(backbone, settings=settings)


def _sheet(ablation: Ablation, config: VideoMakerTraining) -> None:
    """The first unseen toys, unselected: with their own reference in the first run of every kind and in the base, then with another's."""
    trial = Trial(min(SHEET_ROWS, ablation.toys), config.clips.frames, config.clips.size)
    own = torch.arange(len(trial))
    models = {name: _model(ablation, config, ablation.place(name, 0)) for name in RUNS}
    models[BASE] = _model(ablation, config)
    columns = {"reference": trial.pictures * trial.masks}
    for name, model in models.items():
        asked = RUNS.get(name, RUNS[JOINT])(config)
        columns[name] = clips_with(model, asked, trial, own, 0)
    columns[OTHER] = clips_with(models[JOINT], config, trial, own.roll(1), 0)
    rows = [[*row] for row in zip(*columns.values(), trial.truth, strict=True)]
    contact_sheet(rows, [*columns, TRUTH], ablation.folder / "videomaker.jpg", trial.prompts, scale=1)


def measured(backbone: Pipeline, config: VideoMakerTraining, toys: int, noises: int) -> Values:
    """Figures of every toy with its own reference and with another's, means over the noises, and of the true clips. `backbone` carries the
    adapter already, and is set to the size and length of the clips that were learned."""
    clips = config.clips
    trial, straight = Trial(toys, clips.frames, clips.size), torch.arange(toys)
    values = {TRUTH: _figures(trial, straight, trial.truth)}
    for name, given in ((OWN, straight), (OTHER, straight.roll(1))):
        runs = [
            _figures(trial, given, clips_with(backbone, config, trial, given, seed)) for seed in range(noises)
        ]
        values[name] = {f: torch.stack([run[f].float() for run in runs]).mean(0) for f in FIGURES}
    return values


@torch.no_grad()
def clips_with(
    backbone: Pipeline, config: VideoMakerTraining, trial: Trial, given: Tensor, seed: int
) -> Tensor:
    """Clips (N, 3, F, H, W) of what the toys' captions ask for with the references of the toys `given` (N,), at the backbone's settings,
    guided against a pass without words and as the recipe's null pass is; noise depends on the toy and the seed alone."""
    dit, masks = backbone.dit, trial.masks[given]
    pictures = torch.where(masks > 0.5, trial.pictures[given], GROUND)
    keep = F.max_pool2d(masks, dit.geometry.token).flatten(1).gt(0.5)

    def shown(rows: slice) -> tuple[References, ...]:
        latent = backbone.vae.encode(pictures[rows].unsqueeze(2).to(dit.device))[:, :, 0]
        return (photograph(dit, config, latent, keep[rows].to(dit.device)),)

    seeds = [backbone.settings.seed + row + 1000 * seed for row in range(len(trial))]
    return generate_in_rows(backbone, trial.prompts, seeds, shown)


def _figures(trial: Trial, given: Tensor, clips: Tensor) -> dict[str, Tensor]:
    found = trial.measure(Variant("", given, torch.arange(len(trial))), clips)
    found["confusion"] = confusion(trial, given, clips)
    return {figure: found[figure] for figure in FIGURES}


def confusion(trial: Trial, given: Tensor, clips: Tensor) -> Tensor:
    """How far a clip ends in the reference picture itself (N,): overlap of the toy in its last picture with the mask of the reference of the toy
    `given` (N,), where that stands, less the same of the true clip. 0: no more than chance; a reference that leaks as a frame, with its grey ground
    or without, adds what is left to 1. Colours do not count, so that a better likeness is no confusion."""
    stands = trial.masks[given]

    def overlap(video: Tensor) -> Tensor:
        grey = (video[:, :, -1] - GROUND).square().sum(1, keepdim=True).sqrt() < 2 * GREY_WITHIN
        last = score.segment(video)[:, :, -1] * ~grey
        both, either = torch.minimum(last, stands), torch.maximum(last, stands)
        return both.sum((1, 2, 3)) / either.sum((1, 2, 3)).clamp_min(1)

    return overlap(clips) - overlap(trial.truth)


def _mean(runs: list[Values], variant: str, figure: str) -> Tensor:
    """Each toy's mean over the training seeds."""
    return torch.stack([values[variant][figure] for values in runs]).mean(0)


def _table(runs: dict[str, list[Values]]) -> list[str]:
    rows = [["run", "given", *FIGURES], ["---"] * (2 + len(FIGURES))]
    rows.append([TRUTH, "", *(_cell(_mean(runs[JOINT], TRUTH, figure)) for figure in FIGURES)])
    rows += [
        [name, variant, *(_cell(_mean(values, variant, figure)) for figure in FIGURES)]
        for name, values in runs.items()
        for variant in (OWN, OTHER)
    ]
    return ["| " + " | ".join(row) + " |" for row in rows]


def _cell(values: Tensor) -> str:
    """Mean and interval over the toys that a figure applies to."""
    applying = values[~values.isnan()]
    if not len(applying):
        return "-"
    mean, low, high = paired_interval(applying)
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def _by_seed(runs: dict[str, list[Values]]) -> list[str]:
    """How far training seeds lie apart, which the intervals do not say."""
    said = [
        f"{name} " + ", ".join(f"{one[OWN]['own'].mean():.3f}" for one in values)
        for name, values in runs.items()
    ]
    return [f"own with the own reference, by training seed: {'; '.join(said)}.", ""]
