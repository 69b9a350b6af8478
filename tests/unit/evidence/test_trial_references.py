"""Trial of references: which reference and which words every row's clips are asked for with."""

from types import SimpleNamespace

import pytest
import torch

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
