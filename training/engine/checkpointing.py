"""Activation checkpointing: blocks keep their inputs alone, and are computed again for their gradients
(arXiv 1604.06174)."""

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ...backbones.wan.dit import Block, WanDiT


class CheckpointedBlock(Block):
    """Block that keeps nothing but its inputs."""

    def forward(self, *inputs, **named) -> Tensor:
        """A block's result, from what `Block.forward` takes."""
        # Nothing in a block is drawn: no generator's state has to be kept.
        return checkpoint(super().forward, *inputs, use_reentrant=False, preserve_rng_state=False, **named)


def checkpoint_blocks(dit: WanDiT) -> None:
    """Keep only the inputs of a DiT's blocks where gradients are taken, and compute the rest again: one pass
    forward more. Results and gradients are the same to the bit; without gradients nothing is computed twice.
    A LoRA may be put on before or after; names of parameters stay."""
    for block in dit.blocks:
        block.__class__ = CheckpointedBlock
