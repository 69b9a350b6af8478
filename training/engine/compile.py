"""Compilation (torch.compile) of a DiT that trains, or that an adapter trains on."""

from ...backbones.wan.dit import WanDiT


def compile_blocks(dit: WanDiT, dynamic: bool | None = True) -> None:
    """Compile every block, a LoRA on it included: a slower start, and faster steps (an adapter's take three
    quarters of the time, docs/log.md). `dynamic` is torch's: True where sizes change between steps, None to
    begin with the sizes that are met."""
    for block in dit.blocks:
        block.compile(dynamic=dynamic)
