"""VideoMaker's claims: which runs differ in what, what is measured, the verdicts; nothing trained or measured
twice."""

from dataclasses import asdict, replace

import pytest
import refvid_tiny as tiny
import torch
from refvid_toys import without_toys
from refvid_world import noted_runs
from torch import Generator

from refvid import cli
from refvid.backbones.wan.dit import DiTConfig
from refvid.backbones.wan.loading import load_dit
from refvid.core.controls import Controls
from refvid.demo import models as demo
from refvid.demo import runs as demo_runs
from refvid.evidence import toy_figures
from refvid.evidence.ablations import videomaker as ablation
from refvid.evidence.ablations.videomaker import (
    JOINT_SOFTMAX,
    VIDEOMAKER_ARMS,
    VIDEOMAKER_CLAIMS,
    VIDEOMAKER_FIGURES,
    ablate_videomaker,
    confusion,
)
from refvid.evidence.claims import sentence
from refvid.evidence.runs import BASE_ALONE, Ablation
from refvid.evidence.trials.clips import TRUTH
from refvid.evidence.trials.references import (
    OTHERS_REFERENCE,
    OWN_REFERENCE,
    Trial,
    Variant,
    clips_of_variant,
)
from refvid.hosts.plain.pipeline import Settings, load_pipeline
from refvid.training.engine.models import Models
from refvid.training.masks.references import GROUND
from refvid.training.methods.videomaker.config import PhotographedClips, VideoMakerTraining

SIZES = DiTConfig(48, 64, 2, 1, 16, 16, 32)
CONFIG = VideoMakerTraining(2, clips=PhotographedClips(64, frames=5, stride=24, size=32), batch=4, rank=2)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    return Models(*tiny.save_models(tmp_path_factory.mktemp("models"), SIZES, steps=2))


@pytest.fixture(scope="module")
def wide_vae(tmp_path_factory):
    """Narrower ones amplify rounding (docs/log.md)."""
    return tiny.save_vae(tmp_path_factory.mktemp("wide"))


def test_runs_differ_in_what_is_read_or_in_recognition_alone():
    changed = []
    for change in VIDEOMAKER_ARMS.values():
        one = asdict(change(CONFIG))
        changed.append([name for name, value in asdict(CONFIG).items() if one[name] != value])
    assert changed == [[], ["sees"], ["sees"], ["noise_ratio", "recognition_weight"]]
    assert {change(CONFIG).sees for change in VIDEOMAKER_ARMS.values()} == {"all", "frames", "itself"}


@pytest.mark.parametrize("grey", [True, False])
def test_a_clip_that_ends_in_its_reference_is_confused_and_the_true_one_is_not(grey):
    trial = Trial(24, 5, 64)
    straight = torch.arange(24)
    ground = (
        torch.full_like(trial.pictures, GROUND)
        if grey
        else without_toys(trial.scenes.background, 1, 64)[:, :, 0]
    )
    for given in (straight, straight.roll(1)):
        masks = trial.masks[given]
        assert confusion(trial, given, trial.truth).eq(0).all()
        leaked = trial.truth.clone()
        leaked[:, :, -1] = torch.where(masks > 0.5, trial.pictures[given], ground)
        gone = confusion(trial, given, leaked)
        last = toy_figures.segment(trial.truth)[:, :, -1]
        chance = torch.minimum(last, masks).sum((1, 2, 3)) / torch.maximum(last, masks).sum((1, 2, 3))
        assert gone.mean() > 0.4 and (gone + chance).mean() > 0.85


def made_up(**own: float) -> dict:
    """Two seeds of every run, all alike but for what is named."""
    noise = 0.01 * torch.randn(40, generator=Generator().manual_seed(0))
    same = {figure: 0.5 + noise - noise.mean() for figure in VIDEOMAKER_FIGURES}
    runs = {}
    for name in (*VIDEOMAKER_ARMS, BASE_ALONE):
        level = own.get(name.replace(" ", "_"), 0.5)
        wanted = {**same, "own": same["own"] + level - 0.5, "confusion": 1 - same["own"].flip(0) - level}
        runs[name] = [
            {TRUTH: same, OWN_REFERENCE: wanted, OTHERS_REFERENCE: {**same, "own": same["own"] - 0.4}}
        ] * 2
    return runs


@pytest.mark.parametrize(
    ("claim", "better"),
    [("GIRL keeps", {"joint": 0.7}), ("leaks more", {"joint": 0.7}), ("one softmax", {"frame_mean": 0.7}),
     ("that does not", {"joint": 0.7}), ("brings more", {"joint": 0.7})],
)  # fmt: skip
def test_verdicts_follow_their_figures(claim, better):
    (comparison,) = (one for one in VIDEOMAKER_CLAIMS if claim in one.says)
    worse = dict.fromkeys(better, 0.3)
    assert "**holds**" in sentence(comparison, made_up(**better))
    assert "**does not hold**" in sentence(comparison, made_up(**worse))
    assert "**not decided**" in sentence(comparison, made_up())


@pytest.mark.parametrize("recipe", ["videomaker", "videomaker_shared"])
@pytest.mark.parametrize("sees", ["all", "frames", "itself"])
def test_clips_made_together_are_those_of_the_plain_host(models, wide_vae, recipe, sees):
    class Seen(Trial):
        def reference(self, index):
            return replace(super().reference(index), controls=Controls(sees=sees))

    backbone = load_pipeline(models.dit, wide_vae, models.text_encoder)
    settings = Settings(width=64, height=64, frames=5, steps=2, scale=2.0, shift=3.0)
    backbone = replace(backbone, settings=settings, recipe=recipe)
    trial, given = Seen(3, 5, 64), torch.tensor([2, 0, 1])
    theirs = clips_of_variant(backbone, trial, Variant("", given, torch.arange(3)), noise=1)
    ours = ablation.clips_with(backbone, replace(CONFIG, sees=sees, recipe=recipe), trial, given, noise=1)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def drawn_figures(toys: int) -> dict:
    """Figures of a run that nobody measured."""
    row = {figure: torch.rand(toys) for figure in VIDEOMAKER_FIGURES}
    return {TRUTH: row, OWN_REFERENCE: {**row, "leak": torch.full((toys,), torch.nan)}, OTHERS_REFERENCE: row}


