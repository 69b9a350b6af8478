"""The workflows we ship, against what a real server said about the nodes in them
(tests/data/object_info.json), and the canvas workflows against their API twins. Both files are made: see
tests/run_comfy.py."""

import re
from itertools import combinations
from typing import Any

import pytest
from refvid_templates import DEMO, NODES, PROMPTS, PUBLIC, ROOT, SHIPPED, read, slots

CANVASES = read(ROOT / "workflows")
VERSION = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
# Of ComfyUI: it stands in canvases instead of the version that built them.
OLDEST = re.search(
    r'^requires-comfyui = ">=(.+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE
)
FIRST = "a_first_video"
NOTE, BYPASSED, TITLE_HEIGHT = "MarkdownNote", 4, 30
# The frontend offers to load models from few places: ALLOWED_SOURCES of its missingModelDownload.ts.
DOWNLOADS = ("https://huggingface.co/", "https://civitai.com/")
# What clients and the server look for beside a graph: a node of that name makes the graph look like an
# envelope.
ENVELOPE = {"prompt", "prompt_id", "client_id", "extra_data", "number", "front", "workflow", "nodes", "links"}
ANYTHING = ("*", "COMFY_MATCHTYPE_V3")
every_prompt = pytest.mark.parametrize("name", PROMPTS)
every_canvas = pytest.mark.parametrize("name", CANVASES)


def is_link(value: Any) -> bool:
    return isinstance(value, list)


@pytest.mark.parametrize("name", sorted(PROMPTS.keys() | CANVASES.keys()))
def test_every_workflow_is_there_for_the_canvas_and_for_the_api(name):
    assert name in PROMPTS and name in CANVASES


@every_prompt
def test_every_node_and_input_exists_and_nothing_required_is_missing(name):
    for key, node in PROMPTS[name].items():
        assert node["class_type"] in NODES, key
        known = slots(NODES[node["class_type"]]["input"], node["inputs"])
        assert node["inputs"].keys() <= known.keys(), key
        assert {label for label, slot in known.items() if slot.required} <= node["inputs"].keys(), key


@every_prompt
def test_no_graph_is_taken_for_an_envelope(name):
    assert PROMPTS[name].keys() & ENVELOPE == set()


@every_prompt
def test_links_point_at_outputs_of_the_right_type(name):
    prompt = PROMPTS[name]
    for key, node in prompt.items():
        known = slots(NODES[node["class_type"]]["input"], node["inputs"])
        for label, value in node["inputs"].items():
            if is_link(value):
                outputs = NODES[prompt[value[0]]["class_type"]]["output"]
                assert outputs[value[1]] == known[label].kind or known[label].kind in ANYTHING, (key, label)


@every_prompt
def test_values_are_of_the_right_type_within_bounds_and_among_the_choices(name):
    types = {"INT": int, "FLOAT": (int, float), "STRING": str, "COMBO": str, "BOOLEAN": bool}
    for key, node in PROMPTS[name].items():
        known = slots(NODES[node["class_type"]]["input"], node["inputs"])
        for label, value in node["inputs"].items():
            slot = known[label]
            if is_link(value):
                continue
            assert isinstance(value, types[slot.kind]), (key, label)
            assert not slot.choices or value in slot.choices, (key, label)
            assert slot.options.get("min", value) <= value <= slot.options.get("max", value), (key, label)


@every_prompt
def test_titles_are_there_and_unique(name):
    titles = [node["_meta"]["title"] for node in PROMPTS[name].values()]
    assert all(titles) and len(set(titles)) == len(titles)


