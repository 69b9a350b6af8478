"""Bytes that are alive during a training step, counted on fake tensors, which have storages and no values."""

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from refvid.backbones.base import Tail
from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.files import DiTConfig
from refvid.backbones.wan.geometry import CONTEXT_LENGTH
from refvid.training.engine.checkpointing import checkpoint_blocks
from refvid.training.engine.lora import add_lora

ATTENTIONS = ("self_attn", "cross_attn")


class Alive(TorchDispatchMode):
    """Bytes of all storages that operations gave and that are still held, now and at most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: dict[int, int] = {}

    def add(self, tensor: Tensor) -> None:
        if tensor.is_meta:  # which holds nothing
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._known:
            self._known[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self.now -= self._known.pop(key, 0)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tree_map_only(Tensor, self.add, result)
        return result


@contextmanager
def norms_in_fp32() -> Iterator[None]:
    """Norms compute in fp32 and give fp32, as CUDA's autocast has them; the CPU's leaves them alone."""

    def wide(norm):
        def computed(*args, **kwargs):
            with torch.autocast("cpu", enabled=False):
                args, kwargs = tree_map_only(Tensor, Tensor.float, (args, kwargs))
                return norm(*args, **kwargs)

        return computed

    with patch.object(F, "layer_norm", wide(F.layer_norm)), patch.object(F, "rms_norm", wide(F.rms_norm)):
        yield


@contextmanager
def fake_step(
    config: DiTConfig, rank: int, targets: Sequence[str], checkpointing: str, wide: bool = False
) -> Iterator[WanDiT]:
    """A DiT in bf16 without values, in fp32 where `wide`, with a LoRA in fp32."""
    with FakeTensorMode():
        # A fake tensor's type cannot be changed later.
        torch.set_default_dtype(torch.float32 if wide else torch.bfloat16)
        try:
            dit = WanDiT(config)
        finally:
            torch.set_default_dtype(torch.float32)
        add_lora(dit, rank, targets)
        if checkpointing == "blocks":
            checkpoint_blocks(dit)
        yield dit


def differentiate(
    dit: WanDiT, latent: tuple[int, int, int], batch: int = 1, references: int = 0, wide: bool = False
) -> None:
    """Loss and gradients of a batch of latents (frames, rows, columns), as a step has them: under autocast to
    bf16, or in fp32 where `wide`."""
    config = dit.config
    noisy, clock = torch.randn(batch, config.in_channels, *latent), torch.rand(batch)
    states = torch.randn(batch, CONTEXT_LENGTH, config.text_width)
    tail = None
    if references:
        angles = torch.zeros(1, references, dit.head_size // 2)
        tail = Tail(torch.randn(batch, references, dit.width, dtype=torch.bfloat16), angles)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not wide):
        predicted = dit(noisy, clock, states, tail=tail)
        loss = (predicted.float() - noisy).pow(2).mean()
    del predicted
    loss.backward()


def count_step(
    config: DiTConfig,
    latent: tuple[int, int, int],
    rank: int = 32,
    targets: Sequence[str] = ATTENTIONS,
    checkpointing: str = "blocks",
    cuda: bool = True,
    wide: bool = False,
    **batch: int,
) -> int:
    """Most bytes alive beside weights while a batch is differentiated, the gradients of the batch before it
    included."""
    alive, norms = Alive(), norms_in_fp32() if cuda else nullcontext()
    with norms, fake_step(config, rank, targets, checkpointing, wide) as dit:
        for parameter in dit.parameters():
            alive.add(parameter)
        weights = alive.now
        for parameter in (one for one in dit.parameters() if one.requires_grad):
            parameter.grad = torch.zeros_like(parameter)
            alive.add(parameter.grad)
        with alive:
            differentiate(dit, latent, wide=wide, **batch)
        return alive.most - weights


def count_blocks(config: DiTConfig, latent: tuple[int, int, int], **how) -> int:
    """`count_step` of a deep DiT from two shallow ones: every block adds what one adds."""
    few, more = (count_step(replace(config, layers=layers), latent, **how) for layers in (2, 3))
    return few + (more - few) * (config.layers - 2)


def count_work(config: DiTConfig, latent: tuple[int, int, int], checkpointing: str, **batch: int) -> float:
    """Floating-point operations of the same, as torch counts them; fused attention by its own formulas."""
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    formulas = {
        flash: lambda query, key, value, *_, out_shape=None, **__: sdpa_flop_count(query, key, value),
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
            lambda out, query, key, value, *_, out_shape=None, **__: sdpa_backward_flop_count(
                out, query, key, value
            )
        ),
    }
    counter = FlopCounterMode(display=False, custom_mapping=formulas)
    with fake_step(config, 32, ATTENTIONS, checkpointing) as dit, counter:
        differentiate(dit, latent, **batch)
    return float(counter.get_total_flops())
