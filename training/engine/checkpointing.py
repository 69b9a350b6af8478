"""Activation checkpointing: blocks keep their inputs alone, and are computed again for their gradients
(arXiv 1604.06174)."""

import functools

import torch
from torch.utils.checkpoint import checkpoint

from ...backbones.wan.dit import WanDiT


def checkpoint_blocks(dit: WanDiT) -> None:
    """Keep only the inputs of a DiT's blocks where gradients are taken. Call it before blocks are compiled.

    Gradients are the same to the bit. Nothing in a block is drawn, so no state of a generator is kept.
    Without gradients blocks run as they are."""
    for block in dit.blocks:
        block.forward = _checkpointed(block.forward)


def _checkpointed(forward):
    @functools.wraps(forward)
    def computed(*args, **kwargs):
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return computed
