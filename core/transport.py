"""Entropic optimal transport between two small sets: who of one goes to whom of the other, at least cost."""

import torch
from torch import Tensor

_ROUNDS = 2000  # at most; a few dozen where costs lie within some ten times epsilon
_CHECKED_EVERY = 10
_CLOSE = 1e-6  # of the whole mass, which is 1


def transport_plan(cost: Tensor, rows: Tensor, columns: Tensor, epsilon: float) -> Tensor:
    """The plan P that minimises ⟨P, cost⟩ + epsilon · Σ P (log P − 1) with these sums of rows and columns.

    cost (B, S, N); rows (B or 1, S), all above 0, and columns (B or 1, N), 0 or more, each row of either
    summing to 1. -> (B, S, N) in float32, or in float64 for a float64 cost. Sinkhorn's iteration on
    logarithms (Cuturi, arXiv 1306.0895) until the rows are met within 1e-6 of the whole mass, or for
    `_ROUNDS`. Columns are met in any case. The gradient is that of the exact plan, by differentiating the
    marginals' equations, not of the iterations. It costs one system of size S and keeps no round in memory.
    ValueError for an epsilon that is not above 0.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon is {epsilon}; needed above 0")
    exact = torch.float64 if cost.dtype == torch.float64 else torch.float32
    with torch.autocast(cost.device.type, enabled=False):
        marginals = (m.to(cost.device, exact).expand(len(cost), -1) for m in (rows, columns))
        return _Plan.apply(cost.to(exact), *marginals, epsilon)  # pyright: ignore[reportReturnType]


class _Plan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, cost: Tensor, rows: Tensor, columns: Tensor, epsilon: float) -> Tensor:
        plan = _sinkhorn(-cost / epsilon, rows, columns)
        ctx.save_for_backward(plan)
        ctx.epsilon = epsilon
        return plan

    @staticmethod
    def backward(ctx, wanted: Tensor):
        """Gradient at P = exp(f + g − C/ε), both marginals fixed: dC = −P (G − α − β) / ε. The α of rows and
        the β of columns take out of G what only a change of marginals could follow."""
        (plan,) = ctx.saved_tensors
        rows, columns = plan.sum(2), plan.sum(1)  # (B, S), (B, N)
        moved = plan * wanted  # P G
        # Where β is solved from the columns' equation and put into the rows', S unknowns are left.
        shares = plan / columns.clamp_min(torch.finfo(plan.dtype).tiny)[:, None]  # of a column, by row
        right = moved.sum(2) - (shares * moved.sum(1)[:, None]).sum(2)
        # A constant may move from α to β: the outer product asks for the α whose mean is 0.
        system = rows.diag_embed() - shares @ plan.mT + rows[:, :, None] * rows[:, None]
        alpha = torch.linalg.solve(system, right)
        beta = (shares * (wanted - alpha[:, :, None])).sum(1)
        return -plan * (wanted - alpha[:, :, None] - beta[:, None]) / ctx.epsilon, None, None, None


def _sinkhorn(logits: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    log_rows, log_columns = rows.log(), columns.log()
    across, down = torch.zeros_like(log_rows), torch.zeros_like(log_columns)  # f / ε (B, S), g / ε (B, N)
    for done in range(_ROUNDS):
        across = log_rows - (logits + down[:, None]).logsumexp(2)  # rows are met, then columns
        down = log_columns - (logits + across[:, :, None]).logsumexp(1)
        if done % _CHECKED_EVERY == 0:
            plan = (logits + across[:, :, None] + down[:, None]).exp()
            if bool((plan.sum(2) - rows).abs().amax() < _CLOSE):
                return plan
    return (logits + across[:, :, None] + down[:, None]).exp()
