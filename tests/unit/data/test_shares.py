"""Orders side by side: every group has its share of any number of steps, and its own clips in their order."""

import pytest

from refvid.data.buckets import Bucket
from refvid.data.order import Order
from refvid.data.shares import SharedOrder

LENGTHS = (1, 33, 81)
ORDERS = tuple(Order({Bucket(64, 48, frames): range(5)}, 2, seed=3) for frames in LENGTHS)


@pytest.mark.parametrize("shares", [(0.8, 0.15, 0.05), (1, 1, 1), (1, 2, 4), (0.01, 0.98, 0.01)])
def test_each_group_has_its_share_of_any_number_of_steps(shares):
    order, seen = SharedOrder(ORDERS, shares), dict.fromkeys(LENGTHS, 0)
    for number in range(500):
        seen[order.step(number).bucket.frames] += 1
        for frames, share in zip(LENGTHS, shares, strict=True):
            assert abs(seen[frames] - (number + 1) * share / sum(shares)) <= 1.01


def test_each_group_goes_through_its_own_steps_in_turn():
    order, turns = SharedOrder(ORDERS, (0.5, 0.3, 0.2)), dict.fromkeys(LENGTHS, 0)
    for number in range(200):
        step = order.step(number)
        own = dict(zip(LENGTHS, ORDERS, strict=True))[step.bucket.frames]
        assert step == own.step(turns[step.bucket.frames])
        turns[step.bucket.frames] += 1


@pytest.mark.parametrize("shares", [(1, 1), (1, 1, 0), (1, 1, float("inf")), (1, 1, float("nan"))])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(ValueError, match="share"):
        SharedOrder(ORDERS, shares)
