"""Saber's ablations: one thing changed at a time, a verdict from a paired interval, nothing trained twice."""

import json
from dataclasses import asdict, replace

import pytest
import refvid_tiny as tiny
import torch
from refvid_latents import latents
from refvid_toys import without_toys
from torch import Generator

from refvid.demo.runs import smoke_dit
from refvid.evidence.ablations import saber as ablation
from refvid.evidence.ablations import text_to_video
from refvid.evidence.ablations.saber import (
    PAPER_WORDING,
    SABER_ARMS,
    SABER_FIGURES,
    WHOLE_METHOD,
    ablate_saber,
)
from refvid.evidence.ablations.text_to_video import ablation_run, pretraining_run
from refvid.evidence.claims import sentence
from refvid.evidence.runs import Ablation
from refvid.evidence.trials.references import Trial
from refvid.training.base.dit.batch import draw_batch
from refvid.training.base.dit.config import Stage
from refvid.training.base.dit.start import Start
from refvid.training.engine.models import Models
from refvid.training.masks.references import masked_frames


def ablation_of(folder, vae) -> Ablation:
    """Two toys; of the base only the VAE is there."""
    return Ablation(Models(folder / "no dit", vae, folder / "no text encoder"), folder / "runs", 2, 2, 1)


def test_every_claim_changes_one_thing_of_the_run_and_no_two_the_same():
    base = ablation_run(100)
    changed = [asdict(arm.change(base)) for arm in SABER_ARMS]
    for one in changed:
        differing = [name for name, value in asdict(base).items() if value != one[name]]
        assert differing in (["how"], ["attention_mask"])
    assert len({str(one) for one in changed}) == len(SABER_ARMS)


def test_without_masked_training_a_reference_is_the_whole_frame():
    generator = Generator().manual_seed(0)
    video = torch.rand(4, 3, 2, 16, 16, generator=generator) * 2 - 1
    whole = next(arm for arm in SABER_ARMS if arm.name == "no masked training").change(ablation_run(1)).how
    pictures, masks = masked_frames(
        video, torch.zeros(4, 1, 2, 16, 16), generator, replace(whole, augmentation=None)
    )
    assert masks.min() == 1
    for row in range(4):
        assert any(torch.equal(pictures[row], video[row, :, frame]) for frame in range(2))


@pytest.mark.parametrize(
    ("shift", "verdict"), [(-0.2, "reproduces"), (0.2, "does not reproduce"), (0.0, "not decided")]
)
def test_a_claim_of_the_paper_is_told_against_the_whole_method(shift, verdict):
    arm = next(arm for arm in SABER_ARMS if arm.name == "ellipses only")
    before = {"own": torch.full((64,), 0.5)}
    after = {"own": before["own"] + shift + 0.01 * torch.linspace(-1, 1, 64)}
    runs = {WHOLE_METHOD: [{"run": before}], arm.name: [{"run": after}]}
    said = sentence(arm.claim, runs, PAPER_WORDING)
    assert said.startswith("- **ellipses only**, of which the paper says that identity suffers: ")
    assert f": **{verdict}** (own {shift:+.4f} [" in said.replace("-0.0000", "+0.0000")
    assert said.endswith("] against the whole method).")


