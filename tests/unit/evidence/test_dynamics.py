"""Reading a toy's dynamics from a clip: rendered ones are read right, wherever the toy goes, and a still one
is steady."""

from dataclasses import replace

import pytest
import torch

from refvid.demo import casting, world
from refvid.evidence.dynamics import MOTIONS, dynamics_of, kind_of

SIZE = 32


def toys_of_every_kind() -> world.Looks:
    """Crosses in halves, on which every dynamics shows, one of each kind."""
    toys = casting.sample_identities(len(MOTIONS), torch.Generator().manual_seed(0))
    cross = torch.full((len(MOTIONS),), 5)
    return replace(
        toys, shape=cross, texture=torch.ones_like(cross), dynamics=MOTIONS[:, 0], tempo=MOTIONS[:, 1]
    )


@pytest.mark.parametrize("seed", range(3))
def test_rendered_clips_are_what_they_are_wherever_the_toy_goes(seed):
    toys = toys_of_every_kind()
    scenes = casting.sample_scenes(len(MOTIONS), torch.Generator().manual_seed(seed))
    clips, _ = world.render(toys, scenes, 9, SIZE)
    elsewhere = replace(scenes, offset=torch.zeros_like(scenes.offset))
    assert dynamics_of(clips, toys, elsewhere).tolist() == list(range(len(MOTIONS)))
    assert kind_of(toys).tolist() == list(range(len(MOTIONS)))


def test_what_moves_otherwise_is_not_taken_for_the_toy_s_own():
    toys = toys_of_every_kind()
    scenes = casting.sample_scenes(len(MOTIONS), torch.Generator().manual_seed(1))
    steady = replace(toys, dynamics=torch.zeros_like(toys.dynamics))
    clips, _ = world.render(steady, scenes, 9, SIZE)
    assert dynamics_of(clips, toys, scenes).eq(0).all()


def test_a_little_noise_changes_nothing():
    toys = toys_of_every_kind()
    scenes = casting.sample_scenes(len(MOTIONS), torch.Generator().manual_seed(2))
    clips, _ = world.render(toys, scenes, 9, SIZE)
    noisy = clips + 0.1 * torch.randn(clips.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(dynamics_of(noisy, toys, scenes), kind_of(toys))
