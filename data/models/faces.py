"""Faces in pictures: MediaPipe's BlazeFace where it is installed, else opencv's YuNet or Haar cascades."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

FaceBox = tuple[int, int, int, int]  # left, top, width, height
Detector = Callable[[np.ndarray], list[FaceBox]]  # a picture (H, W, 3) uint8 -> its faces, the largest first

_NEEDED = (
    "give faces = a face detector: BlazeFace in TFLite for MediaPipe, YuNet in ONNX or a Haar cascade in XML"
    " for opencv"
)
CONFIDENCE = 0.5  # MediaPipe's own `min_detection_confidence`
YUNET_SCORE, YUNET_OVERLAP = 0.9, 0.3  # opencv's own for FaceDetectorYN
CASCADE = "haarcascade_frontalface_alt.xml"
SCALE, NEIGHBOURS = 1.1, 5  # of a cascade: steps of sizes, and hits that a face needs
_BLAZE = "modules/face_detection/face_detection_short_range.tflite"  # in MediaPipe before 0.10.22


def load_detector(path: Path | None = None) -> Detector:
    """Detector of faces from a file, by its ending. Without one: what MediaPipe brings along, else opencv's
    own Haar cascade. ValueError, saying what to give, where there is none or the file is not one."""
    path = path or installed_model()
    if path is None:
        raise ValueError(f"faces: neither MediaPipe nor this opencv brings a detector along; {_NEEDED}")
    load = _LOAD.get(path.suffix.lower())
    if load is None or not path.is_file():
        raise ValueError(f"faces: {path} is no detector; {_NEEDED}")
    find = load(path)
    return lambda picture: _inside(find(np.ascontiguousarray(picture)), *picture.shape[:2])


def installed_model() -> Path | None:
    """Path of the detector that an installed package brings along; None where none does."""
    found = find_spec("mediapipe")
    places = [Path(place) / _BLAZE for place in (found.submodule_search_locations or ())] if found else []
    try:
        import cv2

        if hasattr(cv2, "CascadeClassifier"):  # opencv 5 has it in its contrib package only
            places.append(Path(cv2.__file__).parent / "data" / CASCADE)
    except ImportError:
        pass
    return next((place for place in places if place.is_file()), None)


def _blaze(path: Path) -> Callable[[np.ndarray], list[FaceBox]]:
    try:
        mediapipe: Any = import_module("mediapipe")
    except ImportError as error:
        raise ValueError(f"faces: {path} needs the package mediapipe, which is not installed") from error
    vision = mediapipe.tasks.vision
    base = mediapipe.tasks.BaseOptions(model_asset_buffer=path.read_bytes())
    options = vision.FaceDetectorOptions(base_options=base, min_detection_confidence=CONFIDENCE)

    def find(picture: np.ndarray) -> list[FaceBox]:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=picture)
        # Made anew, in a few milliseconds: one that is open at the interpreter's end raises there.
        with vision.FaceDetector.create_from_options(options) as finder:
            boxes = [one.bounding_box for one in finder.detect(image).detections]
        return [(box.origin_x, box.origin_y, box.width, box.height) for box in boxes]

    try:
        find(np.zeros((8, 8, 3), np.uint8))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"faces: {path} is no detector of MediaPipe: {error}; {_NEEDED}") from error
    return find


def _yunet(path: Path) -> Callable[[np.ndarray], list[FaceBox]]:
    import cv2

    try:
        finder = cv2.FaceDetectorYN.create(
            str(path), "", (320, 320), score_threshold=YUNET_SCORE, nms_threshold=YUNET_OVERLAP
        )
    except cv2.error as error:
        raise ValueError(f"faces: {path} is no network that opencv reads: {error}; {_NEEDED}") from error

    def find(picture: np.ndarray) -> list[FaceBox]:
        finder.setInputSize((picture.shape[1], picture.shape[0]))
        faces = finder.detect(picture[..., ::-1].copy())[1]  # opencv's order of colours
        return [] if faces is None else [tuple(round(float(one)) for one in face[:4]) for face in faces]  # pyright: ignore[reportReturnType]

    return find


def _cascade(path: Path) -> Callable[[np.ndarray], list[FaceBox]]:
    import cv2

    cascade = getattr(cv2, "CascadeClassifier", None)
    if cascade is None:
        raise ValueError(f"faces: {path}: opencv {cv2.__version__} reads no Haar cascades; {_NEEDED}")
    finder = cascade()
    try:
        loaded = finder.load(str(path))
    except cv2.error:  # of what is no XML; else it says False
        loaded = False
    if not loaded:
        raise ValueError(f"faces: {path} is no Haar cascade that opencv reads; {_NEEDED}")

    def find(picture: np.ndarray) -> list[FaceBox]:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return [tuple(map(int, box)) for box in finder.detectMultiScale(grey, SCALE, NEIGHBOURS)]  # pyright: ignore[reportReturnType]

    return find


_LOAD = {".tflite": _blaze, ".onnx": _yunet, ".xml": _cascade}


def _inside(boxes: list[FaceBox], height: int, width: int) -> list[FaceBox]:
    """Boxes as far as they lie in a picture, the largest first, then from the left."""
    kept = []
    for left, top, wide, high in boxes:
        right, bottom = min(width, left + wide), min(height, top + high)
        left, top = max(0, left), max(0, top)
        if right > left and bottom > top:
            kept.append((left, top, right - left, bottom - top))
    return sorted(kept, key=lambda box: (-box[2] * box[3], box))
