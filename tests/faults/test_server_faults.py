"""Runs that are interrupted, or break for want of memory, at any step of any workflow: afterwards the same
prompt makes the same, bit for bit."""

import json
from contextlib import contextmanager
from random import Random

import pytest
from refvid_client import failure
from refvid_fault_nodes import PLAN, REACHED
from refvid_faults_api import WORKFLOWS, digested, digests, evaluations, short, two_experts, watched
from refvid_soak import amount

pytestmark = pytest.mark.comfy

STEPS = 2
GRAPHS = {name: watched(digested(short(graph, STEPS))) for name, graph in WORKFLOWS.items()}
GRAPHS["two_experts"] = watched(digested(short(two_experts(), STEPS)))
KINDS = ("interrupt", "out of memory", "broken on purpose")
FEW = ("complete_graph", "edit_video_by_instruction", "two_experts")
DRAWS = amount(1, 6)


@contextmanager
def going_wrong(server, at: int, kind: str, block: int | None):
    plan = server.base / "input" / PLAN
    plan.write_text(json.dumps({"at": at, "kind": kind, "block": block}), "utf-8")
    try:
        yield
    finally:
        plan.unlink()


def end(entry) -> str:
    """End of a run, in a word or with the kind of its error."""
    said = failure(entry)
    kinds = [kind for kind, _ in entry["status"]["messages"]]
    return "interrupt" if "execution_interrupted" in kinds else "well" if said is None else said.kind


@pytest.mark.parametrize("name", amount(FEW, tuple(GRAPHS)))
def test_a_run_that_went_wrong_leaves_nothing_behind(server, name):
    graph, random = GRAPHS[name], Random(name)
    before = digests(server.run(graph))
    ends = {
        "interrupt": "interrupt",
        "out of memory": "torch.OutOfMemoryError",
        "broken on purpose": "RuntimeError",
    }
    for draw in range(DRAWS):
        kind = KINDS[draw % len(KINDS)] if DRAWS > 1 else random.choice(KINDS)
        at, block = random.randint(1, evaluations(graph)), random.choice((None, random.randrange(100)))
        with going_wrong(server, at, kind, block):
            assert end(server.run(graph)) == ends[kind], (kind, at, block)
        assert digests(server.run(graph)) == before, (kind, at, block)


def test_an_interrupt_from_outside_ends_a_run_and_the_next_is_the_same(server):
    graph = GRAPHS["masked_reference_to_video"]
    before = digests(server.run(graph))
    long = watched(digested(short(WORKFLOWS["masked_reference_to_video"], steps=400)))
    reached = server.base / "input" / REACHED
    reached.unlink(missing_ok=True)
    with going_wrong(server, 2, "nothing", None):
        _, answer = server.post("/prompt", {"prompt": long})
        while not reached.exists():
            assert not server.get(f"/history/{answer['prompt_id']}"), "it ended before its second step"
    server.post("/interrupt", {})
    assert end(server.ended(answer["prompt_id"])) == "interrupt"
    assert digests(server.run(graph)) == before
