"""The pack in a real ComfyUI server: how it loads, what it says about itself, and the main graph to its
MP4."""

import asyncio
import inspect
import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from refvid_client import edited, failure, node
from refvid_templates import SHIPPED

from refvid.nodes import RefVidExtension
from refvid.nodes.reference_controls import controls_of

pytestmark = pytest.mark.comfy

ROOT = Path(__file__).resolve().parents[2]
NODES = asyncio.run(RefVidExtension().get_node_list())
NAMES = [one.GET_SCHEMA().node_id for one in NODES]
MAIN = json.loads((ROOT / "workflows/api/masked_reference_to_video.json").read_text("utf-8"))
SHORT = edited(MAIN, {"denoise.steps": 3})
SNAPSHOT = json.loads((ROOT / "tests/data/object_info.json").read_text("utf-8"))
FROM_CORE = ("sampler_name", "scheduler")  # combos whose choices grow with ComfyUI
SAME = ("input_order", "output", "output_name", "output_tooltips", "display_name", "description")


def frames(path: Path) -> np.ndarray:
    """(F, H, W, 3) uint8"""
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def sockets(said) -> dict:
    """A node's inputs without the hidden ones, which the server fills in."""
    return {group: inputs for group, inputs in said["input"].items() if group != "hidden"}


def pictures(server, graph) -> np.ndarray:
    """(F, H, W, 3) int, as PNG: a video codec makes more of a difference of one."""
    png = {"png": node("SaveImage", images=["decode", 0], filename_prefix="pictures")}
    files = sorted(server.outputs(edited(graph, {}, png), "png"))
    return np.stack([np.asarray(Image.open(file)).astype(int) for file in files])


@pytest.fixture(scope="module")
def info(server):
    return server.get("/object_info")


def test_the_pack_loads_from_a_folder_with_a_dash_and_a_dot(server, info):
    assert "-" in server.folder and "." in server.folder
    assert {info[name]["python_module"] for name in NAMES} == {f"custom_nodes.{server.folder}"}


def test_the_server_offers_exactly_the_nodes_of_the_list(server, info):
    assert {n for n, said in info.items() if said["python_module"].endswith(server.folder)} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_input_and_output_is_explained(info, name):
    inputs = [x for group in sockets(info[name]).values() for x in group.items()]
    assert [label for label, said in inputs if not said[1].get("tooltip")] == []
    assert info[name]["description"] and info[name]["category"].startswith("refvid")


@pytest.mark.parametrize("one", NODES, ids=NAMES)
def test_what_the_schema_promises_is_what_execute_takes(one):
    promised = {given.id for given in one.GET_SCHEMA().inputs}
    taken = set(inspect.signature(one.execute).parameters)
    if "asked" in taken:  # the controls of one reference, handed on as they are
        taken = (taken - {"asked"}) | set(inspect.signature(controls_of).parameters)
    assert promised == taken


@pytest.mark.parametrize("name", NAMES)
def test_the_help_page_speaks_of_every_input_and_output(server, info, name):
    page = server.text(f"/extensions/{server.folder}/docs/{name}.md")
    assert page.startswith(f"# {info[name]['display_name']}\n")
    labels = [label for group in sockets(info[name]).values() for label in group] + info[name]["output_name"]
    assert [label for label in labels if f"`{label}`" not in page] == []


