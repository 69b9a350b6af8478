"""STIV's claims about a first frame: what is trained, and the verdicts."""

from dataclasses import replace

import pytest
import torch
from refvid_latents import latents
from torch import Generator

from refvid.evidence.ablations import frames as ablation
from refvid.evidence.ablations.frames import (
    DROPOUT,
    DROPPED,
    FRAME_CLAIMS,
    FRAME_WORDING,
    UNDROPPED,
    frame_run,
)
from refvid.evidence.claims import Side, sentence
from refvid.evidence.runs import Ablation
from refvid.evidence.trials.frames import GUIDED_FIGURES, JOINT, TEXT
from refvid.training.base.dit.batch import draw_batch
from refvid.training.engine.models import Models


def test_the_first_frame_is_given_but_for_the_share_that_drops_it_and_is_no_part_of_the_loss():
    data = latents()
    for name, share in DROPOUT.items():
        (stage,) = frame_run(5, share).stages
        batch = draw_batch(data, 2000, stage.drawing, Generator().manual_seed(0))
        given = batch.replaced[:, 0]
        assert not batch.replaced[:, 1:].any() and not batch.keep.any()
        assert (~given).double().mean().item() == pytest.approx(share, abs=0.02), name
        assert not batch.weight[given][:, :, 0].any() and batch.weight[:, :, 1:].all()


def test_the_two_runs_differ_in_nothing_but_image_dropout():
    one, other = (frame_run(5, share) for share in DROPOUT.values())
    (first,), (second,) = one.stages, other.stages
    same = replace(second, drawing=replace(second.drawing, frame_dropout=first.drawing.frame_dropout))
    assert replace(other, stages=(same,)) == one


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.1, "**holds**"), (-0.1, "**does not hold**"), (0, "**not decided**")]
)
def test_a_verdict_follows_its_interval(shift, verdict):
    noise = 0.01 * torch.randn(40, generator=Generator().manual_seed(0))
    plain = dict.fromkeys(GUIDED_FIGURES, torch.zeros(40))
    moved = dict.fromkeys(GUIDED_FIGURES, shift + noise - noise.mean())
    runs = {DROPPED: [{JOINT: moved, TEXT: plain}], UNDROPPED: [{JOINT: plain, TEXT: plain}]}
    for claim in FRAME_CLAIMS:
        assert verdict in sentence(claim, runs, FRAME_WORDING)


def test_one_command_trains_and_measures_each_run_once(tmp_path, monkeypatch):
    """Training itself is tested where the first ablations are."""
    trained, measured, start = [], [], object()
    monkeypatch.setattr(ablation, "pretrained", lambda _, steps: trained.append(steps) or start)

    def train(_, folder, config, before):
        assert before is start
        (only,) = config.stages
        trained.append((folder.name, config.seed, only.drawing.frame_dropout))

    monkeypatch.setattr(ablation, "dit_run", train)
    monkeypatch.setattr(ablation, "trained_model", lambda _, folder: folder)

    def guided(backbone, toys, seeds):
        measured.append((toys, seeds))
        level = torch.full((toys,), float(backbone.name[-1]))
        return {way: dict.fromkeys(GUIDED_FIGURES, level) for way in (JOINT, TEXT, "truth")}, {}

    monkeypatch.setattr(ablation, "guided_both_ways", guided)
    asked = Ablation(Models(*[tmp_path / "none"] * 3), tmp_path / "runs", 4, 2, 3)
    lines = ablation.ablate_frames(asked, steps=1, pretraining=2)
    assert len(lines) == 2 + 2 + 2 * 3 + 1 + len(FRAME_CLAIMS) and (tmp_path / "runs/frames.md").exists()
    assert lines[0] == (
        "4 unseen toys, 1 step a run after 2 of text to video, 2 training seeds, 3 noises a toy."
    )
    assert lines[4].endswith(" | 0.500" * len(GUIDED_FIGURES) + " |")
    names = (
        (f"{name.replace(' ', '-')}-{seed}", seed, share)
        for name, share in DROPOUT.items()
        for seed in (0, 1)
    )
    assert trained == [2, *names] and measured == [(4, 3)] * 4
    assert ablation.ablate_frames(asked, steps=1, pretraining=2) == lines
    assert len(measured) == 4
    ablation.ablate_frames(replace(asked, noises=2), steps=1, pretraining=2)
    assert measured[4:] == [(4, 2)] * 4


def test_joint_guidance_is_held_against_text_with_dropout_and_against_itself_without():
    joint, text, without = Side(DROPPED, JOINT), Side(DROPPED, TEXT), Side(UNDROPPED, JOINT)
    assert [(one.first, one.second, one.figure) for one in FRAME_CLAIMS] == [
        (joint, other, figure) for other in (text, without) for figure in ("motion", "own")
    ]
    assert DROPOUT == {DROPPED: 0.08, UNDROPPED: 0.0}, "STIV's"
