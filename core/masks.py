"""Masks of pixels as what the DiT can express. 1 = belongs to the reference, 0 = background."""

import torch
import torch.nn.functional as F
from torch import Tensor


def token_mask(mask: Tensor, stride: int) -> Tensor:
    """Tokens that hold any reference pixel. mask (H, W) in [0, 1] -> (H/stride * W/stride,) bool.

    "Any pixel above 0.5" keeps thin structures, as MAGREF's code does [choice: any-pixel].
    """
    return F.max_pool2d(mask[None, None].float(), stride).flatten().gt(0.5)


def token_cover(mask: Tensor, stride: int) -> Tensor:
    """The share of each token that the mask covers. mask (H, W) in [0, 1] -> (H/stride * W/stride,)"""
    return F.avg_pool2d(mask[None, None].float(), stride).flatten()


def latent_mask(mask: Tensor, stride: int, channels: int) -> Tensor:
    """Latent cells mostly covered by the reference. mask (H, W) -> (1, channels, 1, H/stride, W/stride) of 0
    and 1.

    Mask channels of an image-to-video model for a reference: all equal, one for each picture of a latent
    frame. Saber leaves the count open: as many load such weights.
    """
    cells = F.avg_pool2d(mask[None, None].float(), stride).gt(0.5).float()
    return cells.unsqueeze(2).repeat(1, channels, 1, 1, 1)


def keep_indices(masks: list[Tensor]) -> Tensor:
    """Positions of the kept tokens in all references' tokens, joined. masks: (tokens,) bool each -> (kept,)
    int64."""
    return torch.cat(masks or [torch.zeros(0)]).nonzero().flatten()


def looks_inverted(mask: Tensor) -> bool:
    """True where a mask (H, W) in [0, 1] keeps nearly all of a picture's border and drops nearly all of its
    middle third [choice: inverted-mask]."""
    rows, columns = mask.shape
    top, left = max(1, rows // 20), max(1, columns // 20)
    edge = torch.ones_like(mask, dtype=torch.bool)
    edge[top : rows - top, left : columns - left] = False
    middle = mask[rows // 3 : rows - rows // 3, columns // 3 : columns - columns // 3]
    return bool(mask[edge].mean() > 0.9 and middle.mean() < 0.1)
