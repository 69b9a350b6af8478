"""The Wan DiT: rotations, timesteps per frame, tokens behind the video, biases on keys."""

from dataclasses import replace

import pytest
import refvid_tiny as tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refvid_world import text_encoder
from torch import Tensor

from refvid.backbones.base import Tail, attend_all
from refvid.backbones.wan.attention import SelfAttention, rotate
from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.text import CONTEXT_LENGTH, fold_padding
from refvid.core.positions import sinusoid
from refvid.kernels.eager import masked_attention
from refvid.kernels.grouped import Groups, in_groups

FRAMES, SIDE = 3, 8
# Two layers of fp32 sums in another order, on values near one; a real difference below is above 1e-3.
CLOSE = {"rtol": 0, "atol": 2e-5}
INF = float("inf")


@pytest.fixture(scope="module")
def dit() -> WanDiT:
    return made(tiny.config())


def made(sizes) -> WanDiT:
    model = WanDiT(sizes)
    model.load_state_dict(tiny.dit_state(sizes))
    return model.eval().requires_grad_(False)


def latent(batch: int = 2, channels: int = 16, frames: int = FRAMES) -> Tensor:
    return torch.randn(batch, channels, frames, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def context(batch: int = 2, length: int = 5) -> Tensor:
    return torch.randn(batch, length, tiny.TEXT_WIDTH, generator=torch.Generator().manual_seed(2))


def tail(count: int = 6, batch: int = 2, bias: Tensor | None = None) -> Tail:
    generator = torch.Generator().manual_seed(3)
    angles = torch.randn(1, count, 24, generator=generator, dtype=torch.float64)
    return Tail(torch.randn(batch, count, 96, generator=generator), angles, bias)


def picked(whole: Tail, index: Tensor) -> Tail:
    bias = None if whole.key_bias is None else whole.key_bias[:, index]
    return Tail(whole.tokens[:, index], whole.angles[:, index], bias)


def run(dit: WanDiT, extra: Tail | None = None, **kwargs) -> Tensor:
    given_arguments = {"latent": latent(), "timestep": torch.tensor([300.0, 800.0]), "context": context()}
    return dit(**{**given_arguments, **kwargs}, tail=extra)


def far(a: Tensor, b: Tensor) -> bool:
    return (a - b).abs().max().item() > 1e-3


# ---- rotation


def turn(angles: Tensor) -> Tensor:
    return torch.stack([angles.cos(), angles.sin()], -1).float()[None, :, None]


@settings(max_examples=25)
@given(st.integers(0, 999))
def test_a_rotation_keeps_norms_and_only_differences_of_angles_count(seed):
    generator = torch.Generator().manual_seed(seed)
    query, key = torch.randn(2, 1, 4, 2, 12, generator=generator)
    first, second, shift = torch.randn(3, 4, 6, generator=generator, dtype=torch.float64) * 3
    turned = rotate(query, turn(first))
    torch.testing.assert_close(
        turned.unflatten(-1, (-1, 2)).norm(dim=-1), query.unflatten(-1, (-1, 2)).norm(dim=-1), **CLOSE
    )
    products = (turned * rotate(key, turn(second))).sum(-1)
    shifted = (rotate(query, turn(first + shift)) * rotate(key, turn(second + shift))).sum(-1)
    torch.testing.assert_close(products, shifted, **CLOSE)
    pairs = torch.view_as_complex(query.double().unflatten(-1, (-1, 2)).contiguous())
    expected = pairs * torch.polar(torch.ones_like(first), first)[None, :, None]
    torch.testing.assert_close(turned.double(), torch.view_as_real(expected).flatten(-2), **CLOSE)


def test_a_timestep_becomes_cosines_then_sines_of_geometric_frequencies():
    clock = torch.tensor([0.0, 1.0, 250.0])
    frequencies = 10000.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
    angles = clock.double()[:, None] * frequencies
    # fp32 angles of up to 250 radians are exact to 2e-5.
    torch.testing.assert_close(
        sinusoid(clock, 8).double(), torch.cat([angles.cos(), angles.sin()], 1), rtol=0, atol=5e-5
    )


# ---- time


def test_equal_timesteps_per_frame_are_one_timestep(dit):
    clock = torch.tensor([300.0, 800.0])
    per_frame = clock[:, None].expand(2, FRAMES)
    torch.testing.assert_close(run(dit, timestep=per_frame), run(dit, timestep=clock), **CLOSE)
    torch.testing.assert_close(
        run(dit, tail(), timestep=per_frame), run(dit, tail(), timestep=clock), **CLOSE
    )


def test_a_frames_timestep_reaches_its_own_frame_most(dit):
    clock = torch.full((2, FRAMES), 500.0)
    other = clock.clone()
    other[:, 1] = 0
    change = (run(dit, timestep=other) - run(dit, timestep=clock)).abs().mean((0, 1, 3, 4))
    assert change.argmax() == 1
    assert change.min() > 0  # the others see it through attention


def test_where_no_token_reads_another_a_frame_is_what_it_is_at_its_own_timestep():
    deaf, clocks = made(tiny.config()), [900.0, 100.0, 400.0]
    for block in deaf.blocks:
        block.self_attn.o.weight.zero_()
    apart = deaf(latent(), torch.tensor([clocks, clocks]), context())
    for frame, clock in enumerate(clocks):
        alone = deaf(latent(), torch.tensor([clock, clock]), context())
        torch.testing.assert_close(apart[:, :, frame], alone[:, :, frame], **CLOSE)


def test_the_tail_lives_at_the_noisiest_frames_time(dit):
    # Two frames apart in time: what the tail's own frame is, the video's clean frame must not decide.
    clock = torch.tensor([[0.0, 600.0, 600.0]]).expand(2, -1)
    video, modulation = latent(), []
    hook = dit.blocks[0].register_forward_pre_hook(lambda _, given: modulation.append(given[1]))
    run(dit, tail(), latent=video, timestep=clock)
    run(dit, tail(), latent=video, timestep=torch.full((2,), 600.0))
    hook.remove()
    torch.testing.assert_close(modulation[0][:, -6:], modulation[1].expand(-1, 6, -1, -1), **CLOSE)
    assert far(modulation[0][:, 0], modulation[0][:, -1])


@pytest.mark.parametrize("clock", [torch.full((2,), 600.0), torch.tensor([[0.0, 600.0, 600.0]] * 2)])
def test_a_tail_with_a_timestep_of_its_own_lives_at_that_time(dit, clock):
    video, modulation = latent(), []
    hook = dit.blocks[0].register_forward_pre_hook(lambda _, given: modulation.append(given[1]))
    run(dit, replace(tail(), clock=torch.tensor([200.0])), latent=video, timestep=clock)
    run(dit, tail(), latent=video, timestep=torch.full((2,), 200.0))
    hook.remove()
    torch.testing.assert_close(modulation[0][:, -6:], modulation[1].expand(-1, 6, -1, -1), **CLOSE)
    assert far(modulation[0][:, -7], modulation[0][:, -1])


def test_one_frame_with_its_own_timestep_may_have_a_tail(dit):
    still = latent(frames=1)
    clock = torch.tensor([300.0, 800.0])
    torch.testing.assert_close(
        run(dit, tail(), latent=still, timestep=clock[:, None]),
        run(dit, tail(), latent=still, timestep=clock),
        **CLOSE,
    )


# ---- the tail


def test_a_tail_is_seen_by_the_video(dit):
    assert far(run(dit, tail()), run(dit))


def test_a_bias_of_zero_is_no_bias(dit):
    torch.testing.assert_close(run(dit, tail(bias=torch.zeros(1, 6))), run(dit, tail()), **CLOSE)


@settings(max_examples=8)
@given(kept=st.sets(st.integers(0, 5), min_size=1, max_size=5))
def test_tokens_with_an_infinite_bias_might_as_well_be_removed(dit, kept):
    index = torch.tensor(sorted(kept))
    bias = torch.full((1, 6), -INF).index_fill(1, index, 0.0)
    got, removed = run(dit, tail(bias=bias)), run(dit, picked(tail(), index))
    torch.testing.assert_close(got, removed, **CLOSE)
    assert far(got, run(dit, tail()))


def test_rows_of_a_batch_may_keep_different_tokens(dit):
    bias = torch.zeros(2, 6)
    bias[0, 2:], bias[1, :5] = -INF, -INF
    together = run(dit, tail(bias=bias))
    for row, index in ((0, torch.tensor([0, 1])), (1, torch.tensor([5]))):
        torch.testing.assert_close(together[row], run(dit, picked(tail(), index))[row], **CLOSE)


def test_a_tail_whose_every_token_is_masked_is_no_tail(dit):
    torch.testing.assert_close(run(dit, tail(bias=torch.full((2, 6), -INF))), run(dit), **CLOSE)


def test_a_tail_of_no_tokens_is_no_tail(dit):
    torch.testing.assert_close(
        run(dit, picked(tail(), torch.tensor([], dtype=torch.long))), run(dit), **CLOSE
    )


@settings(max_examples=5)
@given(order=st.permutations(range(6)))
def test_the_order_of_a_tail_does_not_matter_when_angles_and_biases_go_along(dit, order):
    whole = tail(bias=torch.randn(1, 6, generator=torch.Generator().manual_seed(4)))
    torch.testing.assert_close(run(dit, picked(whole, torch.tensor(order))), run(dit, whole), **CLOSE)
    swapped = replace(whole, tokens=whole.tokens.flip(1))
    assert far(run(dit, swapped), run(dit, whole))  # without them it does


@pytest.mark.parametrize("times", [2, 5])
def test_a_tail_token_that_stands_there_n_times_is_one_with_a_bias_of_log_n(dit, times):
    repeated = picked(tail(), torch.tensor([0, 1] + [2] * times))
    counted = replace(
        picked(tail(), torch.arange(3)), key_bias=torch.tensor([[0.0, 0.0, times]]).log().nan_to_num(neginf=0)
    )
    torch.testing.assert_close(run(dit, counted), run(dit, repeated), **CLOSE)


# ---- attention and context


def test_attention_with_a_bias_is_the_eager_kernel_on_the_same_queries_keys_and_values():
    torch.manual_seed(0)
    attention = SelfAttention(96, 2)
    tokens, angles = torch.randn(2, 7, 96), torch.randn(1, 7, 24)
    rotation = torch.stack([angles.cos(), angles.sin()], -1).unsqueeze(2)
    bias = torch.randn(2, 7).masked_fill(torch.rand(2, 7) < 0.3, -INF)
    split = [
        t.unflatten(-1, (2, 48))
        for t in (attention.norm_q(attention.q(tokens)), attention.norm_k(attention.k(tokens)))
    ]
    query, key = (rotate(t, rotation).transpose(1, 2) for t in split)
    value = attention.v(tokens).unflatten(-1, (2, 48)).transpose(1, 2)
    expected = attention.o(masked_attention(query, key, value, key_bias=bias).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(tokens, rotation, bias), expected, **CLOSE)
    assert far(attention(tokens, rotation), expected)


def test_folded_padding_is_512_tokens_of_padding(dit):
    encoder = text_encoder(tiny.TEXT_WIDTH)
    prompts = ["a toy", "a ring moving right on dark background"]
    tokens = encoder.tokenize(prompts)
    with torch.no_grad():
        folded, bias = fold_padding(encoder.states(tokens), tokens)
    padded = encoder.encode(prompts)
    assert folded.shape[1] < padded.shape[1] == CONTEXT_LENGTH
    torch.testing.assert_close(run(dit, context=folded, context_bias=bias), run(dit, context=padded), **CLOSE)
    assert far(run(dit, context=folded), run(dit, context=padded))


@pytest.mark.parametrize("times", [2, 7])
def test_a_word_that_stands_there_n_times_is_one_with_a_bias_of_log_n(dit, times):
    repeated = torch.cat([context(), context()[:, :1].expand(-1, times - 1, -1)], 1)
    bias = torch.zeros(2, 5)
    bias[:, 0] = torch.tensor(float(times)).log()
    torch.testing.assert_close(run(dit, context_bias=bias), run(dit, context=repeated), **CLOSE)


def test_image_features_are_refused_where_nothing_reads_them_and_read_where_something_does(dit):
    features = torch.randn(2, 257, 32)
    with pytest.raises(
        ValueError, match=r"image_features were given, but this DiT has no image embedding \(img_emb\)"
    ):
        run(dit, image_features=features)
    reader = made(tiny.config(image_width=32))
    assert far(run(reader, image_features=features), run(reader, image_features=-features))


def test_a_video_in_a_batch_does_not_see_the_others(dit):
    alone = dit(latent()[:1], torch.tensor([300.0]), context()[:1], tail=tail(batch=1))
    both = tail()
    both = replace(both, tokens=torch.cat([tail(batch=1).tokens, both.tokens[1:]]))
    torch.testing.assert_close(run(dit, both)[:1], alone, **CLOSE)


def test_a_patch_embedding_is_a_product_over_two_by_two_cells_in_row_major_order(dit):
    values = latent(batch=1)
    weight = dit.patch_embedding.weight.double()[:, :, 0]
    got = dit.embed_patches(values)[0].double()
    for index, (f, r, c) in enumerate((f, r, c) for f in range(FRAMES) for r in range(4) for c in range(4)):
        cell = values[0, :, f, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].double()
        expected = torch.einsum("ocyx,cyx->o", weight, cell) + dit.patch_embedding.bias.double()
        torch.testing.assert_close(got[index], expected, **CLOSE)


def test_attention_with_gradients_is_attention_without():
    """On a CPU the two go different ways."""
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(2, 3, length, 16, generator=generator) for length in (5, 9, 9)]
    bias = torch.randn(2, 9, generator=generator)
    bias[:, 4] = -torch.inf
    for row in (None, bias):
        without = attend_all(*values, row)
        trained = (v.clone().requires_grad_() for v in values)
        torch.testing.assert_close(attend_all(*trained, row), without, rtol=0, atol=1e-6)


def test_a_tail_that_does_not_read_the_text_passes_cross_attention_by():
    """Apart in self-attention, the tail is a sequence of its own through blocks whose reading adds
    nothing."""
    dit, whole = made(tiny.config()), tail()
    video = FRAMES * SIDE * SIDE // 4
    rows = torch.arange(video + 6)
    parts = Groups((((0, video),), ((video, video + 6),)), (rows[:video], rows[video:]), rows, video)
    apart = replace(whole, attend=in_groups(attend_all, parts), reads_text=False)
    given = latent(), torch.tensor([300.0, 800.0]), context()
    made_video, after = dit.through(*given, tail=apart)
    torch.testing.assert_close(made_video, dit(*given), **CLOSE)
    for block in dit.blocks:
        block.cross_attn.o.weight.zero_()
        block.cross_attn.o.bias.zero_()
    silent = dit.through(*given, tail=replace(apart, reads_text=True))[1]
    torch.testing.assert_close(after, silent, **CLOSE)
