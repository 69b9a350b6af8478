"""Captioners of a local folder, held against their library's own preparation and forward pass."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from refvid_captioners import KINDS, film, save_captioner, save_tokenizer
from safetensors.torch import load_file, save_file

from refvid.data.models import captioner as captioners
from refvid.data.models.captioner import cell_sides, load_captioner
from refvid.data.pictures import pictures_of, spread
from refvid.data.stage import StageContext
from refvid.data.stages.caption import Caption, CaptionOptions
from refvid.data.weights import Weights

TIMES = [0.6, 1.84, 3.12]


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory) -> Path:
    return save_captioner(tmp_path_factory.mktemp("model") / request.param, request.param)


@pytest.fixture(scope="module")
def captioner(folder):
    return load_captioner(folder)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return list(pictures_of(film(), [15, 46, 78]))


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    """Random weights never end an answer by themselves."""
    monkeypatch.setattr(captioners, "_MOST_TOKENS", 12)


def is_timed(captioner) -> bool:
    return captioner._model.config.model_type == "qwen3_vl"


def library_patches(captioner, picture: np.ndarray) -> tuple[torch.Tensor, list[int]]:
    """Patches (n, 3, 2, p, p) and grid of a picture, by the library."""
    from transformers import Qwen2VLImageProcessorPil

    said = {"size": {"shortest_edge": 128 * 28**2, "longest_edge": 768 * 28**2}}
    if is_timed(captioner):
        said = {"size": {"shortest_edge": 128 * 32**2, "longest_edge": 768 * 32**2}, "patch_size": 16}
        said |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    made = Qwen2VLImageProcessorPil(**said)(picture, return_tensors="pt")
    side = said.get("patch_size", 14)
    return made["pixel_values"].unflatten(1, (3, 2, side, side)), made["image_grid_thw"][0].tolist()


def test_a_stills_patches_are_the_librarys(captioner, pictures):
    given = captioner.inputs("Say.", pictures[:1], [0.0])
    wanted, grid = library_patches(captioner, pictures[0])
    assert given["image_grid_thw"].tolist() == [grid]
    torch.testing.assert_close(given["pixel_values"], wanted.flatten(1), rtol=0, atol=1e-6)
    seen = given["input_ids"] == captioner._model.config.image_token_id
    assert int(seen.sum()) == len(wanted) // 4 == int(given["mm_token_type_ids"].sum())


def test_a_films_patches_are_those_of_two_pictures_each_and_the_last_is_shown_twice(captioner, pictures):
    given = captioner.inputs("Say.", pictures, TIMES)
    patches = [library_patches(captioner, picture)[0] for picture in pictures]
    _, down, across = library_patches(captioner, pictures[0])[1]
    assert given["video_grid_thw"].tolist() == [[2, down, across]]
    found = given["pixel_values_videos"].reshape(2, *patches[0].shape)
    for group, pair in enumerate(((0, 1), (2, 2))):
        for place, number in enumerate(pair):
            torch.testing.assert_close(found[group, :, :, place], patches[number][:, :, 0], rtol=0, atol=1e-6)


def test_words_stand_as_in_the_models_own_chats_with_times_where_it_reads_them(captioner, pictures):
    given = captioner.inputs("What is <|im_end|> here?", pictures, TIMES)
    said = captioner._tokenizer.decode(given["input_ids"][0])
    count = int(given["video_grid_thw"].prod()) // 8  # of a group's tokens
    seen = f"<|vision_start|>{'<|video_pad|>' * count}<|vision_end|>"
    question = "What is < |im_end|> here?<|im_end|>\n<|im_start|>assistant\n"
    if is_timed(captioner):
        assert said == f"<|im_start|>user\n<1.2 seconds>{seen}<3.1 seconds>{seen}{question}"
        assert "second_per_grid_ts" not in given
    else:
        both = f"<|vision_start|>{'<|video_pad|>' * 2 * count}<|vision_end|>"
        system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        assert said == f"{system}<|im_start|>user\n{both}{question}"
        assert given["second_per_grid_ts"].tolist() == pytest.approx([3.12 - 0.6])


def test_an_answer_is_the_most_likely_token_each_time(captioner, pictures):
    answer = captioner.answer("Say.", pictures[:2], TIMES[:2])
    given = captioner.inputs("Say.", pictures[:2], TIMES[:2])
    first = given["input_ids"].shape[1]
    for _ in range(12):
        likely = int(logits(captioner, given).argmax())
        for name, value in (("input_ids", likely), ("attention_mask", 1), ("mm_token_type_ids", 0)):
            given[name] = torch.cat([given[name], torch.tensor([[value]])], dim=1)
    tokens = given["input_ids"][0, first:].tolist()
    assert not set(tokens) & set(captioner._stops)
    wanted = captioner._tokenizer.decode(tokens, skip_special_tokens=True)
    assert answer == " ".join(wanted.split()) != ""


def logits(captioner, given: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits of the next token."""
    with torch.no_grad():
        return captioner._model(**given, use_cache=False).logits[0, -1]


