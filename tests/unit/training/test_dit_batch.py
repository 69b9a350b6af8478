"""What a training step sees: replaced frames, references and dropped conditions, as often as they should
be."""

from dataclasses import replace

import pytest
import torch
from refvid_latents import latents
from torch import Generator

from refvid.demo.runs import demo_dit
from refvid.training.base.dit.batch import PATTERNS, draw_batch
from refvid.training.base.dit.config import Drawing, turn


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        ("none", {""}),
        ("first", {"0"}),
        ("first n", {"01", "012"}),
        ("first and last", {"06"}),
        ("every n-th", {"0246", "036"}),
    ],
)
def test_a_step_replaces_the_frames_of_its_pattern_and_rows_drop_them_at_their_chance(pattern, allowed):
    only = tuple(float(name == pattern) for name in PATTERNS)
    drawing, data, found, dropped = Drawing(patterns=only, frame_dropout=0.25), latents(frames=7), set(), 0.0
    for seed in range(30):
        batch = draw_batch(data, 64, drawing, Generator().manual_seed(seed))
        rows = {"".join(str(i) for i in row.nonzero()[:, 0].tolist()) for row in batch.replaced}
        found |= rows
        dropped += (~batch.replaced.any(1)).float().mean().item() / 30
    assert found == allowed | {""}
    if pattern != "none":
        assert dropped == pytest.approx(0.25, abs=0.04)  # four deviations of a share of 1920


def test_the_last_frame_is_known_as_a_held_picture_half_of_the_time_and_no_other_is_changed():
    batch = draw_batch(latents(), 2000, Drawing(held_share=0.5), Generator().manual_seed(0))
    assert torch.equal(batch.given[:, :, :2], batch.latent[:, :, :2])
    held = (batch.given[:, :, 2] != batch.latent[:, :, 2]).flatten(1).any(1)
    assert held.float().mean().item() == pytest.approx(0.5, abs=0.045)
    single = draw_batch(latents(frames=1), 64, Drawing(patterns=(0, 1, 0, 0, 0)), Generator().manual_seed(0))
    assert torch.equal(single.given, single.latent) and not single.replaced.any()


def test_references_of_a_step_are_different_frames_and_their_number_follows_its_chances():
    data = latents(references=4)
    data = replace(data, reference=torch.arange(4).view(1, 4, 1, 1, 1).expand(64, 4, 16, 8, 8).half())
    counts = torch.zeros(5)
    for seed in range(400):
        batch = draw_batch(data, 8, Drawing(), Generator().manual_seed(seed))
        which = batch.reference[:, 0, :, 0, 0]
        assert all(len(set(row.tolist())) == which.shape[1] for row in which)
        assert batch.keep.shape == (8, 16 * which.shape[1])
        counts[which.shape[1]] += 1 / 400
    torch.testing.assert_close(counts, torch.tensor([0, 0.55, 0.25, 0.1, 0.1]), rtol=0, atol=0.1)


def test_processes_that_share_a_generator_see_different_clips_at_the_same_cost():
    data, counts = latents(frames=7, references=4), set()
    for seed in range(20):
        first, second = (
            draw_batch(data, 8, Drawing(), Generator().manual_seed(rank), Generator().manual_seed(seed))
            for rank in (100, 101)
        )
        assert first.keep.shape == second.keep.shape
        kept = first.replaced.any(1) & second.replaced.any(1).flip(0)  # rows whose pattern was not dropped
        assert not kept.any() or torch.equal(first.replaced.any(0), second.replaced.any(0))
        assert not torch.equal(first.sigma, second.sigma) and not torch.equal(first.noise, second.noise)
        counts.add(first.keep.shape[1] // 16)
    assert len(counts) > 2


@pytest.mark.parametrize("stage", demo_dit().stages)
def test_kinds_take_turns_by_their_shares(stage):
    assert len(stage.shares) == len(demo_dit().kinds) and sum(stage.shares) == pytest.approx(1)
    turns = torch.tensor([turn(stage.shares, step) for step in range(2000)])
    for index, share in enumerate(stage.shares):
        assert (turns == index).float().mean().item() == pytest.approx(share, abs=0.003)


def test_a_batch_drops_text_and_references_as_often_as_the_drawing_says():
    data = replace(latents(), keep=torch.ones(64, 2, 16, dtype=torch.bool))
    how = Drawing(text_dropout=0.3, reference_dropout=0.2, named_share=0.4, patterns=(1, 0, 0, 0, 0))
    batch = draw_batch(data, 4000, how, Generator().manual_seed(0))
    silent, bare = batch.tokens[:, 0] == 1, ~batch.keep.any(1)
    # Four standard deviations of a share of 4000.
    assert silent.float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert bare.float().mean().item() == pytest.approx(0.2, abs=0.026)
    assert (silent & bare).float().mean().item() == pytest.approx(0.06, abs=0.015)
    assert torch.equal(batch.keep.all(1), ~bare)
    assert (batch.tokens[silent, 1:] == 0).all()
    assert batch.weight.mean().item() == pytest.approx(1, abs=1e-5)
