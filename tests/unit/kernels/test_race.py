"""Races between attentions, with stand-ins on the CPU: who is right, who is fast, who is left out."""

import math
import time
from dataclasses import replace
from itertools import count

import pytest
import torch
from refvid_pretend import pretended
from torch import Tensor

from refvid.kernels.eager import eager_attention, masked_attention
from refvid.kernels.grouped import Groups, grouped_attention, in_groups
from refvid.kernels.race import (
    AS_HOST,
    GAIN,
    LAPS,
    OUT_OF_MEMORY,
    AttentionCall,
    Contender,
    milliseconds,
    race,
)

CPU = torch.device("cpu")
VIDEO, REFERENCES = 60, 12
TOKENS = VIDEO + REFERENCES
# Half of the video sees the references, which see all.
HALF = Groups(
    (((0, TOKENS),), ((0, VIDEO),)),
    (torch.cat([torch.arange(30), torch.arange(VIDEO, TOKENS)]), torch.arange(30, VIDEO)),
    torch.cat([torch.arange(30), torch.arange(42, TOKENS), torch.arange(30, 42)]),
    VIDEO,
)
# A reference reads two frames one by one and takes the mean.
OWN = torch.arange(VIDEO, TOKENS)
MEAN = Groups(
    (((0, TOKENS),), ((0, 30), (VIDEO, TOKENS)), ((30, VIDEO), (VIDEO, TOKENS))),
    (torch.arange(VIDEO), OWN, OWN),
    torch.arange(TOKENS),
    VIDEO,
    (OWN, torch.stack([OWN, OWN + REFERENCES], 1)),
)
WEIGHTS = torch.full((1, REFERENCES), math.log(0.5))


def called(dtype=torch.bfloat16, bias: Tensor | None = WEIGHTS, groups: Groups | None = HALF):
    return AttentionCall(2, 4, 16, TOKENS, REFERENCES, dtype, CPU, bias, groups)


