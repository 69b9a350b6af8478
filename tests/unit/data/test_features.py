"""Features of pictures by vision models in local folders: the library's own classes, small, random."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from refvid_footage import bikes
from safetensors.torch import load_file, save_file

from refvid.data.index import A_FILM, Clip
from refvid.data.models.features import KINDS, load_features, most_patches
from refvid.data.models.siglip import Siglip
from refvid.data.pictures import pictures_of

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8}
PROJECTED = {**SIZES, "intermediate_size": 48, "projection_dim": 20}
WORDS = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """A wide picture of `bikes`, an upright one of another shot, a small square one."""
    clip = Clip("bikes", str(bikes()), kind=A_FILM, stop=250, frames=250, fps=25.0, width=640, height=272)
    first, second = pictures_of(clip, [3, 100])
    return [first, np.ascontiguousarray(second[:, 200:330]), np.ascontiguousarray(second[:40, :40])]


def saved(kind: str, folder: Path, settings: dict | None = None) -> Path:
    """A small model of a kind with random weights, as transformers saves it."""
    import transformers as library

    torch.manual_seed(3)
    vision = {**SIZES, "intermediate_size": 48, "image_size": 32}
    made = {
        "dinov2": lambda: library.Dinov2Model(library.Dinov2Config(**SIZES, image_size=64)),
        "dinov2_with_registers": lambda: library.Dinov2WithRegistersModel(
            library.Dinov2WithRegistersConfig(**SIZES, image_size=64)
        ),
        "siglip": lambda: library.SiglipModel(
            library.SiglipConfig(vision_config=vision, text_config={**WORDS, "vocab_size": 40})
        ),
        "siglip_vision_model": lambda: library.SiglipVisionModel(library.SiglipVisionConfig(**vision)),
        "siglip2": lambda: library.Siglip2Model(
            library.Siglip2Config(
                vision_config={**SIZES, "intermediate_size": 48, "num_patches": 64},
                text_config={**WORDS, "vocab_size": 40},
            )
        ),
        "siglip2_vision_model": lambda: library.Siglip2VisionModel(
            library.Siglip2VisionConfig(**SIZES, intermediate_size=48, num_patches=64)
        ),
        "clip": lambda: library.CLIPModel(
            library.CLIPConfig(
                vision_config={**PROJECTED, "image_size": 32},
                text_config={**WORDS, "vocab_size": 40, "projection_dim": 20},
                projection_dim=20,
            )
        ),
        "clip_vision_model": lambda: library.CLIPVisionModelWithProjection(
            library.CLIPVisionConfig(**PROJECTED, image_size=32)
        ),
    }[kind]()
    made.save_pretrained(folder)
    if settings is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def processor(kind: str, **settings):
    """The library's own preparation of pictures, by Pillow."""
    from transformers import BitImageProcessorPil, CLIPImageProcessorPil, Siglip2ImageProcessorPil
    from transformers import SiglipImageProcessorPil as Plain

    if kind.startswith("dinov2"):
        return BitImageProcessorPil(**settings)
    if kind.startswith("siglip2"):
        return Siglip2ImageProcessorPil(**settings)
    return (Plain if kind.startswith("siglip") else CLIPImageProcessorPil)(**settings)