def test_figures_of_the_paper_rise_and_fall_as_it_says():
    signs = {arm.name: (arm.figure, arm.sign) for arm in SABER_ARMS}
    assert signs.pop("no attention mask") == ("halo", 1) and signs.pop("no augmentation") == ("copy", 1)
    assert set(signs.values()) == {("own", -1)} and len(signs) == 5


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
    for module in (ablation, text_to_video):
        monkeypatch.setattr(
            module, "ablation_run", lambda steps: replace(small, stages=(Stage(steps, (1.0,)),))
        )
    monkeypatch.setattr(ablation, "SABER_ARMS", SABER_ARMS[:2])
    asked = ablation_of(tmp_path, tiny.save_vae(tmp_path, "vae.safetensors", width=2))
    lines = ablate_saber(asked, steps=1, pretraining=2)
    assert lines[0] == "2 unseen toys, 1 step a run after 2 of text to video, 2 training seeds."
    assert len(lines) == 12 and lines[-4].startswith("own, by training seed: saber ")
    assert all(figure in lines[2] for figure in SABER_FIGURES)
    assert (tmp_path / "runs" / "ablations.jpg").stat().st_size > 1000
    for seed in (0, 1):
        made = json.loads((tmp_path / "runs" / f"saber-{seed}" / "begun.json").read_text())
        assert made["config"]["seed"] == seed
    trained, measured, clips_of = [], [], ablation.references.clips_of_variant
    saber = tmp_path / "runs" / "saber-0"
    monkeypatch.setattr(text_to_video, "_train", lambda _, config, own, *more: trained.append(own.name))
    monkeypatch.setattr(
        ablation.references, "clips_of_variant", lambda *args: measured.append(1) or clips_of(*args)
    )
    assert ablate_saber(asked, steps=1, pretraining=2) == lines and not trained and not measured
    (saber / "ended.json").unlink()
    ablate_saber(asked, steps=1, pretraining=2)
    assert trained == ["saber-0"] and len(measured) == 1
    for cut in ("values.json", "clips.safetensors"):  # by a full disk
        (saber / cut).write_bytes((saber / cut).read_bytes()[:30])
        assert ablate_saber(asked, steps=1, pretraining=2) == lines, cut
    assert trained == ["saber-0"] and len(measured) == 3
    held = {file: file.read_bytes() for file in (tmp_path / "runs").rglob("*") if file.is_file()}
    with pytest.raises(
        ValueError, match=r"runs/text-to-video holds a run .*: config.stages\[0\].steps is 2 there and 3 here"
    ):
        ablate_saber(asked, steps=1, pretraining=3)
    with pytest.raises(
        ValueError, match=r"runs/saber-0 holds a run .*: config.stages\[0\].steps is 1 there and 2 here"
    ):
        ablate_saber(asked, steps=2, pretraining=2)
    assert held == {file: file.read_bytes() for file in (tmp_path / "runs").rglob("*") if file.is_file()}


def test_a_run_is_trained_again_for_another_start_and_not_for_the_same(tmp_path, monkeypatch):
    trained = []

    def work(_ablation, _config, folder, pretrained):
        trained.append((folder.name, pretrained))
        for name in ("dit", "text_encoder"):
            (folder / f"{name}.safetensors").touch()

    monkeypatch.setattr(text_to_video, "_train", work)
    asked = ablation_of(tmp_path, tiny.save_vae(tmp_path, "vae.safetensors", width=2))
    config, before = ablation_run(1), pretraining_run(1)
    place = asked.place("saber")
    for _ in range(2):
        text_to_video.dit_run(asked, place, config, before)
    assert trained == [("saber", True)]
    with pytest.raises(
        ValueError, match=r"saber holds a run .*: before.stages\[0\].steps is 1 there and 2 here"
    ):
        text_to_video.dit_run(asked, place, config, pretraining_run(2))


def test_pretraining_sees_the_clips_of_the_runs_and_never_a_reference():
    run, before = ablation_run(7), pretraining_run(7)
    (during,), (only,) = run.stages, before.stages
    assert replace(before, stages=(replace(only, drawing=during.drawing),)) == run
    batch = draw_batch(latents(), 64, only.drawing, Generator().manual_seed(0))
    assert not batch.keep.any()


def test_a_run_begins_with_the_one_before_says_so_and_keeps_its_clips_beside_its_vae(tmp_path, monkeypatch):
    vae, given = tiny.save_vae(tmp_path, "vae.safetensors", width=2), []
    asked = replace(ablation_of(tmp_path, vae), device="cuda", compiled=True)

    def train(method, config, setting) -> None:
        assert (setting.folder / "vae.safetensors").read_bytes() == vae.read_bytes()
        assert (setting.device, setting.compiled, setting.encoded) == ("cuda", True, setting.folder)
        given.append(method.start)

    monkeypatch.setattr(text_to_video, "train", train)
    first, then = pretraining_run(1), ablation_run(2)
    place, folder = asked.place(text_to_video.PRETRAINED), asked.place("a run", 0)
    assert text_to_video.pretrained(asked, 1) == first
    text_to_video.dit_run(asked, folder, then, first)
    assert given == [None, Start(place / "dit.safetensors", place / "text_encoder.safetensors")]
    said = json.loads((folder / "begun.json").read_text())["before"]
    assert said == json.loads((place / "begun.json").read_text())["config"]
    monkeypatch.setattr(text_to_video, "load_pipeline", lambda *files, device: (*files, device))
    files = folder / "dit.safetensors", vae, folder / "text_encoder.safetensors"
    assert text_to_video.trained_model(asked, folder) == (*files, "cuda")


