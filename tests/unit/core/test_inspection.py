"""Inspection: figures in closed form, and a picture in which the figures can be found again."""

import pytest
import torch

from refvid.backbones.wan.geometry import WAN_2_1
from refvid.core.controls import SEES, Controls, StepWindow
from refvid.core.inspection import SCHEDULE_SHARES, SEEN, Sizes, evaluation_work, inspect, inspection_report
from refvid.core.layout import Layout, Stream
from refvid.core.recipes import saber
from refvid.core.visibility import reference_turn
from refvid.drawing.inspection import REFERENCE_COLOURS, draw_inspection
from refvid.kernels.paths import BIAS, REMOVAL, Need, choose_path

LATENT = (3, 4, 6)  # 3 x 2 x 3 tokens
VIDEO = 18
SIZES = Sizes(width=96, ffn_width=200, layers=2, text_tokens=10)
KEEP = torch.tensor([0, 2, 5, 6 + 1, 6 + 3])  # of two references of 2 x 3 tokens
LEFT = torch.zeros(3, 4, 6, dtype=torch.long) + 0b10
LEFT[:, :, :2] |= 0b01  # the first acts on one token in three


def looked_at(first=None, second=None, cells=None, **more):
    streams = (Stream(2, 3, 3, first or Controls()), Stream(2, 3, 2, second or Controls()))
    return inspect(
        Layout(saber(), streams, WAN_2_1),
        KEEP,
        cells,
        None,
        LATENT,
        SIZES,
        lambda now: choose_path(Need(now.bias is not None, averages=now.averages)),
        **more,
    )


def test_kept_tokens_places_and_strengths_are_each_references_own():
    seen = looked_at(Controls(0.5, StepWindow(0.5)), Controls(sees="video"), LEFT)
    first, second = seen.references
    assert first.kept.tolist() == [[True, False, True], [False, False, True]]
    assert second.kept.tolist() == [[False, True, False], [True, False, False]]
    assert first.share == pytest.approx(1 / 3) and second.share == 1
    assert first.where[:, :, 0].all() and not first.where[:, :, 1:].any()
    assert first.strength[:50].eq(0).all() and first.strength[50:].allclose(torch.tensor(0.5))
    expected = [[1, 1 / 3, 1], [1, 1, 0], [1, 0, 1]]
    torch.testing.assert_close(seen.table, torch.tensor(expected))
    assert seen.added.tolist() == [2] * 50 + [5] * 51
    assert {choice.path for choice in seen.choices} == {REMOVAL, BIAS}


def test_the_path_without_weights_is_named_first_whenever_it_runs():
    for window in (StepWindow(0.0, 0.5), StepWindow(0.5, 1.0)):
        assert [choice.path for choice in looked_at(Controls(0.5, window)).choices] == [REMOVAL, BIAS]


def test_a_path_is_looked_for_where_a_focus_acts_and_before_it():
    asked = []
    layout = Layout(saber(), (Stream(2, 3, 5, Controls(focus=8.0, focus_start=0.3)),), WAN_2_1)

    def choose(now):
        asked.append(now.focus.acts)
        return choose_path(Need(no_wide="no wide heads" if now.focus.acts else None))

    assert len(inspect(layout, KEEP[:3], None, None, LATENT, SIZES, choose).choices) == 2
    assert asked == [False, True]


def test_work_counts_every_product_of_every_block():
    length, width, ffn, text = VIDEO + 5, 96, 200, 10
    per_block = (
        2 * length * 4 * width * width  # q, k, v, o of the video and the references
        + 2 * length * 2 * width * width  # q and o of the cross-attention
        + 2 * text * 2 * width * width  # its k and v
        + 2 * length * 2 * width * ffn  # feed-forward
        + 2 * length * length * 2 * width  # scores, and values by them
        + 2 * length * text * 2 * width
    )
    assert evaluation_work(SIZES, VIDEO, 5, None) == 2 * per_block
    assert looked_at().work == (2 * per_block, evaluation_work(SIZES, VIDEO, 0, None))


def test_work_of_groups_is_that_of_the_pairs_that_see_each_other():
    layout = Layout(saber(), (Stream(2, 3, 3, Controls(sees="itself")),), WAN_2_1)
    cells = torch.zeros(3, 4, 6, dtype=torch.long)
    cells[:, :, :2] = 1
    now = reference_turn(layout, 0.0, cells, None, VIDEO, 3, torch.device("cpu"))
    pairs = 6 * (VIDEO + 3) + 12 * VIDEO + 3 * 3
    whole = evaluation_work(SIZES, VIDEO, 3, None)
    assert whole - evaluation_work(SIZES, VIDEO, 3, now) == 2 * 4 * 96 * ((VIDEO + 3) ** 2 - pairs)


def test_a_report_names_what_is_not_neutral_and_only_that():
    plain = inspection_report(looked_at())
    assert "reference 1: 3 of 6 tokens, strength 1\n" in plain
    assert "attention: removal" in plain and "memory" not in plain
    said = inspection_report(
        looked_at(
            Controls(0.5, StepWindow(0.2, 0.8, 0.1), sees="itself", soft=True, focus=8.0, focus_start=0.3),
            cells=LEFT,
            memory=(3 * 2**20, 2**20),
        )
    )
    for words in (
        "strength 0.5",
        "acts on 33% of the video",
        "from 20% to 80%",
        "fades in over 10%",
        "reads only itself",
        "soft mask",
        "focus 8 from 30% of the schedule",
        "3 MiB expected, +2.0 MiB",
    ):
        assert words in said, words


@pytest.mark.parametrize("sees", SEES)
def test_a_report_says_what_a_reference_reads(sees):
    said = inspection_report(looked_at(Controls(sees=sees)))
    assert (SEEN.get(sees, "strength 1") in said) and sum(words in said for words in SEEN.values()) == (
        sees not in ("recipe", "all")
    )


def test_the_picture_shows_removed_tokens_dark_and_places_in_their_colours():
    seen = looked_at(cells=LEFT)
    white = [torch.ones(32, 48, 3)] * 2
    drawn = draw_inspection(seen, white)
    assert drawn.shape[1:] == (1024, 3) and 0 <= drawn.min() and drawn.max() <= 1
    dark = draw_inspection(seen, white)[:230].mean() < draw_inspection(looked_with_all(), white)[:230].mean()
    assert dark
    for colour in REFERENCE_COLOURS[:2]:
        close = (drawn - torch.tensor(colour) / 255).abs().amax(-1) < 0.01
        assert close.sum() > 100, colour
    third = (drawn - torch.tensor(REFERENCE_COLOURS[4]) / 255).abs().amax(-1) < 0.01
    assert third.sum() == 0


def looked_with_all():
    streams = (Stream(2, 3, 6), Stream(2, 3, 6))
    return inspect(
        Layout(saber(), streams, WAN_2_1),
        torch.arange(12),
        None,
        None,
        LATENT,
        SIZES,
        lambda now: choose_path(Need(now.bias is not None, averages=now.averages)),
    )


def test_the_schedule_is_looked_at_from_end_to_end():
    seen = looked_at(Controls(steps=StepWindow(0.0, 0.5)), Controls(steps=StepWindow(0.5, 1.0)))
    assert len(seen.added) == SCHEDULE_SHARES + 1 and seen.added[0] == 3 and seen.added[-1] == 2
