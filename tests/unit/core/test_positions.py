"""Positions: the angle of every feature pair, against the formula written as a loop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from refvid.backbones.wan.geometry import WAN_2_1
from refvid.core.layout import Layout, Stream
from refvid.core.positions import grid_positions, reference_angles, rope_angles
from refvid.core.published_recipes import bernini, phantom
from refvid.core.recipes import saber

HEAD_SIZES = [24, 48, 64, 128]
quick = settings(max_examples=25)


def looped_angles(position: tuple[float, float, float], head_size: int, source_id: int = 0) -> list[float]:
    """Wan's split of a head, one pair at a time."""
    side = 2 * (head_size // 6)
    angles = [
        coordinate * 10000.0 ** (-2 * j / part)
        for coordinate, part in zip(position, (head_size - 2 * side, side, side), strict=True)
        for j in range(part // 2)
    ]
    return [angle + source_id * 10000.0 ** (-2 * j / head_size) for j, angle in enumerate(angles)]


@quick
@given(
    st.tuples(st.integers(0, 40), st.integers(0, 60), st.integers(0, 60)),
    st.sampled_from(HEAD_SIZES),
    st.integers(0, 8),
)
def test_angles_are_the_formula_in_float64(position, head_size, source_id):
    got = rope_angles(torch.tensor([position]).double(), WAN_2_1.split(head_size), source_id)
    expected = torch.tensor([looped_angles(position, head_size, source_id)], dtype=torch.float64)
    torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("head_size", "parts"), [(24, (4, 4, 4)), (48, (8, 8, 8)), (64, (12, 10, 10)), (128, (22, 21, 21))]
)
def test_each_axis_turns_only_its_own_pairs(head_size, parts):
    moved = rope_angles(torch.eye(3, dtype=torch.float64), WAN_2_1.split(head_size)).ne(0)
    owners = [axis for axis, count in enumerate(parts) for _ in range(count)]
    assert moved.int().argmax(0).tolist() == owners
    assert moved.sum(0).eq(1).all()


def test_a_grid_runs_over_columns_first_then_rows_then_frames():
    expected = [[f, r, c] for f in range(2, 5) for r in range(2) for c in range(3)]
    assert grid_positions(3, 2, 3, first=(2, 0, 0)).tolist() == expected


@pytest.mark.parametrize("head_size", HEAD_SIZES)
def test_a_source_adds_the_same_turn_to_every_position(head_size):
    grid, split = grid_positions(2, 3, 5), WAN_2_1.split(head_size)
    turn = rope_angles(grid, split, 3) - rope_angles(grid, split)
    expected = torch.tensor([3 * 10000.0 ** (-2 * j / head_size) for j in range(head_size // 2)]).double()
    torch.testing.assert_close(
        turn, expected.expand_as(turn), rtol=0, atol=1e-6
    )  # angles of up to 10, minus each other


@pytest.mark.parametrize("recipe", [saber(), phantom()], ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("head_size", HEAD_SIZES)
def test_reference_k_stands_at_frame_f_plus_k_on_its_own_grid(recipe, head_size):
    layout = Layout(recipe, (Stream(2, 3, 1), Stream(1, 1, 1), Stream(3, 2, 6)), WAN_2_1)
    expected = [
        looped_angles((7 + k, row, column), head_size)
        for k, stream in enumerate(layout.streams)
        for row in range(stream.rows)
        for column in range(stream.columns)
    ]
    got = reference_angles(layout, (7, 4, 5), head_size)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("video_frames", [1, 7])
def test_an_own_source_shares_the_videos_grid_and_is_told_apart_by_its_id(video_frames):
    layout = Layout(bernini(), (Stream(2, 3, 6), Stream(2, 3, 6)), WAN_2_1)
    expected = [
        looped_angles((0, row, column), 48, source)
        for source in (1, 2)
        for row in range(2)
        for column in range(3)
    ]
    got = reference_angles(layout, (video_frames, 2, 3), 48)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("build", [saber, phantom, bernini])
def test_no_two_tokens_of_video_and_references_share_their_angles(build):
    layout = Layout(build(), (Stream(2, 3, 6), Stream(2, 3, 6), Stream(1, 5, 5)), WAN_2_1)
    video = rope_angles(grid_positions(4, 2, 3), WAN_2_1.split(24))
    angles = torch.cat([video, reference_angles(layout, (4, 2, 3), 24)])
    distance = torch.cdist(angles, angles).fill_diagonal_(1)
    assert distance.min() > 1e-3
