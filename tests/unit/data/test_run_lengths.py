"""Masks as run lengths: there and back, and as COCO's own tool writes them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from refvid.data.index import Clip
from refvid.data.run_lengths import good_masks, pack_mask, unpack_mask


def disc(height: int, width: int) -> np.ndarray:
    down, across = np.mgrid[:height, :width]
    return (down - height / 2) ** 2 + (across - width / 2) ** 2 < (height / 3) ** 2


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_every_mask_comes_back_as_it_was(mask):
    assert np.array_equal(unpack_mask(pack_mask(mask), mask.shape), mask)


@given(st.integers(1, 60), st.integers(1, 2000), st.data())
def test_long_runs_come_back_too(height, width, data):
    mask = np.zeros((height, width), bool)
    ends = sorted(data.draw(st.integers(0, mask.size)) for _ in range(2))
    mask.ravel(order="K")[ends[0] : ends[1]] = True
    assert np.array_equal(unpack_mask(pack_mask(mask), mask.shape), mask)


# Written by pycocotools 2.0.11: mask.encode(numpy.asfortranarray(...))["counts"].
@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (np.zeros((3, 4), bool), "<"),
        (np.ones((3, 4), bool), "0<"),
        (np.eye(3, dtype=bool), "013000"),
        (disc(12, 10), "l0562O00000001N9"),
        (
            disc(60, 40) ^ np.roll(disc(60, 40), 7, axis=1),
            "?o0n0YO_O0c0MA0b0LB0`00@0>4^O0?3]O0a0g0OZO@0?OE09OK04ON01O30LO60I090F0:0FO<0DO>0B0>0BO`00@0`00h:0XE0@"
            "0`00@1>0B0>0B1<0D1:0F0:0G070J140M1O021L051G0;1A01",
        ),
    ],
)
def test_masks_are_written_as_coco_writes_them(mask, text):
    assert pack_mask(mask) == text


def test_a_text_that_is_no_mask_of_the_size_is_refused():
    text = pack_mask(disc(12, 10))
    with pytest.raises(ValueError, match="has 120 pixels; needed 12 x 11"):
        unpack_mask(text, (12, 11))
    with pytest.raises(ValueError, match="ends within a number"):
        unpack_mask(pack_mask(np.zeros((40, 40), bool))[:1], (40, 40))
    with pytest.raises(ValueError, match="needed 1 x 1"):
        unpack_mask(pack_mask(np.ones((1, 2), bool)) + "O", (1, 1))


def test_only_good_masks_of_a_clip_are_given():
    mask = disc(12, 10)
    told = {
        "size": [12, 10], "frames": [3, 9, 15], "masks": ["", pack_mask(mask), pack_mask(~mask)],
        "quality": ["no subject", "", "in pieces"],
    }  # fmt: skip
    (found,) = good_masks(Clip("a", "a.mp4", subject=told)).items()
    assert found[0] == 9 and np.array_equal(found[1], mask)
    assert good_masks(Clip("a", "a.mp4")) == {}
