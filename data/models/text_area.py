"""Share of a picture that text covers, by a detector with differentiable binarization (DB, arXiv 1911.08947)
in ONNX, through opencv."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 960  # pixels of the longest side (PaddleOCR's det_limit_side_len)
CELL = 32  # sides are multiples of it
CERTAIN, BOXED, UNCLIP = (
    0.3,
    0.5,
    1.6,
)  # of a pixel, of a box on average; how far boxes grow [choice: text-boxes]
_SMALLEST = 3  # pixels of a box's shorter side


class TextDetector:
    """Detector of text as PaddleOCR's PP-OCR and opencv's own DB files have it. opencv 5.0's class for them,
    TextDetectionModel_DB, fails on every file, so that the net is run and its map is read here."""

    def __init__(self, net: Any):
        self._net = net

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[float]:
        """Shares in [0, 1] of pictures (H, W, 3) uint8."""
        return [self._share(picture) for picture in pictures]

    def boxes(self, picture: np.ndarray) -> list[np.ndarray]:
        """Corners (4, 2) of boxes of text, in pixels of the picture (H, W, 3) uint8."""
        text = self.probabilities(picture)
        scale = np.array(picture.shape[1::-1]) / np.array(text.shape[::-1])
        return [box * scale for box in text_boxes(text)]

    def probabilities(self, picture: np.ndarray) -> np.ndarray:
        """Probability (h, w) that a pixel is of text's inner part; the picture is scaled to whole cells."""
        import cv2

        height, width = picture.shape[:2]
        scale = min(1.0, SIDE / max(height, width))
        sides = tuple(max(CELL, round(side * scale / CELL) * CELL) for side in (width, height))
        blob = cv2.dnn.blobFromImage(picture, 1 / 127.5, sides, (127.5,) * 3, swapRB=True)
        self._net.setInput(blob)
        return self._net.forward().reshape(sides[::-1])

    def _share(self, picture: np.ndarray) -> float:
        import cv2

        text = self.probabilities(picture)
        covered = np.zeros(text.shape, np.uint8)
        for box in text_boxes(text):
            cv2.fillPoly(covered, [np.round(box).astype(np.int32)], 1)
        return float(covered.mean())


def text_boxes(text: np.ndarray) -> list[np.ndarray]:
    """Boxes (4, 2) of text in a map of probabilities (h, w): the smallest rectangle around each part. It
    is grown by area over perimeter, as DB's training shrank it (arXiv 1911.08947, §3.4)."""
    import cv2

    certain = (text > CERTAIN).astype(np.uint8)
    found = []
    for outline in cv2.findContours(certain, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[0]:
        middle, (width, height), angle = cv2.minAreaRect(outline)
        if min(width, height) < _SMALLEST or _mean_inside(text, outline) < BOXED:
            continue
        grown = UNCLIP * width * height / (width + height)  # on both sides together
        found.append(cv2.boxPoints((middle, (width + grown, height + grown), angle)))
    return found


def load_text_detector(file: str | Path) -> TextDetector:
    """Detector from an ONNX file. ValueError for a file that is none, or that opencv cannot run."""
    import cv2

    path = Path(file)
    if not path.is_file():
        raise ValueError(f"text_detector: there is no file {path}; give a text detector's DB file in ONNX")
    try:
        detector = TextDetector(cv2.dnn.readNetFromONNX(str(path)))
        detector.probabilities(np.zeros((2 * CELL, 3 * CELL, 3), np.uint8))
    except (cv2.error, ValueError) as error:
        raise ValueError(
            f"text_detector: opencv {cv2.__version__} finds no map of text by {path}; needed a DB detector in "
            f"ONNX for pictures of any size, as PP-OCR's: {error}"
        ) from error
    return detector


def _mean_inside(text: np.ndarray, outline: np.ndarray) -> float:
    """Mean probability inside an outline."""
    import cv2

    left, top, width, height = cv2.boundingRect(outline)
    inside = np.zeros((height, width), np.uint8)
    cv2.fillPoly(inside, [outline - (left, top)], 1)
    return float(text[top : top + height, left : left + width][inside > 0].mean())
