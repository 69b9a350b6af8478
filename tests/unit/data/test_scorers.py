"""Scorers of pictures: aesthetic heads on CLIP and SigLIP, and the area of text by a detector that others
trained."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from refvid_footage import bikes
from safetensors.torch import save_file
from torch import nn

from refvid.data.index import A_FILM, Clip
from refvid.data.models.aesthetic import load_aesthetic
from refvid.data.models.features import load_features
from refvid.data.models.text_area import UNCLIP, load_text_detector, text_boxes
from refvid.data.pictures import pictures_of


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    clip = Clip("bikes", str(bikes()), kind=A_FILM, stop=250, frames=250, fps=25.0, width=640, height=272)
    return list(pictures_of(clip, [0, 100]))


# ---- Aesthetic


def tower(folder: Path, width: int = 20) -> Path:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(4)
    sizes = CLIPVisionConfig(
        hidden_size=24, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, patch_size=8,
        image_size=32, projection_dim=width,
    )  # fmt: skip
    CLIPVisionModelWithProjection(sizes).save_pretrained(folder)
    return folder


def mlp(width: int = 20) -> nn.Sequential:
    """LAION's sac+logos+ava1-l14-linearMSE on another width, with its dropouts in between."""
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Linear(width, 1024), nn.Dropout(0.2), nn.Linear(1024, 128), nn.Dropout(0.2), nn.Linear(128, 64),
        nn.Dropout(0.1), nn.Linear(64, 16), nn.Linear(16, 1),
    )  # fmt: skip


def save_head(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "aesthetic.safetensors")
    return folder


@pytest.mark.parametrize("prefix", ["layers.", "scoring_head.", ""])
def test_scores_are_the_heads_own_on_features_of_unit_length(tmp_path, pictures, prefix):
    head = mlp()
    folder = save_head(tower(tmp_path), {f"{prefix}{key}": one for key, one in head.state_dict().items()})
    features = load_features(folder).features(pictures)
    with torch.no_grad():
        wanted = head.eval()(features)[:, 0]
    scores = load_aesthetic(folder)(pictures)
    assert scores == pytest.approx(wanted.tolist(), rel=1e-5) and scores[0] != scores[1]
    assert load_aesthetic(folder)([]) == []


def test_one_linear_layer_is_a_head(tmp_path, pictures):
    line = torch.arange(20.0)[None]
    folder = save_head(tower(tmp_path), {"weight": line.half(), "bias": torch.tensor([2.5])})
    wanted = load_features(folder).features(pictures) @ line[0] + 2.5
    assert load_aesthetic(folder)(pictures) == pytest.approx(wanted.tolist(), rel=1e-5)


def test_a_head_that_does_not_fit_is_refused_with_its_sizes(tmp_path):
    folder = tower(tmp_path)
    with pytest.raises(ValueError, match=r"aesthetic: there is no file .*aesthetic\.safetensors"):
        load_aesthetic(folder)
    save_head(folder, mlp(768).state_dict())
    with pytest.raises(
        ValueError, match=r"read \[768, 1024, 128, 64, 16\] and give \[1024, 128, 64, 16, 1\]; .* 20 features"
    ):
        load_aesthetic(folder)
    save_head(folder, {"weight": torch.zeros(2, 20), "bias": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"read \[20\] and give \[2\]"):
        load_aesthetic(folder)
    for state, said in (
        ({"layers.0.weight": torch.zeros(1, 20)}, "layer layers.0 is no weight with a bias of its own"),
        ({"layers.0.weight": torch.zeros(20), "layers.0.bias": torch.zeros(1)}, r"holds layers\.0\.weight \(20,\)"),
        ({"norm.scale": torch.zeros(1, 20)}, r"holds norm\.scale \(1, 20\); needed linear layers"),
    ):  # fmt: skip
        save_head(folder, state)
        with pytest.raises(ValueError, match=said):
            load_aesthetic(folder)
    save_head(folder, {"weight": torch.zeros(1, 20), "bias": torch.zeros(1)})
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match=r"aesthetic: .* holds a bert"):
        load_aesthetic(folder)


# ---- Area of text


@pytest.mark.parametrize("angle", [0.0, 30.0])
def test_boxes_are_grown_by_area_over_perimeter_as_the_detectors_training_shrank_them(angle):
    text = np.zeros((200, 320), np.float32)
    width, height = 121.0, 21.0
    cv2.fillPoly(text, [np.int32(np.round(cv2.boxPoints(((160, 100), (width, height), angle))))], 1.0)
    text[4:6, 4:40] = 1.0  # too thin
    text[180:195, 20:90] = 0.4  # certain enough as a pixel, not as a box
    text[160:175, 220:300] = 0.2
    (box,) = text_boxes(text)
    (_, sides, _) = cv2.minAreaRect(box.astype(np.float32))
    far = UNCLIP * width * height / (width + height)
    assert sorted(sides) == pytest.approx([height + far, width + far], abs=2.5)
    assert box.mean(0) == pytest.approx([160, 100], abs=1)


def detector() -> Path:
    """PP-OCRv4's detector, which lies in the wheel of rapidocr-onnxruntime; that is never imported."""
    found = importlib.util.find_spec("rapidocr_onnxruntime")
    if found is None or found.origin is None:
        pytest.skip("no text detector is here: pip install --no-deps rapidocr-onnxruntime")
    return Path(found.origin).parent / "models" / "ch_PP-OCRv4_det_infer.onnx"


def test_text_on_a_real_picture_is_found_where_it_stands_and_nowhere_else(pictures):
    find = load_text_detector(detector())
    plain = pictures[0]
    written = plain.copy()
    cv2.putText(written, "HELLO WORLD", (120, 90), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 255, 0), 3)
    (width, height), _ = cv2.getTextSize("HELLO WORLD", cv2.FONT_HERSHEY_SIMPLEX, 1.0, 3)
    shares = find([plain, written])
    assert shares[0] == 0
    assert shares[1] == pytest.approx(width * height / plain[..., 0].size, rel=0.8)
    (box,) = find.boxes(written)
    assert box.min(0) == pytest.approx([120, 90 - height], abs=12)
    assert box.max(0) == pytest.approx([120 + width, 90], abs=12)
    assert find([written]) == shares[1:]


def test_a_large_picture_is_made_smaller_and_its_boxes_are_in_its_own_pixels(pictures):
    find = load_text_detector(detector())
    large = cv2.resize(pictures[0], (1800, 765))
    cv2.putText(large, "HELLO", (900, 300), cv2.FONT_HERSHEY_SIMPLEX, 4.0, (255, 255, 0), 12)
    assert find.probabilities(large).shape == (416, 960)
    (width, height), _ = cv2.getTextSize("HELLO", cv2.FONT_HERSHEY_SIMPLEX, 4.0, 12)
    (box,) = find.boxes(large)
    assert box.min(0) == pytest.approx([900, 300 - height], abs=35)
    assert box.max(0) == pytest.approx([900 + width, 300], abs=35)


def test_files_that_are_no_text_detector_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=f"text_detector: there is no file {tmp_path}/none"):
        load_text_detector(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"opencv .* finds no map of text by .*bad\.onnx"):
        load_text_detector(tmp_path / "bad.onnx")
    words = detector().with_name("ch_ppocr_mobile_v2.0_cls_infer.onnx")
    with pytest.raises(ValueError, match=r"finds no map of text by .*cls_infer\.onnx"):
        load_text_detector(words)
