"""Masks of what words name: a box by GroundingDINO, and its mask by SAM 2, both from local folders in
transformers' format."""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from .folders import load_whole_model
from .squares import imagenet_square


class BoxFinder:
    """Boxes of what words name, by GroundingDINO (arXiv 2303.05499). ValueError for a folder that holds none,
    or not all of it."""

    def __init__(self, folder: Path, device: str = "cpu"):
        from transformers import (
            BertTokenizer,
            GroundingDinoForObjectDetection,
            GroundingDinoImageProcessorPil,
        )

        what = "grounding_dino"
        model = load_whole_model(GroundingDinoForObjectDetection, folder, what, "GroundingDINO")
        self._model = nn.Module.to(model, device, torch.float32)
        self._device, self._most = device, int(model.config.max_text_len)
        try:
            self._prepare = GroundingDinoImageProcessorPil.from_pretrained(str(folder), local_files_only=True)
            self._tokenizer = BertTokenizer.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{what}: {folder} needs preprocessor_config.json and GroundingDINO's tokenizer: {error}"
            ) from error

    @torch.no_grad()
    def __call__(self, picture: np.ndarray, words: str, least: float) -> np.ndarray | None:
        """Box (left, top, right, bottom) in pixels that a picture (H, W, 3) uint8 shows most surely of what
        words name; None where none is surer than `least`."""
        said = f"{words.strip().rstrip('.').lower()}."  # as it was trained
        tokens = self._tokenizer(said, return_tensors="pt", truncation=True, max_length=self._most)
        values = self._prepare(images=picture, return_tensors="pt")
        given = {name: one.to(self._device) for name, one in {**tokens, **values}.items()}
        found = self._model(**given)
        sure = found.logits[0].sigmoid().max(-1).values
        best = int(sure.argmax())
        if not sure[best] > least:
            return None
        height, width = picture.shape[:2]
        x, y, w, h = found.pred_boxes[0, best].tolist()  # centre and size in shares of the picture
        sides = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
        return sides.clip(0, 1) * (width, height, width, height)


class BoxMasker:
    """Masks of what is in a box, by SAM 2 (arXiv 2408.00714), of pictures or of films: its part for pictures
    is read. ValueError for a folder that holds none, or not all of it."""

    def __init__(self, folder: Path, device: str = "cpu"):
        from transformers import Sam2Model

        model = load_whole_model(Sam2Model, folder, "sam2", "SAM 2")
        self._model = nn.Module.to(model, device, torch.float32)
        self._device, self._side = device, int(model.config.prompt_encoder_config.image_size)

    @torch.no_grad()
    def __call__(self, picture: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Mask (H, W) in [0, 1], float32, of what a picture (H, W, 3) uint8 shows in a box of pixels."""
        height, width = picture.shape[:2]
        scale = self._side / np.array([width, height, width, height])
        boxes = torch.from_numpy(box * scale).float().view(1, 1, 4)
        found = self._model(
            pixel_values=imagenet_square(picture, self._side, self._device),
            input_boxes=boxes.to(self._device),
            multimask_output=False,
        )
        logits = F.interpolate(found.pred_masks[0], (height, width), mode="bilinear", align_corners=False)
        return logits[0, 0].sigmoid().cpu().numpy()
