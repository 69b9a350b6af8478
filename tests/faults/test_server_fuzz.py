"""Shipped workflows, mutated: whatever comes, no error that nobody meant leaves our nodes, and the server
makes afterwards what it made before."""

import shutil
from pathlib import Path

import pytest
from refvid_faults_api import BARE, IDENTITY, WORKFLOWS, digested, digests, short, unmeant, watched
from refvid_faults_mutations import mutated
from refvid_soak import amount

pytestmark = pytest.mark.comfy

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = amount(18, 24)  # of one test
# The few prompts of every run are some that break a pack which does not look at what it is given.
FIRST = amount((144,), range(0, 1512, PROMPTS))
SEEDS = [range(first, first + PROMPTS) for first in FIRST]
CLEAN = watched(digested(short(WORKFLOWS["complete_graph"], steps=1)))


def refused_badly(answer: dict, folder: str) -> list[str]:
    """Parts of a refusal that came of an error in the pack's folder that nobody meant."""
    said = answer.get("node_errors") or {}
    errors = [error["extra_info"] | error for one in said.values() for error in one["errors"]]
    return [
        f"{error['exception_type']}: {error['details']}"
        for error in errors
        if error.get("exception_type", "").rpartition(".")[2] in BARE
        and any(f"/{folder}/" in line for line in error["traceback"])
    ]


@pytest.mark.parametrize("seeds", SEEDS, ids=lambda seeds: f"from {seeds[0]}")
def test_no_prompt_brings_forth_an_error_that_nobody_meant(server, seeds):
    shutil.copy(
        ROOT / "tests/data/0.1.0/inputs/refvid_kept_identity.safetensors", server.base / "input" / IDENTITY
    )
    before, found, ran = digests(server.run(CLEAN)), {}, 0
    for seed in seeds:
        done, graph = mutated(seed)
        status, answer = server.post("/prompt", {"prompt": graph})
        assert status in (200, 400), (done, answer)
        if status == 400:
            wrong = refused_badly(answer, server.folder)
        else:
            wrong, ran = unmeant(server.ended(answer["prompt_id"]), server.folder), ran + 1
        found |= {done: wrong} if wrong else {}
    assert found == {}
    assert len(seeds) / 5 < ran < len(seeds), "the mutations are too weak, or too strong"
    assert digests(server.run(CLEAN)) == before
