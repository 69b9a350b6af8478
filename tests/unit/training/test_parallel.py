"""A run in several processes and its optimiser: shares of a batch, means of gradients, the rate."""

import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from refvid.training.engine.optimise import Optimiser, warm_hold_decay
from refvid.training.engine.parallel import Ranks, average_gradients, join


def test_without_torchrun_a_run_is_alone_and_gradients_stay(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks, weight = join("cpu"), nn.Parameter(torch.ones(3))
    weight.grad = torch.arange(3.0)
    average_gradients([weight], ranks)
    assert ranks == Ranks(0, 1) and ranks.first and ranks.share(5) == 5
    assert torch.equal(weight.grad, torch.arange(3.0))


def test_a_batch_that_cannot_be_shared_is_refused():
    assert Ranks(1, 2).share(64) == 32 and not Ranks(1, 2).first
    with pytest.raises(ValueError, match="batch is 63; 2 processes need a multiple of 2"):
        Ranks(0, 2).share(63)


def one_of_two(rank: int, port: int, results) -> None:
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    weights = [nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(4))]
    weights[0].grad = torch.full((2, 3), float(rank + 1))
    weights[2].grad = torch.arange(4.0) * rank
    average_gradients(weights, Ranks(rank, 2))
    results[rank] = [None if w.grad is None else w.grad.tolist() for w in weights]
    dist.destroy_process_group()


def in_two_processes(work) -> list:
    """What `work(rank, port, results)` puts into results, of both."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with mp.Manager() as manager:
        results = manager.dict()
        mp.start_processes(work, (port, results), nprocs=2, start_method="fork")
        return [results[0], results[1]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_two_processes_end_with_the_same_means_and_what_has_no_gradient_keeps_none():
    expected = [[[1.5] * 3] * 2, None, [0.0, 0.5, 1.0, 1.5]]
    assert in_two_processes(one_of_two) == [expected, expected]


def stepped(ranks: Ranks) -> list[Tensor]:
    """Weights and momentum after three steps of a small model."""
    torch.manual_seed(0)
    module = nn.Sequential(*(nn.Linear(5, 5) for _ in range(3)))
    optimiser = Optimiser(module, lambda name, p: p.ndim == 2, 0.1, weight_decay=0.1, ranks=ranks)
    for turn in range(3):
        for place, parameter in enumerate(module.parameters()):
            parameter.grad = torch.full_like(parameter, 0.1).mul_(turn + 1).add_(parameter.detach() * place)
        optimiser.step(module, 1.0)
    momentum = [state["momentum_buffer"] for state in optimiser.muon.state.values()]
    return [*module.state_dict().values(), *momentum]


def one_that_steps(rank: int, port: int, results) -> None:
    torch.set_num_threads(1)  # a fork has no threads of its own to share work with
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    results[rank] = [tensor.tolist() for tensor in stepped(Ranks(rank, 2))]
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_processes_that_share_the_optimiser_end_with_the_weights_of_one_alone():
    alone = [tensor.tolist() for tensor in stepped(Ranks())]
    results = in_two_processes(one_that_steps)
    assert results[0] == results[1] == alone


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.1), (4, 0.5), (9, 1.0), (49, 1.0), (50, 1.0), (75, 0.5), (90, 0.2), (96, 0.1), (100, 0.1)],
)
def test_the_rate_warms_up_holds_and_decays_in_straight_lines(step, expected):
    assert warm_hold_decay(step, 100, warm=10, hold=0.5, floor=0.1) == pytest.approx(expected)
