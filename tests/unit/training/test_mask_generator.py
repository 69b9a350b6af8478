"""Random masks: of the wanted size, of one piece, of the shapes they are named after."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from refvid.training.masks.generator import MaskGenerator, mask_of_size, one_piece, resized
from refvid.training.masks.shapes import FAMILIES, GAUGES

INTERVALS = ((0.0, 0.1), (0.1, 0.5), (0.5, 1.0), (0.3, 0.302))
SIDES = st.sampled_from([1, 2, 3, 7, 16, 29, 48])


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def gauges(family: str, n: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Gauges (n, H, W) of shapes that are to fill 0.3 of the picture, where their family asks."""
    return GAUGES[family](torch.full((n,), 0.3 * height * width), height, width, seeded(seed))


def draw(family: str, interval: tuple[float, float], n: int, size: tuple[int, int], mode="first_hit", seed=0):
    return MaskGenerator((family,), ((1.0, interval),), mode)(n, *size, seeded(seed))


def one_component(mask: Tensor) -> bool:
    """Brute force: whether spreading from one pixel of (H, W) to 8-neighbours reaches all."""
    mask = mask.bool()
    reached = torch.zeros_like(mask).flatten()
    reached[mask.flatten().int().argmax()] = True
    reached = reached.view_as(mask) & mask
    while True:
        wider = F.max_pool2d(reached[None].float(), 3, 1, 1)[0].bool() & mask
        if torch.equal(wider, reached):
            return bool(mask.any()) and torch.equal(reached, mask)
        reached = wider


def euler(mask: Tensor) -> Tensor:
    """Pieces minus holes of masks (n, H, W), 8-connected, counted in squares of 2 x 2 pixels (Gray 1971)."""
    padded = F.pad(mask.int(), (1, 1, 1, 1))
    a, b, c, d = padded[:, :-1, :-1], padded[:, :-1, 1:], padded[:, 1:, :-1], padded[:, 1:, 1:]
    count = a + b + c + d
    diagonal = count.eq(2) & a.eq(d)
    squares = count.eq(1).int() - count.eq(3).int() - 2 * diagonal.int()
    return squares.sum((1, 2)) // 4


# ---- size and piece


@settings(max_examples=200)
@given(
    st.sampled_from(FAMILIES),
    st.sampled_from(INTERVALS),
    SIDES,
    SIDES,
    st.sampled_from(["first_hit", "uniform"]),
    st.integers(0, 999),
)
def test_every_mask_is_one_piece_of_a_size_in_the_interval_or_the_nearest_to_it(
    family, interval, height, width, mode, seed
):
    masks = draw(family, interval, 4, (height, width), mode, seed)
    assert masks.shape == (4, 1, height, width) and set(masks.unique().tolist()) <= {0.0, 1.0}
    pixels = height * width
    inside = [k for k in range(1, pixels + 1) if interval[0] - 1e-9 <= k / pixels <= interval[1] + 1e-9]
    if not inside:
        middle = pixels * sum(interval) / 2
        inside = [max(1, round(middle))]
    for mask in masks[:, 0]:
        assert int(mask.sum()) in inside
        assert one_component(mask)


def test_a_mask_is_the_shape_itself_where_a_scale_hits():
    gauge = one_piece(gauges("ellipse", 60, 40, 50, 1))
    for low, high in INTERVALS[:3]:
        least, most = (torch.full((60,), round(share * 2000)) for share in (low, high))
        mask = mask_of_size(gauge, least.clamp_min(1), most, seeded())
        assert mask.sum((1, 2)).ge(least).all() and mask.sum((1, 2)).le(most).all()
        inside, outside = gauge.where(mask, -1.0).amax((1, 2)), gauge.where(~mask, math.inf).amin((1, 2))
        assert (inside < outside).all()
        assert mask.sum((1, 2)).min() > 40  # not the root alone


