"""The demo world: what a toy is stays put while its scene changes, and captions tell the truth."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import Generator, Tensor

from refvid.demo import sheet, world


def draw(seed: int, n: int = 64) -> tuple[world.Identities, world.Scenes]:
    generator = Generator().manual_seed(seed)
    return world.sample_identities(n, generator), world.sample_scenes(n, generator)


def columns(rows: world.Identities | world.Scenes) -> list[Tensor]:
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
        (toys.shape, world.SHAPES),
        (toys.texture, world.TEXTURES),
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
    behind = (world.backdrop(scenes.background, 64) * 2 - 1).unsqueeze(2)
    assert ((video - behind).abs() * (alpha < 1e-4)).max() < 1e-3


def test_inside_a_plain_toy_is_its_first_colour_in_any_scene() -> None:
    toys, scenes = draw(0)
    plain = toys.texture == world.TEXTURES.index("plain")
    for scene in (scenes, world.other_scenes(scenes, Generator().manual_seed(1))):
        video, alpha = world.render(toys[plain], scene[plain], frames=3)
        colour = (toys[plain].primary * 2 - 1)[..., None, None, None]
        assert ((video - colour).abs() * (alpha > 0.99)).max() < 0.03


def test_a_halved_toy_has_its_colours_on_either_side_of_its_axis() -> None:
    toys, scenes = draw(0, n=2)
    toys = world.Identities(
        shape=torch.tensor([1, 1]),
        texture=torch.full((2,), world.TEXTURES.index("halves")),
        axis=torch.tensor([0, 1]),
        primary=torch.tensor([[1.0, 0.0, 0.0]]).expand(2, 3),
        secondary=torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3),
    )
    flat = {"rotation": torch.zeros(2), "spin": torch.zeros(2), "offset": torch.zeros(2, 2)}
    picture = world.render(toys, world.Scenes(**{**vars(scenes), **flat}), frames=1)[0][:, :, 0]
    halves = torch.stack(
        [picture[0, :, [22, 42], 32], picture[1, :, 32, [22, 42]]]
    )  # (toy, RGB, either half)
    red_then_blue = torch.tensor([[1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]])
    torch.testing.assert_close(halves, red_then_blue.expand(2, 3, 2), rtol=0, atol=0.05)


def test_a_circle_covers_its_closed_form_area() -> None:
    toys, scenes = draw(0)
    circle = toys.shape == world.SHAPES.index("circle")
    alpha = world.render(toys[circle], scenes[circle], frames=1)[1]
    expected = torch.pi * (0.92 * scenes[circle].size / 2) ** 2
    torch.testing.assert_close((alpha > 0.5).float().mean((1, 2, 3, 4)), expected, rtol=0.05, atol=0)


def test_toys_travel_the_way_they_are_told_by_twice_their_speed() -> None:
    toys, scenes = draw(0)
    round_ = toys.shape == world.SHAPES.index("circle")  # round toys: spin does not move the centre
    path = centre(world.render(toys[round_], scenes[round_])[1])
    step = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.0, 0.0]])[
        scenes[round_].direction
    ]
    expected = step * 2 * 0.46 * scenes[round_].speed.unsqueeze(1)
    # A toy that touches the border loses a sliver there.
    torch.testing.assert_close(path[:, -1] - path[:, 0], expected, rtol=0, atol=0.08)


def test_a_single_frame_is_the_middle_of_the_clip() -> None:
    toys, scenes = draw(0, n=8)
    assert torch.equal(
        world.render(toys, scenes, frames=1)[0][:, :, 0], world.render(toys, scenes)[0][:, :, 4]
    )


def test_toys_and_scenes_of_different_number_are_refused() -> None:
    toys, scenes = draw(0, n=4)
    with pytest.raises(ValueError, match="3 identities and 4 scenes"):
        world.render(toys[:3], scenes)


def test_captions_name_motion_and_background_and_the_shape_only_where_asked() -> None:
    toys, scenes = draw(0, n=2)
    toys = world.Identities(**{**vars(toys), "shape": torch.tensor([4, 3])})
    scenes = world.Scenes(
        **{**vars(scenes), "direction": torch.tensor([0, 4]), "background": torch.tensor([0, 3])}
    )
    moving, still = "a toy moving right on light background", "a toy standing still on meadow background"
    assert world.captions(toys, scenes) == [moving, still]
    assert world.captions(toys, scenes, torch.tensor([True, False])) == [moving.replace("toy", "star"), still]


def test_captions_use_exactly_the_words_of_the_vocabulary() -> None:
    toys, scenes = draw(0, n=500)
    written = world.captions(toys, scenes) + world.captions(toys, scenes, torch.ones(500, dtype=torch.bool))
    assert sorted({word for line in written for word in line.split()}) == world.vocabulary()


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
