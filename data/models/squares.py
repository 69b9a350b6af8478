"""Pictures as squares with ImageNet's mean and deviation, which is how models of masks see them."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet_square(picture: np.ndarray, side: int, device: str) -> Tensor:
    """A picture (H, W, 3) uint8 -> (1, 3, side, side) float32 on a device. Its shape is not kept; where it
    becomes smaller it is filtered, as Pillow does."""
    values = torch.from_numpy(picture).to(device).permute(2, 0, 1)[None].float() / 255
    square = F.interpolate(values, (side, side), mode="bilinear", antialias=True, align_corners=False)
    mean, std = (square.new_tensor(one).view(3, 1, 1) for one in (_MEAN, _STD))
    return (square - mean) / std
