"""Statistics over clips: retrieval among references, and rank correlation."""

from torch import Tensor


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