class Canvas:
    """A workflow of the canvas, read by node titles."""

    def __init__(self, workflow: dict[str, Any]):
        self.workflow = workflow
        self.links = {link[0]: link for link in workflow["links"]}
        self.nodes = {node["id"]: node for node in workflow["nodes"]}
        self.active = {
            n["title"]: n for n in workflow["nodes"] if n["type"] != NOTE and n["mode"] != BYPASSED
        }

    def source(self, link_id: int) -> tuple[str, int] | None:
        """(title, output) that a link brings, through bypassed nodes as the frontend goes through them: to
        the input of the output's place, else to the first one, of its type."""
        _, origin, output, *_, kind = self.links[link_id]
        node = self.nodes[origin]
        if node["mode"] != BYPASSED:
            return node["title"], output
        beside = node["inputs"][output : output + 1] + node["inputs"]
        through = next((given for given in beside if given["type"] == kind), None)
        return None if through is None or through["link"] is None else self.source(through["link"])

    def given(self, node: dict[str, Any]) -> dict[str, Any]:
        """Inputs of a node as a prompt gives them: links as (title, output), widgets as values."""
        found, left = {}, list(node.get("widgets_values") or [])
        for given in node.get("inputs", []):
            label = given["name"]
            if "widget" in given and left:
                found[label] = left.pop(0)
                if self._declared(node, label).get("control_after_generate"):
                    assert left.pop(0) == "fixed", "a seed that changes makes a graph nobody can compare"
            if given["link"] is not None and (source := self.source(given["link"])):
                found[label] = source
        return found

    @staticmethod
    def _declared(node: dict[str, Any], label: str) -> dict[str, Any]:
        groups = NODES[node["type"]]["input"].values()
        return next((group[label][1] for group in groups if label in group and len(group[label]) > 1), {})


@every_canvas
def test_the_canvas_has_the_nodes_links_and_values_of_its_api_twin(name):
    canvas, prompt = Canvas(CANVASES[name]), PROMPTS[name]
    titles = {key: node["_meta"]["title"] for key, node in prompt.items()}
    assert {t: n["type"] for t, n in canvas.active.items()} == {
        n["_meta"]["title"]: n["class_type"] for n in prompt.values()
    }
    for key, node in prompt.items():
        given = canvas.given(canvas.active[titles[key]])
        wanted = {k: (titles[v[0]], v[1]) if is_link(v) else v for k, v in node["inputs"].items()}
        assert {label: given.get(label) for label in wanted} == wanted, key
        assert not [k for k, v in given.items() if isinstance(v, tuple) and k not in wanted], key
        known = slots(NODES[node["class_type"]]["input"], given)
        for label in (
            given.keys() & known.keys() - wanted.keys()
        ):  # widgets that the prompt leaves to their default
            default = known[label].options.get("default", next(iter(known[label].choices), None))
            assert given[label] == default, (key, label)


@every_canvas
def test_links_and_sockets_agree(name):
    workflow = CANVASES[name]
    taken = {(i["link"], n["id"]) for n in workflow["nodes"] for i in n.get("inputs", []) if i["link"]}
    given = {(k, n["id"]) for n in workflow["nodes"] for o in n.get("outputs", []) for k in o["links"] or ()}
    assert taken == {(link[0], link[3]) for link in workflow["links"]}
    assert given == {(link[0], link[1]) for link in workflow["links"]}
    assert workflow["last_node_id"] >= max(node["id"] for node in workflow["nodes"])
    assert workflow["last_link_id"] >= max(link[0] for link in workflow["links"])


@every_canvas
def test_switching_the_bypassed_nodes_on_changes_where_inputs_come_from(name):
    """And no bypassed node is left that nothing waits for."""
    workflow = CANVASES[name]
    off = {node["title"] for node in workflow["nodes"] if node["mode"] == BYPASSED}
    on = Canvas({**workflow, "nodes": [{**node, "mode": 0} for node in workflow["nodes"]]})
    waiting = {source[0] for n in on.active.values() for source in on.given(n).values() if is_source(source)}
    assert off <= waiting


def is_source(value: Any) -> bool:
    return isinstance(value, tuple)


