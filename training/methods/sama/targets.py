"""What SAMA's semantic tokens stand for: features of one picture, 8 x 8 places and their mean (arXiv 2603.19228, §3.2; pooling and scale are not
public and our choice). SigLIP's where its weights are; the demo has a small fixed extractor of its own, which knows no meaning."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....core.checkpoint import require_values

PLACES = 8  # a side
TOKENS = PLACES**2 + 1
BINS = 8


class Extractor(Protocol):
    """Features of pictures (B, 3, H, W) in [-1, 1] -> (B, width, h, w), on any grid of PLACES a side or finer. `name` tells
    it from every other."""

    @property
    def name(self) -> str: ...

    def __call__(self, pictures: Tensor) -> Tensor: ...


def semantic_tokens(features: Tensor) -> Tensor:
    """Features (B, width, h, w) -> (B, 65, width): the mean of each of 8 x 8 places, row-major, then that of all."""
    places = F.adaptive_avg_pool2d(features, PLACES).flatten(2).mT
    return torch.cat([places, features.mean((2, 3))[:, None]], dim=1)


@dataclass(frozen=True)
class HandMade:
    """Colour, its square, and a histogram of gradients by direction (after HOG, Dalal and Triggs 2005), scaled to about unit variance over
    the demo world (measured; our choice)."""

    name: str = "hand-made"

    def __call__(self, pictures: Tensor) -> Tensor:
        grey = F.pad(pictures.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        across, down = (
            grey[:, :, 1:-1, 2:] - grey[:, :, 1:-1, :-2],
            grey[:, :, 2:, 1:-1] - grey[:, :, :-2, 1:-1],
        )
        turn = (torch.atan2(down, across) / (2 * torch.pi) * BINS) % BINS
        edges = [
            (1 - (turn - index + BINS / 2).remainder(BINS).sub(BINS / 2).abs()).clamp_min(0)
            for index in range(BINS)
        ]
        strength = (across.square() + down.square()).sqrt()
        parts = [pictures / 0.5, (pictures.square() - 0.35) / 0.3, *(60 * strength * edge for edge in edges)]
        return F.avg_pool2d(torch.cat(parts, dim=1), 2)


class Siglip:
    """The vision tower of SigLIP (so400m: 1152 features on 27 x 27 places of 384 x 384 pixels), read from a local folder in transformers'
    format. ValueError where there is none."""

    def __init__(self, folder: str | Path, device: str = "cpu"):
        model = _tower(Path(folder))
        frozen = model.eval().requires_grad_(False)
        self.model = nn.Module.to(frozen, device)  # transformers' own hides its signature
        self._device = torch.device(device)
        self._size = int(model.config.image_size)  # pyright: ignore[reportArgumentType]
        digest = sha256(
            b"".join(one.cpu().contiguous().view(torch.uint8).numpy() for one in model.state_dict().values())
        )
        self.name = f"siglip {digest.hexdigest()[:12]}"

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        size = (self._size, self._size)
        scaled = F.interpolate(pictures, size, mode="bicubic", antialias=True).clamp(-1, 1)
        states = self.model(pixel_values=scaled.to(self._device)).last_hidden_state.to(pictures.device)
        side = round(states.shape[1] ** 0.5)
        return states.mT.unflatten(2, (side, side))


def _tower(folder: Path):
    """The vision tower in a folder. ValueError where there is none, or a part of it is missing: transformers makes
    that up."""
    from transformers import SiglipVisionModel

    for file in sorted(folder.glob("*.safetensors")):
        require_values(file, "siglip")
    try:
        model, said = SiglipVisionModel.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
            str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"siglip: {folder} holds no SigLIP vision model in transformers' format (config.json, "
            f"model.safetensors): {error}"
        ) from error
    missing = sorted(said["missing_keys"])
    if missing:
        raise ValueError(
            f"siglip: {folder} has no {missing[0]} ({len(missing)} such keys); needed a whole model"
        )
    return model
