"""Shapes and numbers of Saber's public mask script: statistics of many masks, single shapes in closed form.

Outlines are OpenCV's outer contours through the centres of border pixels (CHAIN_APPROX_NONE). A is its
`contourArea`, P its `arcLength`. Circularity is 4 π A / P², solidity A over the contour area of its convex
hull. Of 500 masks of 240 x 416, shares 0.1 to 0.5, the script's medians are those below.
"""

import math
from dataclasses import asdict

import cv2
import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from refvid.demo.runs import smoke_dit
from refvid.training.masks import shapes
from refvid.training.masks.generator import MaskGenerator, mask_of_size, one_piece
from refvid.training.masks.shapes import GAUGES, MASK_VERSION

HEIGHT, WIDTH = 240, 416
MEDIANS = {  # of the script: circularity, solidity; None where none is asked for
    "ellipse": (0.82, None),
    "superellipse": (0.84, None),
    "fourier_blob": (0.68, 0.93),
    "concave_polygon": (None, 0.92),
    "jagged_rectangle": (0.35, 0.92),
}
QUICK = {"jagged_rectangle": 300}  # masks; of the others 120
LUCK = (0.001, 0.5, 0.999)  # what every uniform draw of a shape is


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


# ---- statistics


def contour(mask: np.ndarray) -> tuple[float, float]:
    """Circularity and solidity of a mask of one piece."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    assert len(outlines) == 1
    area, around = cv2.contourArea(outlines[0]), cv2.arcLength(outlines[0], True)
    return 4 * math.pi * area / around**2, area / cv2.contourArea(cv2.convexHull(outlines[0]))


def pieces(mask: np.ndarray) -> int:
    return cv2.connectedComponents(mask, connectivity=8)[0] - 1


def assert_published(family: str, masks: list[np.ndarray]) -> None:
    measured = np.median([contour(mask) for mask in masks], 0)
    for found, published in zip(measured, MEDIANS[family], strict=True):
        assert published is None or found == pytest.approx(published, abs=0.03), (family, measured)


def gauges(family: str, n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gauges (n, H, W) before the rule of one piece, and the fewest and most pixels (n,) of their masks."""
    fewest, most = (torch.full((n,), round(share * HEIGHT * WIDTH)) for share in (0.1, 0.5))
    return GAUGES[family]((fewest + most) / 2, HEIGHT, WIDTH, seeded(seed)), fewest, most


@pytest.mark.parametrize("family", MEDIANS)
def test_outlines_are_as_round_and_as_solid_as_the_script_s(family):
    """Before the rule of one piece; of rectangles those count that are one piece without it."""
    gauge, fewest, most = gauges(family, QUICK.get(family, 120), 1)
    masks = list(mask_of_size(gauge, fewest, most, seeded()).numpy().astype(np.uint8))
    whole = [mask for mask in masks if pieces(mask) == 1]
    # 32 of 100 of the script's rectangles, too, are several pieces.
    assert len(whole) / len(masks) == pytest.approx(0.68 if family == "jagged_rectangle" else 1, abs=0.08)
    assert_published(family, whole)


@pytest.mark.slow
@pytest.mark.parametrize("family", MEDIANS)
def test_500_masks_of_a_family_are_as_round_and_as_solid_as_the_script_s(family):
    """Of rectangles those count that are one piece before the rule; the others have looser corners."""
    if family == "jagged_rectangle":
        gauge, fewest, most = gauges(family, 800, 2)
        raw = mask_of_size(gauge, fewest, most, seeded()).numpy().astype(np.uint8)
        rows = [row for row, mask in enumerate(raw) if pieces(mask) == 1][:500]
        assert len(rows) == 500
        masks = mask_of_size(one_piece(gauge[rows]), fewest[rows], most[rows], seeded())
    else:
        maker, luck = MaskGenerator((family,), ((1.0, (0.1, 0.5)),)), seeded(2)
        masks = torch.cat([maker(50, HEIGHT, WIDTH, luck)[:, 0] for _ in range(10)])
    assert_published(family, list(masks.numpy().astype(np.uint8)))


