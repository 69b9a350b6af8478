"""Tests of face detectors: which is chosen, boxes in the picture, and what is said where there is none.

The carphone film shows one face. MediaPipe and Haar cascades run where they are installed, else are skipped
aloud; YuNet's place is held by a network that calls what is red a face, with YuNet's inputs and outputs.
"""

import importlib.util
import itertools
import warnings
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import refvid_footage as footage
import torch
from torch import nn
from torch.nn import functional as F

from refvid.data.models import faces
from refvid.data.models.faces import installed_model, load_detector

HAAR = hasattr(cv2, "CascadeClassifier")


class RedIsAFace(nn.Module):
    """A face of 8 pixels where a cell of 8 pixels is red; blue, green, red come in, as from opencv."""

    def forward(self, pictures):
        outs = [[], [], [], []]
        for stride in (8, 16, 32):
            cells = F.avg_pool2d(pictures, stride)
            red = torch.sigmoid(cells[:, 2:] - cells[:, :1] - 200).flatten(2).transpose(1, 2)
            outs[0].append(red * float(stride == 8))
            outs[1].append(red)
            outs[2].append(torch.cat([red * 0] * 4, 2))
            outs[3].append(torch.cat([red * 0] * 10, 2))
        return tuple(itertools.chain.from_iterable(outs))


@pytest.fixture(scope="module")
def yunet(tmp_path_factory) -> Path:
    """A network in ONNX with YuNet's inputs and outputs. torch writes it without the package onnx, but for a
    last step that adds nothing here."""
    utils = pytest.importorskip("torch.onnx._internal.torchscript_exporter.onnx_proto_utils")
    path = tmp_path_factory.mktemp("faces") / "yunet.onnx"
    names = [f"{part}_{stride}" for part in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the newer way needs onnx
        patch.setattr(utils, "_add_onnxscript_fn", lambda model, _: model)
        torch.onnx.export(
            RedIsAFace(), (torch.zeros(1, 3, 64, 64),), str(path), dynamo=False, input_names=["input"],
            output_names=names, dynamic_axes={"input": {2: "height", 3: "width"}},
        )  # fmt: skip
    return path


def portrait() -> np.ndarray:
    with av.open(str(footage.carphone())) as film:
        return next(film.decode(video=0)).to_ndarray(format="rgb24")


def is_the_face(box) -> bool:
    """True where a box of the first picture of carphone is about the face: eyes, nose and mouth are in it."""
    left, top, wide, high = box
    return left <= 72 and left + wide >= 104 and top <= 55 and top + high >= 88 and wide <= 80 and high <= 80


def test_yunet_finds_faces_in_pictures_of_any_size(yunet):
    find = load_detector(yunet)
    picture = np.zeros((96, 160, 3), np.uint8)
    picture[32:40, 64:72, 0] = 255
    picture[0:8, 0:8, 2] = 255  # blue
    assert find(picture) == [(60, 28, 8, 8)]
    tall = np.zeros((50, 20, 3), np.uint8)
    assert find(tall) == []
    tall[0:8, 0:8, 0] = 255
    assert find(tall) == [(0, 0, 4, 4)]  # what lies in the picture of (-4, -4, 8, 8)


@pytest.mark.skipif(not HAAR, reason="this opencv has no Haar cascades: pip install 'opencv-python<5'")
def test_haars_cascade_finds_the_face_of_a_real_film():
    (box,) = load_detector(Path(cv2.__file__).parent / "data" / faces.CASCADE)(portrait())
    assert is_the_face(box)


@pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None or installed_model() is None, reason="no MediaPipe"
)
def test_what_is_installed_finds_the_face_of_a_real_film():
    assert is_the_face(load_detector()(portrait())[0])


def test_boxes_lie_in_the_picture_the_largest_first():
    boxes = [(5, 5, 2, 2), (-3, 4, 5, 4), (90, 0, 20, 5), (200, 0, 5, 5), (0, 5, 2, 2)]
    assert faces._inside(boxes, 50, 100) == [(90, 0, 10, 5), (0, 4, 2, 4), (0, 5, 2, 2), (5, 5, 2, 2)]


def test_without_any_detector_the_sentence_says_what_to_give(monkeypatch):
    monkeypatch.setattr(faces, "installed_model", lambda: None)
    with pytest.raises(ValueError, match="give faces = a face detector: BlazeFace in TFLite"):
        load_detector()


@pytest.mark.parametrize("name", ["face.onnx", "face.xml", "face.tflite", "face.pt", "none.onnx"])
def test_a_file_that_is_no_detector_is_refused(tmp_path, name):
    if not name.startswith("none"):
        (tmp_path / name).write_bytes(b"no detector")
    with pytest.raises(ValueError, match=r"^faces: .*(face|none)\."):
        load_detector(tmp_path / name)


def test_a_package_that_brings_a_model_along_is_found(tmp_path, monkeypatch):
    model = tmp_path / "modules/face_detection/face_detection_short_range.tflite"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"")
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.setattr(
        faces, "find_spec", lambda name: importlib.util.spec_from_file_location(name, tmp_path / "__init__.py", submodule_search_locations=[str(tmp_path)])
    )  # fmt: skip
    assert installed_model() == model
