"""References: bad input is refused at the edge, good input lands on the canvas where it should."""

from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from refvid.backbones.wan.geometry import WAN_2_1, WAN_2_2
from refvid.core.controls import Controls
from refvid.core.masks import latent_mask
from refvid.core.published_recipes import bernini, phantom
from refvid.core.recipe import GREY
from refvid.core.recipes import saber
from refvid.core.references import Reference, active, arrange, make_reference, prepare, reference_input

quick = settings(max_examples=30)
sides = st.integers(8, 150)
HEIGHT, WIDTH = 64, 96


def picture(rows: int = 20, columns: int = 30, channels: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(rows, columns, channels, generator=torch.Generator().manual_seed(seed))


def box(rows: int, columns: int, top: int, left: int, height: int, width: int) -> Tensor:
    mask = torch.zeros(rows, columns)
    mask[top : top + height, left : left + width] = 1
    return mask


def holding(value: float) -> Tensor:
    bad = picture()
    bad[3, 4, 1] = value
    return bad


# ---- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((holding(float("nan")),), "picture holds NaN or infinite values"),
        ((holding(float("inf")),), "picture holds NaN or infinite values"),
        ((picture(), torch.full((20, 30), float("nan"))), "mask holds NaN or infinite values"),
        ((picture(1, 1),), "picture is 1x1 pixels; a reference needs 8x8"),
        ((picture(7, 300),), "picture is 300x7 pixels; a reference needs 8x8"),
        ((picture(), torch.ones(1, 20, 30)), r"mask has shape \(1, 20, 30\); needed \(height, width\)"),
        ((picture(), torch.zeros(20, 30)), "mask has no pixels: .* Paint the subject"),
        ((picture(), torch.full((20, 30), 0.5)), "mask has no pixels"),
        ((picture(channels=2),), r"has shape \(20, 30, 2\); needed \(height, width, 1, 3 or 4 channels\)"),
        ((picture()[None],), r"picture has shape \(1, 20, 30, 3\)"),
        ((picture()[..., 0],), r"picture has shape \(20, 30\)"),
    ],
)  # fmt: skip
def test_a_bad_reference_is_refused_with_what_came_and_what_is_needed(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_reference(*arguments)


def test_a_transparent_picture_is_refused_as_a_mask_without_pixels():
    with pytest.raises(ValueError, match="mask has no pixels"):
        make_reference(torch.cat([picture(), torch.zeros(20, 30, 1)], -1))


# ---- what is taken


def test_the_mask_is_the_given_one_else_alpha_else_everything():
    rgba, mask = picture(channels=4), box(20, 30, 2, 3, 4, 5)
    assert torch.equal(make_reference(rgba, mask).mask, mask)
    assert torch.equal(make_reference(rgba).mask, rgba[..., 3])
    assert make_reference(rgba[..., :3]).mask.eq(1).all()
    assert torch.equal(make_reference(rgba).picture, rgba[..., :3])


def test_values_outside_zero_and_one_are_clamped_and_the_input_is_left_alone():
    wild, mask = picture() * 4 - 2, box(20, 30, 0, 0, 9, 9) * 3 - 1
    before = wild.clone(), mask.clone()
    made = make_reference(wild, mask)
    assert torch.equal(made.picture, wild.clamp(0, 1))
    assert torch.equal(made.mask, mask.clamp(0, 1))
    assert torch.equal(wild, before[0])
    assert torch.equal(mask, before[1])


# ---- on the canvas


def expected_window(rows: int, columns: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of a picture fitted into the canvas."""
    scale = min(HEIGHT / rows, WIDTH / columns)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    return (HEIGHT - height) // 2, (WIDTH - width) // 2, height, width


@quick
@given(sides, sides)
def test_a_picture_of_any_size_is_fitted_centred_and_padded_with_its_recipes_ground(rows, columns):
    reference = make_reference(picture(rows, columns) * 0.3)  # darker than both grounds
    top, left, height, width = expected_window(rows, columns)
    inside = box(HEIGHT, WIDTH, top, left, height, width).bool()
    assert height == HEIGHT or width == WIDTH
    for recipe, ground, kept in ((saber(), 127 / 255, 0.0), (phantom(), 1.0, 1.0)):
        got = prepare(reference, recipe, HEIGHT, WIDTH, 16)
        assert got.mask.shape == (HEIGHT, WIDTH)
        assert got.picture[~inside].eq(ground).all()
        assert got.picture[inside].le(0.31).all()
        assert got.mask[~inside].eq(kept).all()
        assert got.mask[inside].gt(0.99).all()


@quick
@given(sides, sides, st.data())
def test_masked_pixels_land_where_the_fit_puts_them(rows, columns, data):
    top, left = data.draw(st.integers(0, rows - 3)), data.draw(st.integers(0, columns - 3))
    high, wide = data.draw(st.integers(3, rows - top)), data.draw(st.integers(3, columns - left))
    first_row, first_column, height, width = expected_window(rows, columns)
    down, across = height / rows, width / columns
    assume(high * down >= 3 and wide * across >= 3)  # a subject of a few canvas pixels; thinner ones: below
    reference = make_reference(picture(rows, columns), box(rows, columns, top, left, high, wide))
    for recipe in (saber(), phantom()):
        mask = prepare(reference, recipe, HEIGHT, WIDTH, 16).mask > 0.5
        mask = mask[first_row : first_row + height, first_column : first_column + width]
        seen = mask.nonzero()
        slack = torch.tensor(
            [1.0, 1.0]
        )  # pixels of the canvas: half of one either way, and the blur of half a weight
        low = torch.tensor([top * down, left * across])
        end = torch.tensor([(top + high) * down, (left + wide) * across])
        assert (seen.amin(0) >= low - slack).all() and (seen.amax(0) + 1 <= end + slack).all()
        assert (seen.amin(0) <= low + slack).all() and (seen.amax(0) + 1 >= end - slack).all()


@quick
@given(sides, sides, st.data())
def test_a_subject_of_one_pixel_is_never_lost_and_stays_in_its_place(rows, columns, data):
    row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    reference = make_reference(picture(rows, columns), box(rows, columns, row, column, 1, 1))
    top, left, height, width = expected_window(rows, columns)
    seen = (prepare(reference, saber(), HEIGHT, WIDTH, 16).mask > 0.5).nonzero()
    middle = torch.tensor([top + (row + 0.5) * height / rows, left + (column + 0.5) * width / columns])
    reach = max(
        1.0, HEIGHT / rows, WIDTH / columns
    )  # the pixel itself where it grew, its neighbour where it shrank
    assert len(seen) > 0
    assert (seen + 0.5 - middle).abs().max() <= reach
    assert (prepare(reference, bernini(), HEIGHT, WIDTH, 16).mask > 0.5).any()


@pytest.mark.parametrize("size", [(8, 3000), (3000, 8)])
def test_an_extreme_strip_keeps_a_row_of_pixels(size):
    for recipe in (saber(), phantom(), bernini()):
        got = prepare(make_reference(torch.full((*size, 3), 0.2)), recipe, HEIGHT, WIDTH, 16)
        assert (got.picture - 0.2).abs().amin() < 1e-3
        assert (got.mask > 0.5).any()


@settings(max_examples=20)
@given(st.integers(8, 1400), st.integers(8, 200), st.booleans())
def test_an_own_canvas_keeps_its_size_up_to_848_pixels_in_whole_tokens(long, short, upright):
    rows, columns = (long, short) if upright else (short, long)
    got = prepare(make_reference(torch.full((rows, columns, 3), 0.2)), bernini(), HEIGHT, WIDTH, 16)
    scale = min(1, 848 / max(rows, columns))
    for side, made in zip((rows, columns), got.mask.shape, strict=True):
        assert made % 16 == 0 and 16 <= made <= 848
        assert abs(made - max(16, side * scale)) <= 8  # the nearest whole token, and never none
    assert got.mask.gt(0.99).all()


@pytest.mark.parametrize("build", [saber, phantom, bernini])
def test_a_whole_picture_of_the_canvas_size_is_unchanged_bit_for_bit(build):
    original = picture(HEIGHT, WIDTH)
    got = prepare(make_reference(original), build(), HEIGHT, WIDTH, 16)
    assert torch.equal(got.picture, original)
    assert got.mask.eq(1).all()


@pytest.mark.parametrize(("build", "ground"), [(saber, GREY), (phantom, 1.0), (bernini, 1.0)])
def test_what_is_masked_out_becomes_the_ground_and_half_a_mask_blends(build, ground):
    original, mask = picture(HEIGHT, WIDTH), box(HEIGHT, WIDTH, 10, 20, 30, 40)
    mask[0, 0] = 0.25
    got = prepare(make_reference(original, mask), build(), HEIGHT, WIDTH, 16).picture
    assert got[mask == 0].eq(ground).all()
    assert torch.equal(got[mask == 1], original[mask == 1])
    torch.testing.assert_close(got[0, 0], 0.25 * original[0, 0] + 0.75 * ground)


# ---- into the sequence


@quick
@given(st.integers(0, 999), st.integers(1, 3))
def test_layout_and_kept_indices_agree_with_a_loop_over_tokens(seed, count):
    generator = torch.Generator().manual_seed(seed)
    masks = [(torch.rand(16 * (1 + k), 48, generator=generator) > 0.997).float() for k in range(count)]
    strengths = [0.5 + k for k in range(count)]
    arranged = arrange(masks, [Controls(s) for s in strengths], saber(), WAN_2_1)
    layout, keep = arranged.layout, arranged.keep
    kept, before, expected = [], 0, []
    for mask in masks:
        rows, columns = mask.shape[0] // 16, 3
        mine = [
            before + row * columns + column
            for row in range(rows)
            for column in range(columns)
            if mask[16 * row : 16 * row + 16, 16 * column : 16 * column + 16].any()
        ]
        kept, expected, before = (
            [*kept, *mine],
            [*expected, (rows, columns, len(mine))],
            before + rows * columns,
        )
    assert keep.tolist() == kept
    assert [(s.rows, s.columns, s.kept) for s in layout.streams] == expected
    assert [s.controls.strength for s in layout.streams] == strengths
    assert layout.kept == len(kept)


def test_sixteen_channels_take_the_latent_and_thirty_six_latent_mask_latent():
    latent, mask = torch.randn(1, 16, 1, 8, 12), box(64, 96, 0, 0, 20, 50)
    for recipe in (saber(), phantom(), bernini()):
        assert reference_input(latent, mask, 16, recipe, WAN_2_1) is latent
    got = reference_input(latent, mask, 36, saber(), WAN_2_1)
    assert torch.equal(got, torch.cat([latent, latent_mask(mask, 8, 4), latent], 1))
    assert 0 < got[:, 16:20].mean() < 1


def test_forty_eight_channel_latents_carry_a_mask_of_their_own_stride():
    latent, mask = torch.randn(1, 48, 1, 4, 6), box(64, 96, 0, 0, 32, 48)
    got = reference_input(latent, mask, 100, saber(), WAN_2_2)
    assert torch.equal(got[:, 48:52, 0], box(4, 6, 0, 0, 2, 3).expand(1, 4, -1, -1))


@pytest.mark.parametrize(
    ("build", "channels", "message"),
    [
        (saber, 20, "recipe saber cannot feed .* of 20 .* with latents of 16; it runs on 16 or 36$"),
        (phantom, 36, "recipe phantom cannot feed a backbone of 36 input channels .* it runs on 16$"),
        (bernini, 36, "recipe bernini cannot feed .* it runs on 16$"),
    ],
)  # fmt: skip
def test_a_backbone_of_other_channels_is_refused_with_those_that_fit(build, channels, message):
    with pytest.raises(ValueError, match=message):
        reference_input(torch.zeros(1, 16, 1, 8, 8), torch.ones(64, 64), channels, build(), WAN_2_1)


def test_strength_zero_is_dropped_and_the_others_keep_their_order():
    given_references = [
        Reference(picture(), torch.ones(20, 30), Controls(s)) for s in (1.0, 0.0, 0.5, 0.0, 10.0)
    ]
    assert [r.controls.strength for r in active(given_references, saber())] == [1.0, 0.5, 10.0]
    assert active([given_references[1]], saber()) == []


def test_more_references_than_the_recipe_takes_are_refused():
    one = make_reference(picture())
    assert active([one] * 4, phantom()) == [one] * 4
    with pytest.raises(ValueError, match="references: 5 pictures came, the recipe phantom takes at most 4"):
        active([one] * 5, phantom())
    assert active([one] * 2, replace(phantom(), max_references=2)) == [one] * 2


def test_soft_masks_give_the_log_of_what_they_cover_and_hard_ones_nothing():
    mask = torch.zeros(32, 48)
    mask[:16, :16], mask[:16, 16:24], mask[16:, 32:] = 1.0, 0.75, 0.8
    soft, hard = Controls(soft=True), Controls()
    arranged = arrange([mask, torch.ones(32, 48), mask], [soft, hard, soft], saber(), WAN_2_1)
    assert arranged.keep.tolist() == [0, 1, 5, *range(6, 12), 12, 13, 17]
    assert arranged.soft is not None
    cover = torch.tensor([[1.0, 0.375, 0.8, *[1.0] * 6, 1.0, 0.375, 0.8]])
    torch.testing.assert_close(arranged.soft.exp(), cover)
    assert arrange([mask], [hard], saber(), WAN_2_1).soft is None


@pytest.mark.parametrize("channels", [16, 36])
def test_latents_of_another_vae_are_refused_by_their_channels(channels):
    with pytest.raises(
        ValueError, match=f"of {channels} input channels with latents of 48; it runs on 16 or 36"
    ):
        reference_input(torch.zeros(1, 48, 1, 4, 4), torch.ones(64, 64), channels, saber(), WAN_2_1)


@pytest.mark.parametrize("rows", [(1, 1), (2, 2), (1, 2), (2, 1)])
def test_what_is_arranged_for_a_batch_is_joined_row_by_row(rows):
    """Row by row as without a batch; one that has no rows of its own counts for each."""
    mask = box(32, 48, 0, 0, 16, 24)
    one, other = (
        arrange([part], [Controls(soft=soft)], saber(), WAN_2_1)
        for part, soft in ((mask, True), (torch.ones(32, 48), False))
    )
    whole = one.joined(other)
    first, second = (
        replace(
            part,
            keep=part.keep.expand(count, -1),
            soft=None if part.soft is None else part.soft.expand(count, -1),
        )
        for part, count in zip((one, other), rows, strict=True)
    )
    joined = first.joined(second)
    assert joined.layout == whole.layout and joined.keep.shape == (max(rows), len(whole.keep))
    assert joined.soft is not None and whole.soft is not None
    assert torch.equal(joined.keep, whole.keep.expand(max(rows), -1))
    assert torch.equal(joined.soft, whole.soft.expand(len(joined.soft), -1))
