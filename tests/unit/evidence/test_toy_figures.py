"""The demo scores: rendered clips reach the ceiling, wrong ones the floor, and both are known numbers."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from refvid_toys import without_toys
from torch import Generator, Tensor

from refvid.core.statistics import paired_interval
from refvid.demo import casting, world
from refvid.evidence import toy_figures as score


class Rendered(NamedTuple):
    """64 toys, each in the scene its caption asks for and in the one its reference is cut out of."""

    toys: world.Looks
    scenes: world.Scenes
    video: Tensor
    alpha: Tensor
    others: world.Scenes
    elsewhere: Tensor
    elsewhere_alpha: Tensor


@pytest.fixture(scope="module")
def pairs() -> Rendered:
    generator = Generator().manual_seed(0)
    toys, scenes = casting.sample_identities(64, generator), casting.sample_scenes(64, generator)
    others = casting.other_scenes(scenes, generator)
    video, alpha = world.render(toys, scenes, size=64)
    return Rendered(toys, scenes, video, alpha, others, *world.render(toys, others, size=64))


def share(got: Tensor, expected: Tensor) -> float:
    return (got == expected).float().mean().item()


def test_direction_background_and_shape_of_rendered_clips_are_recovered(pairs: Rendered) -> None:
    assert share(score.direction_of(pairs.video), pairs.scenes.direction) >= 0.95
    assert share(score.background_of(pairs.video), pairs.scenes.background) == 1
    assert share(score.shape_of(pairs.video, pairs.toys), pairs.toys.shape) >= 0.9
    assert share(score.texture_of(pairs.video, pairs.toys), pairs.toys.texture) >= 0.9


def test_textures_are_told_apart_in_any_scene_and_not_by_other_colours(pairs: Rendered) -> None:
    assert share(score.texture_of(pairs.elsewhere, pairs.toys), pairs.toys.texture) >= 0.8
    others = pairs.toys[torch.arange(64).roll(1)]
    painted = world.Looks(**{**vars(pairs.toys), "primary": others.primary, "secondary": others.secondary})
    assert share(score.texture_of(pairs.video, painted), pairs.toys.texture) < 0.6


def test_segmentation_finds_the_toy_and_little_else(pairs: Rendered) -> None:
    mask, toy = score.segment(pairs.video[:32]), pairs.alpha[:32] > 0.5
    assert set(mask.unique().tolist()) == {0, 1}
    assert torch.minimum(mask, toy).sum() / torch.maximum(mask, toy).sum() > 0.8
    assert mask[pairs.alpha[:32] < 0.01].mean() < 0.01


def test_a_clip_without_a_toy_has_an_empty_mask_and_stands_still(pairs: Rendered) -> None:
    video = without_toys(pairs.scenes.background[:16], 9, 64)
    mask = score.segment(video)
    assert mask.sum() == 0
    assert score.colour_histogram(video, mask).abs().sum() == 0
    assert share(score.direction_of(video), torch.tensor(world.DIRECTIONS.index("still"))) == 1


def test_reversing_time_reverses_the_direction(pairs: Rendered) -> None:
    opposite = torch.tensor([1, 0, 3, 2, 4])
    video = pairs.video[:24]
    assert torch.equal(score.direction_of(video.flip(2)), opposite[score.direction_of(video)])


def test_leak_is_0_on_the_own_background_1_on_the_references_and_half_between(pairs: Rendered) -> None:
    own, other = pairs.scenes.background[:32], pairs.others.background[:32]
    between = (without_toys(own, 9, 64) + without_toys(other, 9, 64)) / 2
    for video, expected in ((pairs.video[:32], 0.0), (pairs.elsewhere[:32], 1.0), (between, 0.5)):
        leak = score.backdrop_leak(video, own, other)
        # Toys on the outer lanes end four pixels before the border, their soft edge a little later.
        torch.testing.assert_close(leak, torch.full_like(leak, expected), rtol=0, atol=5e-4)


def test_leak_between_a_background_and_itself_is_refused(pairs: Rendered) -> None:
    with pytest.raises(ValueError, match="same background"):
        score.backdrop_leak(pairs.video[:8], pairs.scenes.background[:8], pairs.scenes.background[:8])


def test_a_histogram_counts_the_masked_colours() -> None:
    video = torch.full((1, 3, 1, 2, 2), -1.0)  # three black pixels and a pure red one
    video[0, 0, 0, 0, 0] = 1
    everything = torch.ones(1, 1, 1, 2, 2)
    histogram = score.colour_histogram(video, everything)
    assert histogram[0, [0, 3 * 16]].tolist() == [0.75, 0.25]  # black, red
    everything[..., 0, 0] = 0
    assert score.colour_histogram(video, everything)[0, 0] == 1


def test_a_toy_has_the_same_colour_histogram_in_two_scenes(pairs: Rendered) -> None:
    inside = score.colour_histogram(pairs.video, pairs.alpha > 0.99)
    elsewhere = score.colour_histogram(pairs.elsewhere, pairs.elsewhere_alpha > 0.99)
    torch.testing.assert_close(inside.sum(1), torch.ones(64))
    # Not exactly 1: a blend of the two colours, or a colour on a bin's edge, may fall on either side of it.
    assert torch.minimum(inside, elsewhere).sum(1).mean() > 0.93
    assert torch.minimum(inside, elsewhere.roll(1, 0)).sum(1).mean() < 0.2


def test_a_clip_resembles_its_own_reference_and_not_the_others(pairs: Rendered) -> None:
    mask = (pairs.elsewhere_alpha[:, :, 4] > 0.5).float()
    table = score.toy_similarity(pairs.video, pairs.elsewhere[:, :, 4], mask)
    own = table.diagonal()
    other = (table.sum(1) - own) / 63
    assert own.mean() > 0.6
    assert other.mean() < 0.2
    assert paired_interval(own - other)[1] > 0.4


def test_similarity_ignores_what_the_mask_hides(pairs: Rendered) -> None:
    picture, mask = pairs.elsewhere[:5, :, 4], (pairs.elsewhere_alpha[:5, :, 4] > 0.5).float()
    repainted = torch.where(mask > 0, picture, torch.tensor(0.3))
    clips = pairs.video[:3]
    assert torch.equal(
        score.toy_similarity(clips, picture, mask), score.toy_similarity(clips, repainted, mask)
    )
    assert score.toy_similarity(clips, picture, mask).shape == (3, 5)


def test_shape_does_not_depend_on_colour_or_background(pairs: Rendered) -> None:
    toys = world.Looks(**{**vars(pairs.toys), "primary": 1 - pairs.toys.primary})
    video, _ = world.render(toys, pairs.others, frames=3, size=64)
    assert share(score.shape_of(video, pairs.toys), pairs.toys.shape) >= 0.85


def test_toys_that_move_are_read_where_they_are_upright_and_so_is_their_colour() -> None:
    generator = Generator().manual_seed(2)
    toys = casting.sample_identities(64, generator, dynamic_share=1.0)
    scenes = casting.sample_scenes(64, generator)
    video, _ = world.render(toys, scenes, 9, 64)
    assert share(score.shape_of(video, toys), toys.shape) >= 0.9
    assert share(score.texture_of(video, toys), toys.texture) >= 0.85
    assert score.shows_colour(video, toys).float().mean() >= 0.95
    turned = world.Looks(**{**vars(toys), "primary": toys.primary.roll(1, 0)})
    assert score.shows_colour(video, turned).float().mean() <= 0.45
    assert torch.equal(score.place_of(video, scenes), scenes.offset)


@pytest.mark.parametrize(("share", "rest", "shown"), [(0.2, (0.1, 0.8, 0.2), 0), (0.3, (0.1, 0.8, 0.2), 1),
                                                      (0.2, (0.5, 0.5, 0.5), 0), (0.3, (0.1, 0.1, 0.1), 1),
                                                      (0.225, (0.1, 0.8, 0.2), 0), (0.25, (0.1, 0.8, 0.2), 1),
                                                      (0.2, (0.5, 0.35, 0.35), 0)])  # fmt: skip
def test_a_word_is_shown_by_a_quarter_of_a_region(share, rest, shown) -> None:
    clip = painted(share, rest).repeat(4, 1, 1, 1, 1)
    region = torch.zeros(4, 1, *clip.shape[2:], dtype=torch.bool)
    region[..., 12:52, 12:52] = True
    region[2] = True  # of which the square is 0.39
    region[3] = False
    found = score.shows_word(clip, region, ["red", "purple", "red", "red"])
    assert found.tolist() == [shown, 0, 0, 0]
    assert score.shows_word(clip[:2], region[:2], [None, "red"]).isnan().tolist() == [True, False]


def test_an_empty_clip_shows_no_colour_and_has_its_toy_in_the_middle() -> None:
    toys, scenes = (
        casting.sample_identities(4, Generator().manual_seed(0)),
        casting.sample_scenes(4, Generator()),
    )
    video = without_toys(scenes.background, 3, 32)
    assert not score.shows_colour(video, toys).any()
    assert score.place_of(video, scenes).abs().max() < 0.2


def test_steady_toys_are_read_in_the_middle_and_others_as_they_begin() -> None:
    toys = casting.sample_identities(2, Generator().manual_seed(0))
    toys = world.Looks(**{**vars(toys), "dynamics": torch.tensor([0, 3])})
    counted = torch.arange(7.0).view(1, 1, 7, 1, 1).expand(2, 3, 7, 4, 4)
    assert score.upright(counted, toys).amax((1, 2, 3)).tolist() == [3, 0]


def painted(share: float, rest: tuple[float, float, float]) -> Tensor:
    """Clip (1, 3, 3, 64, 64) of a square on the light background, whose first rows are red, `share` of it."""
    clip = without_toys(torch.tensor([0]), 9, 64)[:, :, :3]
    colours = torch.tensor([rest]).expand(40, 3).clone()
    colours[: round(40 * share)] = torch.tensor([0.9, 0.1, 0.1])
    clip[:, :, :, 12:52, 12:52] = colours.T[None, :, None, :, None] * 2 - 1
    return clip


def test_a_colour_is_shown_by_a_quarter_of_the_toy() -> None:
    toys = casting.sample_identities(1, Generator().manual_seed(0))
    red = world.Looks(**{**vars(toys), "primary": torch.tensor([[0.8, 0.0, 0.0]])})
    for share, shown in ((0.2, False), (0.3, True)):
        assert score.shows_colour(painted(share, (0.1, 0.8, 0.2)), red).item() is shown
    for rest in ((0.5, 0.5, 0.5), (0.1, 0.1, 0.1)):
        for share in (0.0, 0.2):  # of the toy, not of what has a hue
            assert not score.shows_colour(painted(share, rest), red).item(), "grey is no hue"


def test_grey_is_that_of_masked_out_references_and_nothing_near_it() -> None:
    for away, share in ((0, 1), (5, 1), (8, 0), (-8, 0)):
        clip = torch.full((1, 3, 2, 8, 8), 2 * (score.GREY + away / 255) - 1)
        assert score.grey_share(clip).item() == share, away
