"""Layouts: plain values that tell equal conditions from different ones."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refvid.core.layout import Layout, Stream
from refvid.core.recipes import phantom, saber

streams = st.builds(
    lambda rows, columns, share, strength: Stream(rows, columns, int(share * rows * columns), strength),
    st.integers(1, 9),
    st.integers(1, 9),
    st.floats(0, 1),
    st.sampled_from([0.25, 0.5, 1.0, 2.0, 10.0]),
)


@given(st.lists(streams, max_size=5))
def test_counts_and_biases_follow_the_streams_in_order(parts):
    layout = Layout(saber(), tuple(parts))
    expected = []
    for stream in parts:
        expected += [math.log(stream.strength)] * stream.kept
    assert layout.key_bias() == expected
    assert layout.kept == len(expected)
    assert [stream.tokens for stream in parts] == [stream.rows * stream.columns for stream in parts]


@given(st.lists(streams, max_size=5))
def test_a_layout_is_neutral_exactly_when_every_strength_is_one(parts):
    layout = Layout(saber(), tuple(parts))
    assert layout.neutral is all(stream.strength == 1 for stream in parts)
    if layout.neutral:
        assert set(layout.key_bias()) <= {0.0}


def test_a_bias_multiplies_the_weight_of_a_key_by_its_strength():
    bias = Layout(saber(), (Stream(1, 2, 2, 0.3), Stream(1, 1, 1, 4.0))).key_bias()
    assert [math.exp(value) for value in bias] == pytest.approx([0.3, 0.3, 4.0], rel=1e-12)


@pytest.mark.parametrize(
    "other",
    [
        Layout(phantom(), (Stream(4, 4, 7, 0.5),)),
        Layout(saber(), (Stream(4, 4, 8, 0.5),)),
        Layout(saber(), (Stream(2, 8, 7, 0.5),)),
        Layout(saber(), (Stream(4, 4, 7),)),
        Layout(saber(), (Stream(4, 4, 7, 0.5), Stream(4, 4, 7, 0.5))),
    ],
    ids=["recipe", "kept", "grid", "strength", "count"],
)
def test_equal_layouts_hash_alike_and_any_difference_tells_them_apart(other):
    layout, again = (Layout(saber(), (Stream(4, 4, 7, 0.5),)) for _ in range(2))
    assert layout == again
    assert hash(layout) == hash(again)
    assert layout != other
