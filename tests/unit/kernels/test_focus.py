"""Focus of attention: exact as features of wider heads, against a whole mask in float64."""

import math

import pytest
import torch

from refvid.backbones.base import attend_all
from refvid.kernels.eager import masked_attention
from refvid.kernels.focus import Focus, focused, measure_maps, wide_size, widened
from refvid.kernels.grouped import Groups, in_groups

VIDEO, OF, GAMMAS = 7, (0, 0, 2, 1, 1, 1), (4.0, 9.0)  # the third key behind the video is of no map
TOKENS = VIDEO + len(OF)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def focus(maps=True, gammas=GAMMAS, batch=2):
    levels = torch.tensor([math.log(one) for one in gammas], dtype=torch.float64)
    known = torch.rand(batch, 2, VIDEO, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    known = known / known.amax(-1, keepdim=True)
    return Focus(torch.tensor(OF), levels, torch.zeros_like(known), known if maps else None)


def whole_mask(one):
    """Bias of every pair, by loops."""
    bias = torch.zeros(len(one.maps), TOKENS, TOKENS, dtype=torch.float64)
    for row in range(len(one.maps)):
        for query in range(VIDEO):
            for place, which in enumerate(OF):
                if which < 2:
                    bias[row, query, VIDEO + place] = one.levels[which] * one.maps[row, which, query]
    return bias


def call(seed=0, batch=2, size=6):
    return tuple(drawn(batch, 3, TOKENS, size, seed=seed + k) for k in range(3))


@pytest.mark.parametrize("weighed", [False, True])
def test_wider_heads_say_what_a_whole_mask_says(weighed):
    one, values, bias = focus(), call(), None
    pairs = whole_mask(one)
    assert torch.equal(one.bias(TOKENS, TOKENS), pairs)
    if weighed:
        bias = drawn(1, TOKENS, seed=5)
        pairs = pairs + bias[:, None]
    found = focused(attend_all, one)(*values, bias)
    wanted = masked_attention(*values, key_bias=pairs)
    assert found.shape == wanted.shape and (found - wanted).abs().max() < 1e-12
    assert (found - masked_attention(*values, key_bias=bias)).abs().max() > 1e-2


def test_groups_keep_hiding_keys_whatever_weight_they_have():
    video, behind = torch.arange(VIDEO), torch.arange(VIDEO, TOKENS)
    parts = (video[:3], video[3:], behind)
    keys = (((0, VIDEO),), ((0, TOKENS),), ((0, VIDEO + 3),))
    groups = Groups(keys, parts, torch.arange(TOKENS), VIDEO)
    one, values = focus(), call()
    found = focused(in_groups(attend_all, groups), one)(*values, None)
    wanted = masked_attention(*values, keep=groups.dense()[None], key_bias=whole_mask(one))
    assert (found - wanted).abs().max() < 1e-12


@pytest.mark.parametrize("axis", [-2, -3])
def test_heads_before_or_behind_the_tokens_are_widened_alike(axis):
    values = call()
    given = values if axis == -2 else [one.transpose(1, 2) for one in values]
    wide = widened(focus(), *given, axis=axis)
    assert {one.shape[-1] for one in wide} == {wide_size(6, 2)} == {8}
    for one, other in zip(wide, widened(focus(), *values), strict=True):
        assert torch.equal(one if axis == -2 else one.transpose(1, 2), other)


def test_a_map_of_ones_is_a_uniform_strength_of_the_videos_queries():
    one = focus(gammas=(4.0, 4.0))
    same = Focus(torch.zeros(6).long(), one.levels[:1], one.measured, torch.ones_like(one.maps[:, :1]))
    values, row = call(), torch.zeros(1, TOKENS, dtype=torch.float64)
    row[:, VIDEO:] = math.log(4.0)
    found = focused(attend_all, same)(*values, None)
    assert (found - attend_all(*values, row))[:, :, :VIDEO].abs().max() < 1e-12
    assert (found - attend_all(*values, None))[:, :, VIDEO:].abs().max() < 1e-12


def test_a_map_of_zeros_changes_nothing():
    one = focus()
    still = Focus(one.of, one.levels, one.measured, torch.zeros_like(one.maps))
    values = call()
    assert (focused(attend_all, still)(*values, None) - attend_all(*values, None)).abs().max() < 1e-12


def test_without_a_map_attention_is_the_hosts_own():
    assert focused(attend_all, focus(maps=False)) is attend_all


def test_maps_are_the_attention_that_references_get_scaled_to_one_row_by_row():
    one, (query, key, _) = focus(), call()
    bias = drawn(1, TOKENS, seed=5)
    measure_maps(one, attend_all, query, key, bias)
    weights = torch.softmax(query @ key.transpose(-1, -2) / 6**0.5 + bias[:, None, None], -1)
    for row in range(2):
        for which in range(2):
            keys = [VIDEO + place for place, other in enumerate(OF) if other == which]
            share = weights[row, :, :VIDEO][..., keys].sum(-1).mean(0)
            # shares are kept in fp32
            assert (one.measured[row, which] - share / share.max()).abs().max() < 1e-6
    assert (one.measured.amax(-1) - 1).abs().max() < 1e-6
    assert not torch.allclose(one.measured[0], one.measured[1])


def test_a_reference_that_nobody_sees_has_a_map_of_zeros():
    nobody = Focus(torch.full((6,), 2), focus().levels, torch.ones(2, 2, VIDEO))
    measure_maps(nobody, attend_all, *call()[:2], None)
    assert torch.equal(nobody.measured, torch.zeros(2, 2, VIDEO))


def test_more_maps_than_features_of_a_head_are_measured_too():
    levels = torch.zeros(6, dtype=torch.float64)
    one = Focus(torch.arange(6), levels, torch.zeros(2, 6, VIDEO, dtype=torch.float64))
    query, key, _ = call(size=4)
    measure_maps(one, attend_all, query, key, None)
    weights = torch.softmax(query @ key.transpose(-1, -2) / 2, -1)[:, :, :VIDEO, VIDEO:].mean(1)
    wanted = (weights / weights.amax(1, keepdim=True)).transpose(1, 2)
    assert (one.measured - wanted).abs().max() < 1e-6
