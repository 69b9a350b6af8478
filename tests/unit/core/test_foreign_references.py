"""References and identities on backbones that are no Wan: what core makes of them, against loops over cells
and pictures."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refvid_geometries import COARSE, FOREIGN, STRANGE, UNEVEN, cells_of, foreign, spans
from torch import Tensor

from refvid.backbones.base import attend_all
from refvid.core.controls import Controls, FrameWindow
from refvid.core.inspection import Sizes, evaluation_work, inspect
from refvid.core.layout import Layout, Stream
from refvid.core.masks import latent_mask
from refvid.core.positions import reference_angles
from refvid.core.published_recipes import bernini
from refvid.core.reach import reach, token_words
from refvid.core.recipes import saber
from refvid.core.references import arrange, make_reference, prepare, reference_input
from refvid.core.visibility import reference_turn, text_groups
from refvid.kernels.eager import masked_attention
from refvid.kernels.grouped import in_groups
from refvid.kernels.paths import Need, choose_path

CPU = torch.device("cpu")
LATENT = (2, 5, 7)  # sides that no patch but 1 divides
KEPT = (3, 2)
STREAMS = (Stream(2, 3, KEPT[0]), Stream(2, 3, KEPT[1]))
geometries = st.sampled_from(list(FOREIGN.values()))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn_cells(seed: int = 0) -> Tensor:
    """Bits of two references; most cells have none, so that tokens differ by all of theirs."""
    bits = torch.rand(2, *LATENT, generator=seeded(seed)) > 0.85
    return bits[0].long() + 2 * bits[1].long()


def bits_of(cells: Tensor, geometry) -> list[int]:
    """Bits of all the cells of every token."""
    found = []
    for token in product(*map(range, geometry.tokens(*LATENT))):
        held = cells_of(cells, geometry, token).flatten().tolist()
        found.append(
            (1 if any(word & 1 for word in held) else 0) + (2 if any(word & 2 for word in held) else 0)
        )
    return found


# ---- where a reference acts


@foreign
@pytest.mark.parametrize("moving", [True, False])
@pytest.mark.parametrize("coarser", [None, 2], ids=["own stride", "twice the stride"])
def test_a_reference_reaches_cells_and_latent_frames_of_the_geometry(geometry, moving, coarser):
    """Pictures 2 to group + 1 lie in two latent frames."""
    stride, grid = geometry.stride * (coarser or 1), (4, 2, 3)
    pictures = spans(geometry, grid[0])
    first, last = 2, geometry.group + 1
    region = torch.rand(pictures[-1][1], 2 * stride, 3 * stride, generator=seeded()) > 1 - 0.3 / stride**2
    region[first, 0, 0] = region[0, 0, 0] = True
    asked = region.float() if moving else region[0].float()
    cells = reach(FrameWindow(first, last), asked, grid, geometry, coarser and stride).expand(grid)
    for (frame, (start, stop)), row, column in product(enumerate(pictures), range(2), range(3)):
        shown = region[start:stop] if moving else region[:1]
        there = shown[:, row * stride : (row + 1) * stride, column * stride : (column + 1) * stride].any()
        meant = any(first <= picture <= last for picture in range(start, stop))
        assert cells[frame, row, column] == bool(there and meant), (frame, row, column)


@given(st.integers(0, 999), geometries)
def test_a_token_has_the_bits_of_all_cells_in_its_patch(seed, geometry):
    cells = drawn_cells(seed)
    assert token_words(cells, geometry.patch).tolist() == bits_of(cells, geometry)


@foreign
def test_queries_are_the_geometrys_tokens(geometry):
    """References and identities are read by tokens one of whose cells they act on: against a table of all."""
    cells, video = drawn_cells(), geometry.count(*LATENT)
    words = torch.tensor(bits_of(cells, geometry))
    assert len(words) == video and len(words.unique()) > 2
    acts = torch.stack([words & 1 > 0, words & 2 > 0], 1).repeat_interleave(torch.tensor(KEPT), 1)
    rows, behind = (2, video + sum(KEPT), 8), sum(KEPT)
    table = torch.ones(rows[1], rows[1], dtype=torch.bool)
    table[:video, video:] = acts
    now = reference_turn(Layout(saber(), STREAMS, geometry), 0.0, cells, None, video, LATENT[0], CPU)
    assert now is not None and now.groups is not None
    whole = torch.randn(3, 1, *rows, generator=seeded(), dtype=torch.float64)
    wanted = masked_attention(*whole, keep=table[None], key_bias=None)
    torch.testing.assert_close(in_groups(attend_all, now.groups)(*whole, None), wanted, rtol=0, atol=1e-12)
    groups, keys = text_groups(KEPT, cells, 4, video, 0, geometry.patch, CPU), whole[1:, :, :, : 4 + behind]
    reads = torch.cat([torch.ones(video, 4, dtype=torch.bool), acts], 1)
    wanted = masked_attention(whole[0, :, :, :video], *keys, keep=reads[None], key_bias=None)
    found = in_groups(attend_all, groups)(whole[0, :, :, :video], *keys, None)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@foreign
def test_an_inspection_counts_and_places_by_the_geometrys_tokens(geometry):
    cells, sizes, video = drawn_cells(), Sizes(8, 16, 2, 3), geometry.count(*LATENT)
    words = torch.tensor(bits_of(cells, geometry))
    seen = inspect(
        Layout(saber(), STREAMS, geometry), torch.tensor([0, 2, 5, 6, 7]), cells, None, LATENT, sizes,
        lambda now: choose_path(Need(now.bias is not None, averages=now.averages)),
    )  # fmt: skip
    assert seen.grid == geometry.tokens(*LATENT) and seen.video_tokens == video
    assert [one.where.flatten().tolist() for one in seen.references] == [
        (words & 1 > 0).tolist(),
        (words & 2 > 0).tolist(),
    ]
    assert seen.table[0].tolist() == pytest.approx([1, *(one.share for one in seen.references)])
    assert seen.work[1] == evaluation_work(sizes, video, 0, None)


# ---- what a reference becomes


@foreign
@settings(max_examples=15)
@given(seed=st.integers(0, 999))
def test_a_reference_keeps_the_tokens_of_the_geometry_that_its_mask_touches(geometry, seed):
    side = geometry.patch * geometry.stride
    masks = [
        (torch.rand(side * (1 + k), 3 * side, generator=seeded(seed + k)) > 1 - 1 / side**2).float()
        for k in range(2)
    ]
    expected, before = [], 0
    for mask in masks:
        touched = [
            bool(mask[row * side : (row + 1) * side, column * side : (column + 1) * side].any())
            for row, column in product(range(mask.shape[0] // side), range(3))
        ]
        expected += [before + place for place, yes in enumerate(touched) if yes]
        before += len(touched)
    arranged = arrange(masks, [Controls(), Controls(0.5)], saber(), geometry)
    assert arranged.keep.tolist() == expected
    assert [(one.rows, one.columns) for one in arranged.layout.streams] == [(1, 3), (2, 3)]
    assert arranged.layout.geometry == geometry


@foreign
def test_a_soft_mask_weighs_tokens_of_the_geometry_by_what_it_covers(geometry):
    side = geometry.token
    mask = torch.ones(side, 2 * side)
    mask[:, : side // 2] = 0
    soft = arrange([mask], [Controls(soft=True)], saber(), geometry).soft
    assert soft is not None
    torch.testing.assert_close(soft.exp(), torch.tensor([[0.5, 1.0]]))


@foreign
def test_a_canvas_of_its_own_has_whole_tokens_of_the_geometry(geometry):
    token = geometry.token
    made = prepare(make_reference(torch.rand(50, 75, 3)), bernini(), 4 * token, 4 * token, token).mask
    assert tuple(made.shape) == (round(50 / token) * token, round(75 / token) * token)


@foreign
def test_a_reference_is_fed_as_a_latent_or_with_a_mask_channel_for_every_picture_of_a_latent_frame(geometry):
    latent = torch.randn(1, geometry.channels, 1, 2, 3)
    mask = torch.zeros(2 * geometry.stride, 3 * geometry.stride)
    mask[: geometry.stride, : 2 * geometry.stride] = 1
    assert reference_input(latent, mask, geometry.channels, saber(), geometry) is latent
    shown = torch.tensor([[1.0, 1, 0], [0, 0, 0]]).expand(1, geometry.group, 1, 2, 3)
    assert torch.equal(latent_mask(mask, geometry.stride, geometry.group), shown)
    masked = 2 * geometry.channels + geometry.group
    fed = reference_input(latent, mask, masked, saber(), geometry)
    assert torch.equal(fed, torch.cat([latent, shown, latent], 1))
    other = masked + 1
    with pytest.raises(
        ValueError, match=f"of {other} input channels .* it runs on {geometry.channels} or {masked}$"
    ):
        reference_input(latent, mask, other, saber(), geometry)


@pytest.mark.parametrize(
    ("geometry", "parts"),
    [(UNEVEN, (16, 56, 56)), (COARSE, (44, 42, 42)), (STRANGE, (44, 64, 20))],
    ids=["uneven", "coarse", "strange"],
)
def test_reference_tokens_turn_by_the_geometrys_split_of_a_head(geometry, parts):
    expected = [
        [
            at * 10000.0 ** (-2 * pair / part)
            for at, part in zip((7 + k, row, column), parts, strict=True)
            for pair in range(part // 2)
        ]
        for k, row, column in product(range(2), range(2), range(3))
    ]
    got = reference_angles(Layout(saber(), STREAMS, geometry), (7, 4, 5), 128)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), rtol=1e-13, atol=1e-13)
