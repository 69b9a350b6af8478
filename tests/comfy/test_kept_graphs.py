"""Files of earlier versions, on a real server and in process: their graphs, saved conditionings, adapters
and identities make what they made then."""

import pytest
from refvid_client import edited
from refvid_kept import DATA, VERSIONS, Kept, made, needed, wrong
from refvid_kept_conditioning import RUNS, SIDES, read_conditioning, stem
from refvid_kept_inside import Inside, looking_in

pytestmark = pytest.mark.comfy

ALL = [Kept(DATA / version) for version in VERSIONS]
GRAPHS = [(kept, name) for kept in ALL for name in kept.graphs]
SAVED = [(kept, file) for kept in ALL for file in kept.conditionings]
RUN_OF = {
    stem(graph, run, side): (graph, run, side) for graph in RUNS for run in RUNS[graph] for side in SIDES
}
# On purpose another result than 0.1.0's, whose guiders left Phantom's references out of their null pass; the
# test below asks for that.
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


@pytest.mark.parametrize("name", sorted(FREE))
def test_what_0_1_0_made_of_phantom_under_our_guiders_is_there_for_the_asking(placed, name):
    kept, (graph, run) = Kept(DATA / "0.1.0"), name.split("/")
    whole = kept.asked(kept.graphs[graph])
    assert whole["apply_phantom"]["inputs"]["null_pass"] == "recipe"
    found = {}
    for null in ("recipe", "drop"):
        asked = needed(edited(whole, {"apply_phantom.null_pass": null}), run)
        found[null] = made(placed, graph, asked)[name]
    assert wrong(found["drop"], kept.results()[name]) is None
    assert wrong(found["recipe"], kept.results()[name]) is not None


@pytest.fixture(scope="module")
def insides():
    """The small graphs of every version, called in this process."""
    return {
        (kept.folder, name): Inside(kept.graphs[name]) for kept in ALL for name in kept.graphs.keys() & RUNS
    }


@pytest.mark.parametrize(("kept", "file"), SAVED, ids=[f"{k.folder.name}-{file.stem}" for k, file in SAVED])
def test_a_saved_conditioning_makes_the_same_latent(insides, kept, file):
    """Stands in the place of the graph's own. That nobody is named is an empty list, which core's Save
    Conditioning leaves out."""
    graph, run, side = RUN_OF[file.stem]
    with looking_in(kept):
        latent = insides[kept.folder, graph].call(run, **{side: read_conditioning(file)})[0]["samples"]
    assert wrong(latent, kept.results()[f"{graph}/keep_{run}"]) is None
