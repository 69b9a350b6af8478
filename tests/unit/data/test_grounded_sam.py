"""Boxes of what words name, and masks of what is in a box, by small models in transformers' format."""

import json

import numpy as np
import pytest
import torch
from refvid_grounded import write_box_finder, write_box_masker
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import BertTokenizer, GroundingDinoForObjectDetection, GroundingDinoImageProcessorPil
from transformers.models.grounding_dino.processing_grounding_dino import GroundingDinoProcessor
from transformers.models.sam2 import Sam2Model

from refvid.data.models.grounded_sam import BoxFinder, BoxMasker


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return write_box_finder(folder / "dino"), write_box_masker(folder / "sam")


def noise(height: int = 96, width: int = 160) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_the_surest_box_is_the_one_of_transformers_own_processor(folders):
    finder, picture = BoxFinder(folders[0]), noise()
    model = GroundingDinoForObjectDetection.from_pretrained(folders[0]).eval()
    tokens = BertTokenizer.from_pretrained(folders[0])("a man on a bike.", return_tensors="pt")
    values = GroundingDinoImageProcessorPil.from_pretrained(folders[0])(picture, return_tensors="pt")
    with torch.no_grad():
        found = model(**tokens, **values)
    scores = found.logits.sigmoid().max(-1).values
    best = scores.max().item()
    assert 0.1 < best < 1 and scores.min() < best
    own = object.__new__(GroundingDinoProcessor)  # whose constructor asks for torchvision
    own.batch_decode = lambda ids: ids
    (told,) = own.post_process_grounded_object_detection(
        found, tokens["input_ids"], threshold=best - 1e-6, target_sizes=[picture.shape[:2]]
    )
    box = finder(picture, " A man on a bike. ", best - 1e-6)
    assert box is not None and len(told["boxes"]) == 1
    assert np.allclose(
        box, told["boxes"][0].clamp(min=0).minimum(torch.tensor([160, 96, 160, 96])), atol=1e-3
    )
    assert finder(picture, "a man on a bike", best + 1e-6) is None
    other = finder(picture, "person", 0.0)
    assert other is not None and not np.allclose(other, box, atol=1e-3)


def test_a_mask_is_sam_2s_of_the_box_in_its_own_square(folders):
    picture = noise(64, 128)
    mask = BoxMasker(folders[1])(picture, np.array([20.0, 8.0, 100.0, 56.0]))
    assert mask.shape == (64, 128) and mask.dtype == np.float32 and mask.std() > 0.01
    model = Sam2Model.from_pretrained(folders[1]).eval()
    square = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    square = F.interpolate(square, (64, 64), mode="bilinear", antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

    def wanted(left: float, right: float) -> np.ndarray:
        values = (square - mean.view(3, 1, 1)) / std.view(3, 1, 1)
        boxes = torch.tensor([[[left, 8.0, right, 56.0]]])
        with torch.no_grad():
            logits = model(values, input_boxes=boxes, multimask_output=False).pred_masks[0]
        return F.interpolate(logits, (64, 128), mode="bilinear")[0, 0].sigmoid().numpy()

    assert np.abs(mask - wanted(10.0, 50.0)).max() < 1e-6
    assert np.abs(mask - wanted(20.0, 100.0)).max() > 1e-5  # random weights make little of a box


def test_weights_of_sam_2_for_films_are_read_too(folders, tmp_path):
    state = load_file(folders[1] / "model.safetensors")
    save_file(
        {**state, "memory_attention.x": torch.zeros(2)}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    config = json.loads((folders[1] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "sam2_video"}))
    picture, box = noise(), np.array([20.0, 8.0, 100.0, 56.0])
    films, pictures = BoxMasker(tmp_path), BoxMasker(folders[1])
    assert np.abs(films(picture, box) - pictures(picture, box)).max() < 1e-6


def test_folders_that_hold_less_are_refused_by_what_is_missing(folders, tmp_path):
    with pytest.raises(ValueError, match=r"sam2: .* holds no SAM 2"):
        BoxMasker(tmp_path)
    state = load_file(folders[1] / "model.safetensors")
    del state["no_memory_embedding"]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_bytes((folders[1] / "config.json").read_bytes())
    with pytest.raises(ValueError, match=r"sam2: .* has no no_memory_embedding \(1 such keys\)"):
        BoxMasker(tmp_path)
    for name in ("model.safetensors", "config.json"):
        (tmp_path / name).write_bytes((folders[0] / name).read_bytes())
    with pytest.raises(ValueError, match=r"grounding_dino: .* needs preprocessor_config.json and"):
        BoxFinder(tmp_path)
