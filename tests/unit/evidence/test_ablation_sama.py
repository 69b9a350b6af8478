"""SAMA's ablation: which arms differ in what, the tables from made-up figures; nothing trained or measured
twice."""

from dataclasses import asdict, replace

import pytest
import refvid_tiny as tiny
import torch
from refvid_world import noted_runs, trained
from torch import Generator, Tensor

from refvid import cli
from refvid.backbones.wan.dit import DiTConfig
from refvid.backbones.wan.loading import load_dit
from refvid.demo import models as demo
from refvid.demo import runs as demo_runs
from refvid.demo.edits import EDIT_KINDS
from refvid.evidence.ablations import sama as ablation
from refvid.evidence.ablations.sama import BARE, BOTH, MA, SA, SAMA_ARMS, ablate_sama, of_length
from refvid.evidence.runs import Ablation
from refvid.evidence.tables import by_seed
from refvid.evidence.trials import edits as measuring
from refvid.evidence.trials.clips import CODED
from refvid.evidence.trials.edits import UNEDITED
from refvid.hosts.plain.edit_film import with_editing_adapter
from refvid.hosts.plain.pipeline import load_pipeline
from refvid.training.engine.models import Models
from refvid.training.methods.sama.config import PairSet, SamaTraining
from refvid.training.methods.sama.method import Sama

SIZES = DiTConfig(48, 64, 2, 1, 16, 16, 32)
CONFIG = SamaTraining(
    1,
    2,
    edits=PairSet("edits", 64, 5, 32),
    pretexts=PairSet("pretexts", 64, 5, 32),
    batch=2,
    rank=2,
    hidden=8,
)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    return Models(*tiny.save_models(tmp_path_factory.mktemp("models"), SIZES, steps=1))


@pytest.fixture(scope="module")
def clips(models, tmp_path_factory):
    """Where the encoded pairs are kept."""
    asked = Ablation(models, tmp_path_factory.mktemp("pairs"), 1, 1, 1)
    trained(Sama(), CONFIG, asked.place("first", 0), models, clips=asked.clips)
    return asked.clips


# ---- the arms


def test_arms_differ_in_semantic_tokens_and_pretexts_alone_and_take_equal_steps():
    arms = {name: change(CONFIG) for name, change in SAMA_ARMS.items()}
    spent = {name: (one.motion_steps, one.steps) for name, one in arms.items()}
    assert spent == {BARE: (0, 3), SA: (0, 3), MA: (1, 2), BOTH: (1, 2)}
    tokens = {name: one.recipe.semantic_tokens for name, one in arms.items()}
    assert tokens == {BARE: 0, SA: 65, MA: 0, BOTH: 65} and arms[BOTH] == CONFIG
    changed = {"motion_steps", "steps", "semantic_weight"}
    for one in arms.values():
        assert {n for n, value in asdict(CONFIG).items() if asdict(one)[n] != value} <= changed
        assert one.recipe.types == CONFIG.recipe.types is not None


@pytest.mark.parametrize("steps", [1, 3, 100, 2000])
def test_another_length_keeps_the_share_of_pretexts(steps):
    demo = demo_runs.demo_sama()
    made, share = of_length(demo, steps), demo.motion_steps / (demo.motion_steps + demo.steps)
    assert made.motion_steps + made.steps == steps
    assert abs(made.motion_steps - share * steps) <= 0.5
    assert replace(made, motion_steps=demo.motion_steps, steps=demo.steps) == demo


# ---- the tables

NOISE = 0.01 * torch.randn(8, generator=Generator().manual_seed(0))


def figures(level: float, kept: float = 30.0) -> dict[str, dict[str, Tensor]]:
    """Every kind with 8 edits, two of which stand still."""
    motion = (level + NOISE - NOISE.mean()).clone()
    motion[:2] = torch.nan
    row = {"way": level + NOISE - NOISE.mean(), "nearer": torch.full((8,), level), "motion": motion}
    return {kind: {**row, "kept": torch.full((8,), kept)} for kind in EDIT_KINDS}


