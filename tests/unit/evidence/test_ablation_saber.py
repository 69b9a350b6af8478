"""Saber's ablations: one thing changed at a time, a verdict from a paired interval, nothing trained twice."""

from dataclasses import asdict, replace

import pytest
import refvid_tiny as tiny
import torch
from refvid_latents import latents
from torch import Generator

from refvid.evidence.ablations import saber as ablation
from refvid.evidence.ablations.saber import (
    BASELINE,
    CLAIMS,
    FIGURES,
    Claim,
    Place,
    ablate,
    ablation_run,
    pretraining_run,
)
from refvid.evidence.trials.references import Trial
from refvid.training.masks.references import masked_frames
from refvid.training.methods.saber.batch import draw_batch
from refvid.training.methods.saber.config import Stage, smoke_dit


def test_every_claim_changes_one_thing_of_the_run_and_no_two_the_same():
    base = ablation_run(100)
    changed = [asdict(claim.change(base)) for claim in CLAIMS]
    for one in changed:
        differing = [name for name, value in asdict(base).items() if value != one[name]]
        assert differing in (["how"], ["attention_mask"])
    assert len({str(one) for one in changed}) == len(CLAIMS)


def test_without_masked_training_a_reference_is_the_whole_frame():
    generator = Generator().manual_seed(0)
    video = torch.rand(4, 3, 2, 16, 16, generator=generator) * 2 - 1
    whole = next(claim for claim in CLAIMS if claim.name == "no masked training").change(ablation_run(1)).how
    pictures, masks = masked_frames(
        video, torch.zeros(4, 1, 2, 16, 16), generator, replace(whole, augmentation=None)
    )
    assert masks.min() == 1
    for row in range(4):
        assert any(torch.equal(pictures[row], video[row, :, frame]) for frame in range(2))


@pytest.mark.parametrize(
    ("shift", "sign", "verdict"),
    [
        (-0.2, -1, "reproduces"),
        (0.2, -1, "does not reproduce"),
        (0.0, -1, "not decided"),
        (0.2, 1, "reproduces"),
    ],
)
def test_the_verdict_follows_the_interval(shift, sign, verdict):
    noise = 0.05 * torch.randn(64, generator=Generator().manual_seed(0))
    noise = noise - noise.mean()
    before = torch.full((64,), 0.5)
    values = {BASELINE: {"own": before}, "changed": {"own": before + shift + noise}}
    sentence = ablation._sentence(Claim("changed", "it falls", lambda config: config, "own", sign), values)
    assert f"**{verdict}**" in sentence and f"{shift:+.3f} [" in sentence.replace("-0.000", "+0.000")


def test_a_toy_pasted_where_its_reference_stands_is_a_full_copy():
    trial = Trial(4, 3, 64)
    pasted = trial.pictures.unsqueeze(2).expand(-1, -1, 3, -1, -1)
    assert (ablation._pictured(trial, pasted)["copy"] > 0.8).all()
    assert ablation._pictured(trial, trial.truth)["copy"].mean() < 0.7
    assert ablation._pictured(trial, trial.truth)["halo"].mean() < 0.01
    grey = trial.truth.clone()
    grey[..., :16] = 254 / 255 - 1
    assert ablation._pictured(trial, grey)["halo"].mean() == pytest.approx(0.25, abs=0.01)


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
def test_one_command_trains_each_run_once_and_writes_the_evidence(tmp_path, monkeypatch):
    settings = replace(smoke_dit().settings, steps=2, width=64, height=64)
    small = replace(smoke_dit(), kinds=smoke_dit().kinds[1:], settings=settings)
    monkeypatch.setattr(
        ablation, "ablation_run", lambda steps: replace(small, stages=(Stage(steps, (1.0,)),))
    )
    monkeypatch.setattr(ablation, "CLAIMS", CLAIMS[:2])
    place = Place(tiny.save_vae(tmp_path, "vae.safetensors", width=2), tmp_path / "runs")
    lines = ablate(place, steps=1, pretraining=2, toys=2)
    assert lines[0] == "2 unseen toys, 1 steps a run after 2 of text to video, one seed." and len(lines) == 10
    assert all(figure in lines[2] for figure in FIGURES)
    assert (tmp_path / "runs" / "ablations.jpg").stat().st_size > 1000
    trained, measured, clips_of = [], [], ablation.evaluate.clips_of
    saber = tmp_path / "runs" / "saber"
    monkeypatch.setattr(ablation, "train_dit", lambda config, own, **_: trained.append(own.name))
    monkeypatch.setattr(ablation.evaluate, "clips_of", lambda *args: measured.append(1) or clips_of(*args))
    assert ablate(place, steps=1, pretraining=2, toys=2) == lines and not trained and not measured
    (saber / "ended.json").unlink()
    ablate(place, steps=1, pretraining=2, toys=2)
    assert trained == ["saber"] and len(measured) == 1
    for cut in ("values.json", "clips.safetensors"):  # by a full disk
        (saber / cut).write_bytes((saber / cut).read_bytes()[:30])
        assert ablate(place, steps=1, pretraining=2, toys=2) == lines, cut
    assert trained == ["saber"] and len(measured) == 3
    held = {file: file.read_bytes() for file in (tmp_path / "runs").rglob("*") if file.is_file()}
    with pytest.raises(
        ValueError, match=r"runs/text-to-video holds a run .*: config.stages\[0\].steps is 2 there and 3 here"
    ):
        ablate(place, steps=1, pretraining=3, toys=2)
    with pytest.raises(
        ValueError, match=r"runs/saber holds a run .*: config.stages\[0\].steps is 1 there and 2 here"
    ):
        ablate(place, steps=2, pretraining=2, toys=2)
    assert held == {file: file.read_bytes() for file in (tmp_path / "runs").rglob("*") if file.is_file()}


def test_pretraining_sees_the_clips_of_the_runs_and_never_a_reference():
    run, before = ablation_run(7), pretraining_run(7)
    (during,), (only,) = run.stages, before.stages
    assert replace(before, stages=(replace(only, drawing=during.drawing),)) == run
    batch = draw_batch(latents(), 64, only.drawing, Generator().manual_seed(0))
    assert not batch.keep.any()


def test_ablations_are_not_started_by_torchrun(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="refvid ablate was started by torchrun"):
        ablate(Place(tmp_path / "vae.safetensors", tmp_path), steps=1, pretraining=1, toys=2)