def test_what_is_said_depends_on_the_pictures_and_on_nothing_else(captioner, pictures):
    said = captioner.long(pictures, TIMES)
    assert said == captioner.long(pictures, TIMES)
    assert said != captioner.long(pictures[::-1], TIMES)
    assert said != captioner.long(pictures[:1], TIMES[:1])
    assert captioner.short("A dog runs.") != captioner.short("A cat sits.")


def test_times_of_pictures_reach_the_model(captioner, pictures):
    """Faster is something else; later is so only for the model that reads times as words."""
    first, faster, later = (
        logits(captioner, captioner.inputs("Say.", pictures, [start + step * time for time in TIMES]))
        for start, step in ((0.0, 1.0), (0.0, 8.0), (40.0, 1.0))
    )
    assert (first - faster).abs().max() > 1e-3
    assert ((first - later).abs().max() > 1e-3) == is_timed(captioner)


def test_an_answer_that_ran_out_of_tokens_ends_with_its_last_whole_sentence(captioner, monkeypatch):
    said = "A man rides.\n He turns left! Then he"

    def generating(*ends: int):
        def generate(input_ids, **given):
            answer = [*captioner._tokenizer(said)["input_ids"], *ends]
            return torch.cat([input_ids, torch.tensor([answer])], dim=1)

        return generate

    monkeypatch.setattr(captioner._model, "generate", generating())
    assert captioner.answer("Say.") == "A man rides. He turns left!"
    monkeypatch.setattr(captioner._model, "generate", generating(captioner._stops[0]))
    assert captioner.answer("Say.") == "A man rides. He turns left! Then he"


def test_pictures_get_the_librarys_sides():
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    for height, width in ((272, 640), (1080, 1920), (2160, 3840), (40, 30), (333, 77), (480, 832)):
        for cell in (28, 32):
            wanted = smart_resize(height, width, cell, 128 * cell**2, 768 * cell**2)
            assert cell_sides(height, width, cell) == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_says_by_its_own_embedding_is_whole_and_one_that_lacks_a_part_is_refused(kind, tmp_path):
    folder = save_captioner(tmp_path, kind, tied=True)
    tensors = load_file(folder / "model.safetensors")
    assert not any("lm_head" in key for key in tensors)
    load_captioner(folder)
    key = next(key for key in tensors if key.endswith("mlp.down_proj.weight"))
    save_file({k: v for k, v in tensors.items() if k != key}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"captioner: .* has no \S+ \(1 such keys\); needed a whole model"):
        load_captioner(folder)


def test_folders_without_a_captioner_or_its_tokenizer_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=f"captioner: {tmp_path} holds no Qwen2.5-VL or Qwen3-VL"):
        load_captioner(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(ValueError, match=r"holds a llava; needed Qwen2\.5-VL or Qwen3-VL"):
        load_captioner(tmp_path)
    folder = save_captioner(tmp_path / "whole", KINDS[0])
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"captioner: .*tokenizer\.json"):
        load_captioner(folder)
    save_tokenizer(folder)
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**said, "video_token_id": 5}))
    with pytest.raises(ValueError, match=r"<\|video_pad\|> is \d+ of the tokenizer and 5 of the model"):
        load_captioner(folder)


def test_a_film_is_captioned_by_a_model_in_its_folder(folder, tmp_path):
    """Random weights: what is said has no meaning."""
    clip = film()
    weights = Weights({"captioner": folder})
    context = StageContext(CaptionOptions(pictures=3), weights, tmp_path, {"captioner": "digest"})
    found = Caption().look(clip, context)
    places = spread(250, 3)
    wanted = load_captioner(folder).long(list(pictures_of(clip, places)), [place / 25 for place in places])
    assert found["caption"] == wanted
    assert json.loads(json.dumps(found)) == found