def made_up() -> dict:
    """Two seeds of every arm, a tenth apart."""
    levels = {BARE: 0.3, SA: 0.4, MA: 0.2, BOTH: 0.6}
    runs = {name: [figures(level - 0.05), figures(level + 0.05)] for name, level in levels.items()}
    runs[BOTH][1]["remove"]["way"] = runs[BOTH][1]["remove"]["way"] + 0.2
    return {**runs, UNEDITED: [figures(0.0, 100.0)], CODED: [figures(0.9)]}


def columns(lines: list[str]) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(row) for row in rows}) == 1 and set(rows[1]) == {"---"}
    return {row[0]: row[1:] for row in rows if row[0] != "---"}


def test_every_arm_has_its_means_over_edits_and_seeds():
    table = columns(ablation._arms(made_up()))
    assert list(table) == ["run", *SAMA_ARMS, UNEDITED, CODED] and table["run"] == [
        "way",
        "nearer",
        "kept",
        "motion",
    ]
    assert table[BARE][0].startswith("0.300 [0.29") and table[BARE][1] == "0.300 [0.300, 0.300]"
    assert table[BOTH][0].startswith("0.617 [")  # a fifth more on a sixth of the edits, of one seed in two
    assert table[UNEDITED][2] == "100.000 [100.000, 100.000]" and table[CODED][1].startswith("0.900")


def test_differences_are_paired_edit_by_edit():
    table = columns(ablation._differences(made_up()))
    assert list(table) == ["difference", "both minus base", "+SA minus base", "+MA minus base"]
    assert table["+SA minus base"][0] == table["+SA minus base"][3] == "+0.100 [+0.100, +0.100]"
    assert table["+MA minus base"][1] == "-0.100 [-0.100, -0.100]"
    assert table["both minus base"][2] == "+0.000 [+0.000, +0.000]"
    low, high = map(float, table["both minus base"][0][:-1].split("[")[1].split(","))
    assert 0.3 <= low < 0.32 < high < 0.36


def test_the_whole_method_is_told_by_kind_beside_what_the_vae_lets_through():
    table = columns(ablation._by_kind(made_up()))
    assert list(table) == ["both", *EDIT_KINDS]
    assert table["remove"][0].startswith("0.700 [") and table["add"][0].startswith("0.600 [")
    assert all(table[kind][-1].startswith("0.900 [") for kind in EDIT_KINDS)


def test_training_seeds_are_told_apart():
    runs = {name: runs for name, runs in made_up().items() if name in SAMA_ARMS}
    said = by_seed("way", runs, lambda values: ablation._of_kinds([values], "way"))
    assert said == (
        "way, by training seed: base 0.250, 0.350; +SA 0.350, 0.450; +MA 0.150, 0.250; both 0.550, 0.683."
    )


# ---- the runs


def test_the_sheet_shows_source_edits_and_truth_of_every_kind(models, clips, tmp_path, monkeypatch):
    asked, drawn = Ablation(models, clips.parent, 5, 1, 1), []
    for arm in (BARE, BOTH):
        ablation.sama_run(asked, SAMA_ARMS[arm](CONFIG), asked.place(arm, 0))
    monkeypatch.setattr(measuring, "column_sheet", lambda *given, **_: drawn.extend(given))
    ablation._sheet(asked, CONFIG)
    columns, path, said = drawn
    rows = list(zip(*columns.values(), strict=True))
    assert list(columns) == ["source", BARE, BOTH, "truth"] and path == clips.parent / "sama.jpg"
    assert len(rows) == len(said) == measuring.ROWS_OF_KIND * len(EDIT_KINDS)
    trial = measuring.EditTrial("remove", measuring.ROWS_OF_KIND, 5, 32)
    of_kind = slice(measuring.ROWS_OF_KIND * EDIT_KINDS.index("remove"), None)
    for row, prompt, source, truth in zip(
        rows[of_kind], said[of_kind], trial.source, trial.truth, strict=False
    ):
        assert torch.equal(row[0], source) and torch.equal(row[-1], truth) and "remove" in prompt
        assert not torch.equal(row[1], row[2])
    backbone = ablation._trained_model(asked, CONFIG, asked.place(BOTH, 0))
    wanted = measuring.edited(backbone, CONFIG.recipe, trial, 0)
    assert torch.equal(rows[of_kind][0][2], wanted[0])


