"""Plots of a GPU's figures. The only file that knows matplotlib."""

from pathlib import Path
from statistics import median

import matplotlib as mpl

from .page import IMAGES, Kept, plots_of, split

mpl.use("Agg")
from matplotlib import pyplot as plt

COLOURS = plt.get_cmap("tab10").colors
SCENE = ", masked-out tokens hidden, forward"  # measured for every number of references
MOST = 60  # bars: the first cases are those of most value


def draw_all(kept: list[Kept], root: Path) -> int:
    """Draw both plots of every GPU that has figures."""
    drawn = 0
    for one in kept:
        timed = timed_of(one)
        if timed:
            (root / IMAGES).mkdir(parents=True, exist_ok=True)
            for draw, name in zip((_ratios, _times), plots_of(one.device).values(), strict=True):
                draw(timed, root / IMAGES / name, one.device)
                drawn += 1
    return drawn


def timed_of(one: Kept) -> dict[str, dict]:
    sheet = one.sheets.get("speed")
    return {} if sheet is None else {name: found for name, found in sheet.cases.items() if "ratio" in found}


def _ratios(timed: dict[str, dict], file: Path, device: str) -> None:
    """A bar a case, with quartiles; ours is at 1."""
    shown = dict(list(timed.items())[:MOST])
    others = sorted({split(name)[1] for name in shown})
    figure, axes = plt.subplots(figsize=(11, 1.5 + 0.22 * len(shown)), layout="constrained")
    for place, (name, found) in enumerate(shown.items()):
        ratio = found["ratio"]
        low, high = (ratio["ratio"] if ratio[key] is None else ratio[key] for key in ("low", "high"))
        spread = [[ratio["ratio"] - low], [high - ratio["ratio"]]]
        colour = COLOURS[others.index(split(name)[1]) % len(COLOURS)]
        axes.barh(place, ratio["ratio"], xerr=spread, color=colour, height=0.8, capsize=2)
    axes.set_yticks(range(len(shown)), [name.removesuffix(" / ours") for name in shown], fontsize=7)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("time over ours: right of the line, ours is faster")
    axes.set_title(f"Attention and steps on {device}, {len(shown)} of {len(timed)} cases")
    _save(figure, file)


def _times(timed: dict[str, dict], file: Path, device: str) -> None:
    """Milliseconds of a forward call against tokens, a line for each way, a panel for each model."""
    lines: dict[str, dict[str, dict[int, list[float]]]] = {}
    for name, found in timed.items():
        scene, against = split(name)
        if scene.endswith(SCENE):
            panel = lines.setdefault(scene.split(", ")[1], {})
            for way, key in ((against, "milliseconds"), ("ours", "other_milliseconds")):
                points = panel.setdefault(way, {})
                points.setdefault(found["tokens"], []).append(found["ratio"][key])
    if not lines:
        return
    figure, panels = plt.subplots(
        1, len(lines), figsize=(6 * len(lines), 5), squeeze=False, layout="constrained"
    )
    ways = sorted({way for panel in lines.values() for way in panel})
    for axes, (model, panel) in zip(panels[0], lines.items(), strict=True):
        for way, points in panel.items():
            tokens, took = zip(*sorted((at, median(all_)) for at, all_ in points.items()), strict=True)
            width = 2.5 if way == "ours" else 1
            axes.plot(
                tokens, took, "o-", label=way, color=COLOURS[ways.index(way) % len(COLOURS)], linewidth=width
            )
        axes.set_xlabel("tokens")
        axes.set_yscale("log")
        axes.set_title(f"{model}, {SCENE.removeprefix(', ')}")
        axes.legend(fontsize=7)
    panels[0][0].set_ylabel("milliseconds of a call")
    figure.suptitle(f"One attention call on {device}")
    _save(figure, file)


def _save(figure, file: Path) -> None:
    figure.savefig(file, dpi=100, metadata={"Software": None})
    plt.close(figure)
