"""A server that works long, or is killed: its memory does not grow, and what it makes does not change."""

from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import refvid_base_folder
import refvid_patience as patience
from refvid_client import Client, Graph, edited, node
from refvid_comfy import find_comfyui
from refvid_faults_api import WORKFLOWS, cut, digested, digests, short, watched
from refvid_server import serve
from refvid_soak import amount

pytestmark = pytest.mark.comfy

WINDOW, WINDOWS = amount((3, 3), (100, 6))  # the first warms up
MOST = amount(24.0, 1.0)  # MiB from one window's least to the next, on average
MAIN = WORKFLOWS["masked_reference_to_video"]


def resident(server: Client) -> float:
    """MiB of memory that the server holds."""
    said = Path(f"/proc/{server.process.pid}/status").read_text("utf-8")
    return int(next(line for line in said.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def turns() -> tuple[Graph, Graph]:
    """Two references, one after the other, on the model that stays loaded; all that follows runs anew each
    time."""
    again = {"again": node("RefVidTestAgain", value=["picture", 0])}
    graph = edited(MAIN, {"reference.image": ["again", 0]}, again)
    graph = cut(watched(digested(short(graph, steps=1))), "digest_decode")
    return graph, edited(graph, {"picture.image": "refvid_toy_2.png"})


@pytest.mark.timeout(amount(patience.TEST, patience.SOAK))
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="this system does not say what a process holds"
)
def test_many_prompts_make_the_same_and_take_no_more_memory(server):
    graphs = turns()
    made = [digests(server.run(graph)) for graph in graphs]
    assert made[0] != made[1]
    least: list[float] = []
    for _ in range(WINDOWS):
        held = []
        for turn in range(WINDOW):
            assert digests(server.run(graphs[turn % 2])) == made[turn % 2]
            server.post("/history", {"clear": True})  # which core keeps of every prompt
            held.append(resident(server))
        least.append(min(held))
    growth = [after - before for before, after in pairwise(least[1:])]
    assert sum(growth) / len(growth) <= MOST, least


def gone(server: Client) -> None:
    """Wait until a server answers no more."""
    with suppress(OSError):
        while True:
            server.get("/queue")


@pytest.mark.skipif(amount(True, False), reason="two servers: make soak")
def test_a_server_that_was_killed_makes_the_same_when_it_runs_again(tmp_path):
    root = find_comfyui()
    assert root is not None
    refvid_base_folder.fill(tmp_path)
    graph, made = turns()[0], []
    for killed in (True, False):
        with serve(root, tmp_path) as server:
            made.append(digests(server.run(graph)))
            if killed:
                server.post("/prompt", {"prompt": watched(short(MAIN, steps=500))})
                while not server.get("/queue")["queue_running"]:
                    pass
                server.process.kill()
                gone(server)
    assert made[0] == made[1]
    assert not [*(tmp_path / "output").rglob("*.*"), *tmp_path.rglob("*.partial")]
