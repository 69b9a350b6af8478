"""Bootstrap over clips and over their scenes: percentile intervals of paired differences, and of any
statistic of weighted clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

_RESAMPLES = 10_000
_MIDDLE = torch.tensor([0.025, 0.975], dtype=torch.float64)  # the 95 % between
Bounds = tuple[float, float]


def paired_interval(
    difference: Tensor, seed: int = 0, resamples: int = _RESAMPLES
) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap percentile interval (mean, low, high) of paired differences (N,).

    One difference per clip (own minus other, with minus without). An interval that holds 0 claims nothing,
    and one of a handful of clips is too narrow. ValueError for another shape, no difference, or one that is
    not finite.
    """
    if difference.ndim != 1 or not len(difference):
        raise ValueError(f"difference has shape {tuple(difference.shape)}; give one number per clip, (N,)")
    if not torch.isfinite(difference).all():
        raise ValueError("difference holds NaN or infinite values; leave out clips that were not measured")
    values = difference.double().cpu()
    picks = _picks(len(values), len(values), resamples, Generator().manual_seed(seed))
    return values.mean().item(), *_bounds(values[picks].mean(1))


@dataclass(frozen=True)
class Estimate:
    """Estimate of a statistic of clips, with 95 % bootstrap percentile intervals over clips and over scenes;
    None where there are fewer than two of them."""

    value: float
    clips: Bounds | None
    scenes: Bounds | None

    def above_zero(self) -> bool:
        """True where every interval lies above 0, and there is one."""
        return bool(self._found()) and all(low > 0 for low, _ in self._found())

    def below_zero(self) -> bool:
        """True where every interval lies below 0, and there is one."""
        return bool(self._found()) and all(high < 0 for _, high in self._found())

    def _found(self) -> list[Bounds]:
        return [bounds for bounds in (self.clips, self.scenes) if bounds is not None]


class Resamples:
    """Bootstrap resamples of clips, drawn once for all statistics, so that their differences are paired.

    `clips` says how often each clip is drawn, (B, N) float64. `scenes` says it where scenes are drawn first
    and then clips of each; a scene that is drawn twice draws its clips twice, anew. Clips of one scene are
    alike, so that intervals over clips alone are too narrow for new scenes. Those over a handful of scenes
    are too narrow as well. None where there are fewer than two.
    """

    def __init__(self, scenes: Sequence[str], seed: int = 0, resamples: int = _RESAMPLES):
        """`scenes` names the scene of each clip. ValueError where there is no clip."""
        if not scenes:
            raise ValueError("scenes: there is no clip; needed the scene of each")
        self._count, generator = len(scenes), Generator().manual_seed(seed)
        self.clips = _times(len(scenes), len(scenes), resamples, generator) if len(scenes) > 1 else None
        self.scenes = _by_scene(scenes, resamples, generator) if len(set(scenes)) > 1 else None

    def estimate(self, statistic: Callable[[Tensor], Tensor]) -> Estimate:
        """Estimate of a statistic: weights of the clips (B, N) float64 -> values (B,)."""
        value = statistic(torch.ones(1, self._count, dtype=torch.float64)).item()
        over = [
            None if weights is None else _bounds(statistic(weights)) for weights in (self.clips, self.scenes)
        ]
        return Estimate(value, *over)


def _by_scene(scenes: Sequence[str], resamples: int, generator: Generator) -> Tensor:
    """Times each clip is drawn, (B, N), where scenes are drawn, then as many clips of each as it has."""
    names = sorted(set(scenes))
    drawn = _times(len(names), len(names), resamples, generator)
    weights = torch.zeros(resamples, len(scenes), dtype=torch.float64)
    for column, name in enumerate(names):
        rows = [row for row, scene in enumerate(scenes) if scene == name]
        draws = drawn[:, column].long() * len(rows)
        weights[:, rows] = _times(len(rows), int(draws.max()), resamples, generator, draws)
    return weights


def _times(
    count: int, draws: int, resamples: int, generator: Generator, of_each: Tensor | None = None
) -> Tensor:
    """Times each of `count` is drawn in so many draws, (B, count) float64; only the first `of_each` (B,) of
    them count where that is given."""
    picks = _picks(count, draws, resamples, generator)
    counted = torch.ones(resamples, draws, dtype=torch.float64)
    if of_each is not None:
        counted = (torch.arange(draws) < of_each[:, None]).double()
    return torch.zeros(resamples, count, dtype=torch.float64).scatter_add_(1, picks, counted)


def _picks(count: int, draws: int, resamples: int, generator: Generator) -> Tensor:
    return torch.randint(0, count, (resamples, draws), generator=generator)


def _bounds(values: Tensor) -> Bounds:
    low, high = values.quantile(_MIDDLE).tolist()
    return low, high
