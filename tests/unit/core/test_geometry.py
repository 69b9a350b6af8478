"""The numbers of a backbone: pictures, latent frames, cells, tokens and heads, against loops and what is
published."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refvid_geometries import COARSE, FOREIGN, STRANGE, UNEVEN, spans

from refvid.backbones.wan.geometry import GROUP, WAN, WAN_2_1, WAN_2_2, geometry_of
from refvid.core.geometry import Geometry

KNOWN = {"Wan 2.1": WAN_2_1, "Wan 2.2": WAN_2_2, **FOREIGN}
known = pytest.mark.parametrize("geometry", KNOWN.values(), ids=KNOWN)
small = st.integers(1, 9)
geometries = st.builds(Geometry, small, small, small, small, small, st.tuples(small, small, small))


# ---- time


@given(geometries, st.integers(1, 40))
def test_pictures_are_those_of_every_latent_frame_and_frames_is_the_way_back(geometry, frames):
    pictures = spans(geometry, frames)[-1][1]
    assert geometry.pictures(frames) == pictures
    assert geometry.frames(pictures) == frames == geometry.frames(pictures + geometry.group) - 1


@given(geometries, st.integers(1, 200))
def test_whole_is_the_first_number_from_there_on_that_fills_its_latent_frames(geometry, pictures):
    filled = {geometry.pictures(frames) for frames in range(1, pictures + 2)}
    first = next(one for one in range(pictures, pictures + geometry.group) if one in filled)
    assert geometry.whole(pictures) == first == geometry.whole(first)


@pytest.mark.parametrize(
    ("geometry", "said"), [(WAN_2_1, "1, 5, 9, …"), (COARSE, "1, 9, 17, …"), (STRANGE, "1, 4, 7, …")]
)
def test_lengths_are_said_in_words(geometry, said):
    assert geometry.lengths == said


# ---- space


@given(geometries, st.integers(1, 3), st.integers(1, 20), st.integers(1, 20))
def test_every_cell_lies_in_a_token_and_no_token_is_empty(geometry, frames, rows, columns):
    """Sides may be odd."""
    patch = geometry.patch
    held = {
        (f, row // patch, column // patch)
        for f in range(frames)
        for row in range(rows)
        for column in range(columns)
    }
    grid = geometry.tokens(frames, rows, columns)
    assert held == {(f, r, c) for f in range(grid[0]) for r in range(grid[1]) for c in range(grid[2])}
    assert geometry.count(frames, rows, columns) == len(held)


@known
def test_a_film_of_whole_tokens_has_a_latent_of_their_cells(geometry):
    side = geometry.patch * geometry.stride
    assert geometry.token == side
    found = geometry.latent(1 + 5 * geometry.group, 2 * side, 3 * side)
    assert found == (6, 2 * geometry.patch, 3 * geometry.patch)
    assert geometry.count(*found) == 6 * 2 * 3


@pytest.mark.parametrize(
    ("geometry", "pictures", "nearest"),
    [
        (WAN_2_1, 0, 1), (WAN_2_1, 80, 81), (WAN_2_1, 82, 81), (COARSE, 12, 9), (COARSE, 14, 17), (COARSE, -9, 1), (STRANGE, 6, 7),
    ],
)  # fmt: skip
def test_lengths_that_leave_a_latent_frame_unfilled_are_refused_with_the_nearest(geometry, pictures, nearest):
    rule = rf"frames is {pictures}; the model makes {geometry.group}k \+ 1: {geometry.lengths} \({nearest} is nearest\)"
    with pytest.raises(ValueError, match=rule):
        geometry.latent(pictures, geometry.token, geometry.token)
    assert geometry.latent(nearest, geometry.token, geometry.token) == (
        geometry.frames(nearest),
        *[geometry.patch] * 2,
    )


@known
@pytest.mark.parametrize("name", ["height", "width"])
def test_sides_that_cut_through_a_token_are_refused_by_name(geometry, name):
    token = geometry.token
    for side in (
        0,
        -token,
        token - 1,
        token + 1,
        token + geometry.stride if geometry.patch > 1 else token // 2,
    ):
        with pytest.raises(
            ValueError, match=f"{name} is {side}; needed a multiple of {token} pixels, {token} or more"
        ):
            geometry.latent(1, *((side, token) if name == "height" else (token, side)))


# ---- a head


@given(geometries, st.integers(1, 128).map(lambda pairs: 2 * pairs))
def test_rows_and_columns_turn_the_most_whole_pairs_of_their_parts_and_frames_the_rest(geometry, head_size):
    whole = sum(geometry.head_split)
    most = [
        max(n for n in range(0, head_size + 1, 2) if n * whole <= head_size * part)
        for part in geometry.head_split
    ]
    frames, rows, columns = geometry.split(head_size)
    assert (rows, columns) == (most[1], most[2])
    assert frames + rows + columns == head_size and frames % 2 == 0 and frames >= most[0]


@pytest.mark.parametrize(
    ("geometry", "head_size", "parts"),
    [
        (WAN_2_1, 128, (44, 42, 42)),  # published: d - 4 (d // 6), 2 (d // 6), 2 (d // 6)
        (WAN_2_2, 128, (44, 42, 42)),
        (WAN_2_1, 64, (24, 20, 20)),
        (WAN_2_1, 24, (8, 8, 8)),
        (UNEVEN, 128, (16, 56, 56)),  # published of HunyuanVideo
        (COARSE, 96, (32, 32, 32)),
        (STRANGE, 24, (8, 12, 4)),
    ],
)
def test_heads_split_as_published(geometry, head_size, parts):
    assert geometry.split(head_size) == parts


# ---- Wan


def test_wans_numbers_are_the_published_ones():
    for geometry, channels, stride in ((WAN_2_1, 16, 8), (WAN_2_2, 48, 16)):
        assert (geometry.patch, geometry.group, geometry.clock) == (2, 4, 1000)
        assert (geometry.channels, geometry.stride) == (channels, stride)
        assert geometry_of(channels) is geometry and WAN[channels] is geometry
    assert len(WAN) == 2 and GROUP == 4
    assert WAN_2_1.latent(81, 480, 832) == (21, 60, 104) and WAN_2_1.count(21, 60, 104) == 32760
    assert WAN_2_2.latent(121, 704, 1280) == (31, 44, 80) and WAN_2_2.count(31, 44, 80) == 27280


@pytest.mark.parametrize(
    ("geometry", "channels"), [(WAN_2_1, 36), (WAN_2_2, 100), (COARSE, 264), (STRANGE, 13)]
)
def test_a_masked_input_has_two_latents_and_a_channel_for_every_picture_of_a_latent_frame(geometry, channels):
    assert geometry.masked_channels == channels


def test_latents_of_no_wan_are_refused_by_name():
    with pytest.raises(ValueError, match=r"^model has latents of 12 channels; needed 16 or 48, a Wan's$"):
        geometry_of(12)
    with pytest.raises(ValueError, match=r"^dit: one\.safetensors has latents of 12 channels"):
        geometry_of(12, "dit: one.safetensors")


@known
def test_equal_numbers_are_one_geometry_wherever_they_are_said(geometry):
    """Layouts are compared and hashed with it, from one evaluation to the next."""
    again = Geometry(**{name: getattr(geometry, name) for name in Geometry.__dataclass_fields__})
    assert again == geometry and hash(again) == hash(geometry)
    assert replace(geometry, clock=geometry.clock + 1) != geometry
