"""Widening of a VAE without a change of what it does (Net2Net, arXiv 1511.05641) [choice: vae-widening]. Each
channel becomes several that begin alike, and what reads them takes a share of each."""

import torch
from torch import Generator, Tensor

from ...backbones.wan.vae import WanVAE
from ...backbones.wan.vae_layers import FrameAttention, Upsample

_UNEVEN = 0.5  # deviation of the logarithms of shares: copies that are read alike would stay alike


@torch.no_grad()
def widened_vae(vae: WanVAE, width: int, generator: Generator) -> WanVAE:
    """VAE of `width` that codes and decodes as `vae` does, whose own width divides it. ValueError where it
    does not."""
    own = vae.encoder.conv1.out_channels
    if width % own:
        raise ValueError(
            f"--from is a VAE of width {own}; needed one whose width divides train.width, {width}"
        )
    made, copies = WanVAE(width), width // own
    blocks = _blocks(made)
    for name, wide in made.named_parameters():
        narrow = vae.get_parameter(name)
        wide.copy_(_grown(narrow, wide.shape, copies, blocks.get(name, 1), generator))
    for module in made.modules():
        if isinstance(module, FrameAttention):
            # Products of queries and keys have so many more terms, under a smaller scale.
            for part in module.to_qkv.parameters():
                part[: part.shape[0] // 3] *= copies**-0.5
    return made


def _blocks(vae: WanVAE) -> dict[str, int]:
    """Parameters whose outputs are so many tensors of channels, one behind the other."""
    found = {}
    for name, module in vae.named_modules():
        if isinstance(module, FrameAttention):
            found |= {f"{name}.to_qkv.{part}": 3 for part in ("weight", "bias")}
        if isinstance(module, Upsample) and module.time_conv is not None:
            found |= {f"{name}.time_conv.{part}": 2 for part in ("weight", "bias")}
    return found


def _grown(narrow: Tensor, shape: torch.Size, copies: int, blocks: int, generator: Generator) -> Tensor:
    """Parameter with its channels copied, outputs as they are, inputs in shares that sum to one."""
    grown = narrow
    if shape[0] != narrow.shape[0]:
        grown = torch.cat([part.repeat(copies, *(1,) * (part.ndim - 1)) for part in grown.chunk(blocks)])
    if narrow.ndim > 1 and shape[1] not in (1, narrow.shape[1]):
        drawn = torch.randn(copies, *grown.shape, generator=generator) * _UNEVEN
        grown = torch.cat([share * grown for share in drawn.softmax(0)], dim=1)
    return grown
