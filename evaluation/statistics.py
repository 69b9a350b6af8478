"""Statistics over clips: retrieval among references, rank correlation, and paired bootstrap intervals."""

import torch
from torch import Generator, Tensor


def retrieval(table: Tensor, own: Tensor) -> tuple[float, float]:
    """Share of clips whose own reference is the most similar of all (the mean of `hits`), and the share by
    chance, 1 / references."""
    return hits(table, own).mean().item(), 1 / table.shape[1]


def hits(table: Tensor, own: Tensor) -> Tensor:
    """Hits of clips whose own reference is the most similar of all, (N,) float64 in [0, 1].

    table  similarity of clip n to reference m, (N, M)
    own    index of clip n's reference, (N,) int64

    A tie at the top counts as the chance of drawing the own one, so the order of references does not matter.
    ValueError for fewer than two references.
    """
    if table.ndim != 2 or table.shape[1] < 2 or own.shape != table.shape[:1]:
        raise ValueError(
            f"table has shape {tuple(table.shape)}, own {tuple(own.shape)}; needed (N, M) with two references or more, "
            "and (N,)"
        )
    best = table == table.amax(1, keepdim=True)
    return best.gather(1, own.view(-1, 1))[:, 0].double() / best.sum(1)


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's rank correlation of each row, (N,) in [-1, 1]; ties share their mean rank. first, second (N,
    M). A row in which either is constant has no order to agree with: 0."""

    def ranks(values: Tensor) -> Tensor:
        column, row = values.double().unsqueeze(2), values.double().unsqueeze(1)
        rank = (column > row).sum(2).double() + 0.5 * (column == row).sum(2)
        return rank - rank.mean(1, keepdim=True)

    a, b = ranks(first), ranks(second)
    return (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt().clamp_min(1e-12)


def paired_interval(difference: Tensor, seed: int = 0, resamples: int = 10_000) -> tuple[float, float, float]:
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
    picks = torch.randint(0, len(values), (resamples, len(values)), generator=Generator().manual_seed(seed))
    low, high = values[picks].mean(1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return values.mean().item(), low, high
