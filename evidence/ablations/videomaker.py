"""VideoMaker's claims (arXiv 2412.19645, §4) on the demo world: what the reference reads, and
guidance-recognition loss (GIRL). Every figure is over unseen toys, averaged over training and sampling seeds
[choice: videomaker-ablation-runs]."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ...backbones.wan.lora import merge_lora
from ...core.checkpoint import read_safetensors
from ...drawing.sheet import column_sheet
from ...hosts.plain.pipeline import Pipeline, generate_in_rows
from ...hosts.plain.references import ReferencesRider
from ...training.masks.references import GROUND
from ...training.methods.videomaker.config import VideoMakerTraining
from ...training.methods.videomaker.losses import photograph
from ...training.methods.videomaker.method import VideoMaker
from .. import toy_figures
from ..claims import Claim, Side, sentence
from ..runs import BASE_ALONE, Ablation
from ..tables import (
    FigureValues,
    Runs,
    by_seed,
    interval_cell,
    markdown,
    mean_over_noises,
    mean_over_seeds,
    number_of,
)
from ..trials.clips import TRUTH, seeds_of
from ..trials.references import OTHERS_REFERENCE, OWN_REFERENCE, Trial, Variant

JOINT_SOFTMAX, FRAMES, REF_ONLY, PLAIN = "joint", "frame_mean", "ref_only", "joint without GIRL"
VIDEOMAKER_ARMS: dict[str, Callable[[VideoMakerTraining], VideoMakerTraining]] = {
    JOINT_SOFTMAX: lambda config: config,
    FRAMES: lambda config: replace(config, sees="frames"),
    REF_ONLY: lambda config: replace(config, sees="itself"),
    PLAIN: lambda config: replace(config, noise_ratio=0.0, recognition_weight=0.0),
}
VIDEOMAKER_FIGURES = ("own", "retrieval", "shape", "texture", "direction", "background", "leak", "confusion")
_MOST_ROWS = 8  # of the sheet

VIDEOMAKER_CLAIMS = (
    Claim("the adapter brings more of the reference", Side(JOINT_SOFTMAX, OWN_REFERENCE), Side(BASE_ALONE, OWN_REFERENCE), "own"),
    Claim("it is this reference", Side(JOINT_SOFTMAX, OWN_REFERENCE), Side(JOINT_SOFTMAX, OTHERS_REFERENCE), "own"),
    Claim("the prompt is still followed", Side(JOINT_SOFTMAX, OWN_REFERENCE), Side(BASE_ALONE, OWN_REFERENCE), "direction", margin=0.05),
    Claim("GIRL keeps identity better", Side(JOINT_SOFTMAX, OWN_REFERENCE), Side(PLAIN, OWN_REFERENCE), "own"),
    Claim("without GIRL the reference leaks more as a frame", Side(PLAIN, OWN_REFERENCE), Side(JOINT_SOFTMAX, OWN_REFERENCE), "confusion"),
    Claim("read frame by frame it keeps identity better than in one softmax",
          Side(FRAMES, OWN_REFERENCE), Side(JOINT_SOFTMAX, OWN_REFERENCE), "own"),
    Claim("a reference that reads the video keeps identity better than one that does not",
          Side(JOINT_SOFTMAX, OWN_REFERENCE), Side(REF_ONLY, OWN_REFERENCE), "own"),
)  # fmt: skip


def ablate_videomaker(config: VideoMakerTraining, ablation: Ablation) -> list[str]:
    """Train every one of VIDEOMAKER_ARMS with every seed, measure each, and say what holds; what is there
    already is kept. Writes videomaker.md and a sheet, videomaker.jpg; -> the lines of videomaker.md."""
    runs = ablation.runs({name: change(config) for name, change in VIDEOMAKER_ARMS.items()}, videomaker_run)
    runs[BASE_ALONE] = [_base_alone(ablation, config)]
    head = (
        f"{ablation.toys} unseen toys, {number_of(config.steps, 'step')} a run, "
        f"{number_of(ablation.seeds, 'training seed')}, {number_of(ablation.noises, 'noise')} a toy; "
        f"recipe {config.recipe}. In brackets 95 % intervals over the toys."
    )
    seeds = by_seed("own with the own reference", runs, lambda values: values[OWN_REFERENCE]["own"])
    lines = [head, "", *_table(runs), "", seeds, "", *(sentence(one, runs) for one in VIDEOMAKER_CLAIMS)]
    _sheet(ablation, config)
    return ablation.written("videomaker", lines)


def videomaker_run(ablation: Ablation, config: VideoMakerTraining, folder: Path) -> FigureValues:
    """Train one run in its folder and measure it, unless that is there."""
    return ablation.measured(
        folder,
        VideoMaker(),
        config,
        lambda: measured(_model(ablation, config, folder), config, ablation.toys, ablation.noises),
    )


def _base_alone(ablation: Ablation, config: VideoMakerTraining) -> FigureValues:
    asked = (ablation.toys, ablation.noises)
    made_by = [config.recipe, config.sees, asdict(config.clips), *asked]
    return ablation.kept(
        ablation.place(f"{BASE_ALONE}, with a reference"),
        made_by,
        lambda: measured(_model(ablation, config), config, *asked),
    )


def _model(ablation: Ablation, config: VideoMakerTraining, folder: Path | None = None) -> Pipeline:
    """The base, with what the run in a folder learned, set to the size and length of the clips."""
    backbone = ablation.backbone(config.clips.size, config.clips.frames)
    if folder is not None:
        merge_lora(backbone.dit, read_safetensors(folder / "videomaker.safetensors", "adapter")[0])
    return backbone


def _sheet(ablation: Ablation, config: VideoMakerTraining) -> None:
    """A few unseen toys, unselected: with their own reference in the first run of every arm and in the
    base, then with another's."""
    trial = Trial(min(_MOST_ROWS, ablation.toys), config.clips.frames, config.clips.size)
    own = torch.arange(len(trial))
    models = {name: _model(ablation, config, ablation.place(name, 0)) for name in VIDEOMAKER_ARMS}
    models[BASE_ALONE] = _model(ablation, config)
    columns = {"reference": trial.pictures * trial.masks}
    for name, model in models.items():
        asked = VIDEOMAKER_ARMS.get(name, VIDEOMAKER_ARMS[JOINT_SOFTMAX])(config)
        columns[name] = clips_with(model, asked, trial, own, 0)
    columns[OTHERS_REFERENCE] = clips_with(models[JOINT_SOFTMAX], config, trial, own.roll(1), 0)
    columns[TRUTH] = trial.truth
    column_sheet(columns, ablation.folder / "videomaker.jpg", trial.prompts, scale=1)


