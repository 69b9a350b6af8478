"""Comparison of a folder's clips: each scored, variants compared pair by pair; table, JSON, contact sheet."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from .. import media
from ..core.files import write_text
from ..core.references import make_reference
from ..core.statistics import paired_interval
from ..drawing.sheet import contact_sheet
from .clip import SHEET_TITLES, Figures, ReadClip, Scored, Target, score_clip, sheet_row
from .folder import OWN_VARIANT, WITHOUT, Row, read_rows
from .statistics import retrieval

_SHEET_ROWS = 12
_FEW = 5  # pairs below which an interval is too narrow to be told
REPORT = ("score.json", "score.png")
CELL_HEIGHT = 128


@dataclass(frozen=True)
class ClipScore:
    """One clip's row of the report; `other` is its mean colour similarity to references that are not its
    own."""

    video: str
    variant: str
    reference: str
    figures: Figures
    other: float | None
    unmeasured: dict[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class VariantScore:
    """Means over one variant's clips that were measured; None where none was.

    retrieval  share of clips nearest to their own reference in colours
    chance     1 / references
    """

    name: str
    clips: int
    figures: dict[str, float | None]
    other: float | None
    retrieval: float | None
    chance: float | None


@dataclass(frozen=True)
class Difference:
    """Mean of a figure's paired difference between two variants and its 95 % bootstrap interval."""

    figure: str
    name: str
    pairs: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class FolderReport:
    """Everything one folder says."""

    references: int
    variants: list[VariantScore]
    differences: list[Difference]
    clips: list[ClipScore]
    remarks: list[str]


def score_folder(folder: Path, out: Path, progress: Callable[[int, int], None] | None = None) -> FolderReport:
    """Score every clip of a folder (`folder.read_rows`), any model's; write score.json and score.png into
    `out`.

    One clip is in memory at a time. ValueError names the row or file that is wrong, before anything is
    written.
    """
    rows = read_rows(folder)
    for name in REPORT:
        media.require_other(out / name, [file for row in rows for file in row.files], "--out")
    targets = _targets(rows)
    table, scored, cells = [], [], []
    for done, row in enumerate(rows, start=1):
        clip, result = _scored(row, targets)
        table.append([clip.similarity(target) for target in targets.values()] if len(targets) > 1 else [])
        scored.append(_without_pixels(row, result))
        if len(cells) < _SHEET_ROWS:
            cells.append([_fitted(cell) for cell in sheet_row(targets[row.reference], result)])
        if progress is not None:
            progress(done, len(rows))
    report = _report(rows, list(targets), torch.tensor(table), scored)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "score.json", json.dumps(asdict(report), indent=1) + "\n")
    captions = [f"{row.video.name} ({row.variant})" for row in rows[: len(cells)]]
    contact_sheet(cells, SHEET_TITLES, out / "score.png", captions, scale=1)
    return report


def _targets(rows: list[Row]) -> dict[Path, Target]:
    """Every reference once. ValueError where two rows give one reference different masks."""
    masks: dict[Path, Path | None] = {}
    for row in rows:
        if masks.setdefault(row.reference, row.mask) != row.mask:
            raise ValueError(
                f"{row.video.name}: its reference {row.reference.name} has the mask {_name(row.mask)} here and "
                f"{_name(masks[row.reference])} in an earlier row; one reference has one mask"
            )
    targets = {}
    for picture, mask in masks.items():
        read = None if mask is None else media.read_mask(mask, "mask")
        targets[picture] = Target(
            make_reference(media.read_picture(picture, "reference"), read, what=f"reference {picture.name}")
        )
    return targets


def _scored(row: Row, targets: dict[Path, Target]) -> tuple[ReadClip, Scored]:
    subject = None
    if row.subject_mask is not None:
        subject = media.read_video(row.subject_mask, "subject_mask").mean(-1)
    clip = ReadClip(media.read_video(row.video, "video"), subject, what=row.video.name)
    baseline = None
    if row.baseline is not None:
        baseline = ReadClip(media.read_video(row.baseline, "baseline"), what=row.baseline.name)
    return clip, score_clip(targets[row.reference], clip, baseline)


def _without_pixels(row: Row, scored: Scored) -> ClipScore:
    return ClipScore(
        video=row.video.name,
        variant=row.variant,
        reference=row.reference.name,
        figures=scored.figures,
        other=None,
        unmeasured=scored.unmeasured,
        notes=scored.notes,
    )


