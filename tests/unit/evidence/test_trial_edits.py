"""Edits measured: clips that are the truth, the source or a known way between them score as what they are;
many clips at once are the users'."""

import re
from dataclasses import replace

import numpy as np
import pytest
import refvid_tiny as tiny
import torch
from torch import Generator, Tensor

from refvid.core.editing import Windows, edit_prompt
from refvid.core.recipes import in_context, sama
from refvid.core.semantic import SemanticConfig, SemanticModules
from refvid.demo import edits
from refvid.evidence.trials import edits as measured
from refvid.evidence.trials.clips import CODED
from refvid.evidence.trials.edits import EDIT_FIGURES, LEAST_CHANGE, MOST_DECIBELS, UNEDITED, EditTrial
from refvid.hosts.plain import pipeline
from refvid.hosts.plain.edit_film import edit_film
from refvid.hosts.plain.pipeline import Request, Settings, load_pipeline

COUNT, FRAMES, SIZE = 12, 5, 48
SETTINGS = Settings(width=32, height=32, frames=5, steps=3, scale=2.0, shift=3.0, seed=7)


@pytest.fixture(scope="module", params=edits.EDIT_KINDS)
def trial(request) -> EditTrial:
    return EditTrial(request.param, COUNT, FRAMES, SIZE)


def moving(trial: EditTrial) -> Tensor:
    return trial.truth.diff(dim=2).abs().amax((1, 2, 3, 4)) > 0.01


# ---- what is asked


def test_what_is_asked_can_be_seen_and_changes_nothing_else(trial):
    assert len(trial) == len(trial.truth) == COUNT and len(set(trial.prompts)) > 1
    assert all(one == edit_prompt(one.removeprefix("[Video edit]")) for one in trial.prompts)
    away = (trial.truth - trial.source).abs()
    for row, (one, region) in enumerate(zip(away, trial.region, strict=True)):
        inside = one[region.expand_as(one)]
        assert inside.mean() >= LEAST_CHANGE, row
        assert one[~region.expand_as(one)].max() <= 2 / 255 < inside.max()


@pytest.mark.parametrize("count", [1, 11, 13, 32])  # of which 11 to 32 need a second draw of some kinds
def test_there_are_as_many_edits_as_asked_for(count):
    for kind in edits.EDIT_KINDS:
        trial = EditTrial(kind, count, FRAMES, 32)
        assert len(trial) == len(trial.colours) == len(trial.truth) == count
        assert len({clip.numpy().tobytes() for clip in trial.truth}) == count, "none is there twice"


# ---- the figures


def test_the_truth_is_all_the_way_and_the_source_is_nowhere(trial):
    whole, none = trial.measure(trial.truth), trial.measure(trial.source)
    assert set(whole) == set(EDIT_FIGURES)
    assert torch.equal(whole["way"], torch.ones(COUNT)) and whole["nearer"].eq(1).all()
    torch.testing.assert_close(
        whole["motion"][moving(trial)], torch.ones(int(moving(trial).sum())), rtol=0, atol=1e-4
    )
    assert torch.equal(none["way"], torch.zeros(COUNT)) and none["nearer"].eq(0).all()
    left = ~trial.region.flatten(1).all(1)  # a new background leaves little, or nothing, as it was
    assert whole["kept"][left].min() > 20 * np.log10(255)
    assert none["kept"][left].eq(MOST_DECIBELS).all() and none["kept"][~left].isnan().all()


def test_the_named_colour_shows_in_the_truth_and_not_in_the_source(trial):
    named = all(
        re.search(r"\bmake the \w+ (?!plain|halved|striped|spotted)|\badd ", one) for one in trial.prompts
    )
    for clips, shown in ((trial.truth, 1), (trial.source, 0)):
        colour = trial.measure(clips)["colour"]
        assert colour.eq(shown).all() if named else colour.isnan().all()
    another = trial.measure(trial.truth.roll(1, 1))["colour"]  # every hue a third of a turn on
    assert not another.eq(1).any()


def test_a_toy_that_the_edit_leaves_alone_stays_until_it_is_painted_over(trial):
    beside = not any(word in trial.prompts[0] for word in ("the toy", "background"))
    shown = [trial.measure(clips)["stays"] for clips in (trial.truth, trial.source)]
    bare = torch.where(trial.region, trial.truth, trial.ground)
    gone = trial.measure(bare)["stays"]
    nearly = trial.measure(0.6 * bare + 0.4 * trial.truth)["stays"]
    if beside:
        assert all(one.eq(1).all() for one in shown) and gone.eq(0).all() and nearly.eq(0).all()
        assert trial.measure(0.4 * bare + 0.6 * trial.truth)["stays"].eq(1).all()
    else:
        assert all(one.isnan().all() for one in (*shown, gone, nearly))


@pytest.mark.parametrize("share", [-0.5, 0.25, 0.75])
def test_a_blend_went_its_share_of_the_way(trial, share):
    found = trial.measure(trial.source + share * (trial.truth - trial.source))
    torch.testing.assert_close(found["way"], torch.full((COUNT,), share), rtol=0, atol=1e-5)
    assert found["nearer"].eq(share > 0.5).all()


@pytest.mark.parametrize("off", [0.02, 0.2])
def test_region_and_rest_are_measured_apart(trial, off):
    strayed = trial.measure(torch.where(trial.region, trial.truth, trial.source + off))
    assert strayed["way"].eq(1).all() and strayed["nearer"].eq(1).all()
    torch.testing.assert_close(strayed["kept"], torch.full((COUNT,), 10 * np.log10(4 / off**2)).float())
    wild = trial.measure(torch.where(trial.region, trial.truth + 5, trial.source))
    assert wild["kept"].eq(MOST_DECIBELS).all() and (wild["way"] < 0).all()


