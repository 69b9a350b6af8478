"""Pretexts of motion: what they do to a clip, undone where it can be."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from refvid.core.motion import PRETEXTS, TubeShuffle, perturb

seeds = st.integers(0, 2**32)


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def counted(frames: int, rows: int = 2, columns: int = 2, channels: int = 3) -> Tensor:
    """No value comes twice, and none is 0."""
    shape = (frames, rows, columns, channels)
    return 1 + torch.arange(float(torch.Size(shape).numel())).view(shape)


def film(frames: int) -> Tensor:
    """Picture k is k everywhere."""
    return torch.arange(float(frames))[:, None, None, None].expand(-1, 2, 2, 3)


def ways(sources: tuple[int, ...], tubes: int) -> list[tuple[int, int]]:
    """From which part of the time to which each tube goes."""
    return [(source // tubes**2, place // tubes**2) for place, source in enumerate(sources)]


@pytest.mark.parametrize(
    ("pretext", "share", "instruction"),
    [
        ("none", 0.1, ""),
        ("inpaint", 0.2, "[Complete the missing regions in the video.]"),
        ("speed", 0.3, "[Restore the video to normal playback speed.]"),
        ("shuffle", 0.4, "[Restore the correct spatio-temporal order of the video segments.]"),
    ],
)
def test_shares_and_words_are_the_papers(pretext, share, instruction):
    assert PRETEXTS[pretext].weight / sum(one.weight for one in PRETEXTS.values()) == share
    assert PRETEXTS[pretext].instruction == instruction


@pytest.mark.parametrize("pretext", PRETEXTS)
def test_the_clip_that_came_in_is_not_changed_and_a_seed_gives_one_clip(pretext):
    clip = counted(13, 7, 5)
    made = [perturb(pretext, clip, seeded(3), 4, fill=-1.0, tubes=3) for _ in range(2)]
    assert torch.equal(made[0], made[1]) and made[0].shape == clip.shape and made[0].dtype == clip.dtype
    assert torch.equal(clip, counted(13, 7, 5))
    assert torch.equal(made[0], clip) == (pretext == "none")


@pytest.mark.parametrize("pretext", ["inpaint", "shuffle"])
def test_seeds_differ(pretext):
    clip = counted(17, 4, 4)
    assert len({tuple(perturb(pretext, clip, seeded(seed), 4).flatten().tolist()) for seed in range(20)}) > 5


# ---- inpaint


@given(frames=st.integers(2, 60), seed=seeds, fill=st.sampled_from([0.0, -1.0]))
def test_one_block_of_thirty_percent_is_black_and_the_rest_is_as_it_was(frames, seed, fill):
    clip = counted(frames)
    made = perturb("inpaint", clip, seeded(seed), 4, fill)
    black = (made == fill).all((1, 2, 3))
    places = black.nonzero()[:, 0].tolist()
    assert len(places) == round(0.3 * frames) > 0
    assert places == list(range(places[0], places[0] + len(places))) and places[0] > 0
    assert torch.equal(made[~black], clip[~black])


def test_the_block_may_stand_anywhere_after_the_first_frame():
    starts = {
        int((perturb("inpaint", counted(10), seeded(seed), 4) == 0).flatten(1).all(1).int().argmax())
        for seed in range(200)
    }
    assert starts == set(range(1, 8))


# ---- speed


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (9, [0, 2, 4, 6, 8, 8, 8, 8, 8]),
        (12, [0, 2, 4, 6, 8, 8, 8, 8, 8, 8, 8, 8]),
        (17, [0, 2, 4, 6, 8, 10, 12, 14, 16, *[16] * 8]),
        (49, [*range(0, 49, 2), *[48] * 24]),
    ],
)
def test_a_faster_clip_has_every_second_frame_and_then_stands_still(frames, expected):
    assert perturb("speed", film(frames), seeded(0), 4)[:, 0, 0, 0].tolist() == expected


@given(frames=st.integers(9, 100))
def test_what_moves_of_a_faster_clip_fits_wans_latent_frames(frames):
    made = perturb("speed", film(frames), seeded(0), 4)[:, 0, 0, 0].tolist()
    moving = len(set(made))
    assert moving % 4 == 1 and frames / 2 - 4 < moving <= (frames + 1) / 2
    assert made == [2 * min(index, moving - 1) for index in range(frames)]


# ---- shuffle


@settings(max_examples=60)
@given(data=st.data(), tubes=st.integers(2, 4), seed=seeds)
def test_tubes_move_as_wholes_and_come_back_bit_for_bit(data, tubes, seed):
    """Held against the pieces that torch's own tensor_split makes of the axes."""
    size = (
        data.draw(st.integers(tubes, 13)),
        data.draw(st.integers(tubes, 9)),
        data.draw(st.integers(tubes, 9)),
    )
    clip = torch.randn(*size, 3, generator=seeded(seed))
    shuffle = TubeShuffle.draw(size, tubes, seeded(seed))
    made = shuffle.apply(clip)
    held = int(size[0] % tubes == 1)
    axes = (size[0] - held, *size[1:])
    places = list(product(*(torch.arange(side).tensor_split(tubes) for side in axes)))
    assert sorted(shuffle.sources) == list(range(tubes**3)) != list(shuffle.sources)
    for place, source in zip(places, shuffle.sources, strict=True):
        assert torch.equal(made[torch.meshgrid(*place, indexing="ij")],
                           clip[torch.meshgrid(*places[source], indexing="ij")])  # fmt: skip
    assert torch.equal(made[axes[0] :], clip[axes[0] :])
    assert torch.equal(shuffle.undo(made), clip) and torch.equal(shuffle.apply(shuffle.undo(clip)), clip)


