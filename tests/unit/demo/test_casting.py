"""Casts of the demo world: shares and hues as they are said."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from refvid.demo import captions, casting, world


def test_the_colours_of_a_toy_are_of_three_hues_and_a_third_of_textures_is_near_white() -> None:
    toys = casting.sample_identities(2000, Generator().manual_seed(0))
    white = toys.secondary.eq(0.97).all(1)
    assert white.float().mean().item() == pytest.approx(1 / 3, abs=0.03)
    first, back, third = (captions.hue_of(one) for one in (toys.primary, toys.back, toys.secondary))
    for one, other, rows in ((first, back, ~white | white), (first, third, ~white), (back, third, ~white)):
        apart = ((one - other + 0.5) % 1 - 0.5).abs()[rows]
        assert apart.min() > 0.14


def test_of_toys_that_move_two_in_seven_turn() -> None:
    toys = casting.sample_identities(7000, Generator().manual_seed(0), dynamic_share=1.0)
    share = torch.bincount(toys.dynamics, minlength=len(world.DYNAMICS)) / 7000
    expected = torch.tensor([0.0, 1, 1, 1, 1, 2, 1]) / 7
    torch.testing.assert_close(share, expected, rtol=0, atol=0.02)
    assert toys.tempo.eq(2).float().mean().item() == pytest.approx(0.5, abs=0.03)
