"""Features of whole pictures by DINOv2, SigLIP, SigLIP 2 or CLIP, from a local folder in transformers'
format. Pictures are prepared as its preprocessor_config.json says, by Pillow, as transformers does."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from .folders import load_whole_model, read_config, read_preparation

_NEEDED = "DINOv2, SigLIP or CLIP vision model"
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation of a channel in [0, 1]
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_BICUBIC, _BILINEAR = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR


@dataclass(frozen=True)
class Preparation:
    """Preparation of a picture for a model.

    sides     height and width that it is scaled to; None: in its own shape, by `shortest` or `patches`
    shortest  its shortest side after scaling
    crop      height and width that are cut from its middle
    patches   the most patches of the model that it may have (SigLIP 2's NaFlex)
    mean, std of a channel in [0, 1]
    """

    mean: Sequence[float]
    std: Sequence[float]
    sides: tuple[int, int] | None = None
    shortest: int = 0
    crop: tuple[int, int] | None = None
    patches: int = 0
    resample: Image.Resampling = _BICUBIC

    def prepared(self, picture: np.ndarray, patch: int) -> Tensor:
        """Values (3, h, w) of a picture (H, W, 3) uint8."""
        height, width = self._scaled(picture.shape[0], picture.shape[1], patch)
        scaled = Image.fromarray(picture).resize((width, height), self.resample)
        if self.crop is not None:
            top, left = (height - self.crop[0]) // 2, (width - self.crop[1]) // 2
            scaled = scaled.crop((left, top, left + self.crop[1], top + self.crop[0]))
        values = torch.from_numpy(np.array(scaled)).permute(2, 0, 1).float() / 255
        return (values - torch.tensor(self.mean).view(3, 1, 1)) / torch.tensor(self.std).view(3, 1, 1)

    def _scaled(self, height: int, width: int, patch: int) -> tuple[int, int]:
        if self.sides is not None:
            return self.sides
        if self.patches:
            return most_patches(height, width, patch, self.patches)
        if height <= width:
            return self.shortest, int(self.shortest * width / height)
        return int(self.shortest * height / width), self.shortest


@dataclass(frozen=True)
class Kind:
    """Kind of vision model.

    model        its class in transformers
    output       its features in what that returns
    preparation  of pictures where the folder does not say
    fixed        it takes pictures of one size
    """

    model: str
    output: str
    preparation: Preparation
    fixed: bool = True


_DINO = Kind("Dinov2Model", "pooler_output", Preparation(*_IMAGENET, shortest=256, crop=(224, 224)), False)
_SIGLIP = Kind("SiglipVisionModel", "pooler_output", Preparation(*_HALF))
_FLEXIBLE = Preparation(*_HALF, patches=256, resample=_BILINEAR)
_SIGLIP2 = Kind("Siglip2VisionModel", "pooler_output", _FLEXIBLE, False)
_CUT = Preparation(*_CLIP, shortest=224, crop=(224, 224))
_CLIP_VISION = Kind("CLIPVisionModelWithProjection", "image_embeds", _CUT)
KINDS: Mapping[str, Kind] = {  # by config.json's model_type
    "dinov2": _DINO,
    "dinov2_with_registers": replace(_DINO, model="Dinov2WithRegistersModel"),
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "siglip2": _SIGLIP2,
    "siglip2_vision_model": _SIGLIP2,
    "clip": _CLIP_VISION,
    "clip_vision_model": _CLIP_VISION,
}


class Features:
    """Features of pictures by a vision model: DINOv2's class token, SigLIP's pooled state, CLIP's embedding.

    name   kind of model and features, as "clip 768"
    width  features of a picture
    """

    def __init__(self, kind: str, model: Any, preparation: Preparation, device: str):
        self._kind, self._preparation = KINDS[kind], preparation
        self._model = nn.Module.to(model, device, torch.float32)
        self._device = torch.device(device)
        self._patch = int(model.config.patch_size)
        self.width = int(model.config.projection_dim if kind.startswith("clip") else model.config.hidden_size)
        self.name = f"{kind.removesuffix('_vision_model')} {self.width}"

    @torch.no_grad()
    def features(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """Features (N, width) of unit length, float32, on the CPU, of pictures (H, W, 3) uint8 of any sizes.
        Each is seen alone, so that its features depend on no other."""
        found = [self._of(picture) for picture in pictures]
        return torch.stack(found) if found else torch.zeros(0, self.width)

    def _of(self, picture: np.ndarray) -> Tensor:
        values = self._preparation.prepared(picture, self._patch)
        given = _patches(values, self._patch) if self._preparation.patches else {"pixel_values": values[None]}
        output = self._model(**{name: one.to(self._device) for name, one in given.items()})
        features = getattr(output, self._kind.output)[0].float().cpu()
        return features / features.norm()


def load_features(folder: str | Path, device: str = "cpu", what: str = "features") -> Features:
    """Vision model of a folder. ValueError, naming `what`, for a model of another kind, for one that is not
    whole, and for settings of pictures that are not followed here."""
    import transformers

    folder = Path(folder)
    kind = str(read_config(folder, what, _NEEDED).get("model_type"))
    if kind not in KINDS:
        raise ValueError(f"{what}: {folder} holds a {kind}; needed one of {', '.join(sorted(KINDS))}")
    model = load_whole_model(getattr(transformers, KINDS[kind].model), folder, what, _NEEDED)
    return Features(kind, model, _preparation(folder, what, KINDS[kind], model.config), device)


def most_patches(height: int, width: int, patch: int, most: int) -> tuple[int, int]:
    """Height and width in whole patches, `most` or fewer in all, as near to a picture's shape as SigLIP 2's
    search gets (arXiv 2502.14786, §2.4.1; bounds as released)."""
    low, high = 1e-6, 100.0

    def sides(scale: float) -> tuple[int, int]:
        return max(1, math.ceil(height * scale / patch)), max(1, math.ceil(width * scale / patch))

    while high - low >= 1e-5:
        middle = (low + high) / 2
        down, across = sides(middle)
        low, high = (middle, high) if down * across <= most else (low, middle)
    down, across = sides(low)
    return down * patch, across * patch


def _patches(values: Tensor, patch: int) -> dict[str, Tensor]:
    """A picture (3, h, w) as SigLIP 2 reads it: patches (1, n, patch * patch * 3), row-major."""
    down, across = values.shape[1] // patch, values.shape[2] // patch
    cells = values.reshape(3, down, patch, across, patch).permute(1, 3, 2, 4, 0).reshape(1, down * across, -1)
    shape = torch.tensor([[down, across]])
    return {
        "pixel_values": cells,
        "pixel_attention_mask": torch.ones(1, down * across, dtype=torch.long),
        "spatial_shapes": shape,
    }


def _preparation(folder: Path, what: str, kind: Kind, config: Any) -> Preparation:
    """Preparation by a folder's preprocessor_config.json; its kind's where there is none."""
    given, plain = read_preparation(folder, what), kind.preparation
    if kind.fixed:
        side = int(config.image_size)
        cut = plain.crop is not None
        plain = replace(
            plain, **({"shortest": side, "crop": (side, side)} if cut else {"sides": (side, side)})
        )
    if not given:
        return plain
    for name in ("do_resize", "do_rescale", "do_normalize"):
        if not given.get(name, True):
            raise ValueError(f"{what}: {folder}: preprocessor_config.json: {name} is false; needed true")
    mean, std = given.get("image_mean", plain.mean), given.get("image_std", plain.std)
    resample = Image.Resampling(given.get("resample", plain.resample))
    plain = replace(plain, mean=tuple(mean), std=tuple(std), resample=resample)
    if plain.patches:
        return replace(plain, patches=int(given.get("max_num_patches", plain.patches)))
    crops = given.get("do_center_crop", plain.crop is not None)
    crop = _sides(given.get("crop_size", plain.crop)) if crops else None
    size = given.get("size", {})
    if isinstance(size, int) and crops:  # CLIP's older files: the shortest side
        size = {"shortest_edge": size}
    if isinstance(size, Mapping) and "shortest_edge" in size:
        return replace(plain, sides=None, shortest=int(size["shortest_edge"]), crop=crop)
    return replace(plain, sides=_sides(size) if size else plain.sides, crop=crop)


def _sides(size: Any) -> tuple[int, int]:
    if isinstance(size, Mapping):
        return int(size["height"]), int(size["width"])
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))
