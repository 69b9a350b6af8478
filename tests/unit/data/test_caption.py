"""Captions: the captioner is held against its library's own preparation and forward pass, the stage against
clips as people have them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from refvid_captioners import KINDS, save_captioner, save_tokenizer
from refvid_footage import CAPTION, bikes
from safetensors.torch import load_file, save_file

from refvid.data.index import A_FILM, A_STILL, Clip
from refvid.data.journal import Journal
from refvid.data.models import captioner as captioners
from refvid.data.models.captioner import cell_sides, load_captioner
from refvid.data.pictures import pictures_of, spread
from refvid.data.stage import Done, StageContext, concluded, look_at_all
from refvid.data.stages.caption import Caption, CaptionOptions, is_short
from refvid.data.weights import Weights

LONG = (
    "A white van seen from above drives slowly up a grey street between two pavements, while the camera hangs "
    "still over the road and the light is flat and without any shadow."
)
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


def film(**known) -> Clip:
    facts = {
        "id": "film", "kind": A_FILM, "stop": 250, "frames": 250, "fps": 25.0, "width": 640, "height": 272,
        "contents": "c0ffee",
    }  # fmt: skip
    return Clip(path=str(bikes()), **{**facts, **known})


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


# ---- the captioner


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


# ---- the stage


class Teller:
    """Captioner that remembers what it was shown."""

    def __init__(self, said: str = LONG):
        self.said, self.seen, self.shortened = said, [], []

    def long(self, pictures, times):
        self.seen.append((list(pictures), list(times)))
        return self.said

    def short(self, caption):
        self.shortened.append(caption)
        return f"Short of {caption[:12]}"


@pytest.fixture
def teller(monkeypatch) -> Teller:
    made = Teller()
    monkeypatch.setattr(captioners, "load_captioner", lambda folder, device: made)
    return made


def context_of(folder: Path, options: CaptionOptions, given: bool, clips: list[Clip]) -> StageContext:
    weights = Weights({"captioner": folder} if given else {})
    used = Caption().uses(options, weights)
    sources = {clip.id: clip for clip in clips if clip.id in {one.source for one in clips}}
    return StageContext(options, weights, folder, dict.fromkeys(used, "digest"), sources)


def captioned(
    folder: Path, clips: list[Clip], options: CaptionOptions = Caption.defaults, given: bool = True
) -> tuple[list[Clip], Done]:
    """The index after the stage, concluded without the weights, as it is read later."""
    context = context_of(folder, options, given, clips)
    journal = Journal(folder / f"work {options} {given}")
    done = look_at_all(Caption(), clips, context, journal)
    after = concluded(Caption(), clips, replace(context, weights=Weights({})), journal.results())
    assert after is not None
    return after, done


def test_captions_that_clips_came_with_are_kept_byte_for_byte_and_missing_ones_made(tmp_path, teller):
    odd = f"  {CAPTION}\nzwei\t{LONG} "
    clips = [
        film(id="both", caption=odd, short_caption=" kurz "),
        film(id="long", caption=odd),
        film(id="few words", caption=CAPTION),
        film(id="short alone", short_caption="kurz"),
        film(id="none", start=30, stop=76, frames=46),
    ]
    after, done = captioned(tmp_path, clips)
    words = {clip.id: (clip.caption, clip.short_caption) for clip in after}
    assert words == {
        "both": (odd, " kurz "),
        "long": (odd, f"Short of {odd[:12]}"),
        "few words": (CAPTION, ""),
        "short alone": (LONG, "kurz"),
        "none": (LONG, f"Short of {LONG[:12]}"),
    }
    assert all(clip.ok for clip in after) and (done.made, done.kept) == (3, 0)
    assert teller.shortened == [odd, LONG] and len(teller.seen) == 2
    assert captioned(tmp_path, clips)[1] == Done(0, 3)


def test_the_captioner_sees_pictures_spread_over_the_clip_at_their_times(tmp_path, teller):
    clip = film(start=30, stop=76, frames=46)
    captioned(tmp_path, [clip], CaptionOptions(pictures=4))
    ((seen, times),) = teller.seen
    places = spread(46, 4)
    assert times == [place / 25 for place in places]
    for picture, wanted in zip(seen, pictures_of(clip, places), strict=True):
        assert np.array_equal(picture, wanted)


def test_a_still_is_captioned_from_its_one_picture(tmp_path, teller):
    (picture,) = pictures_of(film(), [0])
    Image.fromarray(picture).save(tmp_path / "still.png")
    still = film(id="still", kind=A_STILL, stop=1, frames=1, fps=0.0)
    (after,), _ = captioned(tmp_path, [replace(still, path=str(tmp_path / "still.png"))])
    ((seen, times),) = teller.seen
    assert np.array_equal(seen, [picture]) and times == [0.0] and after.caption == LONG


def test_captions_are_made_again_where_that_is_asked_for(tmp_path, teller):
    clips = [film(id="both", caption="mine", short_caption="my short one")]
    (kept,), _ = captioned(tmp_path, clips)
    (again,), _ = captioned(tmp_path, clips, CaptionOptions(again=True))
    assert (kept.caption, kept.short_caption) == ("mine", "my short one")
    assert (again.caption, again.short_caption) == (LONG, f"Short of {LONG[:12]}")
    teller.said = "Few words."
    (tmp_path / "other").mkdir()
    (again,), _ = captioned(tmp_path / "other", clips, CaptionOptions(again=True))
    assert (again.caption, again.short_caption) == ("Few words.", "")


def test_without_a_captioner_clips_without_words_are_refused_and_nothing_is_made_up(tmp_path):
    clips = [
        film(id="none"),
        film(id="long", caption=LONG),
        film(id="source"),
        film(id="edit", source="source", instruction="make it red"),
        film(id="broken").refused("it does not decode"),
    ]
    after, _ = captioned(tmp_path, clips, given=False)
    assert after[1:] == clips[1:]
    assert (after[0].status, after[0].reason) == ("refused", "no caption")
    assert after[0].detail.startswith("give captioner = a folder of Qwen2.5-VL or Qwen3-VL")


def test_clips_of_an_edit_are_not_captioned(tmp_path, teller):
    clips = [film(id="source"), film(id="edit", source="source", instruction="make it red")]
    assert captioned(tmp_path, clips)[0] == clips and not teller.seen


def test_a_clip_of_which_the_captioner_says_nothing_is_refused(tmp_path, teller):
    teller.said = ""
    (after,), _ = captioned(tmp_path, [film()])
    assert (after.reason, after.detail) == ("no caption", "the captioner said nothing")


def test_options_and_weights_that_do_not_go_together_are_refused_before_any_work(tmp_path):
    stage, none = Caption(), Weights({})
    assert stage.uses(CaptionOptions(), none) == ()
    with pytest.raises(ValueError, match="caption: needs captioner = a folder of Qwen2"):
        stage.uses(CaptionOptions(again=True), none)
    with pytest.raises(ValueError, match=f"caption: captioner: there is no {tmp_path}/none"):
        stage.uses(CaptionOptions(), Weights({"captioner": tmp_path / "none"}))
    with pytest.raises(ValueError, match="caption: pictures is 0; needed 1 or more"):
        stage.uses(CaptionOptions(pictures=0), none)


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


def test_words_of_languages_without_spaces_count():
    assert is_short("a man on a bike") and not is_short(LONG)
    assert is_short("一辆白色货车驶过。") and not is_short(
        "一辆白色货车从上方缓缓驶过灰色的街道，镜头静止不动。"
    )
