"""Report of an index as lines of text."""

from collections.abc import Iterable, Iterator, Sequence

from .counts import Histogram, Lesson, Report, number

_WIDTH = 110  # of a line
_MOST = 8  # names of a list; the rest are counted
_BARS = " ▁▂▃▄▅▆▇█"
_LEFT = 10  # where what is said begins
_OF = 34  # width of what a method learns from


def report_text(report: Report, reasons: bool = False) -> str:
    """A report in lines; with `reasons`, each clip that is not used, with its path and what was found."""
    sets = [f"{one.name or 'no name'} {one.clips:,}{_lost(one.refused)}" for one in report.sets]
    why = [f"{count:,} {reason}" for reason, count in report.reasons]
    parts = {
        "data": [f"{headline(report)}{':' if why else ''}", *_flowing(why, 2), *_hint(report, reasons)],
        "used": _flowing([length(report), *unencoded(report), *retimings(report)]),
        "sets": _flowing(_most(sets)),
        "sizes": _flowing(_most([f"{size} {count:,}" for size, count in report.sizes])),
        "licences": _flowing(_most([f"{name} {count:,}" for name, count in report.licences])),
        "learns": [line for lesson in report.lessons for line in _taught(lesson)],
        "spread": [_spread(one) for one in report.histograms if one.clips],
        "reasons": list(_refusals(report)) if reasons else [],
    }
    return "".join(_section(name, lines) for name, lines in parts.items())


def headline(report: Report) -> str:
    """Number of clips, and for what they are used."""
    repeated = f" ({report.epoch:,} an epoch)" if report.epoch != report.train else ""
    return (
        f"{counted_in(report.clips, 'clip')} in {counted_in(len(report.sets), 'set')}; {report.train:,} train"
        f"{repeated}, {report.held_out:,} held out, {report.refused:,} not used"
    )


def length(report: Report) -> str:
    """Clips that are used, by kind, and how long they are together."""
    kinds = ", ".join(counted_in(count, kind or "clip of no kind") for kind, count in report.kinds)
    return f"{kinds or 'nothing'}; {duration(report.seconds)}"


def unencoded(report: Report) -> list[str]:
    """Clips that are not encoded for want of words, length or size, if there are any."""
    unsaid = [("without a caption", report.unsaid)] if report.unsaid else []
    return [f"{counted_in(count, 'clip')} {why}: not encoded" for why, count in (*unsaid, *report.misfits)]


def retimings(report: Report) -> list[str]:
    """Rates that training does not want, and how many clips have them."""
    to = number(report.rate)
    return [f"{rate} → {to} fps in {counted_in(count, 'clip')}" for rate, count in report.retimed]


def spread_of(histogram: Histogram) -> str:
    """Least, largest and middle of a histogram, and how many clips it is of."""
    low, high = number(histogram.least), number(histogram.most)
    unit = f" {histogram.unit}" if histogram.unit else ""
    span = f"{low}{unit}" if low == high else f"{low} to {high}{unit}, half below {number(histogram.median)}"
    return f"{span}; {counted_in(histogram.clips, 'clip')}"


def bars(histogram: Histogram) -> str:
    """Bars of a histogram, a character each; the least that is there can be seen."""
    most = max(histogram.counts, default=1)
    return "".join(_BARS[-(-(len(_BARS) - 1) * one // most)] for one in histogram.counts)


def counted_in(count: int, name: str) -> str:
    """A number of things."""
    return f"{count:,} {name}" if count == 1 else f"{count:,} {name}s"


def duration(seconds: float) -> str:
    """A length of time in the largest unit that it fills."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds)} s"


def _section(name: str, lines: Sequence[str]) -> str:
    heads = [name, *[""] * len(lines)]
    return "".join(f"{head:<{_LEFT}}{line}".rstrip() + "\n" for head, line in zip(heads, lines, strict=False))


def _flowing(items: Iterable[str], indent: int = 0) -> list[str]:
    """Items beside each other, in as many lines as they need."""
    lines: list[str] = []
    for item in items:
        longer = f"{lines[-1]} · {item}" if lines else ""
        if lines and len(longer) + _LEFT <= _WIDTH:
            lines[-1] = longer
        else:
            lines.append(" " * indent + item)
    return lines


def _most(items: list[str]) -> list[str]:
    return items if len(items) <= _MOST + 1 else [*items[:_MOST], f"{len(items) - _MOST:,} others"]


def _lost(refused: int) -> str:
    return f" ({refused:,} not used)" if refused else ""


def _hint(report: Report, reasons: bool) -> list[str]:
    return ["  (each of them: refvid data check --reasons)"] if report.refused and not reasons else []


def _taught(lesson: Lesson) -> Iterator[str]:
    head = f"{lesson.method:<11}{lesson.of:<{_OF}}{lesson.clips:>8,}"
    first, *more = _flowing([head, *lesson.notes])
    yield first
    yield from (" " * (len(head) + 3) + line for line in more)


def _spread(histogram: Histogram) -> str:
    return f"{histogram.name:<11}{bars(histogram):<25}{spread_of(histogram)}"


def _refusals(report: Report) -> Iterator[str]:
    """Clips that are not used, under their reasons."""
    for reason, count in report.reasons:
        yield f"{count:,} {reason}"
        for why, path, detail in report.refusals:
            if why == reason:
                yield f"  {path}{f': {detail}' if detail not in ('', path) else ''}"