SAID = {  # what the released folders say, with smaller sizes
    "dinov2": {
        "size": {"shortest_edge": 64}, "crop_size": {"height": 48, "width": 48}, "resample": 3, "do_center_crop": True,
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    },
    "siglip": {"size": {"height": 32, "width": 32}, "resample": 3, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    "siglip2": {"patch_size": 8, "max_num_patches": 40, "resample": 2},
    "clip": {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "resample": 3, "do_center_crop": True},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_the_librarys_of_pictures_that_it_prepared_itself(kind, tmp_path, pictures):
    import transformers as library

    said = next(SAID[name] for name in ("dinov2", "siglip2", "siglip", "clip") if kind.startswith(name))
    folder = saved(kind, tmp_path, said)
    found = load_features(folder).features(pictures)
    model = getattr(library, KINDS[kind].model).from_pretrained(folder).eval()
    for picture, mine in zip(pictures, found, strict=True):
        given = processor(kind, **said)(picture, return_tensors="pt")
        with torch.no_grad():
            output = model(**given)
        wanted = (output.image_embeds if kind.startswith("clip") else output.pooler_output)[0]
        torch.testing.assert_close(mine, wanted / wanted.norm(), atol=2e-5, rtol=1e-4)
    assert found.dtype == torch.float32 and not torch.allclose(found[0], found[1], atol=1e-3)


def test_a_pictures_features_depend_on_no_other_and_are_of_unit_length(tmp_path, pictures):
    model = load_features(saved("dinov2", tmp_path))
    together = model.features(pictures)
    assert torch.equal(together[1:2], model.features(pictures[1:2]))
    assert torch.equal(together, load_features(tmp_path).features(pictures))
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))
    assert model.features([]).shape == (0, 32) and (model.name, model.width) == ("dinov2 32", 32)


def test_without_settings_of_pictures_they_are_prepared_as_the_kind_is_released(tmp_path, pictures):
    for kind, said in (("siglip", {"size": {"height": 32, "width": 32}}), ("clip", SAID["clip"])):
        bare, told = saved(kind, tmp_path / kind), saved(kind, tmp_path / f"{kind} told", said)
        assert torch.equal(load_features(bare).features(pictures), load_features(told).features(pictures))
    older = saved("clip", tmp_path / "older", {"size": 32, "crop_size": 32, "do_center_crop": True})
    assert torch.equal(
        load_features(older).features(pictures), load_features(tmp_path / "clip told").features(pictures)
    )


def test_weights_of_half_precision_are_read_as_float32(tmp_path, pictures):
    folder = saved("siglip_vision_model", tmp_path)
    whole = load_features(folder).features(pictures)
    path = folder / "model.safetensors"
    save_file({name: one.half() for name, one in load_file(path).items()}, path, {"format": "pt"})
    half = load_features(folder).features(pictures)
    assert half.dtype == torch.float32 and 0 < (half - whole).abs().max() < 1e-2
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float16"}))
    assert torch.equal(load_features(folder).features(pictures), half)
    assert Siglip(folder)(torch.zeros(1, 3, 32, 32)).dtype == torch.float32


def test_a_flexible_model_gets_the_librarys_number_of_whole_patches():
    from transformers.models.siglip2 import image_processing_pil_siglip2 as library

    for height, width in ((480, 832), (832, 480), (100, 100), (7, 900), (1080, 1920), (3, 3)):
        for patch, most in ((16, 256), (14, 729), (8, 40)):
            sides = most_patches(height, width, patch, most)
            assert sides == library.get_image_size_for_max_num_patches(height, width, patch, most)
            assert sides[0] * sides[1] <= most * patch**2


def test_folders_that_hold_no_whole_model_of_these_kinds_are_refused(tmp_path):
    with pytest.raises(ValueError, match=f"clip: {tmp_path} holds no DINOv2, SigLIP or CLIP vision model"):
        load_features(tmp_path, what="clip")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="holds a bert; needed one of clip, clip_vision_model, dinov2"):
        load_features(tmp_path)
    (tmp_path / "config.json").write_text("[1")
    with pytest.raises(ValueError, match=r"features: .*\(config\.json\)"):
        load_features(tmp_path)
    folder = saved("clip_vision_model", tmp_path / "clip", {"do_normalize": False})
    with pytest.raises(ValueError, match="do_normalize is false; needed true"):
        load_features(folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file({k: v for k, v in tensors.items() if "projection" not in k}, path, {"format": "pt"})
    with pytest.raises(ValueError, match=r"has no visual_projection\.weight \(1 such keys\)"):
        load_features(folder)
