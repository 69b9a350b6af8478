"""Automatic regions measured: arms differ in one control, pairs count whichever way round, and nothing is
made twice."""

from dataclasses import fields, replace

import pytest
import refvid_tiny as tiny
import torch

from refvid.backbones.wan.dit import DiTConfig
from refvid.core.controls import Controls
from refvid.core.recipes import recipe_named
from refvid.demo import casting, world
from refvid.evidence.ablations import focus as ablation
from refvid.evidence.ablations.focus import FOCUS_ARMS, FOCUS_CLAIMS, ONE, TWO, ablate_focus, pair_figures
from refvid.evidence.runs import Ablation
from refvid.evidence.trials.clips import UNSEEN_SEED
from refvid.evidence.trials.controls import sample_duets
from refvid.hosts.plain.pipeline import load_pipeline
from refvid.training.engine.models import Models

SIZE = 64


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    sizes = DiTConfig(48, 64, 2, 1, 16, 16, 32)
    return Models(
        *tiny.save_models(tmp_path_factory.mktemp("models"), sizes, steps=3, width=32, height=32, frames=5)
    )


def truth(pairs: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(UNSEEN_SEED + 1)
    scenes = casting.sample_scenes(pairs, generator)
    casts = [(casting.sample_identities(pairs, generator), place) for place in casting.duets(scenes)]
    return world.render_cast(casts, 5, SIZE)[0]


def test_arms_differ_from_the_first_in_one_control():
    first = Controls()
    for name, controls in FOCUS_ARMS.items():
        changed = [
            one.name for one in fields(Controls) if getattr(controls, one.name) != getattr(first, one.name)
        ]
        kind, value = name.split()
        assert changed == ([] if name == "strength 1" else [kind])
        assert getattr(controls, kind) == float(value)


def test_claims_are_of_arms_and_figures_that_are_measured():
    figures = {ONE: ablation.ONE_FIGURES, TWO: ablation.TWO_FIGURES}
    for claim in FOCUS_CLAIMS:
        for side in (claim.first, claim.second):
            assert side.run in FOCUS_ARMS and claim.figure in figures[side.variant]


def test_a_pair_is_apart_whichever_way_round_its_toys_stand():
    pairs, made = sample_duets(6, SIZE), truth(6)
    swapped = replace(pairs, pictures=pairs.pictures[::-1], masks=pairs.masks[::-1])
    straight, turned = pair_figures(made, pairs), pair_figures(made, swapped)
    assert straight["apart"].mean() > 0.4 and torch.equal(turned["apart"], straight["apart"])
    assert (straight["own"] >= straight["mixed"]).all() and straight["background"].all()
    nothing = pair_figures(torch.zeros_like(made), pairs)
    assert nothing["apart"].abs().max() < 0.2


def test_an_arms_controls_reach_the_clips(models):
    backbone = load_pipeline(models.dit, models.vae, models.text_encoder)
    pairs, recipe = sample_duets(2, backbone.settings.height), recipe_named("saber")
    made = [
        ablation.clips_of_pairs(backbone, recipe, FOCUS_ARMS[name], pairs, 0)
        for name in ("strength 1", "focus 8", "focus 16")
    ]
    assert not torch.equal(made[0], made[1]) and not torch.equal(made[1], made[2])


def test_nothing_is_measured_twice(models, tmp_path, monkeypatch):
    asked = Ablation(models, tmp_path, 2, 1, 1)
    lines = ablate_focus(asked)
    assert (tmp_path / "focus.md").read_text().splitlines() == lines
    assert len([line for line in lines if line.startswith("- **")]) == len(FOCUS_CLAIMS)
    assert (tmp_path / "focus.jpg").is_file()
    monkeypatch.setattr(ablation, "clips_alone", None)
    assert ablate_focus(asked) == lines