def test_the_rule_of_one_piece_leaves_alone_what_is_one_piece():
    for family in ("concave_polygon", "jagged_rectangle"):
        gauge, fewest, most = gauges(family, 24, 3)
        raw, ruled = (mask_of_size(one, fewest, most, seeded()) for one in (gauge, one_piece(gauge)))
        whole = torch.tensor([pieces(mask) == 1 for mask in raw.numpy().astype(np.uint8)])
        assert whole.sum() > 8 and torch.equal(raw[whole], ruled[whole]), family


# ---- single shapes


@pytest.fixture(params=LUCK)
def luck(request, monkeypatch) -> float:
    """Every uniform draw is this share of its range, every normal one 0; whole numbers are drawn."""
    monkeypatch.setattr(torch, "rand", lambda *size, **named: torch.full(size, request.param))
    monkeypatch.setattr(torch, "randn", lambda *size, **named: torch.zeros(size))
    return request.param


def between(low: float, high: float, luck: float) -> float:
    return low + (high - low) * luck


def offsets(margin: float, height: int, width: int, luck: float) -> tuple[Tensor, Tensor]:
    """Distances of pixel centres from the centre of a shape: down (H, 1) and right (W)."""
    top, left = (between(margin, 1 - margin, luck) * side - 0.5 for side in (height, width))
    return (torch.arange(height) - top)[:, None], torch.arange(width) - left


def star(monkeypatch, family: str, wanted: Tensor, height: int, width: int) -> tuple[Tensor, ...]:
    """Offsets, angles and radii of which a family makes its polygons."""
    seen = []
    monkeypatch.setattr(shapes, "_star", lambda *parts: seen.append(parts) or parts[0])
    GAUGES[family](wanted, height, width, seeded())
    return seen[0]


@pytest.mark.parametrize("size", [(48, 70), (70, 48)])
def test_an_ellipse_is_the_published_one(size, luck):
    down, right = offsets(0.1, *size, luck)
    base = between(0.15, 0.35, luck) * size[0]
    expected = ((down / base) ** 2 + (right / base / between(0.5, 2, luck)) ** 2).sqrt().clamp_min(1e-3)
    torch.testing.assert_close(GAUGES["ellipse"](torch.ones(1), *size, seeded())[0], expected)


@pytest.mark.parametrize("size", [(48, 70), (70, 48)])
def test_a_superellipse_is_the_published_one(size, luck):
    down, right = (part.double() for part in offsets(0.12, *size, luck))
    base, power = between(0.12, 0.30, luck) * size[0], between(2.2, 6, luck)
    across = (right / base / between(0.6, 1.7, luck)).abs()
    expected = ((down / base).abs() ** power + across**power) ** (1 / power)
    found = GAUGES["superellipse"](torch.ones(1), *size, seeded())[0]
    torch.testing.assert_close(found, expected.clamp_min(1e-3).float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(48, 70), (71, 49)])
