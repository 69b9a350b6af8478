"""Latent frames on which given pictures stand, and what is encoded for them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from refvid.backbones.wan.geometry import WAN_2_1
from refvid.core.controls import FITS
from refvid.core.fit import fitted_pictures
from refvid.core.frames import (
    TASKS,
    GivenFrames,
    Placed,
    clips_to_encode,
    given_frames,
    indices_of,
    read_places,
)


def film(count: int) -> Tensor:
    """Picture k is k everywhere."""
    return torch.arange(float(count))[:, None, None, None].expand(-1, 2, 2, 3)


def said(pictures: Tensor, indices: list[int], length: int) -> list[tuple]:
    clips = clips_to_encode(Placed(pictures, indices), length, 2, 2, 4)
    return [(clip.pictures[:, 0, 0, 0].int().tolist(), clip.at, clip.skip) for clip in clips]


@pytest.mark.parametrize(
    ("indices", "length", "expected"),
    [
        ([0], 9, [([0], 0, 0)]),
        ([0, 1, 2, 3, 4], 9, [([0, 1, 2, 3, 4], 0, 0)]),
        ([0, 8], 9, [([0], 0, 0), ([1, 1, 1, 1, 1], 2, 1)]),
        ([-1, 0], 9, [([1], 0, 0), ([0, 0, 0, 0, 0], 2, 1)]),
        ([5, 6, 7, 8], 9, [([0, 0, 1, 2, 3], 2, 1)]),
        ([0, 4, 8], 9, [([0], 0, 0), ([1] * 5, 1, 1), ([2] * 5, 2, 1)]),
        ([0, 9, 10, 11, 12, 13, 14, 15, 16], 17, [([0], 0, 0), ([1, 1, 2, 3, 4, 5, 6, 7, 8], 3, 1)]),
    ],
)
def test_pictures_stand_where_they_are_put(indices, length, expected):
    assert said(film(len(indices)), indices, length) == expected


@settings(max_examples=60)
@given(data=st.data(), groups=st.integers(1, 6))
def test_every_given_latent_frame_holds_its_own_pictures_and_no_other_is_touched(data, groups):
    """A stand-in encoder whose latent frame is the mean of its pictures: what a causal VAE may know of
    them."""
    whole = data.draw(st.sets(st.integers(0, groups)))
    single = data.draw(st.dictionaries(st.integers(1, groups), st.integers(0, 3)))
    places: dict[int, list[int]] = {f: [0] if f == 0 else list(range(4 * f - 3, 4 * f + 1)) for f in whole}
    places |= {f: [4 * f - 3 + offset] for f, offset in single.items() if f not in whole}
    indices = data.draw(st.permutations([index for found in places.values() for index in found]))
    if not indices:
        return

    def encode(pictures: Tensor) -> Tensor:
        values = pictures[:, 0, 0, 0]
        frames = [values[:1].mean(), *(part.mean() for part in values[1:].split(4) if len(part))]
        return torch.stack(frames)[None, None, :, None, None]

    pictures = torch.tensor(indices).float()[:, None, None, None].expand(-1, 8, 8, 3)
    found = given_frames(
        Placed(pictures, list(indices)), encode, torch.zeros(1, 1, groups + 1, 1, 1), WAN_2_1
    )
    assert set(found.replaced.nonzero()[:, 0].tolist()) == set(places)
    for frame in range(groups + 1):
        expected = sum(places[frame]) / len(places[frame]) if frame in places else 0
        assert found.latent[0, 0, frame].item() == pytest.approx(expected)


def test_a_given_frame_takes_its_place_and_leaves_the_others():
    given_one = GivenFrames(torch.full((1, 2, 3, 1, 1), 7.0), torch.tensor([False, True, False]))
    latent = torch.randn(2, 2, 3, 4, 4)
    got = given_one.on(latent)
    assert got[:, :, 1].eq(7).all() and torch.equal(got[:, :, ::2], latent[:, :, ::2])


@pytest.mark.parametrize(
    ("task", "count", "length", "indices"),
    [
        ("first frame", 1, 9, [0]),
        ("prediction", 5, 9, [0, 1, 2, 3, 4]),
        ("first and last", 2, 9, [0, 8]),
        ("every n-th", 3, 17, [0, 8, 16]),
        ("multi-view", 1, 25, [0]),
    ],
)
def test_tasks_say_where_pictures_stand(task, count, length, indices):
    assert indices_of(task, count, length, WAN_2_1) == indices


@pytest.mark.parametrize(
    ("task", "count", "length", "needs"),
    [
        ("first frame", 2, 9, "needs 1 picture"),
        ("prediction", 4, 9, "needs 1, 5, 9"),
        ("prediction", 9, 9, "fewer than the video's"),
        ("first and last", 3, 9, "needs 2 pictures"),
        ("every n-th", 4, 17, "divide the video into equal parts"),
        ("multi-view", 1, 9, "a video of 25"),
    ],
)
def test_a_task_without_place_for_so_many_says_what_it_needs(task, count, length, needs):
    with pytest.raises(ValueError, match=f"frames: {count} pictures for a video of {length}.*{needs}"):
        indices_of(task, count, length, WAN_2_1)
    with pytest.raises(ValueError, match=f"choose one of {', '.join(TASKS)}"):
        indices_of("nothing", count, length, WAN_2_1)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([0, 9], "frame 9 lies outside the video, which has the frames 0 to 8"),
        ([0, -10], "frame -10 lies outside"),
        ([3, 3], "frame 3 is given twice"),
        ([8, -1], "frame 8 is given twice"),
        ([5, 6], "frames 5, 6 lie in one latent frame, 5 to 8"),
        ([0], "2 pictures for 1 places"),
    ],
)
def test_places_that_make_no_sense_are_refused(indices, message):
    with pytest.raises(ValueError, match=message):
        clips_to_encode(Placed(film(2), indices), 9, 2, 2, 4)


@pytest.mark.parametrize("fit", FITS)
def test_pictures_of_another_size_are_fitted_to_the_videos(fit):
    pictures = torch.rand(1, 30, 20, 3)
    (clip,) = clips_to_encode(Placed(pictures, [0], fit=fit), 9, 16, 8, 4)
    assert torch.equal(clip.pictures, fitted_pictures(pictures, 8, 16, fit))


def test_pictures_of_several_sizes_are_fitted_each_alone():
    one, two = torch.rand(30, 20, 3), torch.rand(16, 64, 1)
    (clip,) = clips_to_encode(Placed([one, two], [0, 4]), 9, 16, 8, 4)[:1]
    assert torch.equal(clip.pictures, fitted_pictures(one[None], 8, 16))
    (second,) = clips_to_encode(Placed([one, two], [0, 4]), 9, 16, 8, 4)[1:]
    assert torch.equal(second.pictures[-1], fitted_pictures(two[None].expand(1, 16, 64, 3), 8, 16)[0])


def test_an_unknown_clock_is_refused():
    with pytest.raises(ValueError, match="clock is 'fast'; choose one of own, shared"):
        GivenFrames(torch.zeros(1, 1, 1, 1, 1), torch.tensor([True]), "fast")


def test_places_are_read_with_commas_and_dashes():
    assert read_places("0, 5-8, -1") == [0, 5, 6, 7, 8, -1]
    assert read_places("-4") == [-4]
    for text, part in (("0, x", "'x'"), ("", "''"), ("3-", "'3-'"), ("0;1", "'0;1'")):
        with pytest.raises(ValueError, match=f"frames: {part} in .* is no frame"):
            read_places(text)
