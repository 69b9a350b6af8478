"""Head of a sheet: the numbers of a report as bars, tables and histograms."""

from collections.abc import Iterator
from itertools import pairwise
from xml.etree.ElementTree import Element

from ...drawing.charts import counts_chart, histogram_chart, key_of, share_bar
from ...drawing.page import tag
from .counts import Counts, Histogram, Report, SetCount, number
from .text import counted_in, length, retimings, spread_of, unencoded

MOST_NAMES = 12  # of a list; the rest are counted


def header(report: Report) -> Iterator[Element]:
    """Elements that say all of a report."""
    yield tag("h1", f"{counted_in(report.clips, 'clip')} in {counted_in(len(report.sets), 'set')}")
    yield tag("p", " · ".join([length(report), *unencoded(report)]), class_="faint")
    yield _use(report)
    yield tag("div", *_lists(report), class_="lists")
    yield tag("h2", "What each method can learn")
    yield tag("div", _lessons(report), class_="card scroll")
    yield tag("h2", "How the numbers are spread")
    yield key_of(("used", "used"), ("not used", "bad"))
    yield tag("div", *(_histogram(one) for one in report.histograms), class_="grid")


def _use(report: Report) -> Element:
    epoch = f" ({report.epoch:,} an epoch)" if report.epoch != report.train else ""
    parts = (
        (f"{report.train:,} train{epoch}", report.train, "used"),
        (f"{report.held_out:,} held out", report.held_out, "other"),
        (f"{report.refused:,} not used", report.refused, "bad"),
    )
    named = key_of(*((words, colour) for words, _, colour in parts))
    return tag("div", share_bar(parts), named, class_="use")


def _lists(report: Report) -> Iterator[Element]:
    """Cards of names and numbers; one that would be empty is left out."""
    if report.reasons:
        yield _card("Why clips are not used", counts_chart(_most(report.reasons), "bad"))
    yield _card("Sets", _sets(report.sets))
    for name, counts in (("Sizes", report.sizes), ("Licences", report.licences)):
        if counts:
            yield _card(name, counts_chart(_most(counts)))
    if report.retimed:
        yield _card("Re-timed", *(tag("p", line) for line in retimings(report)))


def _sets(sets: tuple[SetCount, ...]) -> Element:
    heads = ("", "train", "held out", "not used")
    shown, rest = list(sets[:MOST_NAMES]), sets[MOST_NAMES:]
    if rest:
        sums = (
            sum(part) for part in zip(*((one.train, one.held_out, one.refused) for one in rest), strict=True)
        )
        shown.append(SetCount(f"{len(rest):,} others", *sums))
    rows = [
        [one.name or "no name", f"{one.train:,}", f"{one.held_out:,}", f"{one.refused:,}"] for one in shown
    ]
    return _table(heads, rows, (1, 2, 3))


def _lessons(report: Report) -> Element:
    rows = [[one.method, one.of, f"{one.clips:,}", " · ".join(one.notes)] for one in report.lessons]
    return _table(("method", "from", "how many", ""), rows, (2,))


def _histogram(histogram: Histogram) -> Element:
    head = histogram.name + (f", {histogram.unit}" if histogram.unit else "")
    if not histogram.clips:
        return _card(head, tag("p", "not measured", class_="faint"))
    bars = [
        (f"{number(low)} to {number(high)}", whole, used)
        for (low, high), whole, used in zip(
            pairwise(histogram.edges), histogram.counts, histogram.used, strict=True
        )
    ]
    middle = f"half below {number(histogram.median)}" if len(bars) > 1 else ""
    ends = (number(histogram.least), middle, number(histogram.most) if middle else "")
    head_line = tag("h3", head, tag("small", counted_in(histogram.clips, "clip")))
    chart = histogram_chart(bars, f"{head}: {spread_of(histogram)}")
    return tag(
        "div", head_line, chart, tag("div", *(tag("span", one) for one in ends), class_="ends"), class_="card"
    )


def _card(name: str, *inside: Element) -> Element:
    return tag("div", tag("h3", name), *inside, class_="card")


def _table(heads: tuple[str, ...], rows: list[list[str]], numbers: tuple[int, ...]) -> Element:
    def line(kind: str, cells: list[str]) -> Element:
        classes = ({"class_": "number"} if place in numbers else {} for place in range(len(cells)))
        return tag("tr", *(tag(kind, cell, **how) for cell, how in zip(cells, classes, strict=True)))

    return tag("table", line("th", list(heads)), *(line("td", row) for row in rows))


def _most(counts: Counts) -> Counts:
    rest = counts[MOST_NAMES:]
    return (*counts[:MOST_NAMES], (f"{len(rest):,} others", sum(one for _, one in rest))) if rest else counts
