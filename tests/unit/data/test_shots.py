"""Shots of a film: where cuts are found and where not, even parts, what stands still."""

from fractions import Fraction

import numpy as np
import pytest
from refvid_shots import noisy, pan, photograph

from refvid.data.vision.shots import Watched, stretches, watch

RATE = Fraction(25)


def test_a_camera_that_moves_is_not_cut_and_another_photograph_is():
    photo = photograph()
    moving = pan(photo, 140)
    assert watch(moving, RATE, 3.0).cuts == []
    other = np.concatenate([moving[:70], pan(255 - photo[:, ::-1], 140)[70:]])
    assert watch(other, RATE, 3.0).cuts == [70]


@pytest.mark.parametrize("place", [1, 2, 47, 58, 59])
def test_a_cut_is_found_wherever_it_is(place):
    pictures = np.concatenate([noisy(place), 255 - noisy(60 - place, seed=1)])
    assert watch(pictures, RATE, 3.0).cuts == [place]


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_a_flash_of_a_camera_is_no_cut(length):
    pictures = noisy(60)
    pictures[30 : 30 + length] = np.minimum(255, pictures[30 : 30 + length].astype(int) + 150)
    assert watch(pictures, RATE, 3.0).cuts == []
    pictures[30 + length :] = 255 - noisy(60, seed=3)[30 + length :]  # another shot after it
    assert watch(pictures, RATE, 3.0).cuts[-1] == 30 + length


def test_without_a_threshold_no_cut_is_looked_for():
    pictures = np.concatenate([noisy(30), 255 - noisy(30, seed=1)])
    assert watch(pictures, RATE, None).cuts == []


def test_long_shots_are_divided_evenly():
    assert list(stretches([], 250, 250)) == [(0, 250)]
    assert list(stretches([], 251, 250)) == [(0, 125), (125, 251)]
    assert list(stretches([40], 640, 250)) == [(0, 40), (40, 240), (240, 440), (440, 640)]
    for frames in range(1, 1000, 7):
        parts = list(stretches([], frames, 100))
        lengths = [stop - start for start, stop in parts]
        assert sum(lengths) == frames and max(lengths) <= 100 and max(lengths) - min(lengths) <= 1


def test_only_pairs_within_a_shot_say_whether_it_stands_still():
    seen = Watched(2, changes=[np.inf, np.inf, 0.0, 9.0, 9.0, 9.0, 0.4, 0.0, 0.6, 9.0])
    assert [seen.still(*one) for one in ((4, 8), (4, 9), (0, 4), (0, 2))] == [1.0, 0.666667, 0.5, 0.0]