@pytest.mark.parametrize("mode", ["first_hit", "uniform"])
def test_a_seed_decides_the_masks_and_the_global_generator_is_left_alone(mode):
    generator, state = MaskGenerator(mode=mode), torch.get_rng_state()
    one, same, other = (generator(24, 21, 34, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_families_and_intervals_are_drawn_as_often_as_asked(monkeypatch):
    drawn = dict.fromkeys(FAMILIES, 0)

    def counting(name, shape):
        def counted(wanted, *rest):
            drawn[name] += len(wanted)
            return shape(wanted, *rest)

        return counted

    for name, shape in list(GAUGES.items()):
        monkeypatch.setitem(GAUGES, name, counting(name, shape))
    share = MaskGenerator()(3000, 20, 20, seeded()).mean((1, 2, 3))
    for count in drawn.values():
        assert count / 3000 == pytest.approx(1 / 6, abs=0.028)  # four standard deviations
    assert (share < 0.1).float().mean().item() == pytest.approx(0.1, abs=0.025)
    assert (share > 0.5).float().mean().item() == pytest.approx(0.1, abs=0.025)


def test_the_first_hit_favours_small_masks_and_uniform_does_not():
    for family in FAMILIES:
        hit = draw(family, (0.1, 0.5), 300, (40, 48)).mean((1, 2, 3))
        assert 0.15 < hit.median() < 0.3, family
        # Five standard deviations of a median of 300, of a uniform law on [0.1, 0.5]: 0.5 · 0.4 / √300 · 5.
        even = draw(family, (0.1, 0.5), 300, (40, 48), "uniform").mean((1, 2, 3))
        quartiles = even.quantile(torch.tensor([0.25, 0.5, 0.75]))
        torch.testing.assert_close(quartiles, torch.tensor([0.2, 0.3, 0.4]), rtol=0, atol=0.06)
    assert even.median() > 0.26


def test_uniform_comes_within_a_hundredth_of_the_share_it_drew():
    for share in (0.013, 0.25, 0.77):
        masks = MaskGenerator(intervals=((1.0, (share, share)),), mode="uniform")(48, 31, 45, seeded(1))
        assert masks.sum((1, 2, 3)).sub(share * 31 * 45).abs().max() <= 0.5


# ---- shapes


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "jagged_rectangle"])
def test_twice_the_scale_is_four_times_the_area(family):
    gauge = gauges(family, 200, 160, 160, 5)
    border = torch.cat([gauge[:, 0], gauge[:, -1], gauge[:, :, 0], gauge[:, :, -1]], 1).amin(1)
    area, half = ((gauge <= share * border.view(-1, 1, 1)).sum((1, 2)).double() for share in (1.0, 0.5))
    large = half > 200
    assert large.sum() > 20
    assert (area / half)[large].mean().item() == pytest.approx(4, abs=0.05)


