"""Scenes that are measured: sequences of video and reference tokens at Wan's sizes, and who sees whom in
them."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from refvid.backbones.wan.dit import DiTConfig
from refvid.kernels.grouped import Groups
from refvid.kernels.segments import NOBODY, Segments, everyone

from .device import Device

KEPT = 0.3  # of a reference's tokens
LEVELS = (-0.75, 0.5, -0.25, 0.25)  # log strengths of references in turn; exact in bf16


@dataclass(frozen=True)
class Sizes:
    """Latent frames, token rows and columns by name; models by name; references beside the first, usual
    number."""

    grids: dict[str, tuple[int, int, int]]
    models: dict[str, DiTConfig]
    usual: int = 4
    others: tuple[int, ...] = (8, 1)


REAL = Sizes(
    {"480p": (21, 30, 52), "720p": (21, 45, 80)},
    {
        "14B": DiTConfig(5120, 13824, 40, 40, 16, 16, 4096),
        "1.3B": DiTConfig(1536, 8960, 12, 30, 16, 16, 4096),
    },
)
TINY = Sizes({"480p": (2, 4, 4)}, {"1.3B": DiTConfig(64, 64, 1, 1, 16, 16, 32)}, others=())


@dataclass(frozen=True)
class Scene:
    """A sequence, the video's tokens first.

    bias   (1, S) fp32, added to the logits of keys; None: nothing
    kept   the tokens that somebody sees, where all that is masked are tokens that nobody sees; None: all
    """

    video: int
    segments: Segments
    bias: Tensor | None = None
    kept: Tensor | None = None

    @property
    def length(self) -> int:
        return self.segments.of.shape[1]

    def rows(self) -> Tensor:
        """Some queries of the video, the last among them: what is held against float64."""
        at = torch.arange(self.video - 1, -1, -max(1, self.video // 40), device=self.segments.of.device)
        return at.flip(0)


Grid = tuple[int, int, int]
Make = Callable[[Device, Grid, int], Scene]


def removed(device: Device, grid: Grid, count: int) -> Scene:
    """References of which only the kept tokens are there: no mask at all."""
    length = video_tokens(grid) + count * kept_tokens(grid)
    return Scene(video_tokens(grid), everyone(length, length, device.at))


def strength(device: Device, grid: Grid, count: int) -> Scene:
    """Scene in which every reference has a strength of its own."""
    scene, one = removed(device, grid, count), kept_tokens(grid)
    levels = [0.0] * scene.video + [LEVELS[k % len(LEVELS)] for k in range(count) for _ in range(one)]
    return Scene(scene.video, scene.segments, torch.tensor([levels], device=device.at))


def regions(device: Device, grid: Grid, count: int) -> Scene:
    """Scene in which every reference is seen by its own columns of the video."""
    video, one = video_tokens(grid), kept_tokens(grid)
    owner = torch.arange(video) % grid[2] * count // grid[2]
    of = torch.cat([torch.zeros(video), torch.arange(1, count + 1).repeat_interleave(one)])
    sees = torch.cat([1 + 2 ** (owner + 1), torch.full((count * one,), 2 ** (count + 1) - 1)])
    return Scene(video, _segments(device, sees, of))


def hidden(device: Device, grid: Grid, count: int) -> Scene:
    """All tokens of the references, those masked out seen by nobody: what removal spares."""
    video, tokens = video_tokens(grid), count * grid[1] * grid[2]
    keep = torch.rand(tokens, generator=torch.Generator().manual_seed(0)) < KEPT
    of = torch.cat([torch.zeros(video), torch.where(keep, 0.0, float(NOBODY))])
    seen = _segments(device, torch.ones(len(of)), of)
    return Scene(video, seen, kept=(seen.of[0] != NOBODY).nonzero()[:, 0])


def causal(device: Device, grid: Grid, count: int) -> Scene:
    """No references: a latent frame sees itself and what came before."""
    of = torch.arange(grid[0]).repeat_interleave(grid[1] * grid[2])
    return Scene(video_tokens(grid), _segments(device, 2 ** (of + 1) - 1, of))


KINDS: dict[str, Make] = {
    "a strength each": strength,
    "a region each": regions,
    "masked-out tokens hidden": hidden,
    "block-causal in time": causal,
    "nothing masked": removed,
}


def name_of(size: str, model: str, count: int, kind: str) -> str:
    references = "" if KINDS[kind] is causal else f"{count} reference{'s' if count > 1 else ''}, "
    return f"{size}, {model}, {references}{kind}"


def video_tokens(grid: Grid) -> int:
    return grid[0] * grid[1] * grid[2]


def kept_tokens(grid: Grid) -> int:
    """Kept tokens of one reference."""
    return int(KEPT * grid[1] * grid[2])


def groups_of(seen: Segments) -> Groups:
    """Groups of queries that see the same keys, each over those alone: the pack's way without a kernel."""
    words, of = seen.sees[0].cpu(), seen.of[0].cpu()
    cuts = [0, *((of[1:] != of[:-1]).nonzero()[:, 0] + 1).tolist(), len(of)]
    keys, queries = [], []
    for word in words.unique().tolist():
        spans: list[tuple[int, int]] = []
        for start, stop in pairwise(cuts):
            if of[start] >= 0 and word >> int(of[start]) & 1:
                joined = bool(spans) and spans[-1][1] == start
                spans[-1:] = [(spans[-1][0], stop)] if joined else [*spans[-1:], (start, stop)]
        keys.append(tuple(spans))
        queries.append((words == word).nonzero()[:, 0])
    order = torch.cat(queries).argsort()
    at = seen.of.device
    return Groups(tuple(keys), tuple(rows.to(at) for rows in queries), order.to(at), len(of))


def _segments(device: Device, sees: Tensor, of: Tensor) -> Segments:
    return Segments(sees.int()[None].to(device.at), of.int()[None].to(device.at))
