"""Layouts: plain values that tell equal conditions from different ones."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refvid.backbones.wan.geometry import WAN_2_1, WAN_2_2
from refvid.core.controls import Controls, StepWindow
from refvid.core.layout import Layout, Stream
from refvid.core.published_recipes import phantom
from refvid.core.recipe import Place, Placement
from refvid.core.recipes import saber

streams = st.builds(
    lambda rows, columns, share, strength: Stream(
        rows, columns, int(share * rows * columns), Controls(strength)
    ),
    st.integers(1, 9),
    st.integers(1, 9),
    st.floats(0, 1),
    st.sampled_from([0.25, 0.5, 1.0, 2.0, 10.0]),
)


@given(st.lists(streams, max_size=5))
def test_counts_and_places_follow_the_streams_in_order(parts):
    layout, before = Layout(saber(), tuple(parts), WAN_2_1), 0
    for index, stream in enumerate(parts):
        assert layout.columns([index]) == list(range(before, before + stream.kept))
        before += stream.kept
    assert layout.kept == before and layout.columns(range(len(parts))) == list(range(before))
    assert [stream.tokens for stream in parts] == [stream.rows * stream.columns for stream in parts]


@pytest.mark.parametrize(
    ("sees", "seen"),
    [
        (("all", "all"), ({0, 1, 2}, {0, 1, 2})),
        (("all", "video"), ({0, 1}, {0, 2})),  # an isolated reference neither reads nor is read by another
        (("itself", "all"), ({1}, {0, 2})),
        (("itself", "itself"), ({1}, {2})),
        (("all", "video", "all"), ({0, 1, 3}, {0, 2}, {0, 1, 3})),
    ],
)
def test_what_references_see_of_each_other_is_mutual(sees, seen):
    layout = Layout(saber(), tuple(Stream(2, 2, 4, Controls(sees=one)) for one in sees), WAN_2_1)
    assert tuple(set(layout.seen_by(index)) for index in range(len(sees))) == seen


def test_what_is_not_asked_is_seen_as_the_recipe_has_it():
    alone = replace(saber(), sees="itself")
    streams = (Stream(2, 2, 4), Stream(2, 2, 4, Controls(sees="all")))
    assert [Layout(alone, streams, WAN_2_1).sees(index) for index in (0, 1)] == ["itself", "all"]
    assert Layout(alone, streams, WAN_2_1).seen_by(0) == {1}
    assert Layout(saber(), streams, WAN_2_1).seen_by(0) == {0, 1, 2}


def test_only_references_have_places_of_the_recipe():
    """A source and semantic tokens behind them have none, and do not count."""
    streams = (
        Stream(2, 2, 4), Stream(2, 2, 4, role="empty"), Stream(2, 2, 4, role="source"),
        Stream(1, 5, 5, role="semantic"),
    )  # fmt: skip
    before = Layout(replace(saber(), place=Place("before", 1, "beyond")), streams, WAN_2_1)
    assert before.placements((5, 6, 9)) == [
        Placement(-2, 1, 9), Placement(-1, 1, 9), Placement(), Placement(),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        Layout(phantom(), (Stream(4, 4, 7, Controls(0.5)),), WAN_2_1),
        Layout(saber(), (Stream(4, 4, 8, Controls(0.5)),), WAN_2_1),
        Layout(saber(), (Stream(2, 8, 7, Controls(0.5)),), WAN_2_1),
        Layout(saber(), (Stream(4, 4, 7),), WAN_2_1),
        Layout(saber(), (Stream(4, 4, 7, Controls(0.5)), Stream(4, 4, 7, Controls(0.5))), WAN_2_1),
        Layout(saber(), (Stream(4, 4, 7, Controls(0.5, StepWindow(0.1))),), WAN_2_1),
        Layout(saber(), (Stream(4, 4, 7, Controls(0.5)),), WAN_2_2),
    ],
    ids=["recipe", "kept", "grid", "strength", "count", "window", "geometry"],
)
def test_equal_layouts_hash_alike_and_any_difference_tells_them_apart(other):
    layout, again = (Layout(saber(), (Stream(4, 4, 7, Controls(0.5)),), WAN_2_1) for _ in range(2))
    assert layout == again
    assert hash(layout) == hash(again)
    assert layout != other
