"""Measures of pictures in closed form: sharpness, light, flashes."""

import numpy as np
import pytest

from refvid.data.vision.measures import flashes_a_second, light_of, sharpness_of


def test_sharpness_is_the_variance_of_the_laplacian():
    point = np.zeros((9, 9, 3), np.uint8)
    point[4, 4] = 100
    values = np.zeros(81)
    values[:5] = -400, 100, 100, 100, 100  # a Laplacian of a point, wherever its neighbours lie
    assert sharpness_of(point) == pytest.approx(values.var())
    assert sharpness_of(np.full((9, 9, 3), 77, np.uint8)) == 0


def test_light_is_relative_luminance():
    for colour, light in (((255,) * 3, 1), ((0,) * 3, 0), ((255, 0, 0), 0.2126), ((128,) * 3, 0.21586)):
        assert light_of(np.full((2, 2, 3), colour, np.uint8)) == pytest.approx(light, abs=1e-5)


@pytest.mark.parametrize(
    ("light", "flashes"),
    [
        ([0.5] * 50, 0),
        ([], 0),
        ([0.2, 0.5] * 25, 12),  # 25 pictures have 24 or 25 changes
        (([0.2] * 5 + [0.5] * 5) * 5, 2),  # turns at 5, 10, 15, 20, 25: five in a second
        ([0.5] * 10 + [0.9] + [0.5] * 39, 1),  # a flash of a camera
        ([0.2, 0.29] * 25, 0),  # less than a tenth
        ([0.85, 0.99] * 25, 0),  # too bright to be seen as a flash
        (list(np.linspace(0, 1, 50)), 0),  # one way, however far
        ([0.85, 0.99] + [0.5] * 20, 0),  # neither this rise
        ([0.5, 0.95] + [0.82] * 20, 0),  # nor this fall has a dark side
        ([0.5, 0.95] + [0.75] * 20, 1),
    ],
)
def test_flashes_are_counted_as_wcag_does(light, flashes):
    assert flashes_a_second(light, 25) == flashes
