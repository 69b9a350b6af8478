"""What earlier versions left, on a real server and in process: their graphs, saved conditionings, adapters
and identities make what they made then."""

import pytest
from refvid_kept import DATA, VERSIONS, Kept, made, wrong
from refvid_kept_conditioning import RUNS, SIDES, read_conditioning, stem
from refvid_kept_inside import Inside, looking_in

pytestmark = pytest.mark.comfy

ALL = [Kept(DATA / version) for version in VERSIONS]
GRAPHS = [(kept, name) for kept in ALL for name in kept.graphs]
SAVED = [(kept, file) for kept in ALL for file in kept.conditionings]
RUN_OF = {
    stem(graph, run, side): (graph, run, side) for graph in RUNS for run in RUNS[graph] for side in SIDES
}
# The pass without references of our guiders is to become Phantom's own; until then they run, and may make
# anything.
FREE = {"every_recipes/keep_phantom_joint"}


@pytest.fixture(scope="module")
def placed(server):
    """The server, with every version's models and inputs."""
    for kept in ALL:
        kept.place(server.base)
    return server


@pytest.mark.parametrize(("kept", "name"), GRAPHS, ids=[f"{k.folder.name}-{name}" for k, name in GRAPHS])
def test_a_kept_graph_is_accepted_and_makes_the_same_frames(placed, kept, name):
    graph = kept.asked(kept.graphs[name])
    found = made(placed, name, graph)
    wanted = {key: value for key, value in kept.results().items() if key.startswith(f"{name}/")}
    assert found.keys() == wanted.keys() and wanted
    reads_film = any(one["class_type"] == "LoadVideo" for one in graph.values())
    off = {key: wrong(found[key], wanted[key], reads_film) for key in wanted.keys() - FREE}
    assert {key: said for key, said in off.items() if said} == {}


@pytest.fixture(scope="module")
def insides():
    """The small graphs of every version, called in this process."""
    return {
        (kept.folder, name): Inside(kept.graphs[name]) for kept in ALL for name in kept.graphs.keys() & RUNS
    }


@pytest.mark.parametrize(("kept", "file"), SAVED, ids=[f"{k.folder.name}-{file.stem}" for k, file in SAVED])
def test_a_saved_conditioning_makes_the_same_latent(insides, kept, file):
    """In the place of the graph's own. That nobody is named is an empty list, which core's Save Conditioning leaves out."""
    graph, run, side = RUN_OF[file.stem]
    with looking_in(kept):
        latent = insides[kept.folder, graph].call(run, **{side: read_conditioning(file)})[0]["samples"]
    assert wrong(latent, kept.results()[f"{graph}/keep_{run}"]) is None
