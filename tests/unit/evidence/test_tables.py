"""Tables of evidence: means, cells with intervals, Markdown lines, and reports as JSON."""

import json
from dataclasses import dataclass

import pytest
import torch

from refvid.core.statistics import paired_interval
from refvid.evidence.tables import (
    Interval,
    by_seed,
    interval_cell,
    interval_lines,
    interval_of,
    intervals_of,
    markdown,
    mean_cell,
    mean_over_noises,
    mean_over_seeds,
    means,
    number_of,
    row_lines,
    share_of_ceiling,
    write_report,
)

VALUES = torch.tensor([0.0, 1.0, torch.nan, 0.5])
NONE = torch.full((3,), torch.nan)


def test_a_cell_is_over_the_toys_that_its_figure_applies_to():
    mean, low, high = paired_interval(torch.tensor([0.0, 1.0, 0.5]))
    assert mean_cell(VALUES) == "0.500"
    assert interval_cell(VALUES) == f"{mean:.3f} [{low:.3f}, {high:.3f}]"
    assert interval_cell(VALUES - 1, "+.2f").startswith("-0.50 [-1.00, ")


def test_a_figure_that_applies_to_no_toy_has_no_mean():
    assert interval_cell(NONE) == "-" and mean_cell(NONE) == "nan"


def test_a_table_is_markdown_with_as_many_cells_in_every_line():
    assert markdown(["run", "own"], [["a", "1"], ["b", "2"]]) == [
        "| run | own |", "| --- | --- |", "| a | 1 |", "| b | 2 |",
    ]  # fmt: skip


def test_every_seed_of_every_run_is_told_apart():
    runs = {
        name: [{"clips": {"own": torch.tensor([level, level + 0.2, torch.nan])}} for level in levels]
        for name, levels in (("one", (0.1, 0.2)), ("two", (0.5,)))
    }
    said = by_seed("own", runs, lambda values: values["clips"]["own"])
    assert said == "own, by training seed: one 0.200, 0.300; two 0.600."


def test_a_share_is_of_the_mean_ceiling_and_there_is_none_of_nothing():
    ceiling = torch.tensor([0.2, 0.6, torch.nan])
    assert share_of_ceiling(torch.tensor([0.1, 0.4]), ceiling).tolist() == pytest.approx([0.25, 1.0])
    assert share_of_ceiling(torch.tensor([0.1, 0.4]), torch.zeros(2)).isnan().all()


def test_there_is_no_interval_of_what_applies_to_fewer_than_two():
    nan = torch.nan
    named = {
        "none": torch.tensor([nan, nan]),
        "one": torch.tensor([nan, 1.0]),
        "two": torch.tensor([nan, 1.0, 2.0]),
    }
    assert intervals_of(named) == [interval_of("two", torch.tensor([1.0, 2.0]))]


def test_one_is_counted_as_one():
    assert [number_of(number, "noise") for number in (0, 1, 2)] == ["0 noises", "1 noise", "2 noises"]


def test_means_are_of_each_toy_over_noises_and_over_seeds():
    found = mean_over_noises(3, lambda noise: {"own": torch.tensor([noise, 2.0 * noise])})
    assert found["own"].tolist() == [1.0, 2.0]
    runs = [{"clips": {"own": torch.tensor([0.0, seed])}} for seed in (1.0, 3.0)]
    assert mean_over_seeds(runs, "clips", "own").tolist() == [0.0, 2.0]


def test_an_interval_is_of_the_toys_that_its_figure_applies_to_and_told_in_a_line():
    found = interval_of("own minus other", VALUES)
    assert found == Interval("own minus other", *paired_interval(torch.tensor([0.0, 1.0, 0.5])))
    line = Interval("drift", 0.12345, -0.5, 1.0)
    assert interval_lines([line]) == ["drift: +0.123 [-0.500, +1.000] (95 %)"]
    assert interval_lines([line], "+.4f") == ["drift: +0.1235 [-0.5000, +1.0000] (95 %)"]


@dataclass(frozen=True)
class Told:
    """A report."""

    intervals: list[Interval]


def test_a_report_is_json_that_holds_no_nan(tmp_path):
    path = tmp_path / "report.json"
    write_report(Told([Interval("drift", 0.5, 0.25, 1.0)]), path)
    whole = path.read_bytes()
    assert json.loads(whole) == {"intervals": [{"name": "drift", "mean": 0.5, "low": 0.25, "high": 1.0}]}
    with pytest.raises(ValueError, match="JSON"):
        write_report(Told([Interval("drift", float("nan"), 0.0, 1.0)]), path)
    assert path.read_bytes() == whole


def test_rows_for_a_terminal_have_their_figures_in_columns():
    values = {
        "one": {"a": torch.tensor([0.0, 1.0]), "b": torch.ones(2)},
        "another": {"a": NONE, "b": torch.tensor([0.0, torch.nan])},
    }
    assert means(values) == {"one": {"a": 0.5, "b": 1.0}, "another": {"a": None, "b": 0.0}}
    assert row_lines(means(values), ["b", "a"]) == [
        "                  b         a",
        "one           1.000     0.500",
        "another       0.000         -",
    ]
    long = {name: {"likeness of colours": 1.0, "b": 0.0} for name in values}
    assert row_lines(long, ["b", "likeness of colours"])[0].split("  ")[-1] == "likeness of colours"