def test_arms_have_the_masks_that_their_names_say():
    masks = {arm.name: arm.change(ablation_run(1)).how.generator for arm in SABER_ARMS}
    assert {name: masks[name].families for name in masks if name.endswith("s only")} == {
        "ellipses only": ("ellipse",),
        "Fourier blobs only": ("fourier_blob",),
        "polygons only": ("convex_polygon", "concave_polygon"),
    }
    assert masks["ratio 0.3 only"].intervals == ((1.0, (0.29, 0.31)),)


def test_a_run_has_the_papers_masks_one_reference_and_no_given_frames():
    run = ablation_run(7)
    (stage,) = run.stages
    generator = Generator().manual_seed(0)
    for batch in [draw_batch(latents(), 2, stage.drawing, generator) for _ in range(60)]:
        assert not batch.replaced.any() and batch.reference.shape[2] == 1
    assert run.how.subject_share == 0 and run.how.augmentation is not None


def test_a_copy_stands_where_its_reference_does_in_the_middle_of_the_clip():
    trial = Trial(4, 3, 64)
    clips = without_toys(trial.elsewhere.background, 3, 64)
    clips[:, :, 1] = trial.pictures
    assert (ablation._pictured(trial, clips)["copy"] > 0.8).all()


def test_figures_are_of_the_own_reference_by_seed_and_the_sheet_of_the_first(tmp_path, monkeypatch):
    made, shown = [], {}

    def clips(model, trial, variant):
        made.append((model, variant.name, len(trial)))
        return trial.truth * (1 - int(model[-1]))

    def figures(trial, *_):
        level = float(made[-1][0][-1])
        return {name: torch.full((len(trial),), level + 0.01 * k) for k, name in enumerate(SABER_FIGURES)}

    for name in ("dit_run", "pretrained"):
        monkeypatch.setattr(ablation, name, lambda *_: None)
    monkeypatch.setattr(ablation, "SABER_ARMS", ())
    monkeypatch.setattr(ablation, "trained_model", lambda _, folder: folder.name)
    monkeypatch.setattr(ablation.references, "clips_of_variant", clips)
    monkeypatch.setattr(Trial, "measure", figures)
    monkeypatch.setattr(ablation, "_pictured", lambda *_: {})
    monkeypatch.setattr(ablation, "column_sheet", lambda columns, *_, **__: shown.update(columns))
    asked = ablation_of(tmp_path, tmp_path / "vae")
    lines = ablate_saber(asked, steps=1, pretraining=1)
    assert made == [(f"saber-{seed}", "own reference", 2) for seed in (0, 1)]
    means = " | ".join(f"{0.5 + 0.01 * k:.3f}" for k in range(len(SABER_FIGURES)))
    assert lines[4] == f"| saber | {means} |"
    assert lines[6] == "own, by training seed: saber 0.000, 1.000."
    torch.testing.assert_close(shown["saber"], shown["truth"], rtol=0, atol=1e-3)
    ablate_saber(replace(asked, toys=3), steps=1, pretraining=1)
    assert [one[2] for one in made[2:]] == [3, 3]


def test_a_run_on_another_vae_is_not_taken_for_this_ones(tmp_path, monkeypatch):
    def work(_ablation, _config, folder, _goes_on):
        for name in ("dit", "text_encoder"):
            (folder / f"{name}.safetensors").touch()

    monkeypatch.setattr(text_to_video, "_train", work)
    one, other = (ablation_of(tmp_path, tiny.save_vae(tmp_path, f"{width}.st", width)) for width in (2, 4))
    text_to_video.dit_run(one, one.place("saber"), ablation_run(1))
    with pytest.raises(ValueError, match="saber holds a run that was made otherwise: vae is "):
        text_to_video.dit_run(other, other.place("saber"), ablation_run(1))
