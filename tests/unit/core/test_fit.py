"""Pictures and masks of any size, fitted: closed forms of each way, and what is said of it."""

import pytest
import torch

from refvid.core.controls import CROP, FITS, PAD, STRETCH
from refvid.core.fit import fit_told, fitted_masks, fitted_pictures, three_colours, whole_tokens
from refvid.core.recipe import GREY

SIZES = [(1, 1), (1, 400), (30, 40), (300, 400), (64, 64), (91, 17), (16, 24)]


def ramp(rows: int, columns: int) -> torch.Tensor:
    """A picture whose red rises from left to right and whose green from top to bottom."""
    down, across = (torch.linspace(0.5 / side, 1 - 0.5 / side, side) for side in (rows, columns))
    return torch.stack(
        [across.expand(rows, -1), down[:, None].expand(-1, columns), torch.zeros(rows, columns)], -1
    )[None]


def disc(rows: int, columns: int, radius: float) -> torch.Tensor:
    down, across = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    return ((down - rows / 2).square() + (across - columns / 2).square()).lt(radius**2).float()[None]


def extent(mask: torch.Tensor) -> tuple[int, int]:
    return int(mask[0].gt(0.5).any(1).sum()), int(mask[0].gt(0.5).any(0).sum())


@pytest.mark.parametrize("how", FITS)
def test_what_has_the_size_stays_the_very_same(how):
    pictures, masks = torch.rand(2, 16, 24, 3), torch.rand(2, 16, 24)
    assert (
        torch.equal(fitted_pictures(pictures, 16, 24, how), pictures)
        and fitted_masks(masks, 16, 24, how) is masks
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", [CROP, STRETCH])
def test_one_colour_stays_one_colour(size, how):
    assert torch.allclose(
        fitted_pictures(torch.full((1, *size, 3), 0.3), 16, 24, how), torch.tensor(0.3), atol=1e-6
    )
    assert torch.allclose(fitted_masks(torch.ones(1, *size), 16, 24, how), torch.ones(1, 16, 24), atol=1e-6)


@pytest.mark.parametrize("rows", [48, 240])
def test_crop_shows_the_middle_in_its_own_aspect(rows):
    """A square of a ramp twice as wide: the middle half of it."""
    found = fitted_pictures(ramp(rows, 2 * rows), 24, 24)
    wanted = torch.linspace(0.25, 0.75, 25)
    assert torch.allclose(found[0, 12, 2:-2, 0], (wanted[:-1] + wanted[1:])[2:-2] / 2, atol=2e-3)
    assert torch.allclose(found[0, 2:-2, 12, 1], ramp(24, 24)[0, 2:-2, 12, 1], atol=2e-3)


def test_pad_shows_all_of_it_between_grey_margins():
    found = fitted_pictures(ramp(24, 48), 48, 48, PAD)
    assert torch.equal(found[:, 12:36], ramp(24, 48))
    assert found[:, :12].eq(GREY).all() and found[:, 36:].eq(GREY).all()
    assert fitted_masks(torch.ones(1, 24, 48), 48, 48, PAD).sum() == 24 * 48


def test_stretch_shows_all_of_it_out_of_shape():
    assert torch.allclose(
        fitted_pictures(ramp(96, 48), 24, 24, STRETCH)[:, 3:-3, 3:-3], ramp(24, 24)[:, 3:-3, 3:-3], atol=2e-3
    )


@pytest.mark.parametrize(
    ("size", "target"), [((300, 400), (48, 80)), ((400, 300), (80, 48)), ((90, 160), (64, 64))]
)
@pytest.mark.parametrize("how", [CROP, PAD])
def test_a_circle_stays_a_circle(size, target, how):
    high, wide = extent(fitted_masks(disc(*size, 40), *target, how))
    assert abs(high - wide) <= 1 and high > 8


def test_a_circle_is_drawn_out_where_that_is_asked_for():
    high, wide = extent(fitted_masks(disc(300, 300, 100), 50, 100, STRETCH))
    assert wide == pytest.approx(2 * high, abs=2)


@pytest.mark.parametrize("how", FITS)
@pytest.mark.parametrize("size", SIZES)
def test_sizes_and_bounds_hold_for_any_size(size, how):
    found = fitted_pictures(torch.rand(2, *size, 4), 20, 30, how)
    assert found.shape == (2, 20, 30, 4) and found.min() >= 0 and found.max() <= 1
    assert fitted_masks(torch.rand(2, *size), 20, 30, how).shape == (2, 20, 30)


def test_a_strip_is_cut_before_it_is_made_large():
    """Made large first, this one would have 400 million pixels."""
    assert fitted_pictures(torch.rand(1, 1, 4000, 3), 480, 832).shape == (1, 480, 832, 3)


def test_what_is_thinner_than_a_pixel_is_not_lost_and_nothing_comes_of_nothing():
    thin = torch.zeros(3, 200, 200)
    thin[0, :, 100] = 1
    thin[2, 50, 50] = 0.4
    found = fitted_masks(thin, 20, 20)
    assert found[0].gt(0.5).any(1).all() and not found[1].any() and found[2].max() < 0.4


def test_what_was_cut_away_makes_no_subject_of_what_is_left():
    mask = torch.zeros(1, 40, 80)
    mask[:, :, 70:] = 1
    mask[:, :, 40] = 0.01
    assert fitted_masks(mask, 20, 20).max() < 0.02


def test_a_grey_picture_is_the_same_in_three_colours():
    grey = torch.rand(2, 8, 8, 1)
    assert torch.equal(three_colours(grey), grey.expand(2, 8, 8, 3))
    assert (
        three_colours(torch.rand(2, 8, 8, 4)).shape[-1]
        == three_colours(torch.rand(2, 8, 8, 3)).shape[-1]
        == 3
    )


def test_an_unknown_way_is_refused():
    with pytest.raises(ValueError, match="fit is 'cover'; choose one of crop, pad, stretch"):
        fitted_pictures(torch.rand(1, 8, 8, 3), 16, 16, "cover")


@pytest.mark.parametrize(
    ("size", "stride", "wanted"),
    [
        ((1080, 1920), 16, (1088, 1920)),
        ((72, 90), 16, (64, 96)),
        ((1, 1), 32, (32, 32)),
        ((80, 80), 16, (80, 80)),
    ],
)
def test_the_nearest_size_of_whole_tokens(size, stride, wanted):
    assert whole_tokens(*size, stride) == wanted


def test_another_aspect_is_told_and_another_size_alone_is_not():
    assert fit_told("mask", (480, 640), "image", (3000, 4000), CROP) is None
    assert fit_told("mask", (85, 128), "image", (2000, 3000), CROP) is None  # a thumbnail, rounded
    said = fit_told("mask", (480, 640), "image", (4000, 3000), PAD)
    assert said == "mask is 640x480, image 3000x4000: margins are added (fit: pad)"
