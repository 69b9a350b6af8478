"""Processes of one run, started by torchrun: each takes its share of every batch, gradients are averaged."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """Rank of this process, and how many there are."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """True in the process that writes files."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """Clips of a batch that fall to one process. ValueError where they cannot be shared evenly."""
        if batch % self.count:
            raise ValueError(f"batch is {batch}; {self.count} processes need a multiple of {self.count}")
        return batch // self.count

    def owns(self, index: int) -> bool:
        """True where the thing of this number is this process's to work out."""
        return index % self.count == self.rank

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            dist.barrier()


ALONE = Ranks()
# One may encode for hours while others wait, which torch's half an hour would end.
_PATIENCE = timedelta(days=30)


def join(device: str) -> Ranks:
    """Join the process group of torchrun's environment (gloo on a CPU, nccl on GPUs); a run of its own
    without one."""
    if "WORLD_SIZE" not in os.environ:
        return Ranks()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=_PATIENCE)
    return Ranks(dist.get_rank(), dist.get_world_size())


def average_gradients(parameters: Sequence[Tensor], ranks: Ranks) -> None:
    """Replace every gradient by its mean over the processes, in one exchange: all then take the same step."""
    if ranks.count == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient) / ranks.count)


def share_out(tensors: Sequence[Tensor], ranks: Ranks) -> None:
    """Give every process what each has worked out of `tensors`, in place: number k is right where
    `owns(k)`."""
    for owner in range(ranks.count if ranks.count > 1 else 0):
        parts = tensors[owner :: ranks.count]
        flat = torch.cat([part.detach().flatten() for part in parts])
        dist.broadcast(flat, src=owner)
        for part, right in zip(parts, flat.split([p.numel() for p in parts]), strict=True):
            part.detach().copy_(right.view_as(part))
