"""Aesthetic scores of pictures: features of CLIP or SigLIP, and a head of linear layers on them, from a local
folder."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...core.checkpoint import read_safetensors
from .features import Features, load_features

HEAD = "aesthetic.safetensors"
_LAYER = re.compile(r"(?:(.*\.)?(\d+)\.)?(weight|bias)")


class Aesthetic:
    """Scorer of pictures as LAION's improved-aesthetic-predictor, whose heads for CLIP L/14 are linear layers
    768-1024-128-64-16-1 without activations, or one linear layer. Aesthetic Predictor V2.5 is the first of
    the two on SigLIP so400m. Scores are about 1 to 10."""

    def __init__(self, features: Features, head: nn.Sequential):
        self._features, self._head = features, head

    @torch.no_grad()
    def __call__(self, pictures: Sequence[np.ndarray]) -> list[float]:
        """Scores of pictures (H, W, 3) uint8."""
        return self._head(self._features.features(pictures))[:, 0].tolist()


def load_aesthetic(folder: str | Path, device: str = "cpu") -> Aesthetic:
    """Scorer from a folder of CLIP or SigLIP in transformers' format with the head aesthetic.safetensors in
    it. ValueError for a folder without either. ValueError for a head that is no chain of linear layers from
    the features to one number."""
    path = Path(folder) / HEAD
    tensors, _ = read_safetensors(path, "aesthetic")
    layers = _layers(tensors, path)
    features = load_features(folder, device, "aesthetic")
    sizes = [features.width, *(len(layer["weight"]) for layer in layers)]
    needed = [layer["weight"].shape[1] for layer in layers]
    if needed != sizes[:-1] or sizes[-1] != 1:
        raise ValueError(
            f"aesthetic: {path} has layers that read {needed} and give {sizes[1:]}; needed a chain from "
            f"{features.width} features ({features.name}) to 1"
        )
    return Aesthetic(features, nn.Sequential(*(_linear(layer) for layer in layers)))


def _layers(tensors: dict[str, Tensor], path: Path) -> list[dict[str, Tensor]]:
    """Weight and bias of each layer, in the order of their numbers. ValueError for a file of other parts."""
    found: dict[tuple[str, int], dict[str, Tensor]] = {}
    for key, value in tensors.items():
        match = _LAYER.fullmatch(key)
        if match is None or value.ndim != (2 if match[3] == "weight" else 1):
            raise ValueError(
                f"aesthetic: {path} holds {key} {tuple(value.shape)}; needed linear layers, as layers.0.weight "
                "and layers.0.bias"
            )
        found.setdefault((match[1] or "", int(match[2] or 0)), {})[match[3]] = value.float()
    for (prefix, number), layer in sorted(found.items()):
        if len(layer) != 2 or len(layer["weight"]) != len(layer["bias"]):
            raise ValueError(f"aesthetic: {path}: layer {prefix}{number} is no weight with a bias of its own")
    return [found[place] for place in sorted(found)]


def _linear(layer: dict[str, Tensor]) -> nn.Linear:
    given, made = layer["weight"].shape[1], layer["weight"].shape[0]
    linear = nn.Linear(given, made)
    linear.load_state_dict(layer)
    return linear
