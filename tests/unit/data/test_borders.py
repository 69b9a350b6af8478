"""Black borders: their sides, letters in them, and scenes that are dark themselves."""

import cv2
import numpy as np
import pytest
from refvid_shots import boxed, noisy

from refvid.data.vision.borders import lit_pixels, picture_box


def box_of(pictures):
    lit = lit_pixels(pictures)
    return None if lit is None else picture_box(lit)


@pytest.mark.parametrize(
    ("bars", "box"),
    [
        ({"top": 12, "bottom": 12}, (0, 12, 128, 72)),
        ({"left": 40, "right": 40}, (40, 0, 128, 72)),
        ({"top": 12, "bottom": 12, "left": 20, "right": 20}, (20, 12, 128, 72)),
        ({"top": 13, "bottom": 12}, (0, 14, 128, 70)),  # even sides, within the picture
        ({"left": 7, "right": 8, "level": 16}, (8, 0, 126, 72)),
        ({"bottom": 3}, (0, 0, 128, 72)),  # a thin line below alone
        ({"top": 30}, None),  # a wide dark field above alone is part of the scene
        ({"top": 12, "bottom": 12, "level": 40}, None),  # grey is no black
        ({}, None),
    ],
)
def test_black_borders_are_cropped_to_even_sides(bars, box):
    assert box_of(boxed(noisy(12), **bars)) == box


def test_letters_in_the_bars_do_not_hide_them():
    pictures = boxed(noisy(16), top=24, bottom=24)
    for index, picture in enumerate(pictures):  # other words in each, a channel's name in all
        cv2.putText(picture, f"words {index}!", (4 + index, 112), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255,) * 3)
        cv2.putText(picture, "TV", (100, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255,) * 3)
    assert box_of(pictures) == (0, 24, 128, 72)


def test_a_dark_scene_is_not_cropped():
    down, across = np.mgrid[-1:1:96j, -1:1:128j]
    spot = np.clip(1 - np.hypot(down, across) * 1.4, 0, 1)[..., None]  # a lamp in a dark room
    assert box_of((noisy(12, (96, 128)) * spot).astype(np.uint8)) is None
    night = noisy(12, (96, 128))
    night[:, :40] = 3  # a sky without light above a lit street
    assert box_of(night) is None
    assert box_of(np.full((12, 96, 128, 3), 5, np.uint8)) is None


def test_pictures_that_are_black_as_a_whole_do_not_count():
    pictures = noisy(12)
    pictures[2:] = 0
    assert box_of(pictures) is None
    framed = boxed(noisy(12), 12, 12)
    framed[2:] = 0
    assert box_of(framed) == (0, 12, 128, 72)
