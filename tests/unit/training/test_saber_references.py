"""References that a step of Saber draws of a clip: which pictures, by which masks, and how they are moved."""

from dataclasses import replace

import pytest
import torch
from refvid_saber import NUMBERS, SHOWN, SIDE, a_clip, known_by, prepared_clips, small_clips, subject_mask
from torch import Generator, Tensor

from refvid.core.recipe import GREY
from refvid.training.methods.saber.config import ReferenceSettings
from refvid.training.methods.saber.references import draw_references

WHOLE, PART, NONE = 0, 1, 2  # clips whose subject is known in every picture, in that of place 3, in none
STILL = ReferenceSettings(augment=False, masks="random")


def drawn(clip: int, window: int, count: int, settings: ReferenceSettings, seed: int = 0):
    prepared, draws = small_clips(), Generator().manual_seed(seed)
    return draw_references(prepared, prepared.clips[clip], window, count, settings, draws)


def shown(pictures: Tensor, masks: Tensor) -> list[tuple[int, int]]:
    """Clip and place in its pool of every reference, told by the pixels inside of its mask."""
    return [known_by(picture[:, mask > 0.5].mean(1)) for picture, mask in zip(pictures, masks, strict=True)]


@pytest.mark.parametrize("window", range(3))
def test_pictures_are_of_the_window_that_is_seen_and_each_of_those_is_drawn(window):
    found = shown(*drawn(NONE, window, 60, STILL))
    assert {clip for clip, _ in found} == {NONE}
    assert {place for _, place in found} == set(SHOWN[window])


def test_pictures_are_of_the_whole_clip_where_the_run_file_asks_for_that():
    found = shown(*drawn(NONE, 1, 120, replace(STILL, moment="clip")))
    assert {place for _, place in found} == set(range(8))


def test_a_window_that_shows_no_picture_of_the_pool_takes_the_nearest_one(tmp_path, monkeypatch):
    prepared = prepared_clips(tmp_path, [a_clip(0)])
    for span, place in (((8, 9), 2), ((11, 12), 3), ((11, 14), 4), ((0, 0), 0), ((23, 23), 7)):
        monkeypatch.setattr(type(prepared), "span", lambda self, clip, window, span=span: span)
        found = draw_references(prepared, prepared.clips[0], 0, 9, STILL, Generator().manual_seed(0))
        assert {one for _, one in shown(*found)} == {place}, span


def test_a_subjects_mask_is_that_very_pictures():
    pictures, masks = drawn(WHOLE, 1, 40, replace(STILL, masks="subject", moment="clip"))
    places = [place for _, place in shown(pictures, masks)]
    assert len(set(places)) > 5
    for place, mask in zip(places, masks, strict=True):
        wanted = torch.from_numpy(subject_mask(place)).float().repeat_interleave(3, 0).repeat_interleave(3, 1)
        assert (mask - wanted).abs().sum() <= 0.1 * wanted.sum(), (
            place
        )  # edges are smoothed when it is scaled
        assert mask.unique().tolist() == [0.0, 1.0]


def is_subject(masks: Tensor) -> Tensor:
    """Whether each mask is a bar of the subject's: 24 rows high, none above or below."""
    rows = masks.amax(2) > 0.5
    outside = rows.clone()
    outside[:, 12:36] = False
    return rows[:, 13:35].all(1) & ~outside.any(1) & (masks.sum((1, 2)) < 200)


@pytest.mark.parametrize(
    ("masks", "share", "wanted"),
    [("subject", 0.3, 1.0), ("random", 1.0, 0.0), ("mixed", 0.75, 0.75), ("mixed", 0.2, 0.2)],
)
def test_masks_are_the_subjects_as_often_as_the_run_file_says(masks, share, wanted):
    settings = replace(STILL, masks=masks, subject_share=share)
    _, found = drawn(WHOLE, 0, 400, settings)
    # Four deviations of a share of 400, at most.
    assert is_subject(found).float().mean().item() == pytest.approx(
        wanted, abs=0.1 if 0 < wanted < 1 else 0.02
    )


def test_a_picture_without_its_own_subject_mask_gets_a_random_one():
    settings = replace(STILL, masks="subject", moment="clip")
    pictures, masks = drawn(PART, 0, 80, settings)
    places = torch.tensor([place for _, place in shown(pictures, masks)])
    assert is_subject(masks)[places == 3].all() and (places == 3).any()
    assert is_subject(masks)[places != 3].float().mean() < 0.1
    assert (masks.sum((1, 2)) > 0).all()


def test_references_stay_in_place_and_grey_lies_outside_of_their_masks():
    pictures, masks = drawn(WHOLE, 0, 30, replace(STILL, masks="subject"))
    assert pictures.shape == (30, 3, SIDE, SIDE) and masks.shape == (30, SIDE, SIDE)
    outside = masks[:, None].expand_as(pictures) < 0.5
    assert (pictures[outside] == 2 * GREY - 1).all()
    assert (pictures[~outside].abs() > 0.001).any()
    left = torch.tensor([mask.amax(0).argmax().item() for mask in masks])
    places = torch.tensor([place for _, place in shown(pictures, masks)])
    assert (left - 6 * places).abs().max() <= 1


def test_augmented_references_move_away_from_where_they_were():
    pictures, masks = drawn(WHOLE, 0, 30, replace(STILL, masks="subject", augment=True))
    left = torch.tensor([mask.amax(0).argmax().item() for mask in masks])
    places = torch.tensor([place for _, place in shown(pictures, masks)])
    assert ((left - 6 * places).abs() > 1).float().mean() > 0.7
    assert (pictures[masks[:, None].expand_as(pictures) < 0.5] == 2 * GREY - 1).all()


def test_mirror_images_come_at_their_chance_alone(monkeypatch):
    from refvid.training.methods.saber import references

    seen = []
    real = references.masked_frames
    monkeypatch.setattr(references, "masked_frames", lambda *given: (seen.append(given[3]), real(*given))[1])
    drawn(NONE, 0, 1, ReferenceSettings())
    drawn(NONE, 0, 1, ReferenceSettings(flip=0.25, ratio_mode="uniform"))
    assert [how.augmentation.flip for how in seen] == [0.0, 0.25]
    assert [how.generator.mode for how in seen] == ["first_hit", "uniform"]


def test_no_reference_is_asked_for_and_none_comes():
    pictures, masks = drawn(NONE, 0, 0, ReferenceSettings())
    assert pictures.shape == (0, 3, SIDE, SIDE) and masks.shape == (0, SIDE, SIDE)


def test_the_pool_is_numbered_as_the_clip_is():
    prepared = small_clips()
    assert tuple(number for number, _ in prepared.pool(prepared.clips[0])) == NUMBERS
