"""Targets of SAMA's semantic tokens: features of one picture, 8 x 8 places and their mean (arXiv 2603.19228,
§3.2). Pooling and scale are not public [choice: semantic-targets]. Features are SigLIP's where its weights
are; the demo has a small fixed extractor of its own, which knows no meaning."""

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
    """Extractor of features (B, width, h, w) from pictures (B, 3, H, W) in [-1, 1], on any grid of PLACES a
    side or finer. `name` tells it from every other."""

    @property
    def name(self) -> str: ...

    def __call__(self, pictures: Tensor) -> Tensor: ...


def semantic_tokens(features: Tensor) -> Tensor:
    """Semantic tokens (B, 65, width) of features (B, width, h, w): means of 8 x 8 places, row-major, then of
    all."""
    places = F.adaptive_avg_pool2d(features, PLACES).flatten(2).mT
    return torch.cat([places, features.mean((2, 3))[:, None]], dim=1)


@dataclass(frozen=True)
class HandMade:
    """Colour, its square, and a histogram of gradients by direction (after HOG, Dalal and Triggs 2005). All
    are scaled to about unit variance over the demo world, as measured [choice: hand-made-features]."""

    name: str = "hand-made"

    def __call__(self, pictures: Tensor) -> Tensor:
        grey = F.pad(pictures.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        # Differences (B, 1, H, W) of the neighbours on both sides.
        across, down = (
            grey[:, :, 1:-1, 2:] - grey[:, :, 1:-1, :-2],
            grey[:, :, 2:, 1:-1] - grey[:, :, :-2, 1:-1],
        )
        turn = (torch.atan2(down, across) / (2 * torch.pi) * BINS) % BINS
        # Share of each direction: a gradient between two bins counts for both, in straight lines.
        edges = [
            (1 - (turn - index + BINS / 2).remainder(BINS).sub(BINS / 2).abs()).clamp_min(0)
            for index in range(BINS)
        ]
        strength = (across.square() + down.square()).sqrt()
        parts = [pictures / 0.5, (pictures.square() - 0.35) / 0.3, *(60 * strength * edge for edge in edges)]
        return F.avg_pool2d(torch.cat(parts, dim=1), 2)


class Siglip:
    """Vision tower of SigLIP (so400m: 1152 features on 27 x 27 places of 384 x 384 pixels), read from a local
    folder in transformers' format. ValueError where there is none."""

    def __init__(self, folder: str | Path, device: str = "cpu"):
        model = _tower(Path(folder))
        frozen = model.eval().requires_grad_(False)
        self.model = nn.Module.to(frozen, device)  # transformers' own hides its signature
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


def _tower(folder: Path):
    """Vision tower in a folder. ValueError where there is none, or a part of it is missing: transformers
    makes that up."""
    from transformers import SiglipVisionModel

    for file in sorted(folder.glob("*.safetensors")):
        require_values(file, "siglip")
    try:
        model, report = SiglipVisionModel.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
            str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"siglip: {folder} holds no SigLIP vision model in transformers' format (config.json, "
            f"model.safetensors): {error}"
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(
            f"siglip: {folder} has no {missing[0]} ({len(missing)} such keys); needed a whole model"
        )
    return model