def torchs(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    mask = None if bias is None else bias[:, None, None, :].to(query.dtype)
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def moved(groups: Groups, device: torch.device) -> Groups:
    """Groups on another device."""
    averaged = None
    if groups.averaged is not None:
        rows, places = groups.averaged
        averaged = rows.to(device), places.to(device)
    queries = tuple(rows.to(device) for rows in groups.queries)
    return Groups(groups.keys, queries, groups.order.to(device), groups.video, averaged)


def right(call: AttentionCall) -> Contender:
    return Contender(in_groups(torchs, call.groups))


class Stopwatch:
    """Gives each attention the time it is said to take, and remembers who was timed."""

    def __init__(self, **taken: float):
        self.taken, self.order = taken, []

    def contender(self, name: str, attend) -> Contender:
        def run(*given):
            self.order.append(name)
            return attend(*given)

        return Contender(run)

    def __call__(self, call, device) -> float:
        call()
        return self.taken[self.order[-1]]


def raced(call: AttentionCall, taken: dict[str, float], **attends):
    watch = Stopwatch(**taken)
    attends = attends or {name: right(call).attend for name in taken}
    return race(call, {name: watch.contender(name, attends[name]) for name in taken}, watch), watch


def test_the_fastest_of_those_that_are_right_wins():
    found, watch = raced(called(), {"bias": 3.0, "sdpa": 2.0, "triton": 1.0})
    assert found.path == "triton" and found.lasting and not found.left_out
    assert found.milliseconds == {"bias": 3.0, "sdpa": 2.0, "triton": 1.0}
    assert watch.order == ["bias", "sdpa", "triton"] * (1 + LAPS)  # checked, then in turn


@pytest.mark.parametrize(("first", "winner"), [(GAIN - 0.001, "bias"), (GAIN, "triton")])
def test_a_small_gain_keeps_todays_order(first, winner):
    assert raced(called(), {"bias": first, "triton": 1.0})[0].path == winner


def test_the_gain_counts_against_the_first_that_is_right():
    call = called()
    found, _ = raced(
        call, {"bias": 1.0, "sdpa": 2.0, "triton": 1.95},
        bias=lambda q, *_: torch.zeros_like(q), sdpa=right(call).attend, triton=right(call).attend,
    )  # fmt: skip
    assert found.path == "sdpa" and list(found.left_out) == ["bias"]


def unmasked(query, key, value, bias):
    return in_groups(torchs, HALF)(query, key, value, None)


def unweighed_once(query, key, value, bias):
    """One key of one reference has the weight of its neighbours' inverse."""
    wrong = bias.clone()
    wrong[:, -1] = 0.0
    return in_groups(torchs, HALF)(query, key, value, wrong)


def last_query(query, key, value, bias):
    out = in_groups(torchs, HALF)(query, key, value, bias)
    out[:, :, -1] = out[:, :, 0]
    return out


WRONG = {
    "drops weights": unmasked,
    "drops one weight": unweighed_once,
    "drops groups": lambda q, k, v, bias: torchs(q, k, v, bias),
    "the last query": last_query,
    "the last head": lambda q, k, v, bias: torch.cat(
        [in_groups(torchs, HALF)(q, k, v, bias)[:, :-1], torchs(q, k, v, bias)[:, -1:]], 1
    ),
    "the second row": lambda q, k, v, bias: in_groups(torchs, HALF)(q, k, v, bias).clone()[[0, 0]],
    "zeros": lambda q, k, v, bias: torch.zeros_like(q),
    "not a number": lambda q, k, v, bias: torch.full_like(q, math.nan),
    "scaled": lambda q, k, v, bias: 1.05 * in_groups(torchs, HALF)(q, k, v, bias),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_off_is_left_out_however_fast(wrong, dtype):
    call = called(dtype)
    found, _ = raced(call, {"bias": 9.0, "triton": 1.0}, bias=right(call).attend, triton=WRONG[wrong])
    assert found.path == "bias" and "triton" not in found.milliseconds
    assert found.left_out["triton"].startswith("off by") and "allowed" in found.left_out["triton"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("groups", [None, HALF])
@pytest.mark.parametrize("bias", [None, WEIGHTS, WEIGHTS.expand(2, -1)])
def test_roundings_are_no_error(dtype, groups, bias):
    call = called(dtype, bias, groups)
    found, _ = raced(
        call, {"bias": 1.0, "eager": 1.0}, bias=right(call).attend, eager=eager_attention(groups)
    )
    assert not found.left_out, str(found)


def test_queries_that_take_a_mean_are_checked_where_no_mean_is():
    call = called(groups=MEAN)
    found, _ = raced(
        call, {"bias": 1.0, "sdpa": 1.0, "eager": 1.0}, bias=right(call).attend,
        sdpa=lambda q, k, v, bias: torch.zeros_like(q), eager=eager_attention(MEAN),
    )  # fmt: skip
    assert list(found.left_out) == ["sdpa"]


def test_a_host_may_be_as_far_off_as_without_a_mask():
    """Someone who chose a quantised kernel has accepted its error, not a lost mask."""
    call = called(torch.float32)

    def coarse(query, key, value, bias):
        return torchs(query, (4 * key).round() / 4, (4 * value).round() / 4, bias)

    def quantised(groups):
        return in_groups(coarse, groups)

    verdict = race(call, {"bias": Contender(quantised(HALF))})
    assert verdict.path is None and "off by" in verdict.left_out["bias"]
    verdict = race(call, {"bias": Contender(quantised(HALF), quantised(None))})
    assert verdict.path == "bias" and not verdict.left_out
    verdict = race(call, {"bias": Contender(quantised(None), quantised(None))})
    assert verdict.path is None and AS_HOST < 2


def test_one_that_raises_is_left_out_by_what_it_says():
    def refuses(*_):
        raise RuntimeError("no kernel image is available\nCUDA kernel errors might be …")

    def later(attend):
        calls = count()

        def run(*given):
            if next(calls) > 1:
                raise ValueError
            return attend(*given)

        return run

    call = called()
    found, _ = raced(
        call, {"bias": 2.0, "sdpa": 1.0, "triton": 1.0}, bias=right(call).attend, sdpa=refuses,
        triton=later(right(call).attend),
    )  # fmt: skip
    assert found.path == "bias" and found.lasting
    assert found.left_out == {"sdpa": "RuntimeError: no kernel image is available", "triton": "ValueError"}
    assert str(found) == (
        "bias 2 ms; sdpa left out: RuntimeError: no kernel image is available; triton left out: ValueError"
    )


NO_ROOM = (torch.cuda.OutOfMemoryError("9 GiB"), RuntimeError("Triton Error [CUDA]: out of memory"))


@pytest.mark.parametrize("error", NO_ROOM)
def test_a_verdict_that_memory_decided_does_not_last(error):
    def hungry(*_):
        raise error

    call = called()
    found, _ = raced(call, {"bias": 2.0, "sdpa": 1.0}, bias=right(call).attend, sdpa=hungry)
    assert found.path == "bias" and found.left_out == {"sdpa": OUT_OF_MEMORY} and not found.lasting


def test_an_interrupt_is_nobodys_fault():
    def interrupted(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        race(called(), {"bias": Contender(interrupted)})


def test_each_is_told_before_it_is_tried():
    call, told = called(), []

    def first(*given):
        assert told == ["bias"]
        return right(call).attend(*given)

    race(call, {"bias": Contender(first), "sdpa": right(call)}, lambda run, _: 1.0, told.append)
    assert told == ["bias", "sdpa"]


def test_a_race_uses_up_nobodys_random_numbers_and_no_gradients():
    call = called()
    state, kept = torch.get_rng_state(), []

    def attend(query, key, value, bias):
        kept.append(query.requires_grad or torch.is_grad_enabled())
        return right(call).attend(query, key, value, bias)

    race(call, {"bias": Contender(attend)})
    assert torch.equal(torch.get_rng_state(), state) and not any(kept)


def test_contenders_get_what_blocks_hand_over():
    """Tokens before heads in memory, the run's type, and a bias of every key."""
    call, seen = called(torch.float16), []

    def attend(query, key, value, bias):
        seen.append((query, key, value, bias))
        return right(call).attend(query, key, value, bias)

    race(call, {"bias": Contender(attend)}, lambda run, _: 1.0)
    query, key, value, bias = seen[0]
    for one in (query, key, value):
        assert one.shape == (2, 4, TOKENS, 16) and one.dtype == torch.float16
        assert one.transpose(1, 2).is_contiguous()
    assert bias[:, :VIDEO].eq(0).all() and torch.equal(bias[:, VIDEO:], WEIGHTS)


def test_dense_rows_are_the_rows_of_the_whole_table():
    rows = torch.tensor([0, 29, 30, 59, 60, 71])
    assert torch.equal(HALF.dense(rows), HALF.dense()[rows])
    values = torch.randn(3, 1, 1, TOKENS, 8).double()
    found = grouped_attention(masked_attention, *values, HALF)
    right_ = masked_attention(*values, HALF.dense()[None])
    torch.testing.assert_close(found, right_)


def test_a_class_of_calls_is_by_what_decides_who_is_fastest():
    said = called().kind
    assert said == (
        "bfloat16, 4 heads of 16, about 64 tokens, 11 of references, 2 parts that see 0.9 of it, weights on keys"
    )
    big = AttentionCall(1, 40, 128, 34632, 1872, torch.bfloat16, CPU, WEIGHTS, None)
    same = AttentionCall(2, 40, 128, 34000, 1900, torch.bfloat16, CPU, 2 * WEIGHTS, None)
    assert big.kind == same.kind
    other = ({"heads": 12}, {"size": 64}, {"tokens": 80000}, {"references": 400})
    others = [replace(big, **one) for one in (*other, {"dtype": torch.float16}, {"bias": None})]
    assert len({big.kind, *(one.kind for one in others)}) == 1 + len(others)


def test_a_call_without_tokens_of_references_is_drawn_too():
    assert all(one.isfinite().all() for one in AttentionCall(1, 2, 16, 40, 0, torch.float32, CPU).draw())


def test_milliseconds_are_milliseconds():
    """Unit of the clock: neither seconds nor microseconds; on a busy machine a sleep lasts longer."""
    assert 5 <= milliseconds(lambda: time.sleep(0.005), CPU) < 4000


@pytest.mark.parametrize("groups", [None, HALF, MEAN])
def test_a_race_meets_no_tensor_of_another_device(monkeypatch, groups):
    generator = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda device: generator())
    with pretended() as device:
        there = None if groups is None else moved(groups, device)
        call = AttentionCall(2, 4, 16, TOKENS, REFERENCES, torch.bfloat16, device, WEIGHTS.to(device), there)
        found = race(call, {"bias": right(call)}, lambda run, _: run() is None or 1.0)
    assert found.path == "bias", str(found)