def test_one_command_trains_and_measures_each_run_once(models, tmp_path, monkeypatch):
    folders, measured = noted_runs(monkeypatch), []

    def made_up_figures(backbone, recipe, count, noises):
        state = {**backbone.dit.state_dict(), **backbone.modules.state_dict()}
        measured.append((recipe.semantic_tokens, b"".join(one.numpy().tobytes() for one in state.values())))
        return figures(0.5)

    monkeypatch.setattr(ablation, "evaluate_edits", made_up_figures)
    monkeypatch.setattr(
        ablation, "without_model", lambda name, *_: measured.append((name, b"")) or figures(0.0)
    )
    asked = (CONFIG, Ablation(models, tmp_path, 8, 2, 1))
    lines = ablate_sama(*asked)
    assert folders == [f"{name}-{seed}" for name in SAMA_ARMS for seed in range(2)]
    assert [tokens for tokens, _ in measured] == [0, 0, 65, 65, 0, 0, 65, 65, UNEDITED, CODED]
    assert len({state for _, state in measured}) == 8 + 1
    assert (tmp_path / "sama.md").read_text() == "\n".join(lines) + "\n"
    assert ablate_sama(*asked) == lines and len(folders) == 8 and len(measured) == 10
    own = tmp_path / "both-0"
    before = (own / "sama-run.safetensors").read_bytes()
    ablation.sama_run(
        Ablation(models, tmp_path, 9, 2, 1), CONFIG, own
    )  # more edits: measured again, not folders on
    assert len(measured) == 11 and (own / "sama-run.safetensors").read_bytes() == before
    with pytest.raises(ValueError, match=r"both-0 holds a run .*: config.steps is 2 there and 1 here"):
        ablation.sama_run(asked[1], replace(CONFIG, steps=1), own)
    assert (own / "sama-run.safetensors").read_bytes() == before


@pytest.mark.parametrize("arm", [BARE, BOTH])
def test_the_measured_model_is_the_one_that_users_load(models, clips, tmp_path, monkeypatch, arm):
    seen = []
    monkeypatch.setattr(ablation, "evaluate_edits", lambda *given: seen.append(given) or figures(0.0))
    asked = Ablation(models, clips.parent, 5, 1, 3)
    own = asked.place(arm, 0)
    config = SAMA_ARMS[arm](CONFIG)
    ablation.sama_run(asked, config, own)
    backbone, *given = seen[0]
    assert given == [config.recipe, 5, 3]
    settings = backbone.settings
    assert (settings.width, settings.height, settings.frames, settings.steps) == (32, 32, 5, 1)
    base = load_pipeline(models.dit, models.vae, models.text_encoder)
    theirs = with_editing_adapter(base, own / "sama.safetensors", 1.0, "adapter")
    for ours, loaded in ((backbone.dit, theirs.dit), (backbone.modules, theirs.modules)):
        state = ours.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
    plain = load_dit(models.dit)[0].state_dict()
    changed = {key for key, value in backbone.dit.state_dict().items() if not torch.equal(value, plain[key])}
    assert changed == {f"blocks.0.{kind}_attn.{one}.weight" for kind in ("self", "cross") for one in "qkvo"}


def test_it_runs_from_the_command_line(models, tmp_path, monkeypatch, capsys):
    for part in ("DIT", "VAE", "TEXT_ENCODER"):
        monkeypatch.setattr(demo, part, getattr(models, part.lower()))
    monkeypatch.setattr(demo_runs, "demo_sama", lambda: CONFIG)
    asked = ["--seeds", "1", "--steps", "2", "--toys", "2", "--noises", "1"]
    cli.main(["ablate", "sama", *asked, "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert (
        "2 unseen edits of each of 6 kinds, 2 steps a run, of which +MA and both spend 1 on pretexts" in said
    )
    table = columns(said.splitlines()[2 : 2 + 2 + 6])
    assert table[UNEDITED][:3] == ["0.000 [0.000, 0.000]"] * 2 + ["100.000 [100.000, 100.000]"]
    assert all(float(table[arm][2].split()[0]) < 60 for arm in SAMA_ARMS)
    assert (tmp_path / "sama.jpg").exists()
    assert {file.name for file in tmp_path.iterdir() if file.is_dir()} == {
        "base-0",
        "+SA-0",
        "+MA-0",
        "both-0",
        "source-itself-0",
        "truth-through-the-VAE-0",
        "clips",
    }
