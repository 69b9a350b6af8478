"""The demo world: what a toy is stays put while its scene changes, and captions tell the truth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Generator, Tensor

from refvid.demo import casting, world
from refvid.demo.shapes import SHAPES, TEXTURES
from refvid.drawing import sheet


def draw(seed: int, n: int = 64) -> tuple[world.Looks, world.Scenes]:
    generator = Generator().manual_seed(seed)
    return casting.sample_identities(n, generator), casting.sample_scenes(n, generator)


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
    others = casting.other_scenes(scenes, Generator().manual_seed(1))
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
    for scene in (scenes, casting.other_scenes(scenes, Generator().manual_seed(1))):
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
        [picture[0, :, [25, 39], 32], picture[1, :, 32, [25, 39]]]
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
    torch.testing.assert_close(path[:, -1] - path[:, 0], step, rtol=0, atol=0.02)


def test_a_window_of_a_scene_shows_the_pictures_of_the_whole() -> None:
    toys, scenes = draw(0, n=6)
    toys = replace(toys, dynamics=1 + torch.arange(6))
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
    """Height of the centre, width and height of a square that hops, spins, pulses, squashes, turns and bends,
    picture by picture."""
    kinds = len(world.DYNAMICS)
    toys, scenes = draw(0, n=kinds)
    toys = replace(
        toys,
        shape=torch.full((kinds,), 1),
        dynamics=torch.arange(kinds),
        tempo=torch.full((kinds,), tempo),
    )
    scenes = replace(scenes, direction=torch.full((kinds,), 4), offset=torch.zeros(kinds, 2))
    alpha = world.render(toys, scenes, 9, 200)[1]
    wide, high = alpha.sum(-1).amax(-1)[:, 0] / 200, alpha.sum(-2).amax(-1)[:, 0] / 200
    phase = tempo * torch.pi * torch.linspace(0, 2, 9)
    swing, one, side = 0.22 * phase.sin(), torch.ones(9), 0.32  # of a square, as a share of the picture
    sizes = {
        "steady": (one, one),
        "hopping": (one, one),
        "pulsing": (1 + swing, 1 + swing),
        "squashing": (1 + swing, 1 - swing),
        "turning": (phase.cos().abs().clamp_min(0.12), one),
        "bending": (one, one),
    }
    for name, (x, y) in sizes.items():
        row = world.DYNAMICS.index(name)
        torch.testing.assert_close(wide[row], side * x, rtol=0, atol=0.02)
        torch.testing.assert_close(high[row], side * y, rtol=0, atol=0.02)
    # the longest row of a turned square
    chord = 1 / torch.maximum((phase / 2).cos().abs(), (phase / 2).sin().abs())
    torch.testing.assert_close(wide[world.DYNAMICS.index("spinning")], side * chord, rtol=0, atol=0.02)
    lift = centre(alpha)[world.DYNAMICS.index("hopping"), :, 1]
    torch.testing.assert_close(lift, 0.125 * phase.cos(), rtol=0, atol=0.01)


def test_a_toy_that_bends_has_its_head_aside_and_its_waist_the_other_way() -> None:
    toys, scenes = draw(0, n=1)
    toys = replace(toys, shape=torch.tensor([1]), dynamics=torch.tensor([6]), tempo=torch.tensor([1]))
    scenes = replace(scenes, direction=torch.tensor([4]), offset=torch.zeros(1, 2))
    alpha = world.render(toys, scenes, torch.tensor([-0.5]), 200)[1][0, 0, 0]  # a quarter of a cycle
    ruler = torch.linspace(-1, 1, 200)
    middles = (alpha * ruler).sum(1) / alpha.sum(1).clamp_min(1e-6)
    for height in (0.0, 0.25):
        row = int(((ruler - height).abs()).argmin())
        expected = -0.5 * 0.4 * ((ruler[row] / 0.4) ** 2 - 1 / 3)
        assert middles[row].item() == pytest.approx(expected.item(), abs=0.01)


def test_a_toy_that_turns_shows_its_back_mirrored_in_the_middle_of_a_cycle() -> None:
    toys, scenes = draw(0, n=12)
    toys = replace(toys, dynamics=torch.full((12,), world.DYNAMICS.index("turning")), tempo=torch.ones(12))
    clips = world.render(toys, scenes)[0]
    middle = world.render(toys, scenes, torch.zeros(1))[0]
    behind = world.render(replace(casting.steady(toys), primary=toys.back), scenes, torch.zeros(1))[0]
    across = replace(scenes, offset=scenes.offset * torch.tensor([-1.0, 1.0]))
    mirrored = world.render(replace(casting.steady(toys), primary=toys.back), across, torch.zeros(1))[0].flip(
        -1
    )
    torch.testing.assert_close(middle, mirrored, rtol=0, atol=1e-4)
    assert (middle - behind).abs().max() > 0.1  # halves are the other way round
    torch.testing.assert_close(clips[:, :, 4], middle[:, :, 0], rtol=0, atol=1e-5)
    seen = world.render(casting.steady(toys), replace(scenes, side=torch.ones(12).long()), torch.zeros(1))[0]
    torch.testing.assert_close(seen, middle, rtol=0, atol=1e-5)


def test_a_duet_is_its_two_toys_side_by_side() -> None:
    toys, scenes = draw(0, n=32)
    beside, places = draw(1, n=32)[0], casting.duets(scenes)
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


def test_a_single_frame_is_the_middle_of_the_clip() -> None:
    toys, scenes = draw(0, n=8)
    assert torch.equal(world.render(toys, scenes, 1)[0][:, :, 0], world.render(toys, scenes)[0][:, :, 4])


def test_toys_and_scenes_of_different_number_are_refused() -> None:
    toys, scenes = draw(0, n=4)
    with pytest.raises(ValueError, match="toy 0: 3 identities and 4 scenes; give 4 of each"):
        world.render(toys[:3], scenes)
    with pytest.raises(ValueError, match="toy 1: 3 identities and 3 scenes; give 4 of each"):
        world.render_cast([(toys, scenes), (toys[:3], scenes[:3])])
    with pytest.raises(ValueError, match="there is no toy; give one or more"):
        world.render_cast([])


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


@pytest.mark.parametrize(
    ("frames", "shown", "wanted"),
    [(17, 3, [0, 8, 16]), (6, 3, [0, 3, 5]), (2, 3, [0, 1]), (1, 3, [0]), (17, 6, [0, 3, 6, 10, 13, 16])],
)
def test_frames_of_a_sheet_are_evenly_apart_from_the_first_to_the_last(frames, shown, wanted) -> None:
    clip = torch.arange(frames).view(1, frames, 1, 1).expand(3, -1, 8, 8) / 127.5 - 1
    drawn = sheet.draw_sheet([[clip]], ["clip"], scale=1, shown=shown)
    places = [(6 + 10 * place + 4, 16 + 6 + 4) for place in range(len(wanted))]
    assert [drawn.getpixel(place)[0] for place in places] == wanted


def test_a_toy_spins_as_a_tilted_one_stands_by_half_its_phase() -> None:
    toys, scenes = draw(0, n=8)
    toys = replace(toys, dynamics=torch.full((8,), 2), tempo=torch.ones(8).long())
    scenes = replace(scenes, direction=torch.full((8,), 4))
    quarter = torch.tensor([-0.5])  # of a cycle; half a quarter turn
    spun = world.render(toys, scenes, quarter, 64)[0]
    tilted = replace(scenes, rotation=torch.full((8,), torch.pi / 4))
    stands = world.render(casting.steady(toys), tilted, quarter, 64)[0]
    torch.testing.assert_close(spun, stands, rtol=0, atol=1e-4)


def test_of_a_toy_behind_another_only_what_is_not_hidden_is_seen() -> None:
    toys, scenes = draw(0, n=8)
    beside = draw(1, n=8)[0]
    _, alpha = world.render_cast([(toys, scenes), (beside, scenes)], 3, 64)
    back, front = (world.render(one, scenes, 3, 64)[1][:, 0] for one in (toys, beside))
    torch.testing.assert_close(alpha, torch.stack([back * (1 - front), front], 1))
