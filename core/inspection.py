"""Inspection of references in a run, in figures: tokens, who sees whom, over which steps and frames, work and
the path taken."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..kernels.grouped import Groups
from ..kernels.paths import PathChoice
from .layout import Layout
from .reach import token_words
from .visibility import Turn, reference_turn

SCHEDULE_SHARES = 100  # moments of the schedule that are looked at
SEEN = {
    "video": "apart from the others",
    "itself": "reads only itself",
    "frames": "reads the video's frames one by one",
}


@dataclass(frozen=True)
class Sizes:
    """A backbone: features, features inside its feed-forward, blocks, and how many text tokens it reads."""

    width: int
    ffn_width: int
    layers: int
    text_tokens: int


@dataclass(frozen=True)
class ReferenceView:
    """View of one reference. It holds what is kept of its token grid (rows, columns) bool, and where in the
    video it acts (F, rows, columns) bool. strength is over the schedule (SCHEDULE_SHARES + 1,)."""

    kept: Tensor
    where: Tensor
    strength: Tensor

    @property
    def share(self) -> float:
        """Share of the video's tokens that it acts on."""
        return self.where.float().mean().item()


@dataclass(frozen=True)
class Inspection:
    """Everything `core.drawing` and a report show.

    grid      of the video in tokens (frames, rows, columns)
    table     (segments, segments): the share of the query segment's tokens that sees the key segment; the
              video first
    added     reference tokens in the sequence, over the schedule (SCHEDULE_SHARES + 1,)
    work      floating-point operations of one evaluation, with and without the references, at the schedule's
              mean
    memory    bytes that the host expects to need with and without them, or None
    """

    layout: Layout
    grid: tuple[int, int, int]
    references: tuple[ReferenceView, ...]
    table: Tensor
    added: Tensor
    work: tuple[float, float]
    choices: tuple[PathChoice, ...]
    memory: tuple[float, float] | None = None

    @property
    def video_tokens(self) -> int:
        frames, rows, columns = self.grid
        return frames * rows * columns


def inspect(
    layout: Layout,
    keep: Tensor,
    cells: Tensor | None,
    soft: Tensor | None,
    latent: tuple[int, int, int],
    sizes: Sizes,
    choose: Callable[[Turn], PathChoice],
    memory: tuple[float, float] | None = None,
) -> Inspection:
    """Look at a layout over its whole schedule.

    keep (kept,), cells (F, h, w) or None and soft as in `visibility.reference_turn`; latent, its frames, rows
    and columns. `choose` says which path runs what references do at a moment.
    """
    grid, video = layout.geometry.tokens(*latent), layout.geometry.count(*latent)
    shares = [step / SCHEDULE_SHARES for step in range(SCHEDULE_SHARES + 1)]
    turns = _turns(
        layout,
        shares,
        lambda share: reference_turn(layout, share, cells, soft, video, grid[0], torch.device("cpu")),
    )
    counts = [0 if now is None else now.count(layout) for now in turns]
    work = [evaluation_work(sizes, video, count, now) for count, now in zip(counts, turns, strict=True)]
    acting = {id(now): now for now in turns if now is not None}.values()
    plain_first = sorted(acting, key=lambda now: (now.bias is not None, now.averages))
    return Inspection(
        layout,
        grid,
        _views(layout, keep, cells, grid, shares),
        _table(layout, cells, video),
        torch.tensor(counts),
        (sum(work) / len(work), evaluation_work(sizes, video, 0, None)),
        tuple(dict.fromkeys(choose(now) for now in plain_first)),
        memory,
    )


def _turns(layout: Layout, shares: list[float], at: Callable[[float], Turn | None]) -> list[Turn | None]:
    """Turns of the references at every share. Shares at which the same ones act, weigh and have a focus have
    one turn."""
    made: dict[tuple, Turn | None] = {}
    found = []
    for share in shares:
        levels = [stream.controls.log_strength(share) for stream in layout.streams]
        focused = [stream.controls.log_focus(share) != 0 for stream in layout.streams]
        kind = (*((level > -math.inf, level != 0) for level in levels), *focused)
        if kind not in made:
            made[kind] = at(share)
        found.append(made[kind])
    return found


