"""Children of a test's process, which are killed or run out of disk."""

import gc

import torch


def settle() -> None:
    """To be called first in a fork: it has none of its parent's threads, and what needs them would wait for
    ever."""
    torch.set_num_threads(1)
    gc.freeze()  # scalers of the parent's films would end their threads when they are collected
