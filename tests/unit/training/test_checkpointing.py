"""Activation checkpointing of a DiT's blocks: the same numbers, less memory."""

import copy

import pytest
import torch
from refvid_alive import Alive
from refvid_tiny import config, dit_state
from torch import Tensor

from refvid.backbones.base import IdentityTokens, Tail, attend_all
from refvid.backbones.wan.dit import Block, WanDiT
from refvid.training.engine.checkpointing import checkpoint_blocks
from refvid.training.engine.compile import compile_blocks
from refvid.training.engine.lora import add_lora


def tiny(layers: int = 3) -> tuple[WanDiT, list[Tensor]]:
    """A DiT with a LoRA of random values, and what learns."""
    sizes = config(layers=layers)
    dit = WanDiT(sizes)
    dit.load_state_dict(dit_state(sizes))
    torch.manual_seed(1)
    learned = list(add_lora(dit, 4, ("self_attn", "cross_attn", "ffn")).parameters())
    for parameter in learned:
        torch.nn.init.normal_(parameter, std=0.1)
    return dit, learned


def inputs(dit: WanDiT) -> tuple[tuple[Tensor, ...], dict]:
    """Two clips with a tail that reads no text, has attention and a clock of its own, and identities."""
    torch.manual_seed(2)
    clips = torch.randn(2, 16, 2, 4, 4), torch.tensor([300.0, 700.0]), torch.randn(2, 5, 32)
    half = dit.head_size // 2
    tail = Tail(
        torch.randn(2, 6, dit.width), torch.randn(1, 6, half), torch.zeros(2, 6).masked_fill(torch.rand(2, 6) < 0.3, -torch.inf),
        lambda query, key, value, bias: attend_all(query, key, value, bias) * 0.5,
        torch.zeros(1), reads_text=False,
    )  # fmt: skip
    return clips, {"tail": tail, "identities": IdentityTokens(torch.randn(2, 3, dit.width))}


def gradients(dit: WanDiT, learned: list[Tensor], autocast: bool = False) -> list[Tensor]:
    clips, beside = inputs(dit)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        out = dit(*clips, **beside)
    found = torch.autograd.grad(out.float().pow(2).mean(), learned)
    return [out.detach(), *found]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_results_and_gradients_are_the_same_to_the_bit(autocast, training):
    dit, learned = tiny()
    dit.train(training)
    plain = gradients(dit, learned, autocast)
    checkpoint_blocks(dit)
    checked = gradients(dit, learned, autocast)
    assert all(one.abs().sum() > 0 for one in checked)
    assert all(torch.equal(one, other) for one, other in zip(plain, checked, strict=True))


def count_calls(monkeypatch) -> list[int]:
    calls, forward = [0], Block.forward

    def counted(self, *args, **kwargs):
        calls[0] += 1
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(Block, "forward", counted)
    return calls


def test_blocks_are_computed_twice_for_gradients_and_once_without(monkeypatch):
    calls = count_calls(monkeypatch)
    dit, learned = tiny()
    checkpoint_blocks(dit)
    gradients(dit, learned)
    assert calls == [6]
    with torch.no_grad():
        clips, beside = inputs(dit)
        dit(*clips, **beside)
    assert calls == [9]


def kept(dit: WanDiT) -> int:
    """Bytes that are alive after a forward pass, for its gradients."""
    alive, (clips, beside) = Alive(), inputs(dit)
    for tensor in (*dit.parameters(), *clips):
        alive.add(tensor)
    before = alive.now
    with alive:
        out = dit(*clips, **beside)
    assert out.requires_grad
    return alive.now - before


def test_a_block_keeps_its_input_alone():
    bytes_of_input = 2 * (2 * 4 + 6) * 96 * 4
    found = []
    for layers in (2, 3):
        dit, _ = tiny(layers)
        checkpoint_blocks(dit)
        found.append(kept(dit))
    assert found[1] - found[0] == bytes_of_input
    assert kept(tiny(3)[0]) - kept(tiny(2)[0]) > 10 * bytes_of_input


def test_names_of_parameters_stay_and_a_copy_is_independent():
    dit, _ = tiny()
    names = list(dit.state_dict())
    checkpoint_blocks(dit)
    assert list(dit.state_dict()) == names
    copied = copy.deepcopy(dit)
    with torch.no_grad():
        copied.blocks[0].modulation.add_(1.0)
        clips, beside = inputs(dit)
        assert not torch.equal(copied(*clips, **beside), dit(*clips, **beside))


def test_lora_may_be_put_on_after_checkpointing():
    dit, learned = tiny()
    wanted = gradients(dit, learned)
    sizes = config(layers=3)
    later = WanDiT(sizes)
    later.load_state_dict(dit_state(sizes))
    checkpoint_blocks(later)
    own = list(add_lora(later, 4, ("self_attn", "cross_attn", "ffn")).parameters())
    with torch.no_grad():
        for one, other in zip(own, learned, strict=True):
            one.copy_(other)
    assert all(torch.equal(one, other) for one, other in zip(gradients(later, own), wanted, strict=True))


@pytest.mark.slow
def test_compiled_blocks_give_the_same_gradients():
    dit, learned = tiny(2)
    wanted = gradients(dit, learned)
    checkpoint_blocks(dit)
    compile_blocks(dit)
    for one, other in zip(gradients(dit, learned), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