def test_a_shuffle_as_data_does_what_it_says():
    """A clip of 2 x 2 x 2 numbers, whose tubes are its numbers, and a third frame, which stays."""
    clip = torch.arange(12.0).view(3, 2, 2, 1)
    made = TubeShuffle((3, 2, 2), 2, (7, 0, 1, 2, 3, 4, 5, 6)).apply(clip)
    assert made.flatten().tolist() == [7, 0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11]


@pytest.mark.parametrize("size", [(9, 4, 4), (8, 6, 4), (81, 7, 5), (3, 3, 3)])
def test_tubes_change_places_in_time_too(size):
    """Wan's clips have 1 + 4k frames: were the last one cut along, no two tubes of one size would stand at
    different times."""
    drawn = [TubeShuffle.draw(size, 2, seeded(seed)).sources for seed in range(200)]
    assert {way for sources in drawn for way in ways(sources, 2)} == set(product((0, 1), repeat=2))
    assert tuple(range(8)) not in drawn


def test_the_pretext_is_the_shuffle():
    clip = counted(9, 6, 4)
    expected = TubeShuffle.draw((9, 6, 4), 3, seeded(5)).apply(clip)
    assert torch.equal(perturb("shuffle", clip, seeded(5), 4, tubes=3), expected)


@pytest.mark.parametrize(
    "sources", [(0,) * 8, tuple(range(7)), tuple(range(1, 9)), (1, 0, 2, 3, 4, 5, 6, 7), (-1, *range(1, 8))]
)
def test_sources_that_are_no_permutation_of_equal_tubes_are_refused(sources):
    with pytest.raises(ValueError, match=r"sources is .*; needed each of 0 to 7 once"):
        TubeShuffle((4, 4, 5), 2, sources)


def test_a_shuffle_of_another_size_is_refused():
    shuffle = TubeShuffle.draw((4, 4, 4), 2, seeded(0))
    for move in (shuffle.apply, shuffle.undo):
        with pytest.raises(ValueError, match=r"clip is of shape \(5, 4, 4, 3\); needed \(4, 4, 4\)"):
            move(counted(5, 4, 4))


# ---- refusals


@pytest.mark.parametrize(
    ("pretext", "clip", "tubes", "message"),
    [
        ("reverse", counted(9), 2, "pretext is 'reverse'; choose one of none, inpaint, speed, shuffle"),
        ("none", counted(9)[0], 2, r"clip is of shape \(2, 2, 3\); needed \(F, H, W, C\)"),
        ("none", counted(9)[:0], 2, "clip has 0 of the 1 frames that 'none' needs"),
        ("inpaint", counted(1), 2, "clip has 1 of the 2 frames that 'inpaint' needs"),
        ("speed", counted(8), 2, "clip has 8 of the 9 frames that 'speed' needs"),
        ("shuffle", counted(1), 2, "clip has 1 of the 2 frames that 'shuffle' needs"),
        ("shuffle", counted(9, 1, 4), 2, "clip has 9 frames of 4x1 pixels; 2 tubes to an axis need 2"),
        ("shuffle", counted(9, 4, 2), 3, "clip has 9 frames of 2x4 pixels; 3 tubes to an axis need 3"),
        ("shuffle", counted(3, 4, 4), 4, "clip has 3 frames of 4x4 pixels; 4 tubes to an axis need 4"),
        ("shuffle", counted(9), 1, "tubes is 1; needed 2 or more"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(pretext, clip, tubes, message):
    with pytest.raises(ValueError, match=message):
        perturb(pretext, clip, seeded(0), 4, tubes=tubes)
