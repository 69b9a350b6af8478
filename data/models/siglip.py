"""SigLIP's features of pictures, and SAMA's semantic tokens of them: 8 x 8 places and their mean (arXiv
2603.19228, §3.2). Pooling and scale are not public [choice: semantic-targets]."""

from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .folders import load_whole_model

PLACES = 8  # a side
TOKENS = PLACES**2 + 1


def semantic_tokens(features: Tensor) -> Tensor:
    """Semantic tokens (B, 65, width) of features (B, width, h, w): means of 8 x 8 places, row-major, then of
    all."""
    places = F.adaptive_avg_pool2d(features, PLACES).flatten(2).mT
    return torch.cat([places, features.mean((2, 3))[:, None]], dim=1)


class Siglip:
    """Vision tower of SigLIP (so400m: 1152 features on 27 x 27 places of 384 x 384 pixels), read from a local
    folder in transformers' format. ValueError where there is none."""

    def __init__(self, folder: str | Path, device: str = "cpu"):
        from transformers import SiglipVisionModel

        model = load_whole_model(SiglipVisionModel, Path(folder), "siglip", "SigLIP vision model")
        self.model = nn.Module.to(model, device, torch.float32)  # transformers' own hides its signature
        self._device = torch.device(device)
        self._size = int(model.config.image_size)  # pyright: ignore[reportArgumentType]
        digest = sha256(
            b"".join(
                value.cpu().contiguous().view(torch.uint8).numpy() for value in model.state_dict().values()
            )
        )
        self.name = f"siglip {digest.hexdigest()[:12]}"

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        size = (self._size, self._size)
        scaled = F.interpolate(pictures, size, mode="bicubic", antialias=True).clamp(-1, 1)
        states = self.model(pixel_values=scaled.to(self._device)).last_hidden_state.to(pictures.device)
        # (B, places, features), row-major on a square
        side = round(states.shape[1] ** 0.5)
        return states.mT.unflatten(2, (side, side))
