"""Checks of a race: in calls of one head, of one query, of few references, and how it takes its times."""

import math

import pytest
import torch
from refvid_pretend import pretended

from refvid.kernels.eager import masked_attention
from refvid.kernels.grouped import Groups, in_groups
from refvid.kernels.race import LAPS, MOST_ERROR_LETTERS, AttentionCall, Contender, race

CPU = torch.device("cpu")
WEIGHTS = torch.full((1, 8), math.log(0.5))
# One query sees the video alone.
ALONE = Groups(
    (((0, 40),), ((0, 32),)),
    (torch.arange(1, 40), torch.zeros(1, dtype=torch.int64)),
    torch.arange(40).roll(1),
    32,
)


def right(query, key, value, bias):
    return masked_attention(query, key, value, None, bias)


def unweighed(query, key, value, bias):
    return masked_attention(query, key, value)


def left_out(call: AttentionCall, attend, plain=None) -> dict[str, str]:
    return race(call, {"bias": Contender(attend, plain)}, lambda run, _: 1.0).left_out


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_the_first_and_the_last_head_are_checked_of_however_many(heads):
    call = AttentionCall(1, heads, 16, 40, 8, torch.float32, CPU, WEIGHTS)
    assert not left_out(call, right)
    for wrong in {0, heads - 1}:

        def attend(*given, wrong=wrong):
            out = right(*given)
            out[:, wrong] = unweighed(*given)[:, wrong]
            return out

        assert left_out(call, attend), wrong


def test_a_part_of_one_query_is_checked():
    call = AttentionCall(1, 2, 16, 40, 8, torch.float32, CPU, WEIGHTS, ALONE)
    assert not left_out(call, in_groups(right, ALONE))
    assert left_out(call, right)


def test_a_whole_mask_meets_no_tensor_of_another_device():
    """Mask as `eager` takes it, which may be asked for by name."""
    with pretended() as device:
        queries = tuple(rows.to(device) for rows in ALONE.queries)
        there = Groups(ALONE.keys, queries, ALONE.order.to(device), ALONE.video)
        found = there.dense().to("cpu")
    assert torch.equal(found, ALONE.dense()) and not found[0, 32:].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_one_reference_token_of_many_thousands_shows(dtype):
    call = AttentionCall(1, 1, 16, 4000, 1, dtype, CPU, WEIGHTS[:, :1])
    assert not left_out(call, right)
    assert left_out(call, unweighed)


@pytest.mark.parametrize("coarse", [torch.bfloat16, torch.float16])
def test_fp32_by_products_of_a_shorter_type_is_off(coarse):
    call = AttentionCall(1, 2, 16, 40, 8, torch.float32, CPU, WEIGHTS)
    rounded = left_out(call, lambda q, k, v, bias: right(q, k.to(coarse), v, bias))
    assert rounded["bias"].startswith("off by")


def test_what_a_hosts_attention_is_off_by_is_found_without_weights():
    """Held against the same: else dropped weights would be as good as the host that drops them."""
    call = AttentionCall(1, 2, 16, 40, 8, torch.float32, CPU, WEIGHTS)
    assert left_out(call, unweighed, plain=unweighed)


def test_the_median_of_the_rounds_counts():
    times = {"bias": [1.0, 9.0, 9.0, 9.0, 1.0], "sdpa": [5.0] * LAPS}
    due = [taken for one in zip(times["bias"], times["sdpa"], strict=True) for taken in one]
    call = AttentionCall(1, 2, 16, 40, 8, torch.float32, CPU, WEIGHTS)
    found = race(call, dict.fromkeys(times, Contender(right)), lambda run, _: due.pop(0))
    assert found.path == "sdpa" and found.milliseconds == {"bias": 9.0, "sdpa": 5.0}


def test_what_is_raised_is_cut_to_a_line_of_a_log():
    def wordy(*_):
        raise RuntimeError("x" * 10_000)

    call = AttentionCall(1, 2, 16, 40, 8, torch.float32, CPU, WEIGHTS)
    assert left_out(call, wordy) == {"bias": ("RuntimeError: " + "x" * 10_000)[:MOST_ERROR_LETTERS]}
