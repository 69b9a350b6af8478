"""Trials of adapters that were trained before, by the figures of their ablations: identities of a Slot-ID
adapter, and edits of a SAMA adapter.

Directions of effect on the demo world only.
"""

from dataclasses import dataclass
from pathlib import Path

from ...backbones.wan.lora import merge_lora
from ...core.adapter import SlotAdapter, require_fit
from ...core.recipes import AUTO_RECIPE, EDITING, choose_recipe
from ...demo.edits import EDIT_KINDS
from ...hosts.plain.identities import slot_encoder
from ...hosts.plain.pipeline import Pipeline, Progress
from ..preview import FEW_READINGS, identity_sheet
from ..tables import (
    Interval,
    Means,
    interval_lines,
    intervals_of,
    means,
    number_of,
    row_lines,
    write_report,
)
from .clips import CODED, through
from .edits import edit_sheet, edited, evaluate_edits, without_model
from .identity import PICTURED, TOGETHER, IdentityTrial, evaluate_identity

_MOST_ROWS = 8  # of a sheet of identities
# Readings that are compared, and by which figures.
_PAIRS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("own video", "nobody", ("own", "dynamics")),
    ("own video", "another's video", ("own", "dynamics")),
    ("own video", "own video, frames shuffled", ("dynamics",)),
    ("own video", "anchor alone", ("own", "dynamics")),
    ("own video", PICTURED, ("own", "dynamics")),
    (TOGETHER, PICTURED, ("own", "shape", "dynamics")),
)


@dataclass(frozen=True)
class AdapterReport:
    """Everything one evaluation says.

    of         what `count` counts
    noises     clips of each
    rows       means by row and figure; None where a figure applies to none
    intervals  95 % intervals
    """

    of: str
    count: int
    noises: int
    rows: Means
    intervals: list[Interval]


def evaluate_slot_adapter(
    backbone: Pipeline, adapter: SlotAdapter, toys: int, noises: int, folder: Path, progress: Progress
) -> AdapterReport:
    """Figures of unseen toys in every one of `identity.READINGS`. Writes identity.json and identity.png.

    ValueError for an adapter of another model; the backbone is left as it is then."""
    require_fit(adapter.config, backbone.dit.width, backbone.dit.geometry.channels, "--adapter")
    merge_lora(backbone.dit, adapter.lora, what="--adapter")
    encoder = slot_encoder(adapter).to(backbone.vae.device)
    trial = IdentityTrial(toys, backbone.settings, adapter.config)
    coded = {CODED: trial.measure(through(backbone.vae, trial.truth))}
    values = coded | evaluate_identity(backbone, adapter.config, encoder, toys, noises, progress=progress)
    intervals = intervals_of(
        {
            f"{first} minus {second}, {figure}": values[first][figure] - values[second][figure]
            for first, second, figures in _PAIRS
            for figure in figures
        }
    )
    of = "unseen toys, three in four of which move in themselves"
    report = _written(AdapterReport(of, toys, noises, means(values), intervals), folder / "identity.json")
    few = IdentityTrial(min(_MOST_ROWS, toys), backbone.settings, adapter.config)
    identity_sheet(backbone, few, encoder, FEW_READINGS, folder / "identity.png", scale=1)
    return report


def evaluate_edit_adapter(
    backbone: Pipeline, edits: int, noises: int, folder: Path, progress: Progress
) -> AdapterReport:
    """Figures of unseen edits of every one of `EDIT_KINDS`, beside the truth through the VAE. Writes
    edits.json and edits.png. `backbone` carries the adapter (`hosts.plain.edit_film.with_editing_adapter`).

    ValueError for a backbone that says no recipe of edits."""
    recipe = choose_recipe(AUTO_RECIPE, backbone.recipe, EDITING, backbone.found)
    values = evaluate_edits(backbone, recipe, edits, noises, progress)
    intervals = intervals_of(
        {
            f"{kind}, {figure}": values[kind][figure]
            for kind in EDIT_KINDS
            for figure in ("way", "nearer", "stays", "colour")
        }
    )
    size = backbone.settings.frames, backbone.settings.height
    coded = without_model(CODED, backbone.vae, edits, *size)
    rows = values | {f"{kind}, {CODED}": row for kind, row in coded.items()}
    of = f"unseen edits of each of {len(EDIT_KINDS)} kinds"
    report = _written(AdapterReport(of, edits, noises, means(rows), intervals), folder / "edits.json")
    edit_sheet({"edited": lambda trial: edited(backbone, recipe, trial, 0)}, *size, folder / "edits.png")
    return report


def adapter_table(report: AdapterReport) -> str:
    """The report for a terminal: the rows, then the intervals."""
    figures = next(iter(report.rows.values()))
    head = f"{report.count} {report.of}, {number_of(report.noises, 'noise')} each"
    return "\n".join([head, *row_lines(report.rows, figures), *interval_lines(report.intervals)])


def _written(report: AdapterReport, path: Path) -> AdapterReport:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_report(report, path)
    return report
