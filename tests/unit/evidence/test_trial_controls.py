"""Controls measured: clips that obey by construction reach the ends of the scale, clips that do not stay in
the middle."""

import json
from types import SimpleNamespace

import pytest
import torch

from refvid.demo import captions, casting, world
from refvid.evidence import toy_figures
from refvid.evidence.trials import controls as evaluate_controls
from refvid.evidence.trials.clips import UNSEEN_SEED
from refvid.evidence.trials.controls import STRENGTHS, control_table, sample_duets
from refvid.evidence.trials.controls import evaluate_controls as evaluated
from refvid.evidence.trials.references import Trial
from refvid.hosts.plain.pipeline import Settings

TOYS, SIZE = 6, 64
BACKBONE = SimpleNamespace(recipe="saber", settings=Settings(width=SIZE, height=SIZE, frames=5))


def measured(monkeypatch, tmp_path, generate):
    monkeypatch.setattr(evaluate_controls, "generate", generate)
    return evaluated(BACKBONE, TOYS, tmp_path, lambda *_: None)  # pyright: ignore[reportArgumentType]


def casts_of_pairs(count: int) -> list:
    generator = torch.Generator().manual_seed(UNSEEN_SEED + 1)
    first, second = casting.duets(casting.sample_scenes(count, generator))
    toys = casting.sample_identities(count, generator)
    return [(toys, first), (casting.other_shape(toys, generator), second)]


def truth_of_pairs() -> torch.Tensor:
    """The clips that the pairs' prompts ask for."""
    return world.render_cast(casts_of_pairs(TOYS), 5, SIZE)[0]


def test_clips_that_obey_reach_the_ends_of_the_scale(monkeypatch, tmp_path):
    """A stronger reference covers more of the toy in its colours; unbound pairs swap places."""
    trial, pairs = Trial(TOYS, 5, SIZE), truth_of_pairs()
    named = set(sample_duets(TOYS, SIZE).named)

    def generate(backbone, asked):
        index, references = asked.settings.seed, asked.references
        if len(references) == 2:
            bound = references[0].region is not None or asked.prompt in named
            return pairs[index] if bound else pairs[index].flip(-1).flip(-2)
        share = min(1.0, references[0].controls.strength)
        toy = toy_figures.segment(trial.truth[index : index + 1])[0]
        painted = torch.where(torch.arange(SIZE) < SIZE * (1 - share), -0.2, trial.truth[index])
        return torch.where(toy > 0.5, painted, trial.truth[index])

    report = measured(monkeypatch, tmp_path, generate)
    values = {interval.name: interval for interval in report.intervals}
    assert values["rank correlation of strength 0 to 1 with similarity"].low > 0.5
    assert values["similarity at strength 2 minus 1"].mean == 0
    assert values["own half minus other half, regions"].low > 0.3
    assert values["own half minus other half, neither"].high < 0
    assert values["regions bring"].low > 0.5
    assert values["words bring"].mean == values["regions bring"].mean
    assert report.strengths["0"] < report.strengths["0.5"] < report.strengths["1"]
    said = json.loads((tmp_path / "controls.json").read_text(), parse_constant=pytest.fail)
    assert said["strengths"] == report.strengths and "strength  0.5" in control_table(report)
    assert {file.name for file in tmp_path.iterdir()} == {"controls.json", "strengths.png", "regions.png"}


def test_clips_that_ignore_their_controls_show_nothing(monkeypatch, tmp_path):
    trial, pairs = Trial(TOYS, 5, SIZE), truth_of_pairs()
    report = measured(
        monkeypatch,
        tmp_path,
        lambda _, asked: (pairs if len(asked.references) == 2 else trial.truth)[asked.settings.seed],
    )
    values = {interval.name: interval.mean for interval in report.intervals}
    assert values["rank correlation of strength 0 to 1 with similarity"] == 0
    assert values["regions bring"] == values["words bring"] == 0
    assert len(set(report.strengths.values())) == 1 and len(report.strengths) == len(STRENGTHS)


