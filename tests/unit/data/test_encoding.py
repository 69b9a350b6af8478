"""Encoding of real clips by the demo's VAE and text encoder: pictures, words, and how they are read back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from refvid_footage import bikes

from refvid.backbones.wan.loading import load_vae
from refvid.backbones.wan.text import load_text_encoder
from refvid.data.fitting import fitted
from refvid.data.index import A_FILM, A_STILL, Clip, Refused, write_index
from refvid.data.journal import Journal
from refvid.data.models import siglip
from refvid.data.pictures import pictures_of
from refvid.data.prepared import Prepared
from refvid.data.stage import StageContext, concluded, keys_of, look_at_all
from refvid.data.stages.encode import Encode, EncodeOptions, bucket_of, held_out, load_frozen_vae, windows_of
from refvid.data.weights import Weights
from refvid.demo import models

SMALL = EncodeOptions(fps=10, frames=(5, 9), pixels=64 * 64, windows=2)
WEIGHTS = Weights({"vae": models.VAE, "text_encoder": models.TEXT_ENCODER})
ENCODE = Encode()


def shot(**known) -> Clip:
    """The first shot of `bikes`."""
    facts = {
        "kind": A_FILM, "stop": 30, "frames": 30, "fps": 25.0, "width": 640, "height": 272,
        "contents": "c0ffee", "caption": "a man on a bike", "short_caption": "a man",
    }  # fmt: skip
    return Clip("shot", str(bikes()), **{**facts, **known})


def encoded(
    folder: Path,
    clips: list[Clip],
    options: EncodeOptions = SMALL,
    weights: Weights = WEIGHTS,
    **sources: Clip,
) -> list[Clip]:
    """The index after encoding."""
    context = StageContext(options, weights, folder, {}, sources)
    journal = Journal(folder / "work/encode")
    look_at_all(ENCODE, clips, context, journal)
    ENCODE.settle(journal.results(), clips, context)
    after = concluded(ENCODE, clips, context, journal.results())
    assert after is not None
    write_index(after, folder)
    return after


def test_a_clip_is_encoded_as_its_windows_alone_would_be(tmp_path):
    clip = shot()
    (after,) = encoded(tmp_path, [clip])
    bucket, starts, shown = windows_of(clip, SMALL)
    assert (after.bucket, after.windows) == ((bucket.width, bucket.height, 9), 2)
    assert shown[:5] == [0, 2, 5, 7, 10] and len(shown) == 12
    prepared, vae = Prepared(str(tmp_path)), load_vae(models.VAE)
    every = [fitted(one, bucket.width, bucket.height) for one in pictures_of(clip)]
    for window, start in enumerate(starts):
        pictures = np.stack([every[place] for place in shown[start : start + 9]])
        video = torch.from_numpy(pictures).movedim(-1, 0).float() / 127.5 - 1
        with torch.no_grad():
            wanted = vae.encode(video[None])[0]
        assert (prepared.latent(after, window).float() - wanted).abs().max() < 2e-3  # of halves
    text = load_text_encoder(models.TEXT_ENCODER)
    for name, words in (("text", clip.caption), ("short_text", clip.short_caption)):
        tokens = text.tokenize([words])
        states = text.states(tokens)[0]
        assert prepared.text(after, name).shape == states.shape
        assert (prepared.text(after, name).float() - states).abs().max() < 2e-3
    assert not prepared.has(after, "instruction") and not prepared.has(after, "source")


def test_references_are_drawn_from_eight_pictures_of_the_whole_clip_in_its_buckets_size(tmp_path):
    clip = shot()
    (after,) = encoded(tmp_path, [clip])
    pool = Prepared(str(tmp_path)).pool(after)
    assert [number for number, _ in pool] == [1, 5, 9, 13, 16, 20, 24, 28]
    for number, picture in pool:
        (whole,) = pictures_of(clip, [number])
        wanted = fitted(whole, after.bucket[0], after.bucket[1]).astype(float)
        assert np.abs(wanted - picture).mean() < 4  # of 255: what JPEG loses
        (other,) = pictures_of(clip, [(number + 15) % 30])
        assert np.abs(fitted(other, *after.bucket[:2]).astype(float) - picture).mean() > 4


def test_an_edit_is_encoded_beside_the_clip_before_it_by_the_same_windows(tmp_path):
    before = shot(start=30, stop=60, caption="", contents="b")
    before = replace(before, id="before")
    edit = shot(caption="", short_caption="", instruction="make it sharp", source="before")
    first, after = encoded(tmp_path, [before, edit], before=before)
    assert not first.shard  # without words it is no clip of its own
    prepared, vae = Prepared(str(tmp_path)), load_vae(models.VAE)
    bucket, starts, shown = windows_of(edit, SMALL)
    read = [fitted(one, bucket.width, bucket.height) for one in pictures_of(before)]
    pictures = np.stack([read[place] for place in shown[starts[1] : starts[1] + 9]])
    with torch.no_grad():
        wanted = vae.encode(torch.from_numpy(pictures).movedim(-1, 0).float()[None] / 127.5 - 1)[0]
    assert (prepared.source(after, 1).float() - wanted).abs().max() < 2e-3
    assert prepared.has(after, "instruction") and not prepared.has(after, "text")
    context = StageContext(SMALL, WEIGHTS, tmp_path, {}, {"before": replace(before, frames=31)})
    with pytest.raises(Refused, match="before and after the edit differ: frames 31, then 30"):
        ENCODE.look(edit, context)
    with pytest.raises(Refused, match="no clip before the edit: before"):
        ENCODE.look(edit, replace(context, sources={}))


def test_semantic_tokens_are_of_each_windows_first_picture(tmp_path, monkeypatch):
    class Corner:
        """An extractor whose features are the pictures, small."""

        def __init__(self, path, device):
            assert (path, device) == (tmp_path / "siglip", "cpu")

        def __call__(self, pictures):
            return torch.nn.functional.adaptive_avg_pool2d(pictures, 16)

    monkeypatch.setattr(siglip, "Siglip", Corner)
    (tmp_path / "siglip").mkdir()
    weights = Weights({**WEIGHTS.paths, "siglip": tmp_path / "siglip"})
    options, clip = replace(SMALL, semantic=True), shot()
    assert ENCODE.uses(options, weights) == ("vae", "text_encoder", "siglip")
    with pytest.raises(ValueError, match="encode: needs siglip = a folder of SigLIP"):
        ENCODE.uses(options, WEIGHTS)
    (after,) = encoded(tmp_path, [clip], options, weights)
    bucket, starts, shown = windows_of(clip, options)
    for window, start in enumerate(starts):
        (picture,) = pictures_of(clip, [shown[start]])
        values = (
            torch.from_numpy(fitted(picture, bucket.width, bucket.height)).movedim(-1, 0)[None] / 127.5 - 1
        )
        wanted = siglip.semantic_tokens(Corner(tmp_path / "siglip", "cpu")(values))[0]
        assert (Prepared(str(tmp_path)).semantic(after, window).float() - wanted).abs().max() < 1e-3


def test_a_still_is_a_clip_of_one_picture(tmp_path):
    from PIL import Image

    (picture,) = pictures_of(shot(), [3])
    Image.fromarray(picture).save(tmp_path / "still.png")
    still = Clip(
        "still", str(tmp_path / "still.png"), kind=A_STILL, stop=1, frames=1, width=640, height=272,
        caption="a man", contents="s",
    )  # fmt: skip
    (after,) = encoded(tmp_path / "data", [still])
    assert after.bucket is not None and after.bucket[2] == 1 and after.windows == 1
    assert Prepared(str(tmp_path / "data")).latent(after, 0).shape[1] == 1


def test_what_is_too_short_or_too_small_is_refused_with_its_numbers():
    clip = shot(stop=12, frames=12)
    with pytest.raises(Refused, match="shorter than 5 pictures: 4 of them"):
        bucket_of(clip, SMALL)
    with pytest.raises(Refused, match="smaller than its bucket: 640x272 of"):
        bucket_of(shot(), EncodeOptions(frames=(5,)))


def test_the_key_says_what_a_result_depends_on(tmp_path):
    def key(clip: Clip, options: EncodeOptions = SMALL, digests=(), **sources: Clip) -> str:
        (found,) = keys_of(
            ENCODE, [clip], StageContext(options, WEIGHTS, tmp_path, dict(digests), sources)
        ).values()
        return found

    clip = shot()
    changed = [
        *(replace(clip, **{name: value}) for name, value in {
            "contents": "other", "start": 1, "stop": 29, "crop": (0, 0, 160, 128), "fps": 24.0,
            "caption": "another", "short_caption": "other", "instruction": "do",
        }.items()),
    ]  # fmt: skip
    keys = [key(clip), *map(key, changed)]
    for name, value in {"fps": 8.0, "frames": (9,), "pixels": 80 * 80, "multiple": 32, "window": "head",
                        "windows": 3, "step": 3, "quality": 90, "semantic": True}.items():  # fmt: skip
        keys.append(key(clip, replace(SMALL, **{name: value})))
    keys += [key(clip, digests={"vae": "1"}), key(clip, digests={"vae": "2"})]
    edit = replace(clip, source="b", instruction="do")
    keys += [key(edit, b=one) for one in (clip, replace(clip, contents="1"), replace(clip, contents="2"))]
    keys += [key(edit, b=one) for one in changed[1:5]]  # start, stop, crop and rate of the clip before it
    assert len(set(keys)) == len(keys)
    assert key(clip) == key(replace(clip, id="renamed", path="/elsewhere.mp4", motion=3.0))
    assert key(clip) == key(clip, replace(SMALL, held_out=3))


def test_whole_films_are_held_out_by_their_digests():
    shots = [Clip(f"{film}{n}", f"/{film}", contents=film, start=n) for film in "dbca" for n in range(2)]
    assert held_out(shots, {}, 0) == set()
    assert held_out(shots, {}, 1) == held_out(shots, {}, 2) == {"a0", "a1"}
    assert held_out(shots, {}, 3) == {"a0", "a1", "b0", "b1"}
    assert len(held_out(shots, {}, 99)) == 8
    edit = Clip("edit", "/e", contents="e", source="a0")  # what it is trained to begin at is held out
    assert held_out([*shots, edit], {"a0": shots[6]}, 1) == {"a0", "a1", "edit"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (EncodeOptions(frames=(34,)), r"encode: frames is \[34\]; needed one or more of 4n \+ 1"),
        (EncodeOptions(window="centre"), "encode: window is centre; needed one of random, head"),
        (EncodeOptions(windows=0), "encode: windows is 0; needed 1 or more"),
        (EncodeOptions(pixels=100), "encode: pixels is 100; needed 256 or more"),
        (EncodeOptions(fps=0.0), "encode: fps is 0.0"),
        (EncodeOptions(held_out=-1), "encode: held_out is -1"),
    ],
)
def test_wrong_options_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        ENCODE.uses(options, WEIGHTS)


def test_a_vae_of_other_tokens_is_refused(tmp_path):
    context = StageContext(replace(SMALL, multiple=24), WEIGHTS, tmp_path)
    with pytest.raises(ValueError, match=r"encode: multiple is 24; .* needs a multiple of 16"):
        load_frozen_vae(models.VAE, context)


def test_an_order_of_prepared_clips_leaves_out_what_is_held_out_and_repeats_what_is_to_be(tmp_path):
    clips = [
        replace(shot(), id=f"{n}", start=n, stop=n + 15, frames=15, contents=f"{n}", repeats=n + 1)
        for n in range(3)
    ]
    encoded(tmp_path, clips, replace(SMALL, held_out=1, windows=1))
    prepared = Prepared(str(tmp_path))
    held = [clip.id for clip in prepared.clips if clip.split == "held_out"]
    order = prepared.order(1, 0)
    drawn = [prepared.clips[order.step(one).clips[0]].id for one in range(order.steps(1))]
    assert held == ["0"] and sorted(drawn) == ["1", "1", "2", "2", "2"]


def test_a_picture_is_scaled_until_it_covers_and_its_middle_is_kept():
    picture = np.zeros((40, 100, 3), np.uint8)
    picture[:, 50:] = 255
    small = fitted(picture, 20, 20)
    assert small.shape == (20, 20, 3) and small[:, :9].max() == 0 and small[:, 11:].min() == 255
    assert np.array_equal(fitted(picture, 100, 40), picture)
    assert fitted(picture, 37, 61).shape == (61, 37, 3)
    assert fitted(np.full((5, 5, 3), 7, np.uint8), 16, 16).tolist() == np.full((16, 16, 3), 7).tolist()


@pytest.mark.parametrize("turned", [False, True])
def test_a_fitted_picture_keeps_its_form_and_loses_as_much_on_both_sides(turned):
    picture = np.zeros((40, 100, 3), np.uint8)
    picture[:, :25] = picture[:, 75:] = 255  # past the middle 50, of which 40 are kept
    tall = picture.transpose(1, 0, 2)
    assert fitted(tall if turned else picture, 20, 20).max() == 0
    striped = np.zeros((64, 64, 3), np.uint8)
    striped[:, ::2] = 255
    assert np.abs(fitted(striped, 32, 32).astype(int) - 127).max() <= 1  # areas are averaged
    edge = fitted(np.repeat(np.uint8([[[0], [255]]]), 3, 2).repeat(2, 0), 16, 16)
    assert len(np.unique(edge)) > 4  # between pictures' pixels there is a slope