def measured(backbone: Pipeline, config: VideoMakerTraining, toys: int, noises: int) -> FigureValues:
    """Figures of every toy with its own reference and with another's, means over the noises, and of the true
    clips.

    `backbone` carries the adapter already, and is set to the size and length of the clips that were learned.
    """
    clips = config.clips
    trial, straight = Trial(toys, clips.frames, clips.size), torch.arange(toys)
    values = {TRUTH: _figures(trial, straight, trial.truth)}
    for name, given in ((OWN_REFERENCE, straight), (OTHERS_REFERENCE, straight.roll(1))):

        def measure(noise: int, given: Tensor = given) -> dict[str, Tensor]:
            found = _figures(trial, given, clips_with(backbone, config, trial, given, noise))
            return {figure: found[figure].float() for figure in VIDEOMAKER_FIGURES}

        values[name] = mean_over_noises(noises, measure)
    return values


@torch.no_grad()
def clips_with(
    backbone: Pipeline, config: VideoMakerTraining, trial: Trial, given: Tensor, noise: int
) -> Tensor:
    """Clips (N, 3, F, H, W) of the toys' captions with the references of the toys `given` (N,), at the
    backbone's settings. They are guided against a pass without words, and as the recipe's null pass is."""
    dit, masks = backbone.dit, trial.masks[given]
    pictures = torch.where(masks > 0.5, trial.pictures[given], GROUND)
    keep = F.max_pool2d(masks, dit.geometry.token).flatten(1).gt(0.5)

    def shown(rows: slice) -> tuple[ReferencesRider, ...]:
        latent = backbone.vae.encode(pictures[rows].unsqueeze(2).to(dit.device))[:, :, 0]
        return (photograph(dit, config, latent, keep[rows].to(dit.device)),)

    return generate_in_rows(backbone, trial.prompts, seeds_of(backbone.settings, len(trial), noise), shown)


def _figures(trial: Trial, given: Tensor, clips: Tensor) -> dict[str, Tensor]:
    found = trial.measure(Variant("", given, torch.arange(len(trial))), clips)
    found["confusion"] = confusion(trial, given, clips)
    return {figure: found[figure] for figure in VIDEOMAKER_FIGURES}


def confusion(trial: Trial, given: Tensor, clips: Tensor) -> Tensor:
    """Overlap of the toy in a clip's last picture with the reference's mask, less that of the true clip,
    (N,).

    The reference is that of the toy `given` (N,), where it stands. 0 is no more than chance. A reference that
    leaks as a frame, with its grey ground or without, adds what is left to 1. Colours do not count, so a
    better likeness is no confusion [choice: confusion-figure].
    """
    stands = trial.masks[given]

    def overlap(video: Tensor) -> Tensor:
        # No colour of a toy is as near to grey.
        grey = (video[:, :, -1] - GROUND).square().sum(1, keepdim=True).sqrt() < 2 * toy_figures.TOY_APART
        last = toy_figures.segment(video)[:, :, -1] * ~grey
        both, either = torch.minimum(last, stands), torch.maximum(last, stands)
        return both.sum((1, 2, 3)) / either.sum((1, 2, 3)).clamp_min(1)

    return overlap(clips) - overlap(trial.truth)


def _table(runs: Runs) -> list[str]:
    def cells(name: str, variant: str) -> list[str]:
        return [interval_cell(mean_over_seeds(runs[name], variant, figure)) for figure in VIDEOMAKER_FIGURES]

    rows = [[TRUTH, "", *cells(JOINT_SOFTMAX, TRUTH)]]
    rows += [
        [name, variant, *cells(name, variant)]
        for name in runs
        for variant in (OWN_REFERENCE, OTHERS_REFERENCE)
    ]
    return markdown(["run", "given", *VIDEOMAKER_FIGURES], rows)
