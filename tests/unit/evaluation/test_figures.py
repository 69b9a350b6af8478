"""Figures for any clip: closed forms at the ceiling, the floor and between, and what must not matter."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from refvid.evaluation import appearance, statistics
from refvid.evaluation import figures as score

RED, GREEN, BLUE, SAND = ([0.9, 0.1, 0.1], [0.1, 0.7, 0.2], [0.1, 0.2, 0.9], [0.8, 0.7, 0.5])
UPRIGHT = (slice(20, 44), slice(26, 38))  # a bar, two to one


def scene(subject: list[float], ground: list[float], place=UPRIGHT, size: int = 64) -> tuple[Tensor, Tensor]:
    """A picture (1, size, size, 3) of a block of one colour on a ground of another, and the block's mask."""
    mask = torch.zeros(1, size, size)
    mask[0][place] = 1
    picture = torch.tensor(subject) * mask[..., None] + torch.tensor(ground) * (1 - mask[..., None])
    return picture, mask


def noise(seed: int, height: int = 96, width: int = 128, grain: int = 8) -> Tensor:
    coarse = torch.rand(1, 3, height // grain, width // grain, generator=Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)[0].movedim(0, -1)


def travelling(step: int, frames: int = 4, height: int = 96, width: int = 128) -> Tensor:
    """A pattern that goes `step` pixels to the left per frame: (frames, height, width, 3)."""
    wide = noise(1, height, width + 64)
    return torch.stack([wide[:, frame * step : frame * step + width] for frame in range(frames)])


# ---- identity


@settings(max_examples=15)
@given(st.integers(0, 999), st.integers(1, 3), st.integers(17, 48), st.integers(17, 48))
def test_a_picture_repeated_is_its_own_ceiling(seed: int, frames: int, height: int, width: int) -> None:
    picture = torch.rand(1, height, width, 3, generator=Generator().manual_seed(seed))
    mask = torch.zeros(1, height, width)
    mask[0, 4 : height - 3, 5 : width // 2 + 4] = 1
    clip, subject = picture.repeat(frames, 1, 1, 1), mask.repeat(frames, 1, 1)
    assert score.similarity(clip, subject, picture, mask) == pytest.approx(1, abs=1e-5)
    assert score.texture_agreement(clip, subject, picture, mask) == pytest.approx(1, abs=1e-5)
    assert score.shape_agreement(subject, mask) == pytest.approx(1, abs=1e-5)


def test_colours_count_by_their_share_and_only_inside_the_mask() -> None:
    reference, mask = scene(RED, SAND)
    elsewhere, subject = scene(RED, BLUE, (slice(2, 30), slice(3, 20)))
    assert score.similarity(elsewhere, subject, reference, mask) == pytest.approx(1, abs=1e-5)
    green, _ = scene(GREEN, SAND)
    assert score.similarity(green, mask, reference, mask) == 0
    half = torch.cat([reference, green])
    assert score.similarity(half, mask.repeat(2, 1, 1), reference, mask) == pytest.approx(0.5, abs=1e-5)


def test_a_clip_without_the_subject_scores_nothing() -> None:
    mask = torch.zeros(1, 64, 64)
    picture, marked = scene(RED, SAND)
    assert score.similarity(picture, mask, picture, marked) == 0
    assert score.texture_agreement(picture, mask, picture, marked) == 0
    assert score.shape_agreement(mask, marked) == 0


@settings(max_examples=10)
@given(st.permutations(range(24 * 12)))
def test_where_the_colours_are_does_not_matter(order: list[int]) -> None:
    block = torch.rand(24 * 12, 3, generator=Generator().manual_seed(0))
    whole = torch.ones(1, 24, 12)
    one, other = block.view(1, 24, 12, 3), block[torch.tensor(order)].view(1, 24, 12, 3)
    assert score.similarity(one, whole, other, whole) == pytest.approx(1, abs=1e-5)


def test_a_small_shift_of_colour_costs_a_small_share() -> None:
    picture, mask = scene(RED, SAND)
    lost = [
        1 - score.similarity((picture + by).clamp(0, 1), mask, picture, mask) for by in (0.01, 0.03, 0.09)
    ]
    assert 0 < lost[0] < lost[1] < lost[2] < 0.5


@pytest.mark.parametrize("turned", ["quarter", "mirrored", "smaller", "moved"])
def test_the_outline_of_a_turned_mirrored_smaller_or_moved_subject_is_the_same(turned: str) -> None:
    mask = torch.zeros(1, 64, 64)
    mask[0, 16:48, 20:28] = mask[0, 40:48, 20:44] = 1  # an L
    changed = {
        "quarter": mask.rot90(1, (1, 2)), "mirrored": mask.flip(2), "moved": mask.roll((9, -11), (1, 2)),
        "smaller": F.avg_pool2d(mask, 2),
    }[turned]  # fmt: skip
    assert score.shape_agreement(changed, mask) > 0.9
    _, bar = scene(RED, SAND, (slice(4, 60), slice(28, 34)))
    assert score.shape_agreement(bar, mask) < 0.6


def test_a_disc_and_a_square_of_one_area_share_what_geometry_says() -> None:
    far = torch.arange(128) - 63.5
    disc = (far[:, None].square() + far.square() < 36**2).float()[None]
    half = round(36 * torch.pi**0.5 / 2)
    square = ((far[:, None].abs() < half) & (far.abs() < half)).float()[None]
    assert score.shape_agreement(disc, square) == pytest.approx(0.834, abs=0.02)


def test_texture_tells_stripes_from_plain_whatever_their_direction_and_colour() -> None:
    stripes = (torch.arange(64) // 4 % 2).float().view(1, 1, 64, 1).expand(1, 64, 64, 3)
    _, mask = scene(RED, SAND, (slice(8, 56), slice(8, 56)))
    assert score.texture_agreement(stripes.transpose(1, 2), mask, stripes, mask) > 0.9
    assert score.texture_agreement(stripes.roll(2, 2), mask, stripes, mask) > 0.9
    plain = torch.full((1, 64, 64, 3), 0.6)
    assert score.texture_agreement(plain, mask, stripes, mask) < 0.2
    # Behind the mask anything may be: smoothing stays inside.
    ground = torch.where(mask[..., None] > 0, plain, stripes)
    assert score.texture_agreement(ground, mask, plain, mask) == pytest.approx(1, abs=1e-5)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="needed"):
        appearance.normalised(torch.zeros(2, 16, 16, 3), torch.zeros(2, 16, 15))


# ---- retrieval


@settings(max_examples=20)
@given(st.permutations(range(5)), st.integers(0, 99))
def test_retrieval_does_not_depend_on_the_order_of_the_references(order: list[int], seed: int) -> None:
    table = torch.randint(0, 3, (4, 5), generator=Generator().manual_seed(seed)).float()  # with ties
    own = torch.tensor([0, 1, 2, 4])
    place = torch.tensor(order)
    assert statistics.retrieval(table[:, place], place.argsort()[own]) == pytest.approx(
        statistics.retrieval(table, own)
    )


def test_retrieval_is_1_on_the_diagonal_and_chance_where_nothing_differs() -> None:
    own = torch.arange(4)
    assert statistics.retrieval(torch.eye(4), own) == (1, 0.25)
    assert statistics.retrieval(torch.ones(4, 4), own) == (0.25, 0.25)
    assert statistics.retrieval(torch.eye(4), own.roll(1)) == (0, 0.25)
    with pytest.raises(ValueError, match="two references"):
        statistics.retrieval(torch.ones(4, 1), own)


# ---- background leak


def leak(clip: Tensor, subject: Tensor, picture: Tensor, mask: Tensor, baseline: Tensor | None = None):
    against = None if baseline is None else appearance.colours(baseline)
    return score.background_leak(
        appearance.colours(clip), subject, appearance.colours(picture), mask, against
    )


def test_leak_is_0_for_the_baseline_1_on_the_references_background_and_its_share_between() -> None:
    picture, mask = scene(RED, SAND)
    clean, _ = scene(RED, BLUE)
    baseline, _ = scene(GREEN, BLUE)
    assert leak(clean, mask, picture, mask, clean) == 0
    assert leak(clean, mask, picture, mask, baseline) == 0
    assert leak(picture, mask, picture, mask, baseline) == pytest.approx(1, abs=1e-4)
    halves = torch.cat([clean, picture])
    assert leak(halves, mask.repeat(2, 1, 1), picture, mask, baseline) == pytest.approx(0.5, abs=0.01)


def test_without_a_baseline_the_references_subject_explains_its_own_colours() -> None:
    picture, mask = scene(RED, SAND)
    assert leak(scene(RED, RED)[0], mask, picture, mask) == 0
    assert leak(scene(RED, BLUE)[0], mask, picture, mask) == 0
    assert leak(picture, mask, picture, mask) == pytest.approx(1, abs=1e-4)


def test_a_leak_that_could_not_be_told_is_refused_with_the_reason() -> None:
    picture, mask = scene(RED, SAND)
    full = torch.ones_like(mask)
    for clip, subject, reference, marked, baseline, reason in (
        (picture, mask, picture, full, None, "mask is full"),
        (picture, full, picture, mask, None, "covers the whole clip"),
        (picture, mask, picture, mask, picture, "colours of the baseline"),
        (picture, mask, scene(RED, RED)[0], mask, None, "colours of its own subject"),
    ):
        with pytest.raises(score.Unmeasurable, match=reason):
            leak(clip, subject, reference, marked, baseline)


# ---- the subject, looked for


def test_the_subject_is_found_by_its_colours_on_another_ground() -> None:
    picture, mask = scene(RED, SAND)
    clip, truth = scene(RED, BLUE, (slice(30, 50), slice(10, 30)))
    known = appearance.colours(picture)
    given = known.histogram(mask), known.histogram(1 - mask)
    assert torch.equal(score.find_subject(appearance.colours(clip), *given), truth)
    assert score.find_subject(appearance.colours(scene(GREEN, BLUE)[0]), *given).sum() == 0
    # Its colour all around is ground, not subject.
    assert score.find_subject(appearance.colours(scene(BLUE, RED)[0]), *given).sum() == 0


# ---- motion


@pytest.mark.parametrize("step", [1, 2, 4])
def test_a_travelling_pattern_moves_by_its_step_over_the_diagonal(step: int) -> None:
    pytest.importorskip("cv2")
    diagonal = (96**2 + 128**2) ** 0.5
    assert score.dynamic_degree(travelling(step)) == pytest.approx(step / diagonal, rel=0.1)


def test_motion_in_diagonals_does_not_depend_on_size_and_stillness_is_0() -> None:
    pytest.importorskip("cv2")
    assert score.dynamic_degree(travelling(0)) == pytest.approx(0, abs=1e-6)
    clip = travelling(2)
    larger = F.interpolate(clip.movedim(-1, 1), scale_factor=2.5, mode="bicubic").clamp(0, 1).movedim(1, -1)
    assert score.dynamic_degree(larger) == pytest.approx(score.dynamic_degree(clip), rel=0.1)


def test_motion_of_one_frame_or_without_opencv_says_what_is_needed(monkeypatch) -> None:
    with pytest.raises(score.Unmeasurable, match="needs two"):
        score.dynamic_degree(travelling(0, frames=1))
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(score.Unmeasurable, match="pip install opencv-python"):
        score.dynamic_degree(travelling(0))


def test_a_folder_cv2_that_another_package_left_empty_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", ModuleType("cv2"))
    with pytest.raises(score.Unmeasurable, match=r"DISOpticalFlow.*--force-reinstall"):
        score.dynamic_degree(travelling(0))


# ---- colours and smoothing, which are kornia's without it


def test_colours_and_smoothing_are_those_of_kornia():
    kornia = pytest.importorskip("kornia")
    clip = torch.rand(2, 9, 8, 3, generator=torch.Generator().manual_seed(0))
    clip[0, 0] *= 0.02  # below the knees of both curves
    found = appearance.lab(clip)
    assert (found - kornia.color.rgb_to_lab(clip.movedim(-1, 1)).movedim(1, -1)).abs().max() < 1e-4
    planes = clip.movedim(-1, 1)
    for sigma, side in ((1.0, 7), (2.0, 13)):
        wanted = kornia.filters.gaussian_blur2d(planes, (side, side), (sigma, sigma), border_type="constant")
        assert (appearance.blurred(planes, sigma) - wanted).abs().max() < 1e-6


# ---- rank correlation


def test_rank_correlation_is_1_for_any_growing_row_and_minus_1_for_any_falling_one():
    steps = torch.tensor([[0.0, 0.25, 0.5, 1.0, 2.0]])
    assert statistics.rank_correlation(steps, steps.exp()).item() == pytest.approx(1)
    assert statistics.rank_correlation(steps, -(steps**3)).item() == pytest.approx(-1)
    assert statistics.rank_correlation(steps, torch.full((1, 5), 0.3)).item() == 0


@given(st.integers(0, 9999))
def test_rank_correlation_with_ties_is_pearsons_of_mean_ranks(seed):
    first, second = torch.randint(0, 4, (2, 7), generator=Generator().manual_seed(seed)).double()
    ranks = []
    for row in (first.tolist(), second.tolist()):
        ordered = sorted(row)
        ranks.append([ordered.index(v) + (ordered.count(v) - 1) / 2 for v in row])
    table = torch.tensor(ranks, dtype=torch.float64)
    expected = 0.0 if first.std() == 0 or second.std() == 0 else torch.corrcoef(table)[0, 1].item()
    got = statistics.rank_correlation(first[None], second[None]).item()
    assert got == pytest.approx(expected, abs=1e-9)
