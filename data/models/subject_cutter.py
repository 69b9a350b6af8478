"""Subjects cut out of pictures by BiRefNet, as ComfyUI's Remove Background does with the same file."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from .birefnet import load_birefnet

CUTTER_SIDE = 1024  # pixels of the square that ComfyUI shows BiRefNet


class SubjectCutter:
    """Masks of what stands out in pictures. Plain values in [0, 1] are shown to BiRefNet, and not those of
    the data stages [choice: cutout-pixels]. ValueError as `load_birefnet`."""

    def __init__(self, path: Path, device: str = "cpu"):
        self._dtype = torch.float32 if device == "cpu" else torch.float16
        self._model = load_birefnet(path).to(device, self._dtype)
        self._device = device

    @torch.no_grad()
    def __call__(self, picture: Tensor) -> Tensor:
        """A picture (H, W, 3 or more) in [0, 1] -> its mask (H, W) in [0, 1], float32."""
        values = picture[..., :3].to(self._device).movedim(-1, 0)[None]
        if values.shape[2:] != (CUTTER_SIDE, CUTTER_SIDE):
            values = F.interpolate(values, (CUTTER_SIDE, CUTTER_SIDE), mode="bicubic", antialias=True)
        shown = (values * 255).clamp(0, 255).round() / 255
        logits = self._model(shown.to(self._dtype)).float()
        height, width = picture.shape[:2]
        return F.interpolate(logits, (height, width), mode="bicubic")[0, 0].sigmoid().cpu()
