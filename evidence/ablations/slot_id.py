"""Slot-ID's claims (arXiv 2601.01352) on the demo world: slots against a mean and against one picture, order, the gate. Directions only;
every figure is a difference paired over unseen toys and averaged over training and sampling seeds."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ...backbones.wan.geometry import WAN
from ...backbones.wan.lora import merge_lora
from ...core.adapter import load_adapter
from ...core.slots import SlotEncoder, SlotsConfig
from ...evaluation.figures import paired_interval
from ...hosts.plain.identities import slot_encoder
from ...hosts.plain.pipeline import Pipeline, load_pipeline
from ...training.engine.method import train
from ...training.methods.slot_id.config import SlotTraining
from ...training.methods.slot_id.method import SlotId
from ..preview import identity_sheet, slot_previews
from ..runs import Ablation, Values
from ..trials import identity as measured
from ..trials.references import CODED
from .slot_baselines import ENCODERS
from .slot_probe import probe_lines

OWN, TRUTH, SLOTS = "own video", "truth", "slots"
BASE = "base alone"  # no adapter
SHEET_ROWS = 8
SHOWN = (OWN, "slots alone", "anchor alone", "another's video", "nobody")


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


def ablate_slots(config: SlotTraining, ablation: Ablation) -> list[str]:
    """Train every encoder with every seed, measure each, and say what holds; what is there already is kept. Writes slots.md
    and a sheet, slots.jpg; -> the lines of slots.md."""
    arms = {name: replace(config, encoder=encoder) for name, encoder in ENCODERS.items()}
    runs = ablation.runs(arms, measured_run)
    runs[BASE] = [_base_alone(ablation, config)]
    head = (
        f"{ablation.toys} unseen toys, three in four of which move in themselves, {config.steps} steps a run, "
        f"{ablation.seeds} training seeds, {ablation.noises} noises a toy."
    )
    lines = [head, "", *_table(runs), "", *(sentence(one, runs) for one in COMPARISONS)]
    lines += ["", *probe_lines(config, ablation)]
    _sheet(ablation, config)
    return ablation.written("slots", lines)


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


def _read_by(encoder: Callable[[SlotsConfig, int], SlotEncoder]) -> list[str]:
    """What an encoder is measured with: only the slots are read in other ways too."""
    return list(measured.READINGS) if encoder is ENCODERS[SLOTS] else [OWN]


def measured_run(ablation: Ablation, config: SlotTraining, folder: Path) -> Values:
    """Train one run in its folder and measure it, unless that is there."""
    said, readings = {**asdict(config), "encoder": config.encoder.__name__}, _read_by(config.encoder)

    def measure() -> Values:
        ablation.begin(folder, said, SlotId.files)
        train(SlotId(), config, ablation.setting(folder), [slot_previews(config, folder)])
        backbone, encoder = _trained(ablation, config, folder)
        return measured.evaluate_identity(
            backbone, config.slots, encoder, ablation.toys, ablation.noises, readings=readings
        )

    return ablation.kept(folder, [said, ablation.toys, ablation.noises, readings], measure)


def _trained(ablation: Ablation, config: SlotTraining, folder: Path) -> tuple[Pipeline, SlotEncoder]:
    """A run's adapter: the base with its LoRA, and its encoder."""
    models, adapter = ablation.models, load_adapter(folder / "slot_id.safetensors", WAN)
    backbone = load_pipeline(models.dit, models.vae, models.text_encoder, device=ablation.device)
    merge_lora(backbone.dit, adapter.lora)
    return backbone, slot_encoder(adapter, config.encoder).to(ablation.device)


def _sheet(ablation: Ablation, config: SlotTraining) -> None:
    """The first toys, unselected, as the first run of the slots makes them."""
    backbone, encoder = _trained(ablation, config, ablation.place(SLOTS, 0))
    trial = measured.IdentityTrial(min(SHEET_ROWS, ablation.toys), backbone.settings, config.slots)
    identity_sheet(backbone, trial, encoder, SHOWN, ablation.folder / "slots.jpg", scale=1)


def _base_alone(ablation: Ablation, config: SlotTraining) -> Values:
    models, asked = ablation.models, (ablation.toys, ablation.noises)

    def measure() -> Values:
        backbone = load_pipeline(models.dit, models.vae, models.text_encoder, device=ablation.device)
        return measured.evaluate_base(backbone, config.slots, *asked)

    return ablation.kept(ablation.place(BASE, 0), [asdict(config.slots), *asked], measure)


def _mean(runs: dict[str, list[Values]], side: Side) -> dict[str, Tensor]:
    """A side's figures, each toy's mean over the training seeds."""
    rows = [values[side.reading] for values in runs[side.encoder]]
    return {figure: torch.stack([row[figure] for row in rows]).mean(0) for figure in rows[0]}


def _table(runs: dict[str, list[Values]]) -> list[str]:
    lines = [_line(["encoder", "reads", *measured.FIGURES]), _line(["---"] * (2 + len(measured.FIGURES)))]
    rows = [Side(SLOTS, TRUTH), Side(BASE, CODED)]
    rows += [
        Side(name, read) for name, values in runs.items() for read in values[0] if read not in (TRUTH, CODED)
    ]
    for row in rows:
        figures = _mean(runs, row)
        said = [row.reading, ""] if row.reading in (TRUTH, CODED) else [row.encoder, row.reading]
        lines.append(_line([*said, *(_cell(figures[figure]) for figure in measured.FIGURES)]))
    return lines


def _cell(values: Tensor) -> str:
    return f"{values.nanmean():.3f}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
