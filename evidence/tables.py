"""Tables of evidence: means over noises and training seeds, cells with 95 % intervals, Markdown, and reports
as JSON."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.files import write_text
from ..core.statistics import paired_interval

FigureValues = dict[str, dict[str, Tensor]]  # by variant and figure, one number for each toy or edit, (N,)
Means = dict[str, dict[str, float | None]]  # by row and figure; None where a figure applies to no toy
Runs = dict[str, list[FigureValues]]  # of an ablation: by run, one for each training seed


@dataclass(frozen=True)
class Interval:
    """A paired comparison of one figure and its 95 % bootstrap interval over the toys."""

    name: str
    mean: float
    low: float
    high: float


def interval_of(name: str, differences: Tensor) -> Interval:
    """Mean and interval of differences (N,), of those to which the figure applies."""
    return Interval(name, *paired_interval(applying(differences)))


def intervals_of(named: Mapping[str, Tensor]) -> list[Interval]:
    """Intervals by name of values (N,) that apply to two or more; others are left out."""
    return [interval_of(name, values) for name, values in named.items() if len(applying(values)) > 1]


def share_of_ceiling(values: Tensor, ceiling: Tensor) -> Tensor:
    """Values (N,) as shares of the mean of the ceiling's (N,); NaN where that is 0."""
    most = applying(ceiling).mean()
    return values / torch.where(most > 0, most, torch.nan)


def interval_lines(intervals: Sequence[Interval], form: str = "+.3f") -> list[str]:
    """Intervals for a terminal, a line each."""
    return [
        f"{one.name}: {one.mean:{form}} [{one.low:{form}}, {one.high:{form}}] (95 %)" for one in intervals
    ]


def means(values: FigureValues) -> Means:
    """Means by row and figure over the toys that a figure applies to; None where there is none."""
    return {
        name: {
            figure: applying(one).mean().item() if len(applying(one)) else None for figure, one in row.items()
        }
        for name, row in values.items()
    }


def row_lines(rows: Means, figures: Iterable[str]) -> list[str]:
    """Rows for a terminal, a line each below the names of the figures; "-" where there is none."""
    figures = list(figures)
    first, wide = max(map(len, rows)) + 2, max(8, *map(len, figures)) + 2
    lines = [
        f"{name:{first}}" + "".join(f"{_told(row[figure]):>{wide}}" for figure in figures)
        for name, row in rows.items()
    ]
    return [" " * first + "".join(f"{name:>{wide}}" for name in figures), *lines]


def _told(mean: float | None) -> str:
    return "-" if mean is None else f"{mean:.3f}"


def applying(values: Tensor) -> Tensor:
    """Values (N,) without NaN, which marks a toy that a figure does not apply to."""
    return values[~values.isnan()]


def number_of(count: int, of: str) -> str:
    """A number and what it counts: "1 noise", "3 noises"."""
    return f"{count} {of}" if count == 1 else f"{count} {of}s"


def mean_over_noises(noises: int, measure: Callable[[int], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Each toy's mean of every figure that `measure` gives for noises 0 to `noises` - 1."""
    runs = [measure(noise) for noise in range(noises)]
    return {figure: torch.stack([run[figure] for run in runs]).mean(0) for figure in runs[0]}


def mean_over_seeds(runs: list[FigureValues], variant: str, figure: str) -> Tensor:
    """Each toy's mean of a figure over the training seeds, (N,)."""
    return torch.stack([values[variant][figure] for values in runs]).mean(0)


def mean_cell(values: Tensor) -> str:
    """Mean over the toys that a figure applies to; "nan" where there is none."""
    return f"{values.nanmean():.3f}"


def interval_cell(values: Tensor, form: str = ".3f") -> str:
    """Mean and interval over the toys that a figure applies to; "-" where there is none."""
    found = applying(values)
    if not len(found):
        return "-"
    mean, low, high = (format(one, form) for one in paired_interval(found))
    return f"{mean} [{low}, {high}]"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]


def by_seed(label: str, runs: Runs, figure: Callable[[FigureValues], Tensor]) -> str:
    """Means of a figure for every training seed of every run: intervals over toys do not say how far seeds
    lie apart."""
    told = [
        f"{name} " + ", ".join(f"{figure(values).nanmean():.3f}" for values in seeds)
        for name, seeds in runs.items()
    ]
    return f"{label}, by training seed: {'; '.join(told)}."


def write_report(report: Any, path: Path) -> None:
    """Write a dataclass as JSON, whole or not at all. ValueError where it holds NaN."""
    write_text(path, json.dumps(asdict(report), indent=1, allow_nan=False) + "\n")
