"""Slot-ID's claims (arXiv 2601.01352) on the demo world: slots against a mean and against one picture, order, the gate. Directions only;
every figure is a difference paired over unseen toys and averaged over training and sampling seeds."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..core.adapter import load_adapter
from ..core.score import paired_interval
from ..demo import evaluate_identity as measured
from ..hosts.pipeline import load_backbone
from ..wan.lora import merge_lora
from .adapter import Models
from .kept_runs import Values, begin, folder_of, kept
from .slot_baselines import ENCODERS
from .slot_id import SlotTraining, train_slots

OWN, SLOTS = "own video", "slots"


@dataclass(frozen=True)
class Side:
    """One side of a comparison: an encoder, and what it is given to read."""

    encoder: str = SLOTS
    reading: str = OWN


@dataclass(frozen=True)
class Comparison:
    """What is said of the first side's `figure` against the second's: it is larger, or, with a margin, less by no more than that."""

    says: str
    first: Side
    second: Side
    figure: str
    margin: float | None = None


COMPARISONS = (
    Comparison("slots tell more than mean pooling", Side(), Side("mean pooling"), "dynamics"),
    Comparison("a video tells more than one picture", Side(), Side("one picture"), "dynamics"),
    Comparison("the slots alone bring it too", Side(reading="slots alone"), Side(reading="nobody"), "own"),
    Comparison("the slots carry it, not the anchor", Side(), Side(reading="anchor alone"), "dynamics"),
    Comparison("the order of frames matters", Side(), Side(reading="own video, frames shuffled"), "dynamics"),
    Comparison("a learned gate is better than a fixed one", Side(), Side("gate fixed open"), "dynamics"),
    Comparison("the identity reaches the video", Side(), Side(reading="nobody"), "own"),
    Comparison("it is this identity", Side(), Side(reading="another's video"), "own"),
    Comparison("the prompt is still followed", Side(), Side(reading="nobody"), "direction", margin=0.05),
)


def ablate_slots(
    config: SlotTraining,
    models: Models,
    folder: Path,
    toys: int,
    seeds: int,
    noises: int,
    device: str = "cpu",
    compiled: bool = False,
) -> list[str]:
    """Train every encoder with every seed, measure each, and say what holds; what is there already is kept. Writes slots.md; -> its lines."""
    runs: dict[str, list[Values]] = {}
    for name, encoder in ENCODERS.items():
        for seed in range(seeds):
            run, place = replace(config, encoder=encoder, seed=seed), folder_of(folder, name, seed)
            readings = _read_by(name)
            runs.setdefault(name, []).append(
                measured_run(run, models, place, toys, noises, readings, device, compiled)
            )
    head = f"{toys} unseen toys, three in four of which move in themselves, {config.steps} steps a run, {seeds} training seeds, {noises} noises a toy."
    lines = [head, "", *_table(runs), "", *(sentence(one, runs) for one in COMPARISONS)]
    (folder / "slots.md").write_text("\n".join(lines) + "\n")
    return lines


def sentence(comparison: Comparison, runs: dict[str, list[Values]]) -> str:
    """A plain sentence: holds, does not, or not decided."""
    first, second = (_mean(runs, side)[comparison.figure] for side in (comparison.first, comparison.second))
    difference = first - second
    mean, low, high = paired_interval(difference[~difference.isnan()])
    least = 0.0 if comparison.margin is None else -comparison.margin
    verdict = "holds" if low > least else "does not hold" if high < least else "not decided"
    return (
        f"- **{comparison.says}**: **{verdict}** ({comparison.figure} {mean:+.3f} [{low:+.3f}, {high:+.3f}])."
    )


def _read_by(encoder: str) -> list[str]:
    """What an encoder is measured with: only the slots are read in other ways too."""
    return list(measured.READINGS) if encoder == SLOTS else [OWN]


def measured_run(
    config: SlotTraining,
    models: Models,
    folder: Path,
    toys: int,
    noises: int,
    readings: list[str],
    device: str = "cpu",
    compiled: bool = False,
) -> Values:
    """Train one run in its folder and measure it, unless that is there; encoded clips are shared with the folders beside it."""

    def measure() -> Values:
        begin(folder, {**asdict(config), "encoder": config.encoder.__name__}, "slot_id-run.safetensors")
        train_slots(config, models, folder, True, device, folder.parent / "clips", compiled)
        adapter = load_adapter(folder / "slot_id.safetensors")
        backbone = load_backbone(models.dit, models.vae, models.text_encoder)
        merge_lora(backbone.dit, adapter.lora)
        encoder = config.encoder(adapter.config)
        encoder.load_state_dict({key: value.float() for key, value in adapter.encoder.items()})
        return measured.evaluate_identity(
            backbone, config.slots, encoder.eval(), toys, noises, readings=readings
        )

    said = {**asdict(config), "encoder": config.encoder.__name__}
    return kept(folder, [said, toys, noises, readings], measure)


def _mean(runs: dict[str, list[Values]], side: Side) -> dict[str, Tensor]:
    """A side's figures, each toy's mean over the training seeds."""
    rows = [values[side.reading] for values in runs[side.encoder]]
    return {figure: torch.stack([row[figure] for row in rows]).mean(0) for figure in rows[0]}


def _table(runs: dict[str, list[Values]]) -> list[str]:
    lines = [_line(["encoder", "reads", *measured.FIGURES]), _line(["---"] * (2 + len(measured.FIGURES)))]
    truth = runs[SLOTS][0]["truth"]
    lines.append(_line(["truth", "", *(_cell(truth[figure]) for figure in measured.FIGURES)]))
    for name in runs:
        for reading in _read_by(name):
            row = _mean(runs, Side(name, reading))
            lines.append(_line([name, reading, *(_cell(row[figure]) for figure in measured.FIGURES)]))
    return lines


def _cell(values: Tensor) -> str:
    return f"{values.nanmean():.3f}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
