"""The demo world: what a toy is stays put while its scene changes, and captions tell the truth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Generator, Tensor

from refvid.demo import captions, edits, world
from refvid.demo.shapes import SHAPES, TEXTURES
from refvid.drawing import sheet


def draw(seed: int, n: int = 64) -> tuple[world.Looks, world.Scenes]:
    generator = Generator().manual_seed(seed)
    return world.sample_identities(n, generator), world.sample_scenes(n, generator)


def columns(rows: world.Looks | world.Scenes) -> list[Tensor]:
    return list(vars(rows).values())


def centre(alpha: Tensor) -> Tensor:
    """Centre of mass (N, F, 2) as x, y in [-1, 1]."""
    ruler = torch.linspace(-1, 1, alpha.shape[-1])
    weight = alpha[:, 0] / alpha[:, 0].sum((-2, -1), keepdim=True)
    return torch.stack([(weight.sum(-2) * ruler).sum(-1), (weight.sum(-1) * ruler).sum(-1)], dim=-1)


def test_the_same_seed_gives_the_same_clip_and_another_seed_another() -> None:
    first, again, other = (world.render(*draw(seed, n=4))[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_clip_does_not_depend_on_what_is_rendered_beside_it() -> None:
    toys, scenes = draw(0, n=70)
    together = world.render(toys, scenes, frames=2, size=32)[0]
    torch.testing.assert_close(
        world.render(toys[66:69], scenes[66:69], frames=2, size=32)[0], together[66:69]
    )


def test_an_index_picks_the_same_rows_of_every_column() -> None:
    toys, scenes = draw(0, n=8)
    pick = torch.tensor([5, 1])
    for rows in (toys, scenes):
        assert len(rows[pick]) == len(rows[2:4]) == 2
        assert type(rows[pick]) is type(rows)
        for whole, picked, cut in zip(columns(rows), columns(rows[pick]), columns(rows[2:4]), strict=True):
            assert torch.equal(picked, whole[pick])
            assert torch.equal(cut, whole[2:4])


def test_values_stay_in_their_ranges() -> None:
    toys, scenes = draw(0, n=16)
    video, alpha = world.render(toys, scenes, frames=3)
    for values, least in ((video, -1), (alpha, 0), (toys.primary, 0), (toys.secondary, 0)):
        assert values.min() >= least
        assert values.max() <= 1


def test_every_kind_is_drawn_about_equally_often() -> None:
    toys, scenes = draw(0, n=6000)
    kinds = [
        (toys.shape, SHAPES),
        (toys.texture, TEXTURES),
        (scenes.direction, world.DIRECTIONS),
        (scenes.background, world.BACKGROUNDS),
    ]
    for column, names in kinds:
        share = torch.bincount(column, minlength=len(names)) / len(column)
        assert len(share) == len(names)
        assert (share - 1 / len(names)).abs().max() < 0.02


def test_other_scenes_are_always_on_another_background() -> None:
    _, scenes = draw(0, n=500)
    others = world.other_scenes(scenes, Generator().manual_seed(1))
    assert (others.background != scenes.background).all()
    assert len(set(((others.background - scenes.background) % 4).tolist())) == 3
    assert not torch.equal(others.direction, scenes.direction)


def test_outside_the_toy_the_picture_is_the_backdrop() -> None:
    toys, scenes = draw(0)
    video, alpha = world.render(toys, scenes, frames=3)
    behind = (world.backdrop(scenes.background, world.WORLD_SIZE) * 2 - 1).unsqueeze(2)
    assert ((video - behind).abs() * (alpha < 1e-4)).max() < 1e-3


def test_inside_a_plain_toy_is_its_first_colour_in_any_scene() -> None:
    toys, scenes = draw(0)
    plain = toys.texture == TEXTURES.index("plain")
    for scene in (scenes, world.other_scenes(scenes, Generator().manual_seed(1))):
        video, alpha = world.render(toys[plain], scene[plain], frames=3)
        colour = (toys[plain].primary * 2 - 1)[..., None, None, None]
        assert ((video - colour).abs() * (alpha > 0.99)).max() < 0.03


def test_a_halved_toy_has_its_colours_on_either_side_of_its_axis() -> None:
    toys, scenes = draw(0, n=2)
    toys = replace(
        toys,
        shape=torch.tensor([1, 1]),
        texture=torch.full((2,), TEXTURES.index("halves")),
        axis=torch.tensor([0, 1]),
        primary=torch.tensor([[1.0, 0.0, 0.0]]).expand(2, 3),
        secondary=torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3),
    )
    scenes = replace(scenes, offset=torch.zeros(2, 2))
    picture = world.render(toys, scenes, 1, 64)[0][:, :, 0]
    halves = torch.stack(
        [picture[0, :, [22, 42], 32], picture[1, :, 32, [22, 42]]]
    )  # (toy, RGB, either half)
    red_then_blue = torch.tensor([[1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]])
    torch.testing.assert_close(halves, red_then_blue.expand(2, 3, 2), rtol=0, atol=0.05)


def test_a_circle_covers_its_closed_form_area() -> None:
    toys, scenes = draw(0)
    circle = toys.shape == SHAPES.index("circle")
    alpha = world.render(toys[circle], scenes[circle], frames=1)[1]
    expected = torch.pi * (0.92 * scenes[circle].size / 2) ** 2
    torch.testing.assert_close((alpha > 0.5).float().mean((1, 2, 3, 4)), expected, rtol=0.05, atol=0)


def test_toys_travel_the_way_they_are_told_from_end_to_end() -> None:
    toys, scenes = draw(0)
    path = centre(world.render(toys, scenes)[1])
    step = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.0, 0.0]])[scenes.direction]
    torch.testing.assert_close(path[:, -1] - path[:, 0], step * 0.8, rtol=0, atol=0.02)


def test_a_window_of_a_scene_shows_the_pictures_of_the_whole() -> None:
    toys, scenes = draw(0, n=6)
    toys = replace(toys, dynamics=torch.arange(6) % 5)
    whole = world.render(toys, scenes, world.moments(97, 1), 32)[0]
    for frames, stride, start in ((9, 12, 0), (25, 4, 0), (13, 1, 40), (1, 12, 96)):
        part = world.render(toys, scenes, world.moments(frames, stride, start), 32)[0]
        torch.testing.assert_close(
            part, whole[:, :, start : start + stride * frames : stride], rtol=0, atol=1e-5
        )
    starts = torch.arange(6) * 10
    own = world.render(toys, scenes, world.moments(5, 2, starts), 32)[0]
    torch.testing.assert_close(own[3], whole[3, :, 30:39:2], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="end at 97"):
        world.moments(9, 12, 1)


@pytest.mark.parametrize("tempo", [1, 2])
def test_dynamics_have_their_closed_forms(tempo: int) -> None:
    """Height of the centre, width and height of a square that hops, spins, pulses and squashes, picture by
    picture."""
    toys, scenes = draw(0, n=5)
    toys = replace(toys, shape=torch.full((5,), 1), dynamics=torch.arange(5), tempo=torch.full((5,), tempo))
    scenes = replace(scenes, direction=torch.full((5,), 4), offset=torch.zeros(5, 2))
    alpha = world.render(toys, scenes, 9, 160)[1]
    wide, high = alpha.sum(-1).amax(-1)[:, 0] / 160, alpha.sum(-2).amax(-1)[:, 0] / 160
    phase = tempo * torch.pi * torch.linspace(0, 2, 9)
    swing, one = 0.22 * phase.sin(), torch.ones(9)
    for row, (x, y) in {
        0: (one, one),
        1: (one, one),
        3: (1 + swing, 1 + swing),
        4: (1 + swing, 1 - swing),
    }.items():
        torch.testing.assert_close(wide[row], 0.4 * x, rtol=0, atol=0.02)
        torch.testing.assert_close(high[row], 0.4 * y, rtol=0, atol=0.02)
    chord = 1 / torch.maximum(
        (phase / 2).cos().abs(), (phase / 2).sin().abs()
    )  # the longest row of a turned square
    torch.testing.assert_close(wide[2], 0.4 * chord, rtol=0, atol=0.02)
    lift = centre(alpha)[1, :, 1]
    torch.testing.assert_close(lift, -0.16 * (1 - phase.cos()) / 2, rtol=0, atol=0.01)


def test_a_duet_is_its_two_toys_side_by_side() -> None:
    toys, scenes = draw(0, n=32)
    beside, places = draw(1, n=32)[0], world.duets(scenes)
    video, alpha = world.render_cast([(toys, places[0]), (beside, places[1])])
    alone = [world.render(t, place) for t, place in zip((toys, beside), places, strict=True)]
    layers = [own[:, 0] for _, own in alone]
    torch.testing.assert_close(alpha, torch.stack([layers[0] * (1 - layers[1]), layers[1]], 1))
    inside = alpha > 0.999
    for layer, (clip, own) in enumerate(alone):
        assert ((video - clip).abs() * inside[:, layer : layer + 1]).max() < 0.01
        assert (alpha[:, layer].sum() / own.sum()).item() == pytest.approx(
            1, abs=0.01
        )  # hardly in each other's way


def test_edits_change_exactly_what_they_say() -> None:
    for kind in edits.EDIT_KINDS:
        made = edits.sample_edits(kind, 16, Generator().manual_seed(3))
        again = edits.sample_edits(kind, 16, Generator().manual_seed(3))
        assert torch.equal(made.target, again.target) and made.instructions == again.instructions
        differs = (made.source - made.target).abs().amax(1, keepdim=True) > 2 / 255
        assert torch.equal(differs, made.region)
        assert (
            made.region.flatten(1).any(1).float().mean() > 0.7
        )  # a toy may be in that colour or texture already
        words = {word for line in made.instructions for word in line.split()}
        assert words <= set(captions.vocabulary())
    with pytest.raises(ValueError, match="recolour, retexture"):
        edits.sample_edits("shrink", 1, Generator())


def test_what_is_removed_leaves_its_background_and_what_is_added_was_not_there() -> None:
    gone = edits.sample_edits("remove", 16, Generator().manual_seed(0))
    new = edits.sample_edits("add", 16, Generator().manual_seed(0))
    for bare, full, region in ((gone.target, gone.source, gone.region), (new.source, new.target, new.region)):
        rows = bare.mean(-1, keepdim=True)  # of the first toy and the gradient
        assert ((full - bare).abs() * ~region).max() <= 2 / 255
        assert ((bare - rows).abs() * region).mean() < ((full - rows).abs() * region).mean()


def test_a_single_frame_is_the_middle_of_the_clip() -> None:
    toys, scenes = draw(0, n=8)
    assert torch.equal(world.render(toys, scenes, 1)[0][:, :, 0], world.render(toys, scenes)[0][:, :, 4])


def test_toys_and_scenes_of_different_number_are_refused() -> None:
    toys, scenes = draw(0, n=4)
    with pytest.raises(ValueError, match="3 identities and 4 scenes"):
        world.render(toys[:3], scenes)


def test_captions_name_motion_and_background_and_the_toys_only_where_asked() -> None:
    toys, scenes = draw(0, n=2)
    toys = replace(toys, shape=torch.tensor([4, 3]), dynamics=torch.tensor([2, 0]))
    scenes = replace(scenes, direction=torch.tensor([0, 4]), background=torch.tensor([0, 3]))
    moving, still = "a toy moving right on light background", "a toy standing still on meadow background"
    alone, pair = [(toys, scenes)], [(toys, scenes), (toys[torch.tensor([1, 0])], scenes)]
    assert captions.captions(alone) == [moving, still]
    named = captions.captions(alone, torch.tensor([True, False]))
    assert named == [moving.replace("toy", "spinning star"), still]
    assert captions.captions(pair, stride=4)[0] == moving.replace("a toy", "two toys") + " at stride 4"
    assert captions.captions(pair, torch.tensor([True, False]))[0] == moving.replace(
        "a toy", "a spinning star and a ring"
    )


def test_captions_use_only_words_of_the_vocabulary_and_none_is_longer_than_the_longest() -> None:
    generator = Generator().manual_seed(0)
    spoken = torch.ones(500, dtype=torch.bool)
    written = [
        line
        for duet in (False, True)
        for stride in captions.STRIDES
        for line in captions.captions(world.sample_cast(500, generator, duet, 1.0), spoken, stride)
    ]
    words = {word for line in written for word in line.split()}
    assert words <= set(captions.vocabulary())
    assert {
        *SHAPES,
        *world.DIRECTIONS,
        *world.BACKGROUNDS,
        *world.DYNAMICS[1:],
        *map(str, captions.STRIDES),
    } <= words
    assert max(len(line.split()) for line in written) == len(captions.LONGEST_CAPTION.split())


def test_a_sheet_shows_three_frames_of_a_clip_beside_a_picture_fitted_to_its_height(tmp_path) -> None:
    clip = torch.linspace(-1, 1, 5).view(1, 5, 1, 1).expand(3, 5, 8, 8)
    sheet.contact_sheet(
        [[clip, torch.ones(3, 4, 4)]], ["clip", "white"], tmp_path / "sheet.png", ["a"], scale=4
    )
    image = Image.open(tmp_path / "sheet.png")
    middle = 22 + 16  # below the titles, half a cell down
    assert [image.getpixel((6 + 34 * k + 16, middle)) for k in range(3)] == [(0,) * 3, (128,) * 3, (255,) * 3]
    with pytest.raises(ValueError, match="1 titles for 2 columns"):
        sheet.contact_sheet([[clip, clip]], ["one"], tmp_path / "none.png")
