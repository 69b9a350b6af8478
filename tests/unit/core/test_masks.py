"""Masks: a pixel of the subject keeps its token, and nothing else does."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from refvid.core.masks import keep_indices, latent_mask, looks_inverted, token_mask

quick = settings(max_examples=25)


def soft_mask(seed: int, rows: int, columns: int, stride: int) -> Tensor:
    """Uniform noise, thinned out so that some tokens stay empty."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(rows * stride, columns * stride, generator=generator)
    return torch.where(torch.rand(noise.shape, generator=generator) < 1 / stride**2, noise, noise / 2)


@quick
@given(st.integers(0, 999), st.integers(1, 5), st.integers(1, 5), st.sampled_from([8, 16, 32]))
def test_a_token_is_kept_when_any_of_its_pixels_is_above_one_half(seed, rows, columns, stride):
    mask = soft_mask(seed, rows, columns, stride)
    expected = [
        any(
            mask[y, x] > 0.5
            for y in range(row * stride, (row + 1) * stride)
            for x in range(column * stride, (column + 1) * stride)
        )
        for row in range(rows)
        for column in range(columns)
    ]
    assert token_mask(mask, stride).tolist() == expected


@quick
@given(st.integers(0, 47), st.integers(0, 79))
def test_one_pixel_keeps_exactly_the_token_it_lies_in(row, column):
    mask = torch.zeros(48, 80)
    mask[row, column] = 1
    assert token_mask(mask, 16).nonzero().flatten().tolist() == [row // 16 * 5 + column // 16]


@pytest.mark.parametrize(("value", "kept"), [(0.0, False), (0.5, False), (0.50001, True), (1.0, True)])
def test_one_half_itself_is_background(value, kept):
    assert token_mask(torch.full((16, 16), value), 16).tolist() == [kept]


@quick
@given(st.integers(0, 999))
def test_growing_a_mask_never_removes_a_token(seed):
    mask = soft_mask(seed, 3, 4, 16)
    grown = torch.maximum(mask, soft_mask(seed + 1000, 3, 4, 16))
    assert (token_mask(grown, 16) >= token_mask(mask, 16)).all()


@quick
@given(st.integers(0, 999), st.sampled_from([8, 16]))
def test_a_latent_cell_is_one_where_most_of_it_is_covered_in_four_equal_channels(seed, stride):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(3 * stride, 5 * stride, generator=generator)
    got = latent_mask(mask, stride, 4)
    assert got.shape == (1, 4, 1, 3, 5)
    for row in range(3):
        for column in range(5):
            cell = mask[row * stride : (row + 1) * stride, column * stride : (column + 1) * stride]
            expected = float(cell.double().mean() > 0.5)
            assert got[0, :, 0, row, column].tolist() == [expected] * 4


def test_a_latent_cell_that_is_half_covered_is_zero_and_one_pixel_more_makes_it_one():
    mask = torch.zeros(8, 8)
    mask[:4] = 1
    assert latent_mask(mask, 8, 4).eq(0).all()
    mask[4, 0] = 1
    assert latent_mask(mask, 8, 4).eq(1).all()


@quick
@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=9), min_size=1, max_size=4))
def test_kept_indices_count_through_all_references_in_order(masks):
    expected, position = [], 0
    for mask in masks:
        for keep in mask:
            if keep:
                expected.append(position)
            position += 1
    got = keep_indices([torch.tensor(mask) for mask in masks])
    assert got.dtype == torch.int64  # hosts cast every other kind to the model's dtype
    assert got.tolist() == expected


BLOB = torch.zeros(24, 40)
BLOB[6:20, 10:30] = 1


@pytest.mark.parametrize(
    ("mask", "inverted"),
    [
        (BLOB, False),
        (1 - BLOB, True),
        (torch.ones(24, 40), False),
        (torch.zeros(24, 40), False),
        (torch.ones(24, 40).tril(), False),
        (torch.ones(1, 1), False),
        (torch.ones(2, 3), False),
    ],
)
def test_a_frame_around_a_hole_looks_inverted_and_nothing_else_does(mask, inverted):
    assert looks_inverted(mask) is inverted
