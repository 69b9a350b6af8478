"""Optimal transport: closed forms, POT as the oracle, marginals, and the gradient against unrolled
iterations."""

import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from refvid.core.transport import transport_plan

quick = settings(max_examples=25)


def problem(rows: int, columns: int, seed: int, blind: float = 0.3) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines as costs, uneven rows, and columns of which some have no mass."""
    generator = torch.Generator().manual_seed(seed)
    query, key = (torch.randn(2, n, 8, generator=generator).double() for n in (rows, columns))
    cost = -torch.nn.functional.normalize(query, dim=-1) @ torch.nn.functional.normalize(key, dim=-1).mT
    given = [0.1 + torch.rand(2, n, generator=generator).double() for n in (rows, columns)]
    given[1] *= torch.rand(2, columns, generator=generator) > blind
    given[1][:, 0] = 1.0
    return cost, *(mass / mass.sum(1, keepdim=True) for mass in given)


def unrolled(cost: Tensor, rows: Tensor, columns: Tensor, epsilon: float, rounds: int = 3000) -> Tensor:
    """Sinkhorn as it is written in textbooks, in float64, every round kept for autograd."""
    kernel, across = (-cost / epsilon).exp(), torch.ones_like(rows)
    for _ in range(rounds):
        down = columns / (kernel.mT @ across[..., None])[..., 0]
        across = rows / (kernel @ down[..., None])[..., 0]
    return across[:, :, None] * kernel * down[:, None]


@quick
@given(st.integers(1, 6), st.integers(1, 23), st.sampled_from([0.05, 0.1, 1.0]), st.integers(0, 99))
def test_rows_and_columns_have_their_mass(rows, columns, epsilon, seed):
    cost, a, b = problem(rows, columns, seed)
    plan = transport_plan(cost.float(), a.float(), b.float(), epsilon)
    torch.testing.assert_close(plan.sum(2).double(), a, rtol=0, atol=1e-5)
    torch.testing.assert_close(plan.sum(1).double(), b, rtol=0, atol=1e-6)
    assert plan.min() >= 0 and plan[b[:, None].expand_as(plan) == 0].eq(0).all()


@pytest.mark.parametrize("epsilon", [0.05, 0.1, 0.5])
def test_the_plan_is_pot_s(epsilon):
    cost, a, b = problem(5, 37, seed=1, blind=0.0)
    got = transport_plan(cost.float(), a.float(), b.float(), epsilon)
    for plan, one, rows, columns in zip(got, cost, a, b, strict=True):
        oracle = ot.sinkhorn(rows, columns, one, epsilon, "sinkhorn_log", numItermax=10_000, stopThr=1e-12)
        torch.testing.assert_close(plan.double(), oracle, rtol=0, atol=1e-6)


def test_equal_costs_share_everything_evenly():
    _, a, b = problem(4, 9, seed=2)
    plan = transport_plan(torch.full((2, 4, 9), 3.0).double(), a, b, 0.1)
    torch.testing.assert_close(plan, a[:, :, None] * b[:, None], rtol=0, atol=1e-12)


def test_two_by_two_by_hand():
    """Even marginals and costs (0, c; c, 0): the diagonal holds 1 / (2 + 2 exp(-c / ε)) twice."""
    cost, even = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]).double(), torch.full((1, 2), 0.5).double()
    plan = transport_plan(cost, even, even, 0.5)
    side = 0.5 / (1 + torch.tensor(-2.0).double().exp())
    expected = torch.tensor([[[side, 0.5 - side], [0.5 - side, side]]], dtype=torch.float64)
    torch.testing.assert_close(plan, expected, rtol=0, atol=1e-7)


def test_small_epsilon_stays_finite_and_in_float64_s_reach():
    cost, a, b = problem(16, 64, seed=3)
    plan = transport_plan(cost.float(), a.float(), b.float(), 0.01)
    assert plan.isfinite().all()
    torch.testing.assert_close(plan.double(), transport_plan(cost, a, b, 0.01), rtol=0, atol=1e-6)
    torch.testing.assert_close(plan.sum(2).double(), a, rtol=0, atol=1e-4)


@pytest.mark.parametrize("epsilon", [0.1, 0.3])
def test_its_gradient_is_that_of_the_unrolled_iterations(epsilon):
    cost, a, b = problem(5, 13, seed=4)
    weight = torch.randn(cost.shape, generator=torch.Generator().manual_seed(0)).double()
    exact, single = cost.clone().requires_grad_(), cost.float().requires_grad_()
    (unrolled(exact, a, b, epsilon) * weight).sum().backward()
    (transport_plan(single, a.float(), b.float(), epsilon) * weight.float()).sum().backward()
    torch.testing.assert_close(single.grad.double(), exact.grad, rtol=1e-4, atol=1e-6)


def test_shifting_a_row_s_costs_changes_nothing_and_has_no_gradient():
    cost, a, b = problem(4, 11, seed=5)
    shifted = cost + torch.arange(4).double()[:, None]
    torch.testing.assert_close(
        transport_plan(shifted, a, b, 0.2), transport_plan(cost, a, b, 0.2), rtol=0, atol=1e-5
    )
    wanted = cost.clone().requires_grad_()
    (transport_plan(wanted, a, b, 0.2) * torch.randn(cost.shape).double()).sum().backward()
    torch.testing.assert_close(wanted.grad.sum(2), torch.zeros(2, 4).double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan")])
def test_an_epsilon_that_is_not_above_zero_is_refused(epsilon):
    cost, a, b = problem(2, 3, seed=6)
    with pytest.raises(ValueError, match="epsilon is"):
        transport_plan(cost, a, b, epsilon)