@every_canvas
def test_nothing_overlaps_and_groups_hold_whole_nodes(name):
    boxes = {
        n["title"]: (
            n["pos"][0], n["pos"][1] - TITLE_HEIGHT, n["pos"][0] + n["size"][0], n["pos"][1] + n["size"][1]
        ) for n in CANVASES[name]["nodes"]
    }  # fmt: skip
    groups = [(x, y, x + w, y + h) for x, y, w, h in (g["bounding"] for g in CANVASES[name]["groups"])]
    assert [(a, b) for a, b in combinations(boxes, 2) if overlap(boxes[a], boxes[b])] == []
    assert [pair for pair in combinations(groups, 2) if overlap(*pair)] == []
    split = [(t, g) for t, box in boxes.items() for g in groups if overlap(box, g) and not inside(box, g)]
    assert split == []


def overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def inside(a, b) -> bool:
    return b[0] <= a[0] and b[1] <= a[1] and a[2] <= b[2] and a[3] <= b[3]


@every_canvas
def test_nodes_say_which_pack_they_belong_to_and_where_models_that_are_not_shipped_come_from(name):
    assert VERSION is not None and OLDEST is not None and "definitions" not in CANVASES[name]  # no subgraphs
    for node in CANVASES[name]["nodes"]:
        properties = node["properties"]
        whose = ("refvid", VERSION[1]) if node["type"].startswith("RefVid") else ("comfy-core", OLDEST[1])
        if node["type"] != NOTE:
            assert (properties["cnr_id"], properties["ver"]) == whose
        weights = {v for v in node.get("widgets_values") or () if str(v).endswith(".safetensors")}
        offered = {model["name"] for model in properties.get("models", ())}
        assert offered == weights - SHIPPED or (name in PUBLIC and offered < weights)  # some are made
        for model in properties.get("models", ()):
            assert model["url"].startswith(DOWNLOADS) and model["url"].endswith("/" + model["name"])
            assert model["directory"]


@pytest.mark.parametrize("name", DEMO)
def test_the_notes_name_every_recipe_where_one_is_chosen(name):
    if all(node["type"] != "RefVidApplyReferences" for node in CANVASES[name]["nodes"]):
        return
    text = " ".join(n["widgets_values"][0] for n in CANVASES[name]["nodes"] if n["type"] == NOTE)
    recipes = NODES["RefVidApplyReferences"]["input"]["required"]["recipe"][1]["options"]
    assert [recipe for recipe in recipes if f"`{recipe}`" not in text] == []


def test_the_first_template_by_name_is_the_one_to_begin_with():
    """ComfyUI lists files as the disk does (Windows: by name), or by name where asked, digits last."""
    assert min(CANVASES) == FIRST and FIRST in DEMO
    assert len(PROMPTS[FIRST]) <= 11


def test_a_node_has_the_same_colour_in_every_workflow():
    colours = {
        (n["type"], n.get("color"), n.get("bgcolor")) for canvas in CANVASES.values() for n in canvas["nodes"]
    }
    types = [kind for kind, *_ in colours]
    assert len(types) == len(set(types))
    assert all(colour for kind, colour, _ in colours if kind != NOTE)


@every_canvas
def test_app_mode_asks_for_what_people_change_and_shows_what_is_made(name):
    """Pictures or films, prompt or instruction, a seed; widgets of nodes that are there and nothing feeds."""
    nodes = {node["id"]: node for node in CANVASES[name]["nodes"]}
    said = CANVASES[name]["extra"]["linearData"]
    for number, widget in said["inputs"]:
        (given,) = [one for one in nodes[number]["inputs"] if one["name"] == widget]
        assert given["widget"]["name"] == widget and given["link"] is None
    assert {nodes[number]["type"] for number in said["outputs"]} <= {
        "SaveVideo",
        "PreviewAny",
        "PreviewImage",
    }
    asked = {widget for _, widget in said["inputs"]}
    makes_video = any(node["type"] == "SaveVideo" for node in nodes.values())
    assert said["outputs"] and (
        not makes_video or (asked & {"image", "file"} and asked & {"text", "instruction"})
    )
