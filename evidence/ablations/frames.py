"""STIV's claims about guidance by a first frame (arXiv 2412.07730, §3.3) on the demo world: the same short training with and without image
dropout, each guided jointly and by the prompt alone. Directions only."""

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch

from ...core.files import write_text
from ...evaluation.figures import paired_interval
from ...hosts.plain.pipeline import load_pipeline
from ...training.methods.saber.config import SaberTraining
from ..runs import Values, kept
from ..trials.frames import GUIDED, JOINT, TEXT, guided_both_ways
from .saber import PRETRAINED, Place, ablation_run, files_of, pretraining_run

DROPPED, KEPT = "with image dropout", "without image dropout"
SHARES = {DROPPED: 0.08, KEPT: 0.0}  # STIV's, of steps whose first frame is not given


@dataclass(frozen=True)
class Comparison:
    """What is said: `figure` of the first (run, guidance) is larger than that of the second."""

    says: str
    first: tuple[str, str]
    second: tuple[str, str]
    figure: str


COMPARISONS = (
    Comparison("guided jointly, a video moves more than guided by the prompt alone", (DROPPED, JOINT), (DROPPED, TEXT), "motion"),
    Comparison("guided jointly, it keeps who is in its first frame better", (DROPPED, JOINT), (DROPPED, TEXT), "own"),
    Comparison("joint guidance needs image dropout: it moves more with it", (DROPPED, JOINT), (KEPT, JOINT), "motion"),
    Comparison("joint guidance needs image dropout: it keeps identity better with it", (DROPPED, JOINT), (KEPT, JOINT), "own"),
)  # fmt: skip


def frame_run(steps: int, dropout: float) -> SaberTraining:
    """Text and a first frame to video, from the text-to-video model of `refvid ablate`."""
    base = ablation_run(steps)
    (only,) = base.stages
    drawing = replace(
        only.drawing, patterns=(0.0, 1.0, 0.0, 0.0, 0.0), frame_dropout=dropout, reference_dropout=1.0
    )
    return replace(base, stages=(replace(only, drawing=drawing),))


def ablate_frames(place: Place, steps: int, pretraining: int, toys: int, seeds: int) -> list[str]:
    """Train both runs, measure them, and say what holds; what is there already is kept. Writes frames.md; -> its lines."""
    before, values = pretraining_run(pretraining), {}
    place.trained(PRETRAINED, before)
    for name, dropout in SHARES.items():
        config = frame_run(steps, dropout)
        folder = place.trained(name, config, before)
        measure = partial(_measured, folder, place.device, toys, seeds)
        for way, row in kept(folder, [asdict(config), toys, seeds], measure).items():
            values[name, way] = row
    head = f"{toys} unseen toys, {steps} steps a run after {pretraining} of text to video, one training seed, {seeds} noises a toy."
    lines = [head, "", *_table(values), "", *(sentence(one, values) for one in COMPARISONS)]
    write_text(place.folder / "frames.md", "\n".join(lines) + "\n")
    return lines


def _measured(folder: Path, device: str, toys: int, seeds: int) -> Values:
    """A run's figures under every guidance."""
    found, _ = guided_both_ways(load_pipeline(*files_of(folder), device=device), toys, seeds)
    return {way: {figure: row[figure] for figure in GUIDED} for way, row in found.items()}


def sentence(comparison: Comparison, values: dict[tuple[str, str], dict[str, torch.Tensor]]) -> str:
    """A plain sentence: holds, does not, or not decided."""
    first, second = (values[one][comparison.figure] for one in (comparison.first, comparison.second))
    mean, low, high = paired_interval(first - second)
    verdict = "holds" if low > 0 else "does not hold" if high < 0 else "not decided"
    return (
        f"- **{comparison.says}**: **{verdict}** ({comparison.figure} {mean:+.4f} [{low:+.4f}, {high:+.4f}])."
    )


def _table(values: dict[tuple[str, str], dict[str, torch.Tensor]]) -> list[str]:
    cells = [["training", "guided by", *GUIDED], ["---"] * (2 + len(GUIDED))]
    cells += [[*name, *(f"{row[f].nanmean():.3f}" for f in GUIDED)] for name, row in values.items()]
    return ["| " + " | ".join(line) + " |" for line in cells]
