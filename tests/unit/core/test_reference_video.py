"""Reference videos: which pictures are taken, how they are cut, which one shows the subject best, and what is
refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from refvid.backbones.wan.geometry import WAN_2_1
from refvid.core.recipe import GREY
from refvid.core.reference_video import best_picture, cover, make_reference_video


def film(frames: int = 9, height: int = 40, width: int = 60, seed: int = 0) -> Tensor:
    return torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(seed))


def box(top: int, bottom: int, left: int, right: int, frames: int = 9) -> Tensor:
    mask = torch.zeros(frames, 40, 60)
    mask[:, top:bottom, left:right] = 1
    return mask


@settings(max_examples=30)
@given(st.integers(2, 60), st.sampled_from([5, 9, 33]))
def test_pictures_are_taken_evenly_and_fill_latent_frames(count, most):
    numbered = (torch.arange(count) / 100).view(-1, 1, 1, 1).expand(-1, 8, 8, 3)
    video = make_reference_video(numbered, None, most, 8, WAN_2_1)
    taken = (video.pictures[:, 4, 4, 0] * 100).round().long()
    assert len(taken) % 4 == 1 and 5 <= len(taken) <= most
    assert taken[0] == 0 and taken[-1] == count - 1  # the whole clip, whatever its length
    steps = taken.diff()
    assert steps.min() >= 0 and steps.max() - steps.min() <= 1
    if count >= most:
        assert len(taken) == most


def test_one_square_around_all_that_is_marked_with_a_margin_and_grey_outside():
    masks = box(10, 20, 20, 30)
    masks[4] = box(10, 20, 30, 40)[0]  # it moves: ten rows, twenty columns in all
    video = make_reference_video(film(), masks, 9, 30, WAN_2_1)  # a square of 20 + 2 * 5
    assert video.pictures.shape == (9, 30, 30, 3) and video.masks.shape == (9, 30, 30)
    torch.testing.assert_close(video.masks[0, 10:20, 5:15], torch.ones(10, 10))
    torch.testing.assert_close(video.masks[4, 10:20, 15:25], torch.ones(10, 10))
    torch.testing.assert_close(video.pictures[0, 10:20, 5:15], film()[0, 10:20, 20:30])
    outside = video.pictures[0][video.masks[0] == 0]
    torch.testing.assert_close(outside, torch.full_like(outside, GREY))


def test_a_square_may_reach_past_the_picture():
    video = make_reference_video(
        film(), box(0, 40, 0, 12), 9, 60, WAN_2_1
    )  # 40 and its margin, from row -10 and column -24
    torch.testing.assert_close(video.masks[0, 10:50, 24:36], torch.ones(40, 12))
    torch.testing.assert_close(video.pictures[0, 10:50, 24:36], film()[0, :, :12])
    assert video.masks[0].sum() == 40 * 12


def test_a_whole_picture_needs_no_margin():
    video = make_reference_video(film(), None, 9, 60, WAN_2_1)
    torch.testing.assert_close(video.pictures[2, 10:50], film()[2])
    assert video.masks[0].sum() == 40 * 60


def test_transparency_is_a_mask():
    clip = torch.cat([film(), box(10, 20, 20, 30)[..., None]], dim=-1)
    alpha, told = (
        make_reference_video(clip, None, 9, 30, WAN_2_1),
        make_reference_video(film(), box(10, 20, 20, 30), 9, 30, WAN_2_1),
    )
    assert torch.equal(alpha.pictures, told.pictures) and torch.equal(alpha.masks, told.masks)


def test_cover_is_the_mean_over_tokens_and_over_the_pictures_of_a_latent_frame():
    masks = torch.rand(9, 32, 48)
    got = cover(masks, WAN_2_1)
    assert got.shape == (3, 2, 3)
    torch.testing.assert_close(got[0, 1, 2], masks[0, 16:, 32:].mean())
    torch.testing.assert_close(got[2, 0, 1], masks[5:9, :16, 16:32].mean())


def test_the_best_picture_is_sharp_symmetric_and_whole():
    generator = torch.Generator().manual_seed(0)
    half = torch.rand(32, 16, 3, generator=generator)
    frontal = torch.cat([half, half.flip(1)], dim=1)
    turned = torch.rand(32, 32, 3, generator=generator)
    blurred = torch.nn.functional.avg_pool2d(frontal.movedim(-1, 0), 5, 1, 2).movedim(0, -1)
    pictures, masks = torch.stack([turned, frontal, blurred, frontal]), torch.ones(4, 32, 32)
    masks[3, :, 8:] = 0  # the same, mostly hidden
    assert best_picture(pictures, masks) == 1
    assert best_picture(pictures[[1, 0, 2]], masks[:3]) == 0


def test_an_anchor_is_taken_at_its_word_and_never_without_its_subject():
    assert make_reference_video(film(33), None, 9, 16, WAN_2_1, anchor=16).anchor == 4
    assert make_reference_video(film(33), None, 9, 16, WAN_2_1, anchor=32).anchor == 8
    masks = box(10, 20, 20, 30)
    masks[4] = 0
    with pytest.raises(ValueError, match="anchor is 4, and that frame's mask has no pixels"):
        make_reference_video(film(), masks, 9, 16, WAN_2_1, anchor=4)
    with pytest.raises(ValueError, match="anchor is 9; the clip has the frames 0 to 8"):
        make_reference_video(film(), masks, 9, 16, WAN_2_1, anchor=9)
    assert make_reference_video(film(), masks, 9, 16, WAN_2_1).anchor != 4


@pytest.mark.parametrize(
    ("clip", "masks", "says"),
    [
        (film(0), None, "clip has 0 frames; an identity is read from a video of 2 or more"),
        (film(1), None, "clip has 1 frame;"),
        (film()[0], None, r"clip has shape \(40, 60, 3\)"),
        (film(), torch.zeros(9, 40, 60), "mask has no pixels in any frame"),
        (
            film(),
            torch.ones(5, 40, 60),
            r"mask has shape \(5, 40, 60\); .* give one mask, or one for each frame",
        ),
        (film().fill_(float("nan")), None, "clip holds NaN"),
        (film(), torch.full((40, 60), float("inf")), "mask holds NaN or infinite"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(clip, masks, says):
    with pytest.raises(ValueError, match=says):
        make_reference_video(clip, masks, 9, 16, WAN_2_1)
