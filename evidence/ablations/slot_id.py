"""Slot-ID's claims (arXiv 2601.01352) on the demo world: slots against a mean and against one picture, order,
the gate. Every figure is a difference paired over unseen toys and averaged over training and sampling
seeds."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from ...backbones.wan.geometry import WAN
from ...backbones.wan.lora import merge_lora
from ...core.adapter import load_adapter
from ...core.slots import SlotEncoder, SlotsConfig
from ...hosts.plain.identities import slot_encoder
from ...hosts.plain.pipeline import Pipeline
from ...training.methods.slot_id.config import SlotTraining
from ...training.methods.slot_id.method import SlotId
from ..claims import Claim, Side, sentence
from ..preview import identity_sheet, slot_previews
from ..runs import BASE_ALONE, Ablation
from ..tables import FigureValues, Runs, markdown, mean_cell, mean_over_seeds, number_of
from ..trials import identity
from ..trials.clips import CODED, TRUTH
from .slot_baselines import ENCODERS
from .slot_probe import probe_lines

OWN_VIDEO, SLOTS = "own video", "slots"
_MOST_ROWS = 8  # of the sheet
SHEET_READINGS = (OWN_VIDEO, "slots alone", "anchor alone", "another's video", "nobody")
_WHOLE = Side(SLOTS, OWN_VIDEO)
_BOTH = Side(SLOTS, identity.TOGETHER)  # what the graph with everything in it asks for

SLOT_CLAIMS = (
    Claim("slots tell more than mean pooling", _WHOLE, Side("mean pooling", OWN_VIDEO), "dynamics"),
    Claim("a video tells more than one picture", _WHOLE, Side("one picture", OWN_VIDEO), "dynamics"),
    Claim("the slots alone bring it too", Side(SLOTS, "slots alone"), Side(SLOTS, "nobody"), "own"),
    Claim("the slots carry it, not the anchor", _WHOLE, Side(SLOTS, "anchor alone"), "dynamics"),
    Claim("the order of frames matters", _WHOLE, Side(SLOTS, "own video, frames shuffled"), "dynamics"),
    Claim(
        "a learned gate is better than a fixed one", _WHOLE, Side("gate fixed open", OWN_VIDEO), "dynamics"
    ),
    Claim("the identity reaches the video", _WHOLE, Side(SLOTS, "nobody"), "own"),
    Claim("it is this identity", _WHOLE, Side(SLOTS, "another's video"), "own"),
    Claim("the prompt is still followed", _WHOLE, Side(SLOTS, "nobody"), "direction", margin=0.05),
    Claim("a video and its picture together are no worse than the video", _BOTH, _WHOLE, "own", margin=0.03),
    Claim("nor than the picture", _BOTH, Side(SLOTS, identity.PICTURED), "own", margin=0.03),
    Claim(
        "nor are shapes worse than with the picture alone",
        _BOTH,
        Side(SLOTS, identity.PICTURED),
        "shape",
        margin=0.05,
    ),
    Claim("the video adds motion to the picture", _BOTH, Side(SLOTS, identity.PICTURED), "dynamics"),
)


def ablate_slots(config: SlotTraining, ablation: Ablation) -> list[str]:
    """Train every encoder with every seed, measure each, and say what holds; what is there already is kept.
    Writes slots.md and a sheet, slots.jpg; -> the lines of slots.md."""
    arms = {name: replace(config, encoder=encoder) for name, encoder in ENCODERS.items()}
    runs = ablation.runs(arms, slot_run)
    runs[BASE_ALONE] = [_base_alone(ablation, config)]
    head = (
        f"{ablation.toys} unseen toys, three in four of which move in themselves, "
        f"{number_of(config.steps, 'step')} a run, {number_of(ablation.seeds, 'training seed')}, "
        f"{number_of(ablation.noises, 'noise')} a toy."
    )
    lines = [head, "", *_table(runs), "", *(sentence(claim, runs) for claim in SLOT_CLAIMS)]
    lines += ["", *probe_lines(config, ablation)]
    _sheet(ablation, config)
    return ablation.written("slots", lines)


def slot_run(ablation: Ablation, config: SlotTraining, folder: Path) -> FigureValues:
    """Train one run in its folder and measure it, unless that is there."""
    readings, previews = _readings(config.encoder), [slot_previews(config, folder)]

    def measure() -> FigureValues:
        backbone, encoder = _trained_model(ablation, config, folder)
        asked = (ablation.toys, ablation.noises)
        return identity.evaluate_identity(backbone, config.slots, encoder, *asked, readings=readings)

    return ablation.measured(folder, SlotId(), config, measure, readings, previews=previews)


def _readings(encoder: Callable[[SlotsConfig, int], SlotEncoder]) -> list[str]:
    """Readings that an encoder is measured with: only the slots are read in other ways too."""
    return list(identity.READINGS) if encoder is ENCODERS[SLOTS] else [OWN_VIDEO]


def _trained_model(ablation: Ablation, config: SlotTraining, folder: Path) -> tuple[Pipeline, SlotEncoder]:
    """A run's adapter: the base with its LoRA, and its encoder."""
    backbone, adapter = ablation.backbone(), load_adapter(folder / "slot_id.safetensors", WAN)
    merge_lora(backbone.dit, adapter.lora)
    return backbone, slot_encoder(adapter, config.encoder).to(ablation.device)


def _sheet(ablation: Ablation, config: SlotTraining) -> None:
    """A few unseen toys, unselected, as the first run of the slots makes them."""
    backbone, encoder = _trained_model(ablation, config, ablation.place(SLOTS, 0))
    trial = identity.IdentityTrial(min(_MOST_ROWS, ablation.toys), backbone.settings, config.slots)
    identity_sheet(backbone, trial, encoder, SHEET_READINGS, ablation.folder / "slots.jpg", scale=1)


def _base_alone(ablation: Ablation, config: SlotTraining) -> FigureValues:
    asked = (ablation.toys, ablation.noises)
    return ablation.kept(
        ablation.place(f"{BASE_ALONE}, told by words"),
        [asdict(config.slots), *asked],
        lambda: identity.evaluate_base(ablation.backbone(), config.slots, *asked),
    )


def _table(runs: Runs) -> list[str]:
    def cells(name: str, reading: str) -> list[str]:
        return [mean_cell(mean_over_seeds(runs[name], reading, f)) for f in identity.IDENTITY_FIGURES]

    unmade = (TRUTH, CODED)
    rows = [[TRUTH, "", *cells(SLOTS, TRUTH)], [CODED, "", *cells(BASE_ALONE, CODED)]]
    rows += [
        [name, reading, *cells(name, reading)]
        for name, (values, *_) in runs.items()
        for reading in values
        if reading not in unmade
    ]
    return markdown(["encoder", "reads", *identity.IDENTITY_FIGURES], rows)
