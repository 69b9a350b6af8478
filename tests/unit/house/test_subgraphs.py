"""Subgraph blueprints, against what a real server said about the nodes in them. They are made by
tests/run_comfy.py --subgraphs; tests/comfy/test_browser.py makes them anew and uses them."""

import re

import pytest
from refvid_templates import NODES, ROOT, SHIPPED, read, slots

BLUEPRINTS = read(ROOT / "subgraphs")
PROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
IN, OUT = -10, -20  # ids of a subgraph's own two sides
every_blueprint = pytest.mark.parametrize("name", BLUEPRINTS)


def subgraph(name):
    (found,) = BLUEPRINTS[name]["definitions"]["subgraphs"]
    return found


def ends(name):
    """Both ends of every link: (node, name of the socket, type there)."""
    inner = subgraph(name)
    nodes = {node["id"]: node for node in inner["nodes"]}
    for link in inner["links"]:
        start, end = link["origin_id"], link["target_id"]
        gives = inner["inputs"] if start == IN else nodes[start]["outputs"]
        takes = inner["outputs"] if end == OUT else nodes[end]["inputs"]
        given, taken = gives[link["origin_slot"]], takes[link["target_slot"]]
        assert link["id"] in (given["linkIds"] if start == IN else given["links"])
        assert link["id"] in taken["linkIds"] if end == OUT else link["id"] == taken["link"]
        yield link["type"], (nodes.get(start), given), (nodes.get(end), taken)


def test_there_are_two():
    assert BLUEPRINTS.keys() == {"Masked reference", "Identity from a video"}


@every_blueprint
def test_it_is_one_node_of_its_subgraph_with_the_same_sockets(name):
    (node,) = BLUEPRINTS[name]["nodes"]
    inner = subgraph(name)
    assert node["type"] == inner["id"] and node["title"] == inner["name"] == name
    assert inner["description"] and inner["category"].startswith("refvid/")
    for side in ("inputs", "outputs"):
        sockets = [(one["name"], one["type"]) for one in node[side]]
        assert sockets == [(one["name"], one["type"]) for one in inner[side]]
        assert len({label for label, _ in sockets}) == len(sockets)
        assert all(one["linkIds"] for one in inner[side])


@every_blueprint
def test_links_join_sockets_that_its_nodes_have_and_types_agree(name):
    for kind, (source, given), (target, taken) in ends(name):
        assert kind == given["type"] == taken["type"]
        if source:
            said = NODES[source["type"]]
            assert kind == said["output"][said["output_name"].index(given["name"])]
        if target:
            assert kind == slots(NODES[target["type"]]["input"], {})[taken["name"]].kind


@every_blueprint
def test_what_its_nodes_need_is_joined_or_a_widget(name):
    for node in subgraph(name)["nodes"]:
        joined = {one["name"] for one in node["inputs"] if one["link"] is not None}
        set_here = node.get("widgets_values_named", {}).keys()
        known = slots(NODES[node["type"]]["input"], {})
        assert {label for label, slot in known.items() if slot.required} <= joined | set_here, node["type"]


@every_blueprint
def test_its_values_are_choices_and_its_model_files_are_shipped(name):
    for node in subgraph(name)["nodes"]:
        known = slots(NODES[node["type"]]["input"], {})
        for label, value in node.get("widgets_values_named", {}).items():
            assert not known[label].choices or value in known[label].choices
            assert not str(value).endswith(".safetensors") or value in SHIPPED


@every_blueprint
def test_its_nodes_say_which_pack_they_belong_to(name):
    version, oldest = (
        re.search(pattern, PROJECT, re.MULTILINE)
        for pattern in (r'^version = "(.+)"', r'^requires-comfyui = ">=(.+)"')
    )
    assert version and oldest
    for node in subgraph(name)["nodes"]:
        whose = ("refvid", version[1]) if node["type"].startswith("RefVid") else ("comfy-core", oldest[1])
        assert (node["properties"]["cnr_id"], node["properties"]["ver"]) == whose


def test_a_graph_with_a_second_expert_has_a_way_through():
    for name in BLUEPRINTS:
        inner = subgraph(name)
        passed = [{one["name"] for one in inner[side]} for side in ("inputs", "outputs")]
        assert {"model", "low_noise_model", "positive", "negative"} <= passed[0] & passed[1]