def test_motion_is_where_and_when_pictures_change_whatever_their_colours(trial):
    moves = moving(trial)
    for same in (0.3 * trial.truth + 0.1, trial.truth.flip(1), -trial.truth):
        motion = trial.measure(same)["motion"]
        torch.testing.assert_close(motion[moves], torch.ones(int(moves.sum())), rtol=0, atol=1e-4)
    assert torch.equal(motion.isnan(), ~moves)
    held = trial.measure(trial.truth[:, :, :1].expand_as(trial.truth))["motion"]
    assert held[moves].eq(0).all()
    elsewhere = trial.measure(trial.truth.flip(3).flip(4).roll(1, 0))["motion"]
    assert elsewhere[moves].mean() < 0.5
    noise = torch.randn(trial.truth.shape, generator=Generator().manual_seed(0))
    assert trial.measure(noise)["motion"][moves].abs().max() < 0.1


def test_motion_is_pearsons_correlation(trial):
    clips = trial.truth + 0.1 * torch.randn(trial.truth.shape, generator=Generator().manual_seed(1))
    found = trial.measure(clips)["motion"]
    for row in moving(trial).nonzero()[:3, 0].tolist():
        steps = [np.diff(one[row].numpy(), axis=1) for one in (clips, trial.truth)]
        sizes = [np.sqrt((step**2).sum(0)).ravel() for step in steps]
        assert found[row].item() == pytest.approx(np.corrcoef(*sizes)[0, 1], abs=1e-5)


def test_a_clip_that_is_changed_all_over_has_no_rest():
    trial = EditTrial("background", 2, FRAMES, 32)
    trial.region = torch.ones_like(trial.region)
    assert trial.measure(trial.truth)["kept"].isnan().all()


# ---- clips


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder, sizes = tmp_path_factory.mktemp("models"), tiny.config(layers=1)
    dit = tiny.save_dit(folder, "dit.safetensors", sizes, tiny.dit_state(sizes))
    loaded = load_pipeline(dit, tiny.save_vae(folder), tiny.save_text_encoder(folder))
    modules = SemanticModules(SemanticConfig(sizes.width, 24, 20))
    modules.load_state_dict(tiny.semantic_state(sizes.width))
    return replace(loaded, recipe="sama", settings=SETTINGS, modules=modules.eval().requires_grad_(False))


@pytest.mark.parametrize("recipe", [sama(), in_context()], ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_clips_made_together_are_those_that_users_make_one_by_one(backbone, monkeypatch, recipe, scale):
    monkeypatch.setattr(pipeline, "_TOGETHER", 2)
    settings, noise = replace(SETTINGS, scale=scale), 4
    trial, backbone = EditTrial("add", 3, 5, 32), replace(backbone, settings=settings)
    ours = measured.edited(backbone, recipe, trial, noise)
    for row, made in enumerate(ours):
        asked = Request(
            trial.prompts[row].removeprefix("[Video edit]"),
            replace(settings, seed=settings.seed + row + 1000 * noise),
            recipe=recipe.name,
        )
        film = trial.source[row].movedim(0, -1) / 2 + 0.5
        theirs = edit_film(backbone, asked, film, Windows(4))
        torch.testing.assert_close(made, theirs, rtol=0, atol=1e-4)
        assert (made - trial.source[row]).abs().max() > 0.1


def test_every_clip_has_noise_of_its_own_and_every_recipe_makes_another(backbone):
    trial = EditTrial("add", 2, 5, 32)
    types_alone = replace(sama(), semantic_tokens=0)
    made = [
        measured.edited(backbone, *how)
        for how in (
            (sama(), trial, 0),
            (sama(), trial, 1),
            (types_alone, trial, 0),
            (in_context(), trial, 0),
        )
    ]
    for index, one in enumerate(made):
        assert all((one - other).abs().max() > 1e-3 for other in made[:index])


def test_an_edits_figures_are_means_over_its_noises(backbone, monkeypatch):
    asked, told = [], []

    def edited(given, recipe, trial, noise):
        asked.append((recipe.name, noise, tuple(trial.truth.shape)))
        return trial.truth if noise == 0 else trial.source

    monkeypatch.setattr(measured, "edited", edited)
    values = measured.evaluate_edits(backbone, sama(), 3, 4, lambda *done: told.append(done))
    assert told == [(done, 6) for done in range(1, 7)]
    assert asked == [("sama", noise, (3, 3, 5, 32, 32)) for _ in edits.EDIT_KINDS for noise in range(4)]
    assert list(values) == list(edits.EDIT_KINDS)
    for row in values.values():
        assert row["way"].tolist() == row["nearer"].tolist() == [0.25] * 3


def test_what_no_model_made_is_nothing_and_the_most_that_the_vae_lets_through():
    class Dim:
        """A VAE that loses a tenth of every colour."""

        device, dtype = torch.device("cpu"), torch.float32
        encode = staticmethod(lambda clip: clip)
        decode = staticmethod(lambda clip: 0.9 * clip)

    none, most = (measured.without_model(name, Dim, 3, FRAMES, SIZE) for name in (UNEDITED, CODED))  # pyright: ignore[reportArgumentType]
    for kind in edits.EDIT_KINDS:
        trial = EditTrial(kind, 3, FRAMES, SIZE)
        left = ~trial.region.flatten(1).all(1)
        assert none[kind]["way"].eq(0).all() and none[kind]["kept"][left].eq(MOST_DECIBELS).all()
        lost = 0.1 * (trial.truth.abs() * trial.region).sum((1, 2, 3, 4))
        asked = ((trial.truth - trial.source).abs() * trial.region).sum((1, 2, 3, 4))
        torch.testing.assert_close(most[kind]["way"], 1 - lost / asked)
