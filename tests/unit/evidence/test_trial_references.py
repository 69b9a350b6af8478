"""Trial of references: which reference and words every row's clips are asked for with, and what is said."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from refvid.backbones.wan.vae import WanVAE
from refvid.demo import casting, world
from refvid.evidence.trials import references
from refvid.hosts.plain.pipeline import Settings

TOYS = 4
# Whose reference, whose caption, by how many toys further on; and whether it says where.
ASKED = {
    "own reference": (0, 0, False),
    references.PLACED: (0, 0, True),
    "another's reference": (1, 0, False),
    "no reference": (None, 0, False),
    "another's caption": (0, 1, False),
}


@pytest.fixture
def asked(monkeypatch):
    """{row: requests} of a trial of TOYS toys, and the trial."""
    requests = []
    monkeypatch.setattr(
        references, "generate", lambda _, request: requests.append(request) or torch.zeros(())
    )
    backbone, trial = (
        SimpleNamespace(settings=Settings(width=48, height=48, frames=5)),
        references.Trial(TOYS, 5, 48),
    )
    found = {}
    for variant in trial.variants():
        references.clips_of_variant(backbone, trial, variant, 0, lambda _: None)
        found[variant.name] = requests[:]
        requests.clear()
    return found, trial


def test_every_row_asks_with_its_reference_and_its_caption(asked):
    found, trial = asked
    assert list(found) == list(ASKED)
    for name, (turned, further, placed) in ASKED.items():
        captions = trial.placed_prompts if placed else trial.prompts
        for row, request in enumerate(found[name]):
            assert request.prompt == captions[(row - further) % TOYS]
            given = [one.picture for one in request.references]
            wanted = [] if turned is None else [trial.reference((row - turned) % TOYS).picture]
            assert len(given) == len(wanted) and all(map(torch.equal, given, wanted))


def test_rows_have_the_same_noise_and_only_one_row_says_where(asked):
    found, trial = asked
    seeds = {name: [request.settings.seed for request in requests] for name, requests in found.items()}
    assert len(set(seeds["own reference"])) == TOYS and all(
        one == seeds["own reference"] for one in seeds.values()
    )
    for prompt, placed in zip(trial.prompts, trial.placed_prompts, strict=True):
        assert " at the " not in prompt and " at the " in placed
        assert placed.split(" at the ")[0] == "a toy" and prompt.startswith("a toy ")


def test_what_is_said_of_a_row_is_of_its_values():
    figures = dict.fromkeys(references.REFERENCE_FIGURES, 0.5)
    rows = ("truth", "truth through the VAE", *ASKED)
    values = {row: {name: torch.full((TOYS,), value) for name, value in figures.items()} for row in rows}
    values["truth through the VAE"]["own"] = torch.full((TOYS,), 0.8)
    for row, own, shape in (("own reference", 0.4, 0.2), (references.PLACED, 0.6, 0.7)):
        values[row] |= {"own": torch.full((TOYS,), own), "shape": torch.full((TOYS,), shape)}
    said = {one.name: one.mean for one in references.summary(TOYS, values).intervals}
    assert said["own reference, share of the ceiling"] == pytest.approx(0.5)
    assert said[f"{references.PLACED}, share of the ceiling"] == pytest.approx(0.75)
    assert said["own reference, shape"] == pytest.approx(0.2)
    assert said[f"{references.PLACED}, shape"] == pytest.approx(0.7)
    told = {"share of the ceiling", "retrieval", "shape", "texture", "direction"}
    for row in ("own reference", references.PLACED):
        assert {name.removeprefix(f"{row}, ") for name in said if name.startswith(f"{row}, ")} == told


def test_a_rows_figures_are_of_its_own_toys_the_reference_given_and_what_was_asked(monkeypatch):
    trial, table = (
        references.Trial(3, 5, 48),
        torch.tensor([[0.5, 0.25, 0.0], [0.125, 1.0, 0.75], [0.0, 0.5, 0.25]]),
    )
    trial.scenes = replace(trial.scenes, background=torch.tensor([0, 1, 2]))
    trial.elsewhere = replace(trial.elsewhere, background=torch.tensor([3, 2, 0]))
    heard = []
    monkeypatch.setattr(references.Trial, "similarity", lambda *_: table)
    monkeypatch.setattr(
        references.toy_figures, "agreements", lambda _, __, scenes: heard.append(scenes) or {}
    )
    monkeypatch.setattr(
        references.toy_figures, "backdrop_leak", lambda clips, own, other: (10 * own + other).float()
    )
    at, other = trial.scenes.background, trial.elsewhere.background
    for variant in trial.variants():
        given, asked = variant.given, variant.asked
        found = trial.measure(variant, trial.truth)
        assert found["own"].tolist() == [0.5, 1.0, 0.25]
        assert found["other"].tolist() == [0.125, 0.4375, 0.25]
        assert found["retrieval"].tolist() == [1, 1, 0]
        assert torch.equal(heard[-1].direction, trial.scenes.direction[asked])
        if given is not None:
            assert found["given"].tolist() == [
                table[row, column] for row, column in enumerate(given.tolist())
            ]
        source = other[asked if given is None else given]
        leak = (10 * at[asked] + source).float().masked_fill(at[asked] == source, torch.nan)
        torch.testing.assert_close(found["leak"], leak, rtol=0, atol=0, equal_nan=True)


def test_what_is_compared_with_the_own_reference_is_own_minus_other_and_the_captions_other_minus_own():
    levels = {"another's reference": 0.1, "no reference": 0.2, "another's caption": 0.7}
    rows = ("truth", "truth through the VAE", *ASKED)
    values = {
        row: dict.fromkeys(references.REFERENCE_FIGURES, torch.full((TOYS,), levels.get(row, 0.5)))
        for row in rows
    }
    said = {one.name: one.mean for one in references.summary(TOYS, values).intervals}
    assert said["own reference minus another's reference, similarity"] == pytest.approx(0.4)
    assert said["own reference minus no reference, similarity"] == pytest.approx(0.3)
    assert said["another's caption minus own caption, similarity"] == pytest.approx(0.2)


def test_every_noise_is_another(monkeypatch, tmp_path):
    noises = []
    monkeypatch.setattr(
        references,
        "clips_of_variant",
        lambda _, trial, variant, noise, __: noises.append(noise) or trial.truth,
    )
    monkeypatch.setattr(references, "through", lambda _, clips: clips)
    monkeypatch.setattr(references, "_sheet", lambda *_: None)
    backbone = SimpleNamespace(
        recipe="saber", found=None, vae=None, settings=Settings(width=48, height=48, frames=5)
    )
    references.evaluate_references(backbone, 2, tmp_path, seeds=3)  # pyright: ignore[reportArgumentType]
    assert noises == [0, 1, 2] * len(ASKED)


def test_an_evaluation_says_the_same_on_paper_in_its_file_and_of_the_truth(tmp_path, monkeypatch) -> None:
    """With rendered clips in place of generated ones every row is the truth's."""
    monkeypatch.setattr(references, "clips_of_variant", lambda backbone, trial, *_: trial.truth)
    settings = Settings(width=64, height=64, frames=5)
    backbone = SimpleNamespace(recipe="saber", found=None, settings=settings, vae=WanVAE(2))
    report = references.evaluate_references(backbone, 6, tmp_path, seeds=2)  # pyright: ignore[reportArgumentType]
    said = json.loads((tmp_path / "score.json").read_text(), parse_constant=pytest.fail)
    truth, own, none = (report.rows[name] for name in ("truth", "own reference", "no reference"))
    assert said["rows"] == report.rows and said["values"] == report.values
    assert own == pytest.approx(truth) and none["given"] is None and own["given"] == own["own"]
    assert own["retrieval"] == 1 and none["own"] == own["own"]
    assert {i.name: i.mean for i in report.intervals}["own reference minus no reference, similarity"] == 0
    table = references.reference_table(report)
    assert table.startswith("6 unseen toys") and "own reference, share of the ceiling: " in table
    line = next(line for line in table.splitlines() if line.startswith("no reference"))
    assert line.split()[4] == "-" and float(line.split()[2]) == pytest.approx(own["own"], abs=5e-4)


def test_a_toy_of_a_level_moves_and_its_reference_does_not(tmp_path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(
        references, "clips_of_variant", lambda _, trial, *__: seen.append(trial) or trial.truth
    )
    settings = Settings(width=48, height=48, frames=5)
    backbone = SimpleNamespace(recipe="saber", found=None, settings=settings, vae=WanVAE(2))
    for level in ("still", "lively"):
        references.evaluate_references(backbone, 8, tmp_path, level=level)  # pyright: ignore[reportArgumentType]
    still, lively = seen[0], seen[-1]
    assert not still.toys.dynamics.any() and lively.toys.dynamics.any() and lively.toys.dynamics.eq(0).any()
    trial = references.Trial(8, 5, 48, moving=1.0)
    assert trial.toys.dynamics.ne(0).all()
    front, alpha = world.render(casting.steady(trial.toys), trial.elsewhere, 1, 48)
    assert torch.equal(trial.pictures, front[:, :, 0])
    assert torch.equal(trial.masks, (alpha[:, :, 0] > 0.5).float())
