"""A run in several processes and its optimiser: shares of a batch, means of gradients, the rate."""

import socket
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from refvid_latents import latents
from refvid_world import setting
from safetensors.torch import save_file
from torch import Tensor, nn

from refvid.core.ranks import Ranks, average_gradients, join
from refvid.demo.runs import smoke_dit
from refvid.training.base.dit import method as saber
from refvid.training.base.dit.method import VAE_FILE, DiTTrainer
from refvid.training.engine.noise import Draws
from refvid.training.engine.optimise import Optimiser, warm_hold_decay


def test_without_torchrun_a_run_is_alone_and_gradients_stay(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks, weight = join("cpu"), nn.Parameter(torch.ones(3))
    weight.grad = torch.arange(3.0)
    average_gradients([weight], ranks)
    assert ranks == Ranks(0, 1) and ranks.first and ranks.share(5) == 5
    assert torch.equal(weight.grad, torch.arange(3.0))


def test_processes_wait_for_one_that_encodes_for_days(monkeypatch):
    begun = {}
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist, "is_initialized", lambda: False)
    monkeypatch.setattr(dist, "init_process_group", lambda kind, timeout: begun.update({kind: timeout.days}))
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    assert join("cpu") == Ranks(1, 2) == join("cuda:1")
    assert begun.keys() == {"gloo", "nccl"} and min(begun.values()) >= 7


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


def test_processes_draw_clips_of_their_own_and_patterns_in_common_other_ones_at_every_step_and_seed():
    drawn: dict[str, list[float]] = {"own": [], "common": []}
    config = smoke_dit()
    for seed in (0, 1):
        for step in range(3):
            for rank in (0, 1):
                draws = Draws.on("cpu")
                DiTTrainer().seed(replace(config, seed=seed), draws, step, Ranks(rank, 2))
                for name in drawn:
                    drawn[name].append(torch.rand(1, generator=getattr(draws, name)).item())
    assert len(set(drawn["own"])) == 12 and not set(drawn["own"]) & set(drawn["common"])
    assert drawn["common"][::2] == drawn["common"][1::2] and len(set(drawn["common"])) == 6


def test_a_process_draws_its_share_of_a_batch():
    config = smoke_dit()
    data = [(kind, latents(frames=(kind.frames + 3) // 4)) for kind in config.kinds]
    for ranks in (Ranks(), Ranks(1, 2)):
        draws = Draws.on("cpu")
        DiTTrainer().seed(config, draws, 0, ranks)
        batch = DiTTrainer().draw(config, data, draws, 0, ranks)
        assert len(batch.latent) * ranks.count == config.kinds[0].batch


def test_a_run_says_how_many_processes_it_is_made_by_and_they_share_its_optimiser(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / VAE_FILE)
    learns, two = nn.Module(), Ranks(1, 2)
    learns.dit = nn.Linear(2, 2)
    assert DiTTrainer().made_by(smoke_dit(), setting(tmp_path), two)["processes"] == 2
    assert DiTTrainer().optimiser(smoke_dit(), learns, two).ranks == two  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rank", "order"), [(0, ["clips", "clips", "wait"]), (1, ["wait", "clips", "clips"])]
)
def test_the_first_process_makes_the_clips_and_the_others_wait_for_them(tmp_path, monkeypatch, rank, order):
    done: list[str] = []
    config, clips = smoke_dit(), SimpleNamespace(to=lambda device: device)
    monkeypatch.setattr(saber, "cached_clips", lambda *given: done.append("clips") or clips)
    monkeypatch.setattr(Ranks, "wait", lambda self: done.append("wait"))
    DiTTrainer().data(config, SimpleNamespace(vae=None, text=None), setting(tmp_path), Ranks(rank, 2))
    assert len(config.kinds) == 2 and done == order
