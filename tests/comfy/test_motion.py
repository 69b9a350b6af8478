"""The Motion Pretext node: what core does, and the words."""

import pytest
import torch
from refvid_in_process import picture

from refvid.backbones.wan.geometry import GROUP
from refvid.core.motion import PRETEXTS, perturb
from refvid.nodes.motion import RefVidMotionPretext

pytestmark = pytest.mark.comfy


@pytest.mark.parametrize("pretext", ["inpaint", "speed", "shuffle"])
@pytest.mark.parametrize("given", [{}, {"tubes": 3}], ids=["default", "tubes"])
def test_the_node_gives_cores_clip_and_its_instruction(pretext, given):
    clip = torch.stack([picture(seed, 16, 24) for seed in range(9)])
    before = clip.clone()
    made, instruction = RefVidMotionPretext.execute(clip, pretext, 7, **given).result
    expected = perturb(pretext, clip, torch.Generator().manual_seed(7), GROUP, tubes=given.get("tubes", 2))
    assert torch.equal(made, expected) and not torch.equal(made, clip) and torch.equal(clip, before)
    assert instruction == PRETEXTS[pretext].instruction


def test_every_pretext_that_asks_for_something_can_be_chosen():
    (combo,) = [one for one in RefVidMotionPretext.GET_SCHEMA().inputs if one.id == "pretext"]
    assert combo.options == ["inpaint", "speed", "shuffle"]


def test_the_largest_seed_and_a_short_clip():
    clip = torch.stack([picture(seed, 16, 16) for seed in range(5)])
    RefVidMotionPretext.execute(clip, "shuffle", 0xFFFFFFFFFFFFFFFF)
    with pytest.raises(ValueError, match="clip has 5 of the 9 frames that 'speed' needs"):
        RefVidMotionPretext.execute(clip, "speed", 0)
