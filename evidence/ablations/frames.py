"""STIV's claims about guidance by a first frame (arXiv 2412.07730, §3.3) on the demo world.

The same short training with and without image dropout, each guided jointly and by the prompt alone.
"""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from ...training.base.dit.config import DiTTraining
from ..claims import Claim, Side, Wording, sentence
from ..runs import Ablation, kept
from ..tables import FigureValues, Runs, markdown, mean_cell, mean_over_seeds, number_of
from ..trials.frames import GUIDED_FIGURES, JOINT, TEXT, guided_both_ways
from .text_to_video import ablation_run, dit_run, pretrained, trained_model

DROPPED, UNDROPPED = "with image dropout", "without image dropout"
DROPOUT = {DROPPED: 0.08, UNDROPPED: 0.0}  # share of steps whose first frame is not given; STIV's
FRAME_WORDING = Wording(form="+.4f")

FRAME_CLAIMS = (
    Claim("guided jointly, a video moves more than guided by the prompt alone",
          Side(DROPPED, JOINT), Side(DROPPED, TEXT), "motion"),
    Claim("guided jointly, it keeps who is in its first frame better",
          Side(DROPPED, JOINT), Side(DROPPED, TEXT), "own"),
    Claim("joint guidance needs image dropout: it moves more with it",
          Side(DROPPED, JOINT), Side(UNDROPPED, JOINT), "motion"),
    Claim("joint guidance needs image dropout: it keeps identity better with it",
          Side(DROPPED, JOINT), Side(UNDROPPED, JOINT), "own"),
)  # fmt: skip


def frame_run(steps: int, dropout: float) -> DiTTraining:
    """Text and a first frame to video, from the text-to-video model of `refvid ablate`."""
    base = ablation_run(steps)
    (only,) = base.stages
    drawing = replace(
        only.drawing, patterns=(0.0, 1.0, 0.0, 0.0, 0.0), frame_dropout=dropout, reference_dropout=1.0
    )
    return replace(base, stages=(replace(only, drawing=drawing),))


def ablate_frames(ablation: Ablation, steps: int, pretraining: int) -> list[str]:
    """Train both runs, measure them, and say what holds; what is there already is kept. Writes frames.md; ->
    its lines."""
    before = pretrained(ablation, pretraining)

    def measured(ablation: Ablation, config: DiTTraining, folder: Path) -> FigureValues:
        dit_run(ablation, folder, config, before)
        made_by = [asdict(config), ablation.toys, ablation.noises]
        return kept(folder, made_by, partial(_measured, ablation, folder))

    runs = ablation.runs({name: frame_run(steps, share) for name, share in DROPOUT.items()}, measured)
    head = (
        f"{ablation.toys} unseen toys, {number_of(steps, 'step')} a run after {pretraining} of text to video, "
        f"{number_of(ablation.seeds, 'training seed')}, {number_of(ablation.noises, 'noise')} a toy."
    )
    lines = [head, "", *_table(runs), "", *(sentence(claim, runs, FRAME_WORDING) for claim in FRAME_CLAIMS)]
    return ablation.written("frames", lines)


def _measured(ablation: Ablation, folder: Path) -> FigureValues:
    """A run's figures under every guidance."""
    found, _ = guided_both_ways(trained_model(ablation, folder), ablation.toys, ablation.noises)
    return {way: {figure: row[figure] for figure in GUIDED_FIGURES} for way, row in found.items()}


def _table(runs: Runs) -> list[str]:
    rows = [
        [name, way, *(mean_cell(mean_over_seeds(values, way, figure)) for figure in GUIDED_FIGURES)]
        for name, values in runs.items()
        for way in values[0]
    ]
    return markdown(["training", "guided by", *GUIDED_FIGURES], rows)