def test_every_pair_has_one_toy_in_each_half():
    pairs = sample_duets(24, SIZE)
    casts = casts_of_pairs(24)
    said = captions.telling(24, "shape", "colour", "place")
    assert pairs.named == captions.captions(casts, said) and pairs.prompts == captions.captions(casts)
    assert not (casts[0][0].shape == casts[1][0].shape).any(), "words tell them apart"
    for k, cast in enumerate(casts):
        alpha = world.render(*cast, 9, SIZE)[1]
        inside = (alpha[:, 0] * pairs.halves[k][:, None]).sum((1, 2, 3)) / alpha[:, 0].sum((1, 2, 3))
        assert inside.min() > 0.9
    torch.testing.assert_close(pairs.halves[0] + pairs.halves[1], torch.ones(24, SIZE, SIZE))


def test_regions_and_words_are_asked_for_apart_and_held_against_neither(monkeypatch, tmp_path):
    """A model that keeps subjects apart by regions, and reads no words."""
    trial, truth, pairs, asked = Trial(TOYS, 5, SIZE), truth_of_pairs(), sample_duets(TOYS, SIZE), []

    def generate(_, request):
        index, references = request.settings.seed, request.references
        if len(references) == 1:
            return trial.truth[index]
        asked.append(request)
        return truth[index] if references[0].region is not None else truth[index].flip(-1).flip(-2)

    values = {one.name: one for one in measured(monkeypatch, tmp_path, generate).intervals}
    assert values["regions bring"].low > 0.5 and values["words bring"].mean == 0
    for index in range(TOYS):
        free, bound, named = asked[3 * index : 3 * index + 3]
        assert [one.prompt for one in (free, bound, named)] == [pairs.prompts[index]] * 2 + [
            pairs.named[index]
        ]
        assert all(one.region is None for given in (free, named) for one in given.references)
        for one, half in zip(bound.references, pairs.halves, strict=True):
            assert torch.equal(one.region, half[index])


def test_progress_goes_on_from_strengths_to_regions(monkeypatch, tmp_path):
    trial, pairs, told = Trial(TOYS, 5, SIZE), truth_of_pairs(), []
    monkeypatch.setattr(
        evaluate_controls,
        "generate",
        lambda _, asked: (pairs if len(asked.references) == 2 else trial.truth)[asked.settings.seed],
    )
    evaluated(BACKBONE, TOYS, tmp_path, lambda done, of: told.append((done, of)))  # pyright: ignore[reportArgumentType]
    strengths, whole = TOYS * len(STRENGTHS), TOYS * (len(STRENGTHS) + 3)
    expected = [*range(len(STRENGTHS), strengths + 1, len(STRENGTHS)), *range(strengths + 3, whole + 1, 3)]
    assert told == [(done, whole) for done in expected]


def test_all_is_asked_at_cfg_1_and_strengths_are_held_against_1(monkeypatch, tmp_path):
    """Similarity is 0.1 per place in STRENGTHS up to 1, and falls beyond."""
    levels = {0.0: 0.0, 0.25: 0.1, 0.5: 0.2, 0.75: 0.3, 1.0: 0.4, 1.5: 0.2, 2.0: 0.1}
    scales, guided = (
        set(),
        SimpleNamespace(recipe="saber", settings=Settings(width=SIZE, height=SIZE, frames=5, scale=4.0)),
    )

    def generate(_, asked):
        scales.add(asked.settings.scale)
        return torch.full((3, 5, SIZE, SIZE), levels[asked.references[0].controls.strength])

    monkeypatch.setattr(evaluate_controls, "generate", generate)
    monkeypatch.setattr(Trial, "similarity", lambda _, clips: clips[:, :1, 0, 0, 0].expand(-1, TOYS))
    report = evaluated(guided, TOYS, tmp_path, lambda *_: None)  # pyright: ignore[reportArgumentType]
    values = {one.name: one.mean for one in report.intervals}
    assert scales == {1.0}
    assert values["rank correlation of strength 0 to 1 with similarity"] == pytest.approx(1)
    assert values["similarity at strength 2 minus 1"] == pytest.approx(-0.3)