def test_a_rectangle_without_noise_is_the_published_one(size, luck):
    height, width = size
    down = (torch.arange(height) - height // 2).abs()[:, None] - 1
    right = (torch.arange(width) - width // 2).abs() - 1
    base = between(0.12, 0.30, luck) * height
    expected = torch.maximum(down / base, right / base / between(0.6, 1.7, luck)).clamp_min(1e-3)
    torch.testing.assert_close(GAUGES["jagged_rectangle"](torch.ones(1), *size, seeded())[0], expected)


@pytest.mark.parametrize("share", LUCK)
def test_edges_of_a_rectangle_have_noise_smoothed_twice_of_the_published_strength(monkeypatch, share):
    monkeypatch.setattr(torch, "rand", lambda *size, **named: torch.full(size, share))
    n, height, width = 8, 61, 3001
    gauge = GAUGES["jagged_rectangle"](torch.ones(n), height, width, seeded())
    base, aspect = between(0.12, 0.30, share) * height, between(0.6, 1.7, share)
    # Far to the sides only the edge of that row counts.
    strong = between(0.5, 3, share)
    edges = gauge[:, :, [0, -1]] * base * aspect - 1499
    torch.testing.assert_close(edges.std(1, correction=0), torch.full((n, 2), strong), rtol=5e-3, atol=0)
    assert (edges[..., 0] - edges[..., 1]).abs().amax(1).gt(strong / 2).all(), "two edges, two noises"
    # 1, 4, 6, 4, 1: neighbours share 56 of 70, the next but one 28, the fourth 1.
    noise = shapes._edge_noise(400, 501, seeded(1))
    torch.testing.assert_close(noise.std(1, correction=0), torch.ones(400), rtol=1e-4, atol=0)
    for away, expected in ((1, 56 / 70), (2, 28 / 70), (4, 1 / 70), (5, 0.0)):
        assert (noise[:, away:] * noise[:, :-away]).mean().item() == pytest.approx(expected, abs=0.01)


def test_the_two_pairs_of_edges_of_a_rectangle_have_strengths_of_their_own(monkeypatch):
    strengths = iter((1.0, 2.0))

    def lowest(n: int, low: float, high: float, _: Generator) -> Tensor:
        return torch.full((n, 1, 1), next(strengths) if (low, high) == (0.5, 3) else low)

    monkeypatch.setattr(shapes, "_uniform", lowest)
    gauge = GAUGES["jagged_rectangle"](torch.ones(200), 61, 61, seeded())
    base, aspect = 0.12 * 61, 0.6
    # Beside the middle of an edge no other counts.
    left, upper = gauge[:, 24:37, 0] * aspect * base, gauge[:, 0, 24:37] * base
    assert (left - 29).square().mean().sqrt().item() == pytest.approx(1, rel=0.1)
    assert (upper - 29).square().mean().sqrt().item() == pytest.approx(2, rel=0.1)


def test_a_fourier_blob_has_the_published_waves_and_a_least_radius_of_a_fifth(monkeypatch):
    n, height, width = 4000, 20, 34
    down, right, angles, radius = star(monkeypatch, "fourier_blob", torch.ones(n), height, width)
    torch.testing.assert_close(radius.amin(1), torch.full((n,), 0.2))
    torch.testing.assert_close(1 / right.diff(dim=2), torch.full((n, 1, 33), 0.25 * math.sqrt(680 / math.pi)))
    torch.testing.assert_close(down.diff(dim=1).mean(), right.diff(dim=2).mean())
    assert angles.shape == (n, 129)
    waves = torch.fft.rfft(radius[:, :-1].double())[:, 1:] / 64  # a - bi
    assert waves[:, 6:].abs().max() < 1e-5
    for order, chance in zip(range(1, 7), (1, 1, 1, 0.75, 0.5, 0.25), strict=True):
        wave = waves[:, order - 1]
        there = wave.abs() > 1e-5
        assert there.double().mean().item() == pytest.approx(chance, abs=0.03)
        for part in (wave[there].real, wave[there].imag):
            assert part.std().item() == pytest.approx(0.25 / (1 + order), rel=0.08)


def test_a_fourier_blob_keeps_its_margin(monkeypatch, luck):
    down, right, *_ = star(monkeypatch, "fourier_blob", torch.ones(1), 20, 34)
    base = 0.25 * math.sqrt(680 / math.pi)
    for found, expected in zip((down, right), offsets(0.12, 20, 34, luck), strict=True):
        torch.testing.assert_close(found[0].flatten() * base, expected.flatten(), rtol=1e-4, atol=1e-4)


def test_dents_of_a_concave_polygon_are_the_published_ones(monkeypatch, luck):
    """All dents of a shape lie in one place, and its corners at equal gaps."""
    _, _, angles, radius = star(monkeypatch, "concave_polygon", torch.full((60,), 9.0), 20, 34)
    wide, deep = between(0.10, 0.35, luck), between(0.18, 0.42, luck)
    away = (angles - 2 * math.pi * luck + math.pi) % (2 * math.pi) - math.pi
    corner = angles < 2 * math.pi - 1e-4
    counted = set()
    for row in range(60):
        dent = deep * torch.exp(-0.5 * (away[row] / wide) ** 2)
        error = [(radius[row] - (1 - dents * dent).clamp_min(0.25))[corner[row]].abs().max()
                 for dents in (2, 3, 4)]  # fmt: skip
        assert min(error) < 1e-4
        counted.add(error.index(min(error)))
    assert counted == {0, 1, 2}


def test_the_radius_of_a_concave_polygon_has_noise_smoothed_twice(monkeypatch):
    uniform = shapes._uniform
    # Dents have no depth.
    monkeypatch.setattr(shapes, "_uniform", lambda *draw: uniform(*draw) * (draw[1:3] != (0.18, 0.42)))
    _, _, angles, radius = star(monkeypatch, "concave_polygon", torch.ones(4000), 5, 5)
    corners = (angles < 2 * math.pi - 1e-6).sum(1)
    assert corners.min() == 28 and corners.max() == 63
    noise = radius[:, :28] - 1
    assert noise.std().item() == pytest.approx(0.18 * math.sqrt(70) / 16, rel=0.02)
    assert (noise[:, 1:] * noise[:, :-1]).mean().item() / noise.var().item() == pytest.approx(0.8, abs=0.02)
    closing = radius.gather(1, corners[:, None])
    assert torch.equal(closing, radius[:, :1])


def test_noise_around_a_polygon_is_smoothed_twice_across_its_first_corner():
    impulse = torch.zeros(1, 9)
    impulse[0, 0] = 16
    found = shapes._smoothed_around(impulse, torch.tensor([[7]]))
    assert found[0, :7].tolist() == [6, 4, 1, 0, 0, 1, 4]


def test_gaps_between_corners_are_of_the_published_gamma_law():
    gaps = shapes._gaps(3000, 63, seeded()).double()
    # Mean, variance and third central moment of the law: 1.4, 1.4, 2.8.
    assert gaps.mean().item() == pytest.approx(1.4, rel=0.01)
    assert gaps.var().item() == pytest.approx(1.4, rel=0.03)
    assert ((gaps - 1.4) ** 3).mean().item() == pytest.approx(2.8, rel=0.1)


@pytest.mark.parametrize("family", ["convex_polygon", "concave_polygon"])
def test_polygons_are_of_the_wanted_area(monkeypatch, family, luck):
    wanted, turn = torch.tensor([50.0, 200.0, 5000.0]), torch.tensor(2 * math.pi * luck)
    aspect = between(0.6, 1.7, luck) if family == "convex_polygon" else 1
    down, right, _, radius = star(monkeypatch, family, wanted, 30, 50)
    y, x = offsets(0.12, 30, 50, luck)
    high = (wanted / math.pi / aspect).sqrt().view(-1, 1, 1)  # of an ellipse of area π · high · aspect · high
    along, across = y / high, x / high / aspect
    torch.testing.assert_close(down, turn.cos() * along - turn.sin() * across, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(right, turn.sin() * along + turn.cos() * across, rtol=1e-4, atol=1e-4)
    assert radius.max() == pytest.approx(1, abs=0.05)


def test_the_wanted_area_is_the_middle_of_the_interval(monkeypatch):
    seen = []
    shape = GAUGES["ellipse"]
    monkeypatch.setitem(GAUGES, "ellipse", lambda wanted, *rest: seen.append(wanted) or shape(wanted, *rest))
    MaskGenerator(("ellipse",), ((1.0, (0.1, 0.5)),))(3, 20, 30, seeded())
    assert seen[0].tolist() == [180.0] * 3  # 0.3 of 600


# ---- what is kept


def test_masks_that_are_drawn_otherwise_have_another_version():
    """Raise MASK_VERSION with what is drawn, and put the new areas here."""
    areas = MaskGenerator()(12, 24, 32, seeded(7)).sum((1, 2, 3)).int().tolist()
    assert (MASK_VERSION, areas) == (2, [199, 169, 91, 227, 686, 146, 194, 155, 184, 106, 28, 47])


def test_what_masks_made_is_named_by_their_version():
    """Encoded rows are kept by the text of how they were made, runs by its fields."""
    how = smoke_dit().how
    assert f"version={MASK_VERSION}" in str((1, how)) and asdict(how)["generator"]["version"] == MASK_VERSION
    with pytest.raises(TypeError):
        MaskGenerator(version=1)  # pyright: ignore[reportCallIssue]
