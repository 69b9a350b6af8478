"""The baselines differ from the slot encoder in what they say they do, and in nothing else."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from refvid.core.slots import SlotEncoder
from refvid.demo.runs import demo_slots
from refvid.evidence.ablations.slot_baselines import ENCODERS, MeanEncoder, OpenEncoder, PictureEncoder

CONFIG = replace(demo_slots().slots, width=32, context=16, slots=5)


def clip() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    latent, cover = (
        torch.randn(2, 16, 4, 6, 6, generator=generator),
        torch.rand(2, 4, 3, 3, generator=generator),
    )
    return latent, cover, latent[:, :, 2:3], cover[:, 2:3]


def built(kind: type[SlotEncoder]) -> SlotEncoder:
    torch.manual_seed(0)
    encoder = kind(CONFIG, 2)
    encoder.start()
    return encoder.requires_grad_(False)


@pytest.mark.parametrize("kind", ENCODERS.values(), ids=ENCODERS)
def test_all_have_the_same_weights(kind):
    ours, theirs = built(kind).state_dict(), built(SlotEncoder).state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_mean_knows_no_order_and_reads_only_the_subject():
    latent, cover, *anchor = clip()
    encoder = built(MeanEncoder)
    features = encoder._tokens(latent)
    first, plans = encoder._read(features, cover.flatten(2))
    turned = [3, 1, 0, 2]
    again, _ = encoder._read(features[:, turned], cover.flatten(2)[:, turned])
    torch.testing.assert_close(first, again, rtol=0, atol=1e-5)
    torch.testing.assert_close(plans.sum((1, 3)), torch.ones(2, 5))
    hidden = cover.clone()
    hidden[:, 1] = 0
    other = latent.clone()
    other[:, :, 1] += 1
    read = [encoder(one, hidden, *anchor).slots for one in (latent, other)]
    torch.testing.assert_close(read[0], read[1], rtol=0, atol=1e-6)


def test_one_picture_ignores_the_clip_and_says_what_a_clip_of_it_would():
    latent, cover, anchor, anchor_cover = clip()
    read = built(PictureEncoder)(latent, cover, anchor, anchor_cover)
    alone = built(SlotEncoder)(anchor, anchor_cover, anchor, anchor_cover)
    assert torch.equal(read.slots, alone.slots) and torch.equal(read.anchors, alone.anchors)
    assert not torch.equal(read.slots, built(SlotEncoder)(latent, cover, anchor, anchor_cover).slots)


def test_an_open_gate_lets_every_slot_in():
    read, gated = built(OpenEncoder)(*clip()), built(SlotEncoder)(*clip())
    assert read.gates.eq(1).all()
    torch.testing.assert_close(gated.slots, gated.gates[..., None] * read.slots)
