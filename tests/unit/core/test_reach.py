"""Reach of a reference, from pixels and frames to tokens, against plain loops."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from refvid.backbones.wan.geometry import WAN_2_1
from refvid.core.controls import FrameWindow
from refvid.core.reach import joined_words, reach, reach_words, token_words, words_on

FRAMES, ROWS, COLUMNS, STRIDE = 3, 4, 6, 8
WHOLE = FrameWindow()


def made(window=WHOLE, region=None):
    return reach(window, region, (FRAMES, ROWS, COLUMNS), WAN_2_1)


def test_nothing_asked_is_everywhere():
    assert made().shape == (1, 1, 1) and made().all()
    assert made(FrameWindow(0, 8)).all() and WAN_2_1.pictures(FRAMES) == 9


@pytest.mark.parametrize(
    ("first", "last", "frames"),
    [(0, 0, [0]), (1, 4, [1]), (4, 5, [1, 2]), (8, 8, [2]), (0, 4, [0, 1]), (5, None, [2])],
)
def test_a_frame_window_takes_every_latent_frame_it_touches(first, last, frames):
    cells = made(FrameWindow(first, last)).expand(FRAMES, 1, 1)
    assert cells.flatten().nonzero().flatten().tolist() == frames


@given(st.integers(0, 999), st.booleans())
def test_a_cell_counts_where_any_of_its_pixels_and_pictures_does(seed, moving):
    generator = torch.Generator().manual_seed(seed)
    count = 9 if moving else 1
    region = (torch.rand(count, ROWS * STRIDE, COLUMNS * STRIDE, generator=generator) > 0.999).float()
    region[0, 0, 0] = 1
    cells = made(WHOLE, region).expand(FRAMES, ROWS, COLUMNS)
    spans = [(0, 1), (1, 5), (5, 9)] if moving else [(0, 1)] * 3
    for f, (start, stop) in enumerate(spans):
        for r in range(ROWS):
            for c in range(COLUMNS):
                pixels = region[start:stop, r * STRIDE : (r + 1) * STRIDE, c * STRIDE : (c + 1) * STRIDE]
                assert cells[f, r, c] == (pixels > 0.5).any()


def test_region_and_frames_are_met_together():
    left = torch.zeros(ROWS * STRIDE, COLUMNS * STRIDE)
    left[:, :16] = 1
    cells = made(FrameWindow(1, 4), left)
    assert cells.shape == (FRAMES, ROWS, COLUMNS) and cells.sum() == ROWS * 2 and cells[1, :, :2].all()


@pytest.mark.parametrize(
    ("window", "region", "message"),
    [
        (FrameWindow(3, 9), None, "frame window is 3 to 9; the video has the frames 0 to 8"),
        (FrameWindow(9), None, "frame window is 9 to 8; the video has the frames 0 to 8"),
        (
            WHOLE,
            torch.ones(4, 32, 48),
            r"region has shape \(4, 32, 48\); needed one mask, or one for each of the video's 9 frames",
        ),
        (WHOLE, torch.zeros(32, 48), "region has no pixels"),
        (WHOLE, torch.full((32, 48), float("nan")), "region holds NaN"),
    ],
)
def test_regions_and_windows_that_do_not_fit_the_video_are_refused(window, region, message):
    with pytest.raises(ValueError, match=message):
        made(window, region)


def test_a_region_that_is_empty_in_its_frames_is_refused():
    region = torch.zeros(9, ROWS * STRIDE, COLUMNS * STRIDE)
    region[8] = 1
    with pytest.raises(ValueError, match="no cell in common"):
        made(FrameWindow(0, 4), region)


@given(st.integers(0, 999), st.integers(1, 8), st.integers(1, 5), st.integers(1, 5))
def test_a_token_has_the_bits_of_every_reference_that_reaches_any_of_its_cells(seed, count, rows, columns):
    generator = torch.Generator().manual_seed(seed)
    reaches = [torch.rand(2, rows, columns, generator=generator) > 0.7 for _ in range(count)]
    reaches[0] = torch.ones(1, 1, 1, dtype=torch.bool)
    got = token_words(reach_words(reaches, 2, rows, columns), 2).view(2, (rows + 1) // 2, (columns + 1) // 2)
    for f in range(2):
        for r in range(got.shape[1]):
            for c in range(got.shape[2]):
                for k, cells in enumerate(reaches):
                    whole = cells.expand(2, rows, columns)
                    acts = whole[f, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].any()
                    assert bool(got[f, r, c] >> k & 1) == acts


GRID = (FRAMES, ROWS, COLUMNS)
FIRST, ALL = torch.zeros(GRID, dtype=torch.bool), torch.ones(1, 1, 1, dtype=torch.bool)
FIRST[0, :2] = True


@pytest.mark.parametrize("split", range(4))
def test_words_of_two_joined_are_those_of_all_in_a_row(split):
    """None stands for those that act everywhere, whichever of the two has no other."""
    reached = [FIRST, ALL, ALL]
    parts = reached[:split], reached[split:]
    joined = joined_words(*((words_on(part, GRID), len(part)) for part in parts))
    assert torch.equal(joined, reach_words(reached, *GRID))
    assert joined_words((None, 1), (None, 2)) is None and words_on([ALL, ALL], GRID) is None


def test_words_for_another_latent_than_they_were_made_for_are_refused():
    with pytest.raises(
        ValueError, match=r"latent has 2 frames of 6x4 cells, but a region .* \(3, 4, 6\); connect"
    ):
        words_on([ALL, FIRST], (2, ROWS, COLUMNS))


@pytest.mark.parametrize(
    ("fit", "rows", "columns"),
    [("crop", (0, 1), (0, 3)), ("pad", (0, 2), (1, 3)), ("stretch", (0, 2), (0, 3))],
)
def test_a_region_of_another_size_is_laid_over_the_video(fit, rows, columns):
    """A square, marked at its upper left, over a video that is half as wide again as it is high."""
    region = torch.zeros(96, 96)
    region[:28, :48] = 1
    cells = reach(WHOLE, region, (FRAMES, ROWS, COLUMNS), WAN_2_1, fit=fit)
    wanted = torch.zeros(1, ROWS, COLUMNS, dtype=torch.bool)
    wanted[:, slice(*rows), slice(*columns)] = True
    assert torch.equal(cells, wanted)
