"""Visibility as segments and blocks, against whole tables of queries by keys."""

import math
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor

from refvid.kernels import segment_attention
from refvid.kernels.grouped import Groups
from refvid.kernels.segment_attention import why_not
from refvid.kernels.segments import MOST, Segments, everyone, kept_keys, segments_of, visitors, visits

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@st.composite
def drawn_segments(draw) -> Segments:
    generator = Generator().manual_seed(draw(st.integers(0, 2**31)))
    queries, keys = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    many = draw(st.integers(1, MOST))
    of = torch.randint(-1, many, (draw(st.sampled_from([1, 2])), keys), generator=generator)
    bits = torch.rand(draw(st.sampled_from([1, 2])), queries, many, generator=generator) < draw(
        st.sampled_from([0.3, 0.9])
    )
    sees = (bits * 2 ** torch.arange(many)).sum(-1)
    order = draw(st.booleans())
    parts = (t.sort(1).values if order else t for t in (sees, of))
    return Segments(*(t.to(torch.int32) for t in parts))


def tiled(seen: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Blocks of a whole table (B, L, S) with every pair seen, and with any."""
    every = torch.ones(seen.shape[0], -(-seen.shape[1] // rows), -(-seen.shape[2] // columns)).bool()
    some = ~every
    for i in range(every.shape[1]):
        for j in range(every.shape[2]):
            block = seen[:, i * rows : (i + 1) * rows, j * columns : (j + 1) * columns].flatten(1)
            every[:, i, j], some[:, i, j] = block.all(1), block.any(1)
    return every, some


@given(drawn_segments(), st.sampled_from([4, 16]), st.sampled_from([4, 8]))
def test_blocks_are_visited_whole_in_part_or_not_as_the_whole_table_says(segments, rows, columns):
    every, some = tiled(segments.dense(), rows, columns)
    ragged = segments.of.shape[1] % columns
    if ragged:  # the last block is read with a bounds check, so never whole
        every[:, :, -1] = False
    for table, whole, any_ in (
        (visits(segments, rows, columns), every, some),
        (visitors(segments, rows, columns), every.mT, some.mT),
    ):
        assert table.dtype == torch.int32 and table.shape[1:] == (whole.shape[1], 2 + whole.shape[2])
        for batch, line in ((b, i) for b in range(table.shape[0]) for i in range(table.shape[1])):
            full, part = table[batch, line, :2].tolist()
            blocks = table[batch, line, 2:].tolist()
            assert blocks[:full] == whole[batch, line].nonzero()[:, 0].tolist()
            expected = (any_ & ~whole)[batch, line].nonzero()[:, 0].tolist()
            assert blocks[full : full + part] == expected


@given(st.integers(0, 2**31))
def test_segments_of_groups_see_what_the_groups_see(seed):
    generator = Generator().manual_seed(seed)
    cuts = [0, *torch.randint(1, 9, (5,), generator=generator).cumsum(0).tolist()]
    spans = [(cuts[i], cuts[i + 1]) for i in range(5)]
    keys = tuple(
        tuple(span for span in spans if torch.rand(1, generator=generator) < 0.6) or spans[:1]
        for _ in range(3)
    )
    rows = torch.randperm(cuts[-1], generator=generator).tensor_split(3)
    groups = Groups(tuple(map(tuple, keys)), rows, torch.cat(rows).argsort(), cuts[1])
    assert torch.equal(segments_of(groups).dense()[0], groups.dense())


def test_everyone_sees_everyone_and_kept_keys_are_seen_by_all():
    assert everyone(3, 5, CPU).dense().all()
    keep = torch.tensor([[True, False, True], [False, False, False]])
    assert torch.equal(kept_keys(keep, 4).dense(), keep[:, None].expand(2, 4, 3))


def test_more_segments_than_a_word_holds_are_refused():
    spans = tuple(((2 * i, 2 * i + 1),) for i in range(20))
    rows = torch.arange(40).tensor_split(20)
    with pytest.raises(ValueError, match="into 40 segments; the kernel takes 31"):
        segments_of(Groups(spans, rows, torch.arange(40), 1))


def test_a_table_of_a_long_video_needs_no_square_of_it():
    """Wan 14B at 480p with four references: 34,632 tokens. The whole table would hold 1.2 GB."""
    of = torch.zeros(1, 34_632, dtype=torch.int32)
    for reference in range(4):
        of[:, 32_760 + 468 * reference :] = reference + 1
    segments = Segments(torch.full((1, 34_632), 0b11111, dtype=torch.int32), of)
    with torch.profiler.profile(profile_memory=True) as seen:
        table = visits(segments, 128, 64)
    most = max(event.cpu_memory_usage for event in seen.key_averages())
    assert most < 200e6 and table.shape == (1, 271, 2 + 542)
    assert (table[..., 0] == math.floor(34_632 / 64)).all() and (table[..., 1] == 1).all()


@pytest.mark.parametrize(
    ("change", "device", "reason"),
    [
        ({"INSTALLED": False}, CUDA, "Triton is not installed"),
        ({}, CPU, "needs a CUDA device, not cpu"),
        ({}, torch.device("mps"), "needs a CUDA device, not mps"),
        ({"_capability": lambda: (7, 5)}, CUDA, "needs compute capability 8.0, this GPU has 7.5"),
        ({"_capability": lambda: (9, 0)}, CUDA, None),
    ],
)
def test_the_kernel_says_why_it_cannot_run(monkeypatch, change, device, reason):
    monkeypatch.setattr(segment_attention, "INSTALLED", True)
    for name, value in change.items():
        monkeypatch.setattr(segment_attention, name, value)
    said = why_not(device, torch.bfloat16)
    assert said is None if reason is None else reason in str(said)


def test_the_kernel_is_not_tried_where_it_never_ran(monkeypatch):
    monkeypatch.setattr(segment_attention, "INSTALLED", True)
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert "AMD" in str(why_not(CUDA, torch.bfloat16))
    monkeypatch.setattr(sys, "platform", "win32")
    assert "Windows" in str(why_not(CUDA, torch.bfloat16))
    assert "not float64" in str(why_not(CUDA, torch.float64))
    assert "up to 128 features, not 256" in str(why_not(CUDA, torch.float16, 256))


def test_questions_asked_once_are_marked_as_torch_marks_them():
    marked = torch.compiler.assume_constant_result(lambda: None)
    for asked in ("_machine", "_capability", "_interpreted"):
        assert vars(getattr(segment_attention, asked)) == vars(marked)
