"""Long videos, taken apart and put together."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from refvid.core.frames import clips_to_encode
from refvid.core.long_video import LongVideo


def times(start: int, count: int, step: int = 1) -> Tensor:
    """Pictures that say when they were taken."""
    return (start + step * torch.arange(float(count)))[:, None, None, None].expand(-1, 2, 2, 3)


@given(keys=st.integers(2, 30), groups=st.integers(1, 8), more=st.integers(0, 3))
def test_what_is_joined_has_every_moment_once_and_in_order(keys, groups, more):
    plan = LongVideo(4, keys, 4 * groups)
    pairs = plan.pairs(times(0, keys + more, plan.stride))
    segments = []
    for pair in pairs:
        first, second = pair[:, 0, 0, 0].int().tolist()
        moving = times(first, plan.stride + 1)
        segments.append(torch.cat([moving, times(second, 4, 0)]))
        held = clips_to_encode(plan.given(pair, "own"), plan.segment, 2, 2, 4)
        assert [(clip.at, len(clip.pictures)) for clip in held] == [(0, 1), (groups + 1, 5)]
    assert plan.join(segments)[:, 0, 0, 0].tolist() == list(range(plan.length))


def test_where_segments_meet_stands_the_mean_of_both():
    """Also where only every second picture is kept; what came is left as it was."""
    segments = [torch.full((13, 2, 2, 3), value) for value in (0.0, 1.0, 0.5)]
    for keep in (1, 2, 4, 8):
        joined = LongVideo(4, 4, 8, keep).join(segments)[:, 0, 0, 0]
        inside = 8 // keep - 1
        assert joined.tolist() == [0, *[0] * inside, 0.5, *[1] * inside, 0.75, *[0.5] * inside]
    assert [one.unique().tolist() for one in segments] == [[0.0], [1.0], [0.5]]


def test_the_papers_380_frames():
    plan = LongVideo(4, 20, 20)
    assert (plan.segment, plan.length) == (25, 380)


@pytest.mark.parametrize(
    ("keys", "stride", "message"),
    [
        (1, 4, "keys is 1"),
        (0, 4, "keys is 0"),
        (2, 0, "stride is 0"),
        (2, 6, "stride is 6; needed a multiple of 4"),
    ],
)
def test_plans_that_make_no_sense_are_refused(keys, stride, message):
    with pytest.raises(ValueError, match=message):
        LongVideo(4, keys, stride)


def test_too_few_pictures_and_segments_of_another_length_are_refused():
    plan = LongVideo(4, 3, 4)
    with pytest.raises(ValueError, match="keys is 3, but the clip has 2 pictures"):
        plan.pairs(times(0, 2))
    with pytest.raises(ValueError, match="segments have 9 pictures; needed 2 segments of 9"):
        plan.join([times(0, 9)])
    with pytest.raises(ValueError, match="segments have 9, 5 pictures"):
        plan.join([times(0, 9), times(0, 5)])
