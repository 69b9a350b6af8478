"""A run in several processes: shares of a batch, means of gradients."""

import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from refvid.training.parallel import Ranks, average_gradients, join


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


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_two_processes_end_with_the_same_means_and_what_has_no_gradient_keeps_none():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with mp.Manager() as manager:
        results = manager.dict()
        mp.start_processes(one_of_two, (port, results), nprocs=2, start_method="fork")
        expected = [[[1.5] * 3] * 2, None, [0.0, 0.5, 1.0, 1.5]]
        assert results[0] == results[1] == expected
