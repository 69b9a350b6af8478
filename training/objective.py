"""The flow-matching loss with masked references and replaced frames."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..backbones.base import Tail
from ..backbones.wan.dit import WanDiT
from ..backbones.wan.text import TextEncoder, fold_padding
from ..core.layout import Layout, Stream
from ..core.positions import reference_angles
from ..core.recipes import recipe_named
from ..kernels.segment_attention import attention_over, why_not
from ..kernels.segments import kept_keys
from .batches import Batch


def masked_reference_loss(
    dit: WanDiT, text: TextEncoder, recipe: str, attention_mask: bool = True
) -> Callable[[Batch], Tensor]:
    """Weighted squared error of the velocity on the frames that are not replaced.

    Masked-out reference tokens are seen by nobody, though rows of a batch keep different ones: by the Triton kernel
    where it runs, else by a key bias of -inf; the same numbers as their removal. Replaced frames are clean and have
    timestep 0 (Wan2.2-TI2V's choice); with `attention_mask` False every token of a reference that is not dropped stays visible.
    """
    method = recipe_named(recipe)
    angles: dict[tuple[int, int, int, int], Tensor] = {}

    def tail(reference: Tensor, keep: Tensor, frames: int) -> Tail:
        count, rows, columns = dit.geometry.tokens(*reference.shape[2:])
        key = (frames, count, rows, columns)
        if key not in angles:
            layout = Layout(method, (Stream(rows, columns, rows * columns),) * count, dit.geometry)
            angles[key] = reference_angles(layout, frames, dit.head_size)[None].to(reference.device)
        seen = keep if attention_mask else keep.any(1, keepdim=True).expand_as(keep)
        tokens = dit.embed_patches(reference)
        if why_not(keep.device, torch.bfloat16) is None:
            video = torch.ones(len(keep), frames * rows * columns, dtype=torch.bool, device=keep.device)
            whole = torch.cat([video, seen], dim=1)
            return Tail(tokens, angles[key], attend=attention_over(kept_keys(whole, whole.shape[1])))
        return Tail(
            tokens, angles[key], torch.zeros(keep.shape, device=keep.device).masked_fill(~seen, -torch.inf)
        )

    def loss(batch: Batch) -> Tensor:
        context, bias = fold_padding(text.states(batch.tokens), batch.tokens)
        level = batch.sigma[:, None] * ~batch.replaced  # (B, F)
        spread = level[:, None, :, None, None]
        clean = torch.where(batch.replaced[:, None, :, None, None], batch.given, batch.latent)
        noisy = (1 - spread) * clean + spread * batch.noise
        # One level for all frames is the cheaper path: modulation is then not expanded to every token.
        clock = (level if bool(batch.replaced.any()) else batch.sigma) * dit.geometry.clock
        seen = bool(batch.keep.any())
        references = tail(batch.reference, batch.keep, noisy.shape[2]) if seen else None
        velocity = dit(noisy, clock, context, context_bias=bias, tail=references)
        error = (velocity.float() - (batch.noise - batch.latent)).pow(2)
        return (error * batch.weight).mean()

    return loss