def evaluation_work(sizes: Sizes, video: int, added: int, now: Turn | None) -> float:
    """Floating-point operations of one evaluation: projections, feed-forward and attention of every block;
    two for a multiplication with its addition. Embeddings and the head are left out."""
    length, width = video + added, sizes.width
    projections = 2 * length * (4 * width**2 + 2 * width**2 + 2 * width * sizes.ffn_width)
    text = 2 * sizes.text_tokens * 2 * width**2 + 4 * length * sizes.text_tokens * width
    pairs = length**2 if now is None or now.groups is None else _pairs(now.groups)
    return float(sizes.layers * (projections + text + 4 * pairs * width))


def _pairs(groups: Groups) -> int:
    return sum(
        len(rows) * sum(stop - start for start, stop in spans)
        for spans, rows in zip(groups.keys, groups.queries, strict=True)
    )


def _views(
    layout: Layout, keep: Tensor, cells: Tensor | None, grid: tuple[int, int, int], shares: list[float]
) -> tuple[ReferenceView, ...]:
    words = None if cells is None else token_words(cells, layout.geometry.patch).view(grid)
    views, before = [], 0
    for index, stream in enumerate(layout.streams):
        kept = torch.zeros(stream.tokens, dtype=torch.bool)
        kept[keep[(keep >= before) & (keep < before + stream.tokens)] - before] = True
        where = torch.ones(grid, dtype=torch.bool) if words is None else (words >> index & 1).bool()
        strength = torch.tensor([stream.controls.log_strength(share) for share in shares]).exp()
        views.append(ReferenceView(kept.view(stream.rows, stream.columns), where, strength))
        before += stream.tokens
    return tuple(views)


def _table(layout: Layout, cells: Tensor | None, video: int) -> Tensor:
    count = len(layout.streams)
    table = torch.zeros(count + 1, count + 1)
    everyone = torch.full((video,), (1 << count) - 1)
    words = everyone if cells is None else token_words(cells, layout.geometry.patch)
    table[0] = torch.tensor([1.0, *((words >> index & 1).float().mean() for index in range(count))])
    for index in range(count):
        table[index + 1, list(layout.seen_by(index))] = 1.0
    return table


def inspection_report(inspection: Inspection) -> str:
    """A few lines for people and logs."""
    frames, rows, columns = inspection.grid
    with_them, without = inspection.work
    mean = inspection.added.float().mean().item()
    lines = [
        f"recipe {inspection.layout.recipe.name}; video {frames} x {rows} x {columns} = {inspection.video_tokens} tokens",
        *(_line(index, view, inspection) for index, view in enumerate(inspection.references)),
        f"added: {inspection.layout.kept} tokens, {mean:.0f} at the schedule's mean "
        f"({mean / inspection.video_tokens:.1%}); {with_them / 1e12:.3g} TFLOP an evaluation, {with_them / without - 1:+.1%}",
    ]
    if inspection.memory is not None:
        most, least = inspection.memory
        lines.append(
            f"memory: {most / 2**20:.0f} MiB expected, {(most - least) / 2**20:+.1f} MiB by references"
        )
    lines += [f"attention: {c.path.name} ({c.path.says}): {c.reason}" for c in inspection.choices]
    return "\n".join(lines)


def _line(index: int, view: ReferenceView, inspection: Inspection) -> str:
    controls = inspection.layout.streams[index].controls
    steps, said = controls.steps, []
    if view.share < 1:
        said.append(f"acts on {view.share:.0%} of the video")
    if (steps.start, steps.end) != (0.0, 1.0):
        said.append(f"from {steps.start:.0%} to {steps.end:.0%} of the schedule")
    if steps.fade_in or steps.fade_out:
        said.append(f"fades in over {steps.fade_in:.0%}, out over {steps.fade_out:.0%}")
    sees = inspection.layout.sees(index)
    if sees != "all":
        said.append(SEEN[sees])
    if controls.soft:
        said.append("soft mask")
    if controls.focus != 1:
        said.append(f"focus {controls.focus:g} from {controls.focus_start:.0%} of the schedule")
    kept = f"{int(view.kept.sum())} of {view.kept.numel()} tokens, strength {controls.strength:g}"
    what = "empty place" if inspection.layout.streams[index].role == "empty" else "reference"
    return f"{what} {index + 1}: {', '.join([kept, *said])}"
