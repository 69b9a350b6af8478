"""The part `training`: one step of masked training at the size of Wan 1.3B, LoRA on self-attention, forward
and backward. It is timed by this pack's kernel and by a key bias of minus infinity. Small as long as the
trainer is the demo's: without gradient checkpointing a whole clip fits no card, so shorter ones are tried
too. To be filled in with the trainer's own peaks and speed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from unittest import mock

import torch
from torch import Tensor

from refvid.core.lora import SELF
from refvid.hosts.plain import tail
from refvid.training.base.dit import losses as objective
from refvid.training.base.dit.batch import MaskedBatch
from refvid.training.engine.lora import add_lora

from .device import Device
from .scenes import KEPT, REAL, TINY, Grid
from .sheet import Case, told
from .steps import TEXT, random_dit

COUNT, RANK = 2, 16
FRAMES = (5, 9, 21)  # latent frames of the clips that are tried
APART = 0.05  # how far two losses and the gradients of two ways may be apart, relative


def training(device: Device) -> list[Case]:
    """Short clips first: what does not fit ends nothing."""
    grid = (TINY if device.dry else REAL).grids["480p"]
    return [
        Case(
            f"480p, 1.3B, {frames} latent frames, {COUNT} references, LoRA {RANK}: one bias per key / ours",
            partial(compare_training, device, (frames, *grid[1:])),
        )
        for frames in (FRAMES[:1] if device.dry else FRAMES)
    ]


class Words:
    """Stand-in for a text encoder: equal states for every prompt."""

    def __init__(self, states: Tensor) -> None:
        self._states = states

    def states(self, tokens: Tensor) -> Tensor:
        return self._states.expand(len(tokens), -1, -1)


def compare_training(device: Device, grid: Grid) -> dict:
    """Seconds and peak memory (MiB) of a step by a key bias and by ours. left_out where it does not fit."""
    device.settle()
    config = (TINY if device.dry else REAL).models["1.3B"]
    dit = random_dit(device, config)
    with device.at:
        learned = list(add_lora(dit, RANK, (SELF,)).parameters())
    text, batch = Words(device.normal(1, TEXT, config.text_width)), batch_of(device, grid)

    def step(kernel: bool) -> list[Tensor]:
        with ours(kernel), torch.autocast(device.at.type, dtype=torch.bfloat16):
            loss = objective.masked_reference_loss(dit, text, "saber")(batch)  # type: ignore[arg-type]
        return [loss.detach(), *torch.autograd.grad(loss, learned, allow_unused=True, materialize_grads=True)]

    try:
        found: dict = {"error": apart(*(step(kernel) for kernel in (False, True)))}
        if not found["error"] <= APART:
            return {
                **found,
                "failed": f"the two ways are {found['error']:.1e} apart: nothing is measured on that",
            }
        calls = [partial(step, kernel) for kernel in (False, True)]
        found["peak"] = [device.peak(call) for call in calls]
        found["ratio"] = asdict(device.pair(*calls, least=3))
    except torch.cuda.OutOfMemoryError as full:
        return {"left_out": told(full)}
    return found


@contextmanager
def ours(kernel: bool) -> Iterator[None]:
    """The objective takes the kernel wherever it runs; or not."""
    refused = mock.patch.object(tail, "why_not", return_value="measured without it")
    if kernel:
        yield
    else:
        with refused:
            yield


def apart(others: list[Tensor], mine: list[Tensor]) -> float:
    """The larger of two relative distances: of the losses, and of all gradients together."""
    losses = abs(others[0] - mine[0]) / others[0]
    theirs, own = (torch.cat([grad.float().flatten() for grad in way[1:]]) for way in (others, mine))
    return max(losses.item(), ((theirs - own).norm() / theirs.norm()).item())


def batch_of(device: Device, grid: Grid) -> MaskedBatch:
    """One clip with references that keep a part of their tokens; nothing is replaced or dropped."""
    frames, rows, columns = grid
    shape = (1, 16, frames, 2 * rows, 2 * columns)
    latent, noise = (device.normal(*shape, seed=seed, dtype=torch.float32) for seed in (1, 2))
    kept = device.normal(1, COUNT * rows * columns, seed=3).sigmoid() < KEPT
    return MaskedBatch(
        latent=latent,
        noise=noise,
        sigma=torch.full((1,), 0.5, device=device.at),
        given=latent,
        replaced=torch.zeros(1, frames, dtype=torch.bool, device=device.at),
        reference=device.normal(1, 16, COUNT, 2 * rows, 2 * columns, seed=4, dtype=torch.float32),
        keep=kept,
        tokens=torch.full((1, TEXT), 5, device=device.at),
        weight=torch.ones(1, 1, *shape[2:], device=device.at),
    )
