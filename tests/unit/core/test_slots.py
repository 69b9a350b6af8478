"""The slot encoder: its parts against torch and loops, what it reads, what it does not, and that order
matters."""

import pytest
import torch
from torch import Tensor, nn

from refvid.backbones.wan.slots import slots_1_3b, slots_5b, slots_14b
from refvid.core.slots import (
    SlotEncoder,
    SlotReader,
    gated,
    place_tokens,
)
from refvid.demo.runs import demo_slots

FRAMES, CELLS = 4, 10


@pytest.fixture
def encoder() -> SlotEncoder:
    torch.manual_seed(0)
    encoder = SlotEncoder(demo_slots().slots, 2)
    encoder.start()
    return encoder.eval().requires_grad_(False)


def clip(batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Latents of clips with the cover of their tokens, of which some are nobody's, and an anchor picture of
    each."""
    generator = torch.Generator().manual_seed(seed)
    latent = torch.randn(batch, 16, FRAMES, CELLS, CELLS, generator=generator)
    cover = torch.rand(batch, FRAMES, CELLS // 2, CELLS // 2, generator=generator)
    cover = cover * (cover > 0.4)
    return latent, cover, latent[:, :, :1], cover[:, :1]


def test_the_recurrent_unit_is_torch_s():
    torch.manual_seed(0)
    unit, read, state = nn.GRUCell(8, 8), torch.randn(5, 8), torch.randn(5, 8)
    ours = gated(read @ unit.weight_ih.T + unit.bias_ih, state @ unit.weight_hh.T + unit.bias_hh, state)
    torch.testing.assert_close(ours, unit(read, state), rtol=0, atol=1e-6)


def test_a_token_holds_its_patch_and_its_place():
    latent = torch.randn(1, 3, 2, 4, 6)
    tokens = place_tokens(latent, 2, 8)
    for frame, row, column in [(0, 0, 0), (1, 1, 2), (1, 0, 1)]:
        token = tokens[0, frame, row * 3 + column]
        patch = latent[0, :, frame, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        torch.testing.assert_close(token[:12], patch.flatten())
        angles = [place * 10000.0 ** (-k / 4) for place in (frame, row, column) for k in range(4)]
        waves = torch.tensor(angles).view(3, 4)
        torch.testing.assert_close(token[12:].view(3, 8), torch.cat([waves.cos(), waves.sin()], 1))


def test_every_slot_reads_and_all_of_the_subject_is_read(encoder):
    latent, cover, *anchor = clip()
    plans = encoder(latent, cover, *anchor).plans
    torch.testing.assert_close(plans.sum(3), torch.ones(2, FRAMES, 16), rtol=0, atol=2e-4)
    share = cover.flatten(2) / cover.flatten(2).sum(2, keepdim=True)
    torch.testing.assert_close(plans.sum(2) / 16, share, rtol=0, atol=1e-5)


def test_what_is_not_the_subject_is_not_read(encoder):
    latent, cover, _, anchor_cover = clip()
    outside = cover.eq(0).repeat_interleave(2, 2).repeat_interleave(2, 3)[:, None]
    other = torch.where(outside, torch.randn_like(latent), latent)
    assert not other.equal(latent)
    got, want = (encoder(one, cover, one[:, :, :1], anchor_cover) for one in (other, latent))
    torch.testing.assert_close(got.slots, want.slots, rtol=0, atol=1e-6)
    torch.testing.assert_close(got.anchors, want.anchors, rtol=0, atol=1e-6)


def test_order_of_frames_matters(encoder):
    latent, cover, *anchor = clip()
    turned = [2, 0, 3, 1]
    ordered = encoder(latent, cover, *anchor).slots
    shuffled = encoder(latent[:, :, turned], cover[:, turned], *anchor).slots
    assert (ordered - shuffled).norm() > 0.02 * ordered.norm()


def test_order_of_tokens_inside_a_frame_does_not():
    torch.manual_seed(0)
    reader = SlotReader(demo_slots().slots).requires_grad_(False)
    slots, tokens, weights = torch.randn(2, 16, 128), torch.randn(2, 25, 128), torch.rand(2, 25)
    turned = torch.randperm(25)
    own = torch.randn(1, 16, 128)
    got, plan = reader(slots, own, tokens[:, turned], weights[:, turned])
    want, expected = reader(slots, own, tokens, weights)
    torch.testing.assert_close(got, want, rtol=0, atol=2e-5)
    torch.testing.assert_close(plan, expected[:, :, turned], rtol=0, atol=2e-5)


def test_slots_that_have_read_the_same_still_read_what_each_began_for():
    """Slots in one state, of which only the beginnings differ: they route differently, and alike where those
    are alike."""
    torch.manual_seed(0)
    reader = SlotReader(demo_slots().slots).requires_grad_(False)
    slots, tokens, weights = (
        torch.randn(1, 1, 128).expand(1, 16, 128),
        torch.randn(1, 25, 128),
        torch.ones(1, 25),
    )
    own = torch.randn(1, 16, 128)
    own[:, 1] = own[:, 0]
    plan = reader(slots, own, tokens, weights)[1][0]
    torch.testing.assert_close(plan[0], plan[1], rtol=0, atol=1e-6)
    apart = torch.pdist(plan[1:])
    assert apart.min() > 0.02, apart.min()
    even = reader(slots, own[:, :1].expand_as(own), tokens, weights)[1][0]
    torch.testing.assert_close(even, torch.full_like(even, 1 / 25), rtol=0, atol=1e-4)


def test_a_frame_without_the_subject_changes_nothing(encoder):
    latent, cover, *anchor = clip()
    cover = cover.clone()
    cover[0, 2] = 0
    other = latent.clone()
    other[0, :, 2] = torch.randn(16, CELLS, CELLS)
    got, want = (encoder(one, cover, *anchor) for one in (other, latent))
    assert got.slots.equal(want.slots) and got.plans[0, 2].eq(0).all()


def test_the_anchor_is_the_same_whatever_the_clip_shows(encoder):
    latent, cover, *anchor = clip()
    elsewhere = encoder(torch.randn_like(latent), cover, *anchor)
    assert elsewhere.anchors.equal(encoder(latent, cover, *anchor).anchors)


def test_gates_open_what_the_slots_say(encoder):
    given = clip()
    plain = encoder(*given)
    nn.init.constant_(encoder.gate.bias, 40.0)
    open_ = encoder(*given)
    assert open_.gates.eq(1).all() and plain.gates.max() < 0.5
    torch.testing.assert_close(plain.slots, plain.gates[..., None] * open_.slots, rtol=0, atol=1e-6)


def test_float32_is_float64(encoder):
    given = clip()
    single = encoder(*given)
    double = encoder.double()(*(one.double() for one in given))
    torch.testing.assert_close(single.slots.double(), double.slots, rtol=0, atol=2e-5)
    torch.testing.assert_close(single.anchors.double(), double.anchors, rtol=0, atol=1e-5)


def test_every_weight_learns():
    torch.manual_seed(0)
    encoder = SlotEncoder(demo_slots().slots, 2)
    encoder.start()
    out = encoder(*clip())
    (out.slots.square().mean() + out.anchors.square().mean() + encoder.nobody().square().mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in encoder.parameters())


@pytest.mark.parametrize(
    ("config", "context", "channels"), [(slots_1_3b, 1536, 16), (slots_14b, 5120, 16), (slots_5b, 3072, 48)]
)
def test_public_sizes_give_tokens_of_wan_s_width(config, context, channels):
    with torch.device("meta"):
        encoder = SlotEncoder(config(), 2)
        out = encoder.nobody()
    assert out.shape == (20, context) and config().channels == channels
