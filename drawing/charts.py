"""Charts for pages: histograms, bars of shares and counts, a span on a rail; inline SVG, no scripts."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from .page import tag

_WIDTH, _HEIGHT = 240, 64  # of a histogram, in its own units
_GAP = 1


def histogram_chart(bars: Sequence[tuple[str, int, int]], name: str) -> Element:
    """Histogram of bars (range in words, all, those of them that are used). What is not used stands on top,
    in another colour."""
    most = max((whole for _, whole, _ in bars), default=1) or 1
    chart = tag(
        "svg", viewBox=f"0 0 {_WIDTH} {_HEIGHT}", preserveAspectRatio="none", role="img", height=_HEIGHT
    )
    chart.append(tag("title", name))
    step = _WIDTH / max(8, len(bars))  # few bars are no wider than an eighth
    for place, (words, whole, used) in enumerate(bars):
        told = f"{words}: {whole:,}" + (f", {whole - used:,} of them not used" if whole > used else "")
        group = tag("g", tag("title", told))
        box = {"x": f"{place * step:.4g}", "width": f"{step - _GAP:.4g}"}
        group.append(tag("rect", **box, y=_HEIGHT - 1, height=1, class_="rail"))
        tall = [_height(whole, most), _height(used, most)]
        if whole > used:
            group.append(
                tag("rect", **box, y=f"{_HEIGHT - tall[0]:.4g}", height=f"{tall[0]:.4g}", class_="bad")
            )
        if used:
            group.append(
                tag("rect", **box, y=f"{_HEIGHT - tall[1]:.4g}", height=f"{tall[1]:.4g}", class_="used")
            )
        chart.append(group)
    return chart


def share_bar(parts: Sequence[tuple[str, int, str]], height: int = 14) -> Element:
    """One bar of parts (name, count, class of its colour), each as wide as its share."""
    whole = sum(count for _, count, _ in parts) or 1
    chart = tag("svg", viewBox=f"0 0 1000 {height}", preserveAspectRatio="none", height=height, role="img")
    left = 0.0
    for name, count, colour in parts:
        wide = 1000 * count / whole
        box = {"x": f"{left:.5g}", "width": f"{wide:.5g}", "y": 0, "height": height, "class_": colour}
        chart.append(tag("rect", tag("title", f"{name}: {count:,}"), **box))
        left += wide
    return chart


def counts_chart(counts: Sequence[tuple[str, int]], colour: str = "used") -> Element:
    """List of names with a bar and a number each; the largest count has the whole width."""
    most = max((count for _, count in counts), default=1) or 1
    chart = tag("div", class_="counts")
    for name, count in counts:
        bar = tag("svg", viewBox="0 0 100 8", preserveAspectRatio="none")
        bar.append(tag("rect", x=0, y=0, width=100, height=8, class_="rail"))
        bar.append(
            tag("rect", x=0, y=0, width=f"{max(1.0, 100 * count / most):.4g}", height=8, class_=colour)
        )
        chart.extend([tag("span", name, dir="auto"), bar, tag("span", f"{count:,}", class_="number")])
    return chart


def windows_chart(length: int, windows: Sequence[tuple[int, int]], marks: Sequence[int]) -> Element:
    """A rail of `length` places with windows on it, from their first place to their last, the middle one in
    full colour; and marks."""
    chart = tag("svg", viewBox=f"0 0 {length} 10", preserveAspectRatio="none", height=10, role="img")
    chart.append(tag("title", f"{len(windows)} windows in {length} pictures, {len(marks)} marks"))
    chart.append(tag("rect", x=0, y=4, width=length, height=2, class_="rail"))
    middle = windows[len(windows) // 2]
    for first, last in sorted(windows, key=lambda one: one == middle):
        colour = "used" if (first, last) == middle else "used dim"
        chart.append(tag("rect", x=first, y=3, width=last - first + 1, height=4, class_=colour))
    wide = length / 240
    for mark in marks:
        left = mark + 0.5 - wide / 2
        chart.append(tag("rect", x=f"{left:.5g}", y=0, width=f"{wide:.4g}", height=10, class_="other"))
    return chart


def key_of(*names: tuple[str, str]) -> Element:
    """Key of colours: (name, class)."""
    key = tag("p", class_="faint")
    for name, colour in names:
        square = tag("svg", tag("rect", width=10, height=10, rx=2, class_=colour), viewBox="0 0 10 10")
        key.append(tag("span", square, name, class_="key"))
    return key


def _height(count: int, most: int) -> float:
    """Height of a bar; the least that is there can be seen."""
    return max(2.0, _HEIGHT * count / most) if count else 0.0
