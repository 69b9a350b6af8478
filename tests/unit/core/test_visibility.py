"""Visibility: groups against a dense table in float64, removal, weights of keys, and the path that is
chosen."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from refvid.backbones.base import attend_all
from refvid.backbones.wan.geometry import WAN_2_1
from refvid.core.controls import SEES, Controls, StepWindow
from refvid.core.layout import Layout, Stream
from refvid.core.recipes import saber
from refvid.core.visibility import reference_turn, text_groups
from refvid.kernels.eager import eager_attention, masked_attention
from refvid.kernels.grouped import in_groups
from refvid.kernels.paths import BIAS, EAGER, REMOVAL, SDPA, Need, choose_path

CPU = torch.device("cpu")
FRAMES, ROWS, COLUMNS = 2, 4, 6
VIDEO = FRAMES * ROWS * COLUMNS // 4


def layout(*controls: Controls, kept=(3, 2, 4)) -> Layout:
    return Layout(
        saber(), tuple(Stream(2, 3, n, one) for n, one in zip(kept, controls, strict=False)), WAN_2_1
    )


def expected_table(made: Layout, words: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """(L, L) may see and (L,) log weight over video and all kept tokens, entry by entry."""
    owner = [-1] * VIDEO + [k for k, stream in enumerate(made.streams) for _ in range(stream.kept)]
    sees = [made.sees(index) for index in range(len(made.streams))]
    table = torch.zeros(len(owner), len(owner), dtype=torch.bool)
    for q, asking in enumerate(owner):
        for k, asked in enumerate(owner):
            if asked == -1:
                table[q, k] = asking == -1 or sees[asking] != "itself"
            elif asking == -1:
                table[q, k] = bool(int(words[q]) >> asked & 1)
            else:
                table[q, k] = asking == asked or sees[asking] == sees[asked] == "all"
    weight = torch.tensor([0.0 if k < 0 else made.streams[k].controls.log_strength(share) for k in owner])
    return table, weight.double()


controls = st.builds(
    Controls,
    st.sampled_from([0.25, 1.0, 1.0, 3.0]),
    st.sampled_from([StepWindow(), StepWindow(0.5), StepWindow(0, 0.9, 0.8)]),
    sees=st.sampled_from([one for one in SEES if one != "frames"]),  # no table says a mean
)


@settings(max_examples=60)
@given(
    st.lists(controls, min_size=1, max_size=3),
    st.sampled_from([0.0, 0.4, 0.7]),
    st.integers(0, 999),
    st.booleans(),
)
def test_groups_and_weights_equal_a_dense_table_in_float64(asked, share, seed, regions):
    generator = torch.Generator().manual_seed(seed)
    made = layout(*asked)
    cells = torch.full((FRAMES, ROWS, COLUMNS), (1 << len(asked)) - 1)
    if regions:  # whole tokens, so that a cell's bits are its token's
        tokens = torch.randint(0, 1 << len(asked), (FRAMES, ROWS // 2, COLUMNS // 2), generator=generator)
        cells = tokens.repeat_interleave(2, 1).repeat_interleave(2, 2)
    words = cells[:, ::2, ::2].flatten()
    table, weight = expected_table(made, words, share)
    now = reference_turn(made, share, cells if regions else None, None, VIDEO, FRAMES, CPU)
    acting = weight > -math.inf
    if now is None:
        assert not acting[VIDEO:].any()
        return
    rows = torch.cat(
        [torch.arange(VIDEO), VIDEO + (torch.arange(made.kept) if now.kept is None else now.kept)]
    )
    assert rows.tolist() == acting.nonzero()[:, 0].tolist()
    whole = torch.randn(3, 2, 2, VIDEO + made.kept, 8, generator=generator, dtype=torch.float64)
    wanted = masked_attention(
        *whole[:, :, :, rows], keep=table[rows][:, rows][None], key_bias=weight[rows][None]
    )
    bias = None if now.bias is None else torch.nn.functional.pad(now.bias.double(), (VIDEO, 0))
    for attend in (in_groups(attend_all, now.groups), eager_attention(now.groups)):
        got = attend(*whole[:, :, :, rows], bias)
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)  # weights came through fp32
        narrow = attend(*whole[:, :, :, rows].float(), None if bias is None else bias.float())
        torch.testing.assert_close(narrow.double(), wanted, rtol=0, atol=2e-6)


@pytest.mark.parametrize("strength", [1.0, 0.3])
@pytest.mark.parametrize("beside", [(), (Controls(),), (Controls(sees="frames"),)])
def test_reading_frame_by_frame_is_the_mean_of_a_loop_over_the_frames(strength, beside):
    """Alone, beside a reference that sees all, and beside one that does the same; nobody else sees otherwise
    for it."""
    each, made = VIDEO // FRAMES, layout(Controls(strength, sees="frames"), *beside)
    now = reference_turn(made, 0.3, None, None, VIDEO, FRAMES, CPU)
    assert now is not None and now.groups is not None
    generator = torch.Generator().manual_seed(1)
    whole = torch.randn(3, 2, 2, VIDEO + made.kept, 8, generator=generator, dtype=torch.float64)
    table = torch.ones(VIDEO + made.kept, VIDEO + made.kept, dtype=torch.bool)
    bias = torch.zeros(1, VIDEO + made.kept, dtype=torch.float64)
    spans = [VIDEO + torch.tensor(made.columns([index])) for index in range(len(made.streams))]
    for own, stream in zip(spans, made.streams, strict=True):
        bias[0, own] = math.log(stream.controls.strength)
        others = [place for other in spans if other is not own for place in other.tolist()]
        table[own[:, None], torch.tensor(others, dtype=torch.long)] = False
    wanted = masked_attention(*whole, keep=table[None], key_bias=bias)
    for own, stream in zip(spans, made.streams, strict=True):
        if stream.controls.sees != "frames":
            continue
        loop = []
        for frame in range(FRAMES):
            seen = torch.cat([torch.arange(frame * each, (frame + 1) * each), own])
            query, (key, value) = whole[0, :, :, own], whole[1:, :, :, seen]
            loop.append(masked_attention(query, key, value, None, bias[:, seen]))
        wanted[:, :, own] = torch.stack(loop).mean(0)
    for attend in (in_groups(attend_all, now.groups), eager_attention(now.groups)):
        got = attend(*whole, None if strength == 1 else bias)
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 3), st.integers(0, 999))
def test_who_reads_which_identity_equals_a_dense_table_in_float64(sizes, beside, seed):
    """References beside the video read the identities that act on all of it."""
    generator, text = torch.Generator().manual_seed(seed), 5
    words = torch.randint(0, 1 << len(sizes), (FRAMES, ROWS // 2, COLUMNS // 2), generator=generator)
    words |= int(torch.randint(0, 1 << len(sizes), (), generator=generator))  # some act everywhere
    cells = words.repeat_interleave(2, 1).repeat_interleave(2, 2)
    owner = [-1] * text + [index for index, size in enumerate(sizes) for _ in range(size)]
    table = torch.ones(VIDEO + beside, len(owner), dtype=torch.bool)
    for query in range(VIDEO + beside):
        for key, index in enumerate(owner):
            where = words.flatten() if query >= VIDEO else words.flatten()[[query]]
            table[query, key] = index < 0 or bool((where >> index & 1).all())
    query = torch.randn(1, 2, VIDEO + beside, 8, generator=generator, dtype=torch.float64)
    keys = torch.randn(2, 1, 2, len(owner), 8, generator=generator, dtype=torch.float64)
    bias = torch.zeros(1, len(owner), dtype=torch.float64)
    bias[:, text:] = torch.randn(len(owner) - text, generator=generator, dtype=torch.float64)
    attend = in_groups(attend_all, text_groups(tuple(sizes), cells, text, VIDEO, beside, 2, CPU))
    wanted = masked_attention(query, *keys, keep=table[None], key_bias=bias)
    torch.testing.assert_close(attend(query, *keys, bias), wanted, rtol=0, atol=1e-12)


def test_neutral_controls_ask_for_nothing():
    now = reference_turn(layout(Controls(), Controls(), Controls()), 0.3, None, None, VIDEO, FRAMES, CPU)
    assert now is not None and now.kept is now.bias is now.groups is None


def test_regions_that_reach_every_token_ask_for_nothing():
    everywhere = torch.full((FRAMES, ROWS, COLUMNS), 0b11)
    now = reference_turn(layout(Controls(), Controls()), 0.3, everywhere, None, VIDEO, FRAMES, CPU)
    assert now is not None and now.groups is None


def test_outside_its_window_a_reference_is_removed_and_without_any_nothing_is_left():
    late = Controls(steps=StepWindow(0.5))
    now = reference_turn(layout(late, Controls()), 0.2, None, None, VIDEO, FRAMES, CPU)
    assert now is not None and now.kept is not None and now.kept.tolist() == [3, 4]
    assert now.bias is now.groups is None
    assert reference_turn(layout(late, late), 0.2, None, None, VIDEO, FRAMES, CPU) is None


def test_a_part_that_sees_the_video_alone_gets_no_weights():
    seen = []

    def attend(query, key, value, bias):
        seen.append((query.shape[2], key.shape[2], None if bias is None else bias.shape[-1]))
        return query

    cells = torch.zeros(FRAMES, ROWS, COLUMNS, dtype=torch.long)
    cells[0] = 1
    now = reference_turn(layout(Controls(0.5)), 0.0, cells, None, VIDEO, FRAMES, CPU)
    assert now is not None and now.groups is not None and now.bias is not None
    query = torch.arange(float(VIDEO + 3)).view(1, 1, -1, 1)
    row = torch.nn.functional.pad(now.bias, (VIDEO, 0))
    out = in_groups(attend, now.groups)(query, query, query, row)
    assert sorted(seen) == [(6, VIDEO, None), (9, VIDEO + 3, VIDEO + 3)]
    assert torch.equal(out, query)  # every query's result comes back to its place


def test_soft_masks_weigh_their_tokens_and_hard_ones_beside_them_do_not():
    soft = torch.tensor([[0.5, 1.0, 0.25, 1.0, 1.0]]).log()
    now = reference_turn(layout(Controls(2.0, soft=True), Controls()), 0.0, None, soft, VIDEO, FRAMES, CPU)
    assert now is not None and now.bias is not None
    torch.testing.assert_close(now.bias.exp(), torch.tensor([[1.0, 2.0, 0.5, 1.0, 1.0]]))


def test_a_region_of_another_video_is_refused():
    with pytest.raises(ValueError, match="regions were made for a video of 12 tokens, the model runs on 24"):
        reference_turn(
            layout(Controls()),
            0.0,
            torch.zeros(FRAMES, ROWS, COLUMNS, dtype=torch.long),
            None,
            24,
            FRAMES,
            CPU,
        )


def test_a_soft_mask_of_a_reference_that_does_not_act_weighs_nothing():
    late = Controls(steps=StepWindow(0.5), soft=True)
    now = reference_turn(layout(late, Controls()), 0.1, None, torch.full((1, 5), -1.0), VIDEO, FRAMES, CPU)
    assert now is not None and now.bias is None
    now = reference_turn(layout(late, Controls()), 0.6, None, torch.full((1, 5), -1.0), VIDEO, FRAMES, CPU)
    assert now is not None and now.bias is not None and now.bias.eq(-1).all()


@pytest.mark.parametrize(
    ("need", "name", "path", "reason"),
    [
        (Need(), "auto", REMOVAL, "no key needs a weight"),
        (Need(drops_masks="x drops masks"), "auto", REMOVAL, "no key needs a weight"),
        (Need(bias=True), "auto", BIAS, "not removal: a strength"),
        (Need(True, "x drops masks"), "auto", SDPA, "not bias: x drops masks"),
        (Need(True, "x drops masks"), "eager", EAGER, "by name"),
    ],
)
def test_the_first_path_that_takes_what_is_needed_runs_and_says_why(need, name, path, reason):
    choice = choose_path(need, name)
    assert choice.path is path and reason in choice.reason


def test_an_unknown_attention_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="attention is 'sage'; choose one of auto, triton, eager"):
        choose_path(Need(), "sage")