def test_every_workflow_is_offered_as_a_template(server):
    offered = server.get("/workflow_templates")[server.folder]
    shipped = {file.stem: json.loads(file.read_text("utf-8")) for file in (ROOT / "workflows").glob("*.json")}
    assert sorted(offered) == sorted(shipped)
    for name in offered:
        assert server.get(f"/api/workflow_templates/{server.folder}/{name}.json") == shipped[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_snapshot_is_what_the_server_says(server, info, name):
    """When this fails after a change to a node: make object-info OUT=tests/data/object_info.json"""
    stored, said = SNAPSHOT[name], info[name]
    files = SHIPPED | {file.name for file in (server.base / "models").rglob("*")}
    assert {key: stored[key] for key in SAME} == {key: said[key] for key in SAME}
    for group, inputs in sockets(stored).items():
        for label, (kind, options) in inputs.items():
            live_kind, live = said["input"][group][label]
            choices, live_choices = options.pop("options", []), live.pop("options", [])
            assert (kind, options) == (live_kind, live), label
            if label in FROM_CORE:
                assert set(choices) <= set(live_choices), label
            elif choices:  # without choices it is a list of files
                assert choices == [one for one in live_choices if str(one) not in files], label


@pytest.mark.parametrize("name", sorted(SNAPSHOT.keys() - set(NAMES)))
def test_core_still_has_the_inputs_and_outputs_that_the_workflows_use(info, name):
    stored, said = SNAPSHOT[name], info[name]
    used = {x.partition(".")[0] for n in MAIN.values() if n["class_type"] == name for x in n["inputs"]}
    assert used <= {label for group in said["input"].values() for label in group}
    assert said["output"][: len(stored["output"])] == stored["output"]


def test_the_workflow_becomes_an_mp4_of_the_right_size_length_and_rate(server):
    (path,) = server.outputs(MAIN)
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (96, 96, 16)
        assert stream.codec_context.name == "h264"
    assert frames(path).shape == (17, 96, 96, 3) and frames(path).std() > 1


def test_the_backbone_says_what_it_loaded(server):
    entry = server.run(edited(MAIN, {"denoise.steps": 1, "backbone.shift": 4.0}))
    (text,) = entry["outputs"]["backbone"]["text"]
    assert "refvid_demo_dit.safetensors" in text and "saber" in text


def test_the_reference_changes_the_video(server):
    with_it, off = pictures(server, SHORT), pictures(server, edited(SHORT, {"reference.strength": 0.0}))
    assert np.abs(with_it.astype(int) - off).max() > 2


def core_sampler(**nodes):
    """The main graph with core's nodes instead of our guider and our steps."""
    graph = edited(SHORT, {"apply.null_pass": "drop"}, nodes)
    del graph["guider"], graph["denoise"]
    return edited(graph, {"decode.samples": ["sampler", 0]})


PAIR = {"model": ["apply", 0], "positive": ["apply", 2], "negative": ["apply", 3]}
SAMPLERS = {
    "KSampler": {
        "sampler": node(
            "KSampler", **PAIR, latent_image=["empty_video", 0], seed=0, steps=3, cfg=2.0,
            sampler_name="euler", scheduler="simple", denoise=1.0,
        ),
    },
    "SamplerCustomAdvanced": {
        "noise": node("RandomNoise", noise_seed=0),
        "cfg": node("CFGGuider", **PAIR, cfg=2.0),
        "euler": node("KSamplerSelect", sampler_name="euler"),
        "sigmas": node("BasicScheduler", model=["apply", 0], scheduler="simple", steps=3, denoise=1.0),
        "sampler": node(
            "SamplerCustomAdvanced", noise=["noise", 0], guider=["cfg", 0], sampler=["euler", 0],
            sigmas=["sigmas", 0], latent_image=["empty_video", 0],
        ),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLERS)
def test_cores_samplers_with_a_dropped_null_pass_equal_our_guider(server, name):
    core, ours = (pictures(server, graph) for graph in (core_sampler(**SAMPLERS[name]), SHORT))
    assert np.array_equal(core, ours)


def test_two_ranges_of_steps_equal_one_run(server):
    half = {"denoise.end_at_step": 2, "denoise.return_with_leftover_noise": "enable"}
    rest = {**MAIN["denoise"]["inputs"], "latent": ["denoise", 0], "steps": 3, "add_noise": "disable"}
    graph = edited(
        SHORT,
        {**half, "decode.samples": ["rest", 0]},
        {"rest": node("RefVidDenoiseSteps", **{**rest, "start_at_step": 2})},
    )
    # The latent between the ranges is scaled there and back.
    whole, parts = (pictures(server, one) for one in (SHORT, graph))
    assert len(whole) > 1 and np.abs(whole - parts).max() <= 1


def test_two_combined_reference_conditionings_run(server):
    """Each half of ConditioningCombine keeps the references it came with."""
    second = {
        "strong": node("RefVidReference", image=["picture", 0], mask_marks="subject", strength=4.0),
        "apply_strong": edited(MAIN, {"apply.references.reference_0": ["strong", 0]})["apply"],
        "both": node("ConditioningCombine", conditioning_1=["apply", 2], conditioning_2=["apply_strong", 2]),
    }
    combined = pictures(server, edited(SHORT, {"guider.positive": ["both", 0]}, second))
    alone = pictures(server, edited(SHORT, {"guider.positive": ["apply_strong", 2]}, second))
    plain = pictures(server, SHORT)
    assert combined.shape == plain.shape
    assert not np.array_equal(combined, plain) and not np.array_equal(combined, alone)


def test_chained_references_append(server):
    chained = {
        "again": edited(MAIN, {
            "apply.model": ["apply", 0], "apply.positive": ["apply", 2], "apply.negative": ["apply", 3],
        })["apply"],
    }  # fmt: skip
    links = {"guider.model": ["again", 0], "guider.positive": ["again", 2], "guider.negative": ["again", 3]}
    two_slots = edited(SHORT, {"apply.references.reference_1": ["reference", 0]})
    assert np.array_equal(pictures(server, edited(SHORT, links, chained)), pictures(server, two_slots))


def test_a_conditioning_with_references_can_be_saved(server, info):
    if "SaveConditioning" not in info:
        pytest.skip("this ComfyUI has no node that saves conditioning")
    keep = node("SaveConditioning", conditioning=["apply", 2], filename_prefix="refvid/conditioning")
    assert failure(server.run(edited(SHORT, {}, {"keep": keep}))) is None


def test_an_alpha_channel_counts_where_load_image_has_no_mask_to_offer(server):
    """The way of the bypassed group Background removal: Join Image with Alpha, and a photo's empty mask."""
    nodes = {
        "photo": node("LoadImage", image="photo.png"),
        "join": node("JoinImageWithAlpha", image=["picture", 0], alpha=["picture", 1]),
    }
    joined = edited(SHORT, {"reference.image": ["join", 0], "reference.mask": ["photo", 1]}, nodes)
    assert np.array_equal(pictures(server, joined), pictures(server, SHORT))
    whole = edited(SHORT, {"reference.mask": ["photo", 1]}, nodes)
    assert not np.array_equal(pictures(server, whole), pictures(server, SHORT))
