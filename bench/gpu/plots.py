"""Plots of a GPU's figures. The only file that knows matplotlib."""

from collections import defaultdict
from pathlib import Path

import matplotlib as mpl

from .page import IMAGES, Kept, plots_of, split

mpl.use("Agg")
from matplotlib import pyplot as plt

COLOURS = plt.get_cmap("tab10").colors
MODE = "forward"


def draw_all(kept: list[Kept], root: Path) -> int:
    """The two plots of every GPU that has figures."""
    drawn = 0
    for one in kept:
        timed = timed_of(one)
        if timed:
            (root / IMAGES).mkdir(parents=True, exist_ok=True)
            for draw, name in zip((_ratios, _times), plots_of(one.device).values(), strict=True):
                drawn += draw(timed, root / IMAGES / name, one.device)
    return drawn


def timed_of(one: Kept) -> dict[str, dict]:
    sheet = one.sheets.get("speed")
    return {} if sheet is None else {name: found for name, found in sheet.cases.items() if "ratio" in found}


def _ratios(timed: dict[str, dict], file: Path, device: str) -> bool:
    """A bar a case, with quartiles; ours is at 1."""
    others = sorted({split(name)[1] for name in timed})
    figure, axes = plt.subplots(figsize=(11, 1.5 + 0.22 * len(timed)), layout="constrained")
    for place, (name, found) in enumerate(timed.items()):
        ratio, against = found["ratio"], split(name)[1]
        low, high = (ratio[key] if ratio[key] is not None else ratio["ratio"] for key in ("low", "high"))
        spread = [[ratio["ratio"] - low], [high - ratio["ratio"]]]
        colour = COLOURS[others.index(against) % len(COLOURS)]
        axes.barh(place, ratio["ratio"], xerr=spread, color=colour, height=0.8, capsize=2)
    axes.set_yticks(range(len(timed)), [f"{split(name)[0]}: {split(name)[1]}" for name in timed], fontsize=7)
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("time over ours: right of the line, ours is faster")
    axes.set_title(f"Attention and steps on {device}")
    _save(figure, file)
    return True


def _times(timed: dict[str, dict], file: Path, device: str) -> bool:
    """Milliseconds of a forward call against tokens, a line for each way."""
    lines: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for name, found in timed.items():
        scene, against = split(name)
        if scene.endswith(f", {MODE}") and "tokens" in found:
            model = scene.split(", ")[1]
            lines[f"{model}, {against}"].append((found["tokens"], found["ratio"]["milliseconds"]))
            lines[f"{model}, ours"].append((found["tokens"], found["ratio"]["other_milliseconds"]))
    figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
    for place, (name, points) in enumerate(sorted(lines.items())):
        tokens, took = zip(*sorted(points), strict=True)
        style = "o-" if name.endswith("ours") else "x"
        axes.plot(tokens, took, style, label=name, color=COLOURS[place % len(COLOURS)], markersize=4)
    axes.set_xlabel("tokens")
    axes.set_ylabel("milliseconds of a call, forward")
    axes.set_yscale("log")
    axes.set_title(f"One attention call on {device}")
    axes.legend(fontsize=7)
    _save(figure, file)
    return True


def _save(figure, file: Path) -> None:
    figure.savefig(file, dpi=100, metadata={"Software": None})
    plt.close(figure)
