"""Orders of clips side by side, each in its share of the steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .order import Order, Step


@dataclass(frozen=True)
class SharedOrder:
    """Orders of several groups of clips, of which each step sees one.

    After any number of steps each group has had its share, to within one step. The first group is told from
    all others, then the second from those that are left. Which group a step sees follows from the step alone,
    and so does how often it was seen before. ValueError where shares are none.
    """

    orders: Sequence[Order]
    shares: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.orders) != len(self.shares) or not self.orders:
            raise ValueError(
                f"share has {len(self.shares)} numbers for {len(self.orders)} lengths; needed one each"
            )
        if not all(0 < share < math.inf for share in self.shares):
            raise ValueError(f"share is {list(self.shares)}; needed numbers above 0")

    def step(self, number: int) -> Step:
        """Clips of a step, counted from 0."""
        left = sum(self.shares)
        for order, share in zip(self.orders[:-1], self.shares, strict=False):
            before, after = (math.floor(turn * share / left + 0.5) for turn in (number, number + 1))
            if after > before:
                return order.step(before)
            number, left = number - before, left - share
        return self.orders[-1].step(number)