def test_one_command_trains_and_measures_each_run_once(models, tmp_path, monkeypatch):
    trained, measured = noted_runs(monkeypatch), []

    def figures(backbone, config, toys, noises):
        weight = backbone.dit.blocks[0].self_attn.q.weight
        measured.append(weight.detach().numpy().tobytes())
        return drawn_figures(toys)

    monkeypatch.setattr(ablation, "measured", figures)
    first = (CONFIG, Ablation(models, tmp_path, 4, 2, 1))
    lines = ablate_videomaker(*first)
    names = ["joint", "frame_mean", "ref_only", "joint-without-GIRL"]
    assert trained == [f"{name}-{seed}" for name in names for seed in range(2)]
    assert len(set(measured)) == 8 + 1 and len(lines) == 2 + 2 + 1 + 2 * 5 + 1 + 2 + len(VIDEOMAKER_CLAIMS)
    assert (tmp_path / "videomaker.md").read_text() == "\n".join(lines) + "\n"
    assert ablate_videomaker(*first) == lines and len(trained) == 8 and len(measured) == 9
    own = tmp_path / "joint-0"
    before = (own / "videomaker-run.safetensors").read_bytes()
    ablation.videomaker_run(
        Ablation(models, tmp_path, 5, 2, 1), CONFIG, own
    )  # more toys: measured again, not trained on
    assert len(measured) == 10 and (own / "videomaker-run.safetensors").read_bytes() == before
    shorter = replace(CONFIG, steps=1)
    with pytest.raises(ValueError, match=r"joint-0 holds a run .*: config.steps is 2 there and 1 here"):
        ablation.videomaker_run(first[1], shorter, own)
    assert (own / "videomaker-run.safetensors").read_bytes() == before


def test_the_measured_model_carries_what_was_trained(models, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(ablation, "measured", lambda backbone, *_: seen.append(backbone.dit) or {})
    asked = Ablation(models, tmp_path, 2, 1, 1)
    ablation.videomaker_run(asked, CONFIG, asked.place(JOINT_SOFTMAX, 0))
    base = load_dit(models.dit)[0].state_dict()
    changed = {name for name, value in seen[0].state_dict().items() if not torch.equal(value, base[name])}
    assert changed == {f"blocks.0.self_attn.{projection}.weight" for projection in "qkvo"}


def test_the_base_alone_is_measured_as_it_is(models, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(ablation, "measured", lambda backbone, *_: seen.append(backbone.dit) or {})
    ablation._base_alone(Ablation(models, tmp_path, 2, 1, 1), CONFIG)
    base = load_dit(models.dit)[0].state_dict()
    assert all(torch.equal(value, base[name]) for name, value in seen[0].state_dict().items())


def test_the_sheet_shows_every_run_with_the_own_reference_then_anothers(models, tmp_path, monkeypatch):
    asked, drawn = Ablation(models, tmp_path, 3, 1, 1), []
    monkeypatch.setattr(ablation, "measured", lambda *given: drawn_figures(3))
    monkeypatch.setattr(ablation, "column_sheet", lambda *given, **_: drawn.extend(given))
    ablate_videomaker(replace(CONFIG, steps=1), asked)
    columns, _, said = drawn
    rows, titles = list(zip(*columns.values(), strict=True)), list(columns)
    trial = Trial(3, 5, 32)
    assert (
        titles == ["reference", *VIDEOMAKER_ARMS, BASE_ALONE, OTHERS_REFERENCE, TRUTH]
        and said == trial.prompts
    )
    joint = ablation._model(asked, CONFIG, asked.place(JOINT_SOFTMAX, 0))
    for name, given in ((JOINT_SOFTMAX, torch.arange(3)), (OTHERS_REFERENCE, torch.tensor([2, 0, 1]))):
        wanted = ablation.clips_with(joint, CONFIG, trial, given, 0)
        assert all(torch.equal(row[titles.index(name)], clip) for row, clip in zip(rows, wanted, strict=True))
    assert all(torch.equal(row[-1], clip) for row, clip in zip(rows, trial.truth, strict=True))
    assert len({row[1].numpy().tobytes() for row in rows} | {row[5].numpy().tobytes() for row in rows}) == 6


def test_it_runs_from_the_command_line(models, tmp_path, monkeypatch, capsys):
    for part in ("DIT", "VAE", "TEXT_ENCODER"):
        monkeypatch.setattr(demo, part, getattr(models, part.lower()))
    monkeypatch.setattr(demo_runs, "demo_videomaker", lambda: CONFIG)
    asked = ["--seeds", "1", "--steps", "1", "--toys", "3", "--noises", "1"]
    cli.main(["ablate", "videomaker", *asked, "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert "3 unseen toys, 1 step a run, 1 training seed, 1 noise a toy; recipe videomaker." in said
    rows = [line for line in said.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 1 + 2 * 5 and said.count("- **") == len(VIDEOMAKER_CLAIMS)
    truth = dict(zip(VIDEOMAKER_FIGURES, rows[2].split("|")[3:], strict=False))
    assert float(truth["confusion"].split("[")[0]) == 0 and float(truth["direction"].split("[")[0]) == 1
