"""Automatic regions: which tokens have a map, when maps act, and what is kept from step to step."""

import math

import pytest
import torch

from refvid.backbones.wan.geometry import WAN_2_1
from refvid.core.controls import MOST_FOCUS, Controls, StepWindow
from refvid.core.focus import FocusMaps, focus_maps, focus_turn, measured_block
from refvid.core.front import require_visible
from refvid.core.layout import Layout, Stream
from refvid.core.recipes import recipe_named
from refvid.core.visibility import reference_turn

CPU = torch.device("cpu")


def layout(*controls):
    streams = tuple(Stream(2, 2, 2 + k, one) for k, one in enumerate(controls))
    return Layout(recipe_named("saber"), streams, WAN_2_1)


def like(frames=2, rows=1):
    return torch.zeros(rows, 1, 3 * frames)


def filled(value, frames=2, rows=1):
    return torch.full_like(like(frames, rows), value)


def test_without_a_focus_there_is_none():
    assert focus_turn(layout(Controls(), Controls(0.5)), (0, 1), 1.0, CPU) is None
    turn = reference_turn(layout(Controls()), 0.5, None, None, 4, 1, CPU)
    assert turn is not None and turn.focus is None


def test_each_focused_reference_has_a_map_and_the_others_none():
    turn = focus_turn(layout(Controls(focus=4.0), Controls(), Controls(focus=8.0)), (0, 1, 2), 0.5, CPU)
    assert turn is not None
    assert turn.of.tolist() == [0, 0, 2, 2, 2, 1, 1, 1, 1]
    assert turn.levels == (math.log(4), math.log(8)) and turn.acts and turn.wide(128) == 136


def test_a_reference_that_does_not_act_keeps_its_place_among_the_maps():
    late = Controls(focus=4.0, steps=StepWindow(0.9))
    turn = reference_turn(layout(late, Controls(focus=8.0)), 0.5, None, None, 4, 1, CPU)
    assert turn is not None and turn.focus is not None
    assert turn.focus.of.tolist() == [1, 1, 1] and turn.focus.levels == (0.0, math.log(8))


@pytest.mark.parametrize(("share", "acts"), [(0.0, False), (0.199, False), (0.2, True), (1.0, True)])
def test_a_focus_acts_from_its_start_to_the_end(share, acts):
    turn = focus_turn(layout(Controls(focus=4.0)), (0,), share, CPU)
    assert turn is not None and turn.acts is acts and (turn.wide(128) is not None) is acts


def test_a_focus_that_starts_late_makes_evaluations_differ():
    assert layout(Controls(focus=4.0)).timed and not layout(Controls(focus=4.0, focus_start=0.0)).timed
    assert not layout(Controls(focus=1.0, focus_start=0.5)).timed


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"focus": 0.5}, "focus is 0.5"), ({"focus": MOST_FOCUS + 1}, "focus is 33"),
     ({"focus": math.nan}, "focus is nan"), ({"focus_start": 1.0}, "focus_start is 1"),
     ({"focus_start": -0.1}, "focus_start is -0.1")],
)  # fmt: skip
def test_values_out_of_bounds_are_refused_by_name(wrong, says):
    with pytest.raises(ValueError, match=says):
        Controls(**wrong)


def test_references_in_front_of_the_video_refuse_a_focus():
    with pytest.raises(ValueError, match="focus is 8, but the references are frames"):
        require_visible([Controls(), Controls(focus=8.0)])
    require_visible([Controls(focus=1.0, focus_start=0.5)])


@pytest.mark.parametrize(("blocks", "number"), [(1, 0), (2, 1), (30, 15), (40, 20)])
def test_the_middle_block_is_measured(blocks, number):
    assert measured_block(blocks) == number


def step(maps, level, value, frames=(0, 1)):
    """One evaluation, which measures `value`. -> the maps that it is given."""
    before, measured = focus_maps([maps], level, frames, like(len(frames)))
    measured.fill_(value)
    return before


def test_a_step_has_the_maps_of_the_step_before_and_the_first_has_none():
    maps = FocusMaps()
    assert step(maps, 1.0, 0.1) is None
    assert torch.equal(step(maps, 0.8, 0.2), filled(0.1))
    assert torch.equal(step(maps, 0.5, 0.3), filled(0.2))


def test_a_level_that_is_evaluated_again_has_the_maps_of_the_level_before():
    """As heun does: a step ends at the level that the next one begins with."""
    maps = FocusMaps()
    step(maps, 1.0, 0.1)
    assert torch.equal(step(maps, 0.8, 0.2), filled(0.1))
    assert torch.equal(step(maps, 0.8, 0.3), filled(0.1))
    assert torch.equal(step(maps, 0.5, 0.4), filled(0.3))


def test_an_evaluation_that_a_cache_leaves_out_keeps_the_maps_before():
    maps = FocusMaps()
    step(maps, 1.0, 0.1)
    focus_maps([maps], 0.8, (0, 1), like())  # nothing is measured
    assert torch.equal(step(maps, 0.5, 0.2), filled(0.1))


def test_windows_share_their_frames_maps_and_frames_that_no_step_saw_have_none():
    maps = FocusMaps()
    assert step(maps, 1.0, 0.1, (0, 1)) is None and step(maps, 1.0, 0.2, (1, 2)) is None
    found = step(maps, 0.8, 0.3, (1, 2, 3))
    assert torch.equal(found, torch.tensor([[[0.2] * 6 + [0.0] * 3]]))


def test_a_frame_that_the_step_before_left_out_keeps_the_map_it_had():
    maps = FocusMaps()
    step(maps, 1.0, 0.1, (0, 1))
    step(maps, 0.8, 0.2, (1, 2))
    found = step(maps, 0.5, 0.3, (0, 1, 2))
    assert torch.equal(found, torch.tensor([[[0.1] * 3 + [0.2] * 6]]))


def test_conditions_of_one_batch_have_their_own_rows():
    first, second = FocusMaps(), FocusMaps()
    step(second, 1.0, 0.7)
    before, measured = focus_maps([first, second], 0.8, (0, 1), like(rows=2))
    assert torch.equal(before, torch.cat([filled(0.0), filled(0.7)]))
    measured.copy_(torch.cat([filled(0.1), filled(0.2)]))
    assert torch.equal(step(first, 0.5, 0), filled(0.1)) and torch.equal(step(second, 0.5, 0), filled(0.2))
