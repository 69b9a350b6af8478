"""Words measured: clips that do what is said reach the ceiling, clips of others do not."""

import json
from types import SimpleNamespace

import pytest
import torch
from refvid_toys import without_toys

from refvid.demo import captions, casting, world
from refvid.evidence.trials import words as measured
from refvid.evidence.trials.clips import CODED, TRUTH
from refvid.evidence.trials.words import (
    LOOKS_SAID,
    MOTION_SAID,
    MOTION_UNSAID,
    WORD_FIGURES,
    WordTrial,
    evaluate_words,
    word_table,
)
from refvid.hosts.plain.pipeline import Settings

TOYS, SIZE, FRAMES = 24, 48, 9
BACKBONE = SimpleNamespace(settings=Settings(width=SIZE, height=SIZE, frames=FRAMES), vae=None)


@pytest.fixture(scope="module")
def words() -> WordTrial:
    return WordTrial(TOYS, FRAMES, SIZE)


def report_of(monkeypatch, folder, generate, progress=lambda *_: None):
    monkeypatch.setattr(measured, "generate", generate)
    monkeypatch.setattr(measured, "through", lambda _, clips: clips)
    return evaluate_words(BACKBONE, TOYS, folder, progress)  # pyright: ignore[reportArgumentType]


def test_prompts_say_looks_without_a_reference_and_motion_beside_one(words, monkeypatch, tmp_path):
    asked = []

    def generate(_, request):
        asked.append(request)
        return words.trial.truth[request.settings.seed]

    told = []
    report = report_of(monkeypatch, tmp_path, generate, lambda *it: told.append(it))
    assert told == [(done, 3 * TOYS) for done in range(1, 3 * TOYS + 1)]
    looks, motion, bare = asked[:TOYS], asked[TOYS : 2 * TOYS], asked[2 * TOYS :]
    toys, scenes = words.trial.toys, words.trial.scenes
    assert toys.dynamics.ne(0).all()
    for part, parts in ((looks, ("colour", "shape", "place")), (motion, ("motion",)), (bare, ())):
        said = captions.captions([(toys, scenes)], captions.telling(TOYS, *parts))
        assert [one.prompt for one in part] == said
        assert [one.settings.seed for one in part] == list(range(TOYS))
    assert [len(one.references) for one in asked] == [0] * TOYS + [1] * 2 * TOYS
    for row, one in enumerate([*motion, *bare]):
        own = words.trial.reference(row % TOYS)
        assert torch.equal(one.references[0].picture, own.picture)
        assert torch.equal(one.references[0].mask, own.mask)
    assert list(report.rows) == [LOOKS_SAID, MOTION_SAID, MOTION_UNSAID, TRUTH, CODED]
    for name in (LOOKS_SAID, MOTION_SAID, MOTION_UNSAID):
        assert report.rows[name] == report.rows[TRUTH]
    values = {one.name: one.mean for one in report.intervals}
    assert values.pop("words of motion bring, dynamics") == 0
    assert list(values.values()) == pytest.approx([1.0] * 4)
    kept = json.loads((tmp_path / "words.json").read_text(), parse_constant=pytest.fail)
    assert kept["rows"] == report.rows and LOOKS_SAID in word_table(report)
    assert (tmp_path / "words.png").stat().st_size > 1000


def test_the_truth_shows_what_is_said_and_another_toys_clip_does_not(words):
    truth = words.measure(words.trial.truth)
    other = words.measure(words.trial.truth.roll(1, 0))
    for figure, least, most in (
        ("colour", 0.9, 0.5),
        ("shape", 0.85, 0.5),
        ("place", 1.0, 0.6),
        ("dynamics", 0.7, 0.3),
    ):
        assert truth[figure].mean() >= least, figure
        assert other[figure].mean() <= most, figure


def test_clips_in_which_nothing_moves_in_itself_gain_nothing_by_words_of_motion(words, monkeypatch, tmp_path):
    trial = words.trial
    still, _ = world.render(casting.steady(trial.toys), trial.scenes, FRAMES, SIZE)

    def generate(_, request):
        moves = any(word in request.prompt for word in captions.TEMPO_WORDS)
        return (trial.truth if moves else still)[request.settings.seed]

    values = {one.name: one for one in report_of(monkeypatch, tmp_path, generate).intervals}
    assert values["words of motion bring, dynamics"].low > 0.5
    assert values[f"{MOTION_SAID}, dynamics, share of the ceiling"].mean == pytest.approx(1.0)


def test_what_is_said_is_held_against_the_vae_and_what_is_unsaid_against_the_same_reference():
    levels = {LOOKS_SAID: 0.4, MOTION_SAID: 0.6, MOTION_UNSAID: 0.5, TRUTH: 1.0, CODED: 0.8}
    values = {name: dict.fromkeys(WORD_FIGURES, torch.full((4,), level)) for name, level in levels.items()}
    assert {one.name: one.mean for one in measured._intervals(values)} == pytest.approx(
        {
            **{f"{LOOKS_SAID}, {name}, share of the ceiling": 0.5 for name in ("colour", "shape", "place")},
            f"{MOTION_SAID}, dynamics, share of the ceiling": 0.75,
            "words of motion bring, dynamics": 0.1,
        }
    )


def test_a_clip_without_a_toy_shows_nothing_that_is_said_of_its_looks(words):
    bare = words.measure(without_toys(words.trial.scenes.background, FRAMES, SIZE))
    assert not bare["colour"].any() and not bare["place"].any()