def unbowed(gauge: Tensor) -> float:
    """The share of random pairs of pixels in whose middle the gauge is at most their mean, as for convex
    shapes."""
    n, height, width = gauge.shape
    luck = seeded(7)
    first_down, last_down = torch.randint(0, (height + 1) // 2, (2, n, 600), generator=luck) * 2
    first_right, last_right = torch.randint(0, (width + 1) // 2, (2, n, 600), generator=luck) * 2

    def at(down: Tensor, right: Tensor) -> Tensor:
        return gauge.flatten(1).gather(1, down * width + right)

    mean = (at(first_down, first_right) + at(last_down, last_right)) / 2
    middle = at((first_down + last_down) // 2, (first_right + last_right) // 2)
    return (middle <= mean * (1 + 1e-4) + 1e-3).double().mean().item()


@pytest.mark.parametrize("family", ["ellipse", "superellipse", "convex_polygon"])
def test_convex_families_are_convex(family):
    assert unbowed(gauges(family, 60, 65, 81, 2)) == 1
    assert unbowed(gauges(family, 2000, 9, 11, 3)) == 1  # the rare ones too


@pytest.mark.parametrize("family", ["fourier_blob", "concave_polygon"])
def test_concave_families_are_not_convex(family):
    assert unbowed(gauges(family, 60, 65, 81, 2)) < 0.99


# ---- one piece


@settings(max_examples=15)
@given(st.integers(0, 999), st.integers(2, 17), st.integers(2, 17))
def test_every_level_of_a_connected_gauge_is_one_piece_within_the_level_before(seed, height, width):
    rough = torch.rand(3, height, width, generator=seeded(seed)) + 0.01
    whole = one_piece(rough)
    low = rough.flatten(1).argmin(1)
    assert (whole.flatten(1).gather(1, low[:, None]) == 0).all()
    assert (
        whole.flatten(1).scatter(1, low[:, None], 9.0) >= rough.flatten(1).scatter(1, low[:, None], 9.0)
    ).all()
    for level in (0.0, 0.1, 0.4, 0.7, 0.9, 2.0):
        assert all(one_component(mask) for mask in whole <= level)


def test_a_shape_that_is_one_piece_already_is_left_alone():
    gauge = gauges("ellipse", 20, 40, 50, 3)
    lifted = one_piece(gauge)
    root = gauge.flatten(1).argmin(1, keepdim=True)
    assert torch.equal(lifted.flatten(1), gauge.flatten(1).scatter(1, root, 0.0))


def test_where_no_scale_hits_a_mask_grows_or_shrinks_to_the_nearer_end():
    steps = torch.full((4, 20, 30), 2.0)  # areas that a scale can give: 1, 200 and 600
    steps[:, 5:15, 5:25] = 1.0
    steps[:, 10, 15] = 0.0
    fewest, most = torch.tensor([150, 210, 560, 590]), torch.tensor([190, 250, 565, 595])
    masks = mask_of_size(steps, fewest, most, seeded())
    assert masks.sum((1, 2)).tolist() == [190, 210, 565, 595]
    assert all(one_component(mask) for mask in masks)
    box = steps[0] <= 1
    assert masks[0][~box].sum() == 0 and masks[1][box].all()


@settings(max_examples=20)
@given(st.integers(0, 999), st.integers(-70, 70))
def test_growing_and_shrinking_keep_the_pieces_and_the_holes(seed, change):
    noise = F.avg_pool2d(torch.rand(3, 1, 33, 40, generator=seeded(seed)), 5, 1, 2)[:, 0]
    mask = noise > noise.flatten(1).median(1).values.view(-1, 1, 1)
    before = mask.sum((1, 2))
    after = resized(mask, before + change, seeded(seed))
    assert torch.equal(after.sum((1, 2)), before + change)
    assert torch.equal(euler(after), euler(mask))
    kept, whole = (after, mask) if change < 0 else (mask, after)
    assert not (kept & ~whole).any()


def test_a_line_shrinks_to_a_point_and_a_point_grows_to_the_whole_picture():
    mask = torch.zeros(1, 7, 9, dtype=torch.bool)
    mask[0, 3] = True
    assert resized(mask, torch.tensor([1]), seeded()).sum() == 1
    mask[0, 3, 1:] = False
    assert resized(mask, torch.tensor([63]), seeded()).all()


# ---- refusals


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ({"families": ("ellipse", "heart")}, "families"),
        ({"families": ()}, "families"),
        ({"mode": "best"}, "mode is 'best'"),
        ({"intervals": ((1.0, (0.5, 0.1)),)}, "intervals"),
        ({"intervals": ((-1.0, (0.1, 0.5)),)}, "intervals"),
        ({"intervals": ((1.0, (0.1, 1.5)),)}, "intervals"),
        ({"intervals": ()}, "at least one weight"),
    ],
)
def test_a_generator_that_cannot_be_is_refused_by_name(made, named):
    with pytest.raises(ValueError, match=named):
        MaskGenerator(**made)


@pytest.mark.parametrize(
    ("asked", "named"), [((-1, 4, 4), "n is -1"), ((1, 0, 4), "height"), ((1, 4, 0), "width")]
)
def test_a_picture_that_cannot_be_is_refused_by_name(asked, named):
    with pytest.raises(ValueError, match=named):
        MaskGenerator()(*asked, seeded())


def test_no_masks_are_no_masks():
    assert MaskGenerator()(0, 5, 6, seeded()).shape == (0, 1, 5, 6)