def _report(rows: list[Row], references: list[Path], table: Tensor, scored: list[ClipScore]) -> FolderReport:
    own = torch.tensor([references.index(row.reference) for row in rows])
    many = len(references) > 1
    if many:
        mine = table.gather(1, own.view(-1, 1))[:, 0]
        others = ((table.sum(1) - mine) / (len(references) - 1)).tolist()
        scored = [
            ClipScore(**{**vars(clip), "other": other}) for clip, other in zip(scored, others, strict=True)
        ]
    names = sorted(
        {row.variant for row in rows}, key=lambda name: (name != OWN_VARIANT, name == WITHOUT, name)
    )
    variants = []
    for name in names:
        chosen = [index for index, row in enumerate(rows) if row.variant == name]
        share, chance = retrieval(table[chosen], own[chosen]) if many else (None, None)
        clips = [scored[index] for index in chosen]
        means = {figure: _mean([getattr(c.figures, figure) for c in clips]) for figure in Figures.names()}
        variants.append(VariantScore(name, len(clips), means, _mean([c.other for c in clips]), share, chance))
    differences, remarks = _differences(rows, scored, names)
    if not many:
        remarks.append("one reference: retrieval, and the similarity to others' references, need two or more")
    return FolderReport(len(references), variants, differences, scored, remarks + _gaps(scored))


def _differences(
    rows: list[Row], scored: list[ClipScore], names: list[str]
) -> tuple[list[Difference], list[str]]:
    """The first variant minus every other, over the pairs in which a figure was measured on both sides."""
    by_name = {
        name: {row.pair: clip.figures for row, clip in zip(rows, scored, strict=True) if row.variant == name}
        for name in names
    }
    first, *others = names
    found, remarks = [], []
    for name in others:
        shared = by_name[first].keys() & by_name[name].keys()
        ordered = [pair for pair in by_name[first] if pair in shared]
        alone = len(by_name[first].keys() ^ by_name[name].keys())
        if alone:
            remarks.append(
                f"{first} and {name}: {alone} clips have no partner of the same reference, seed and prompt"
            )
        for figure in Figures.names():
            both = [(getattr(by_name[first][p], figure), getattr(by_name[name][p], figure)) for p in ordered]
            gaps = [one - other for one, other in both if one is not None and other is not None]
            if gaps:
                interval = paired_interval(torch.tensor(gaps))
                found.append(Difference(figure, f"{first} minus {name}", len(gaps), *interval))
    return found, remarks


def _gaps(scored: list[ClipScore]) -> list[str]:
    """One line for every figure and reason it was not measured for."""
    reasons = sorted((figure, why) for clip in scored for figure, why in clip.unmeasured.items())
    return [
        f"{figure}: not measured for {len(list(same))} of {len(scored)} clips: {why}"
        for (figure, why), same in groupby(reasons)
    ]


def folder_table(report: FolderReport) -> str:
    """The report for a terminal."""
    columns = ["clips", "similarity", "other", "retrieval", *Figures.names()[1:]]
    lines = [f"{'':24}" + "".join(f"{name:>15}" for name in columns)]
    for variant in report.variants:
        values = {**vars(variant), **variant.figures}
        lines.append(f"{variant.name:24}" + "".join(f"{_shown(values[name]):>15}" for name in columns))
    for one in report.differences:
        interval = f"[{one.low:+.3f}, {one.high:+.3f}] ({one.pairs} pairs, 95 %)"
        few = f"({one.pairs} pairs: too few for an interval)"
        lines.append(f"{one.name}, {one.figure}: {one.mean:+.3f} {few if one.pairs < _FEW else interval}")
    if report.references > 1:
        lines.append(f"retrieval by chance: {1 / report.references:.3f}")
    return "\n".join([*lines, *report.remarks])


def _shown(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _mean(values: list[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return sum(measured) / len(measured) if measured else None


def _fitted(cell: Tensor) -> Tensor:
    """A cell (3, H, W) or (3, F, H, W) at the sheet's height, so that one large clip does not enlarge every
    other."""
    planes = cell.unsqueeze(1) if cell.ndim == 3 else cell
    width = max(1, round(planes.shape[-1] * CELL_HEIGHT / planes.shape[-2]))
    mode = "nearest-exact" if planes.shape[-2] <= CELL_HEIGHT else "area"
    resized = torch.nn.functional.interpolate(planes, size=(CELL_HEIGHT, width), mode=mode)
    return resized[:, 0] if cell.ndim == 3 else resized


def _name(path: Path | None) -> str:
    return "none" if path is None else path.name
