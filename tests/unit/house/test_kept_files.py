"""Files of earlier versions, without ComfyUI: their workflows and graphs fit the nodes, the plain host reads
their adapters and identities; and what a next version would leave is complete."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from refvid_base_folder import DIT, SAMA, SLOT_ID, VIDEOMAKER
from refvid_kept import DATA, VERSIONS, Kept
from refvid_kept_graphs import GRAPHS
from refvid_kept_parts import IDENTITY
from refvid_templates import DEMO
from safetensors.torch import load_file

from refvid.backbones.wan.geometry import WAN
from refvid.backbones.wan.loading import load_dit
from refvid.backbones.wan.lora import merge_lora
from refvid.core.adapter import load_adapter
from refvid.core.identity import load_identity
from refvid.core.semantic import SemanticModules, semantic_config, semantic_state

ROOT = Path(__file__).resolve().parents[3]
NODES = json.loads((ROOT / "tests/data/object_info.json").read_text("utf-8"))
OURS = sorted(name for name in NODES if name.startswith("RefVid"))
ALL = [Kept(DATA / version) for version in VERSIONS]
CANVASES = [(kept, name) for kept in ALL for name in kept.canvases]
GRAPHS_LEFT = [(kept, name) for kept in ALL for name in kept.graphs]
FINGERPRINTS = {"0.1.0": "ef4d980d622c"}  # of the Slot-ID adapter: an identity file names it
WIDGETS = {"INT", "FLOAT", "STRING", "COMBO", "BOOLEAN", "COMFY_DYNAMICCOMBO_V3"}
# Choices of speed and memory, which make the same frames or belong to core.
NO_MATTER = {"weight_dtype", "attention", "scheduler", "sampler_name"}
# Recipes of a model that is not among what was kept, and the node that loads one. What cuts out too: core
# reads no BiRefNet but the large one.
OWN_MODEL = {"vace", "stand_in", "remove background"}
REMOVER = "bg_removal_model"
OWN_LOADER = "RefVidLoadReferenceAdapter"
BUTTON = "upload"  # the frontend's own, beside a picture's name
every_version = pytest.mark.parametrize("kept", ALL, ids=VERSIONS)


def inputs_of(kind: str, given: dict[str, Any]) -> dict[str, tuple[str, dict]]:
    """{name: (type, options)} of a node's inputs in their order; a dynamic combo's own, and growing slots, as
    `given` has them."""
    found: dict[str, tuple[str, dict]] = {}
    said, order = NODES[kind]["input"], NODES[kind]["input_order"]
    for group in ("required", "optional"):
        for label in order.get(group, ()):
            typed, *rest = said[group][label]
            options = rest[0] if rest else {}
            if isinstance(typed, list):
                typed, options = "COMBO", {**options, "options": typed}
            grown = [name for name in given if name.startswith(f"{label}.")]
            if typed == "COMFY_DYNAMICCOMBO_V3":
                keys = [choice["key"] for choice in options["options"]]
                found[label] = typed, {**options, "options": keys}
                found |= {name: ("STRING", {}) for name in grown}
            elif typed == "COMFY_AUTOGROW_V3":
                found |= {label: (typed, options)} | {name: ("*", {}) for name in grown}
            else:
                found[label] = typed, options
    return found


def wrong_values(values: list, labels: list[str], known: dict[str, tuple[str, dict]]) -> list:
    """Values that are none of the widget in its place, or has none. Behind a seed stands what happens to
    it."""
    wrong = []
    for label in labels:
        options, value = known[label][1], values.pop(0) if values else None
        if options.get("control_after_generate") and values.pop(0) != "fixed":
            wrong.append((label, "its seed is not fixed"))
        inside = options.get("min", value) <= value <= options.get("max", value) if "min" in options else True
        if value is None or not inside or (options.get("options") and value not in options["options"]):
            wrong.append((label, value))
    return [*wrong, *values]


@pytest.mark.parametrize(("kept", "name"), CANVASES, ids=[f"{k.folder.name}-{name}" for k, name in CANVASES])
def test_a_kept_workflow_fits_the_nodes(kept, name):
    """Its values are read by their place, so the widgets it knows must be the first ones, in its order."""
    for one in kept.canvases[name]["nodes"]:
        if one["type"] == "MarkdownNote":
            continue
        assert one["type"] in NODES, one["title"]
        sockets = {
            given["name"]: "widget" in given for given in one.get("inputs", ()) if given["name"] != BUTTON
        }
        known = inputs_of(one["type"], sockets)
        assert sockets.keys() <= known.keys(), one["title"]
        widgets = [label for label, (kind, _) in known.items() if kind in WIDGETS]
        had = [label for label, widget in sockets.items() if widget]
        assert widgets[: len(had)] == had, one["title"]
        if one["type"] in OURS:
            assert wrong_values(list(one.get("widgets_values") or ()), had, known) == [], one["title"]
        outputs = [given["type"] for given in one.get("outputs", ())]
        assert NODES[one["type"]]["output"][: len(outputs)] == outputs, one["title"]


@pytest.mark.parametrize(
    ("kept", "name"), GRAPHS_LEFT, ids=[f"{k.folder.name}-{name}" for k, name in GRAPHS_LEFT]
)
def test_a_kept_graph_gives_every_node_what_it_takes(kept, name):
    for key, one in kept.graphs[name].items():
        if one["class_type"] not in OURS:
            continue
        known = inputs_of(one["class_type"], one["inputs"])
        assert one["inputs"].keys() <= known.keys(), key
        required = NODES[one["class_type"]]["input"].get("required", {})
        grown = {label for label in required if any(name.startswith(f"{label}.") for name in one["inputs"])}
        assert required.keys() <= one["inputs"].keys() | grown, key
        for label, value in one["inputs"].items():
            choices = known[label][1].get("options")
            assert isinstance(value, list) or not choices or value in choices, (key, label)


@pytest.mark.parametrize("kind", [kind for kind in OURS if kind != OWN_LOADER])
def test_the_next_version_would_keep_every_input_and_choice(kind):
    """Missing ones go into tests/support/refvid_kept_graphs.py."""
    graphs = [*(build() for build in GRAPHS.values()), *DEMO.values()]
    uses = [one["inputs"] for graph in graphs for one in graph.values() if one["class_type"] == kind]
    assert uses
    for label, (_, options) in inputs_of(kind, {}).items():
        given = [use for use in uses if any(name.partition(".")[0] == label for name in use)]
        assert given or label == REMOVER, label
        if label not in NO_MATTER:
            values = [use.get(label) for use in given]
            left = {choice for choice in options.get("options", ()) if choice not in values}
            assert left - OWN_MODEL == set(), label


@every_version
def test_a_kept_slot_id_adapter_is_the_one_that_the_identity_names(kept):
    file = kept.files[SLOT_ID]
    adapter, stored = load_adapter(file, WAN), load_file(file)
    assert adapter.fingerprint == FINGERPRINTS[kept.folder.name]
    assert len(adapter.encoder) + len(adapter.lora) == len(stored)
    assert all(torch.equal(stored[f"slot_encoder.{key}"], value) for key, value in adapter.encoder.items())
    assert all(torch.equal(stored[key], value) for key, value in adapter.lora.items())


@every_version
def test_a_kept_identity_is_who_it_was(kept):
    file = kept.files[IDENTITY]
    someone, stored = load_identity(file), load_file(file)
    assert torch.equal(someone.tokens("both"), torch.cat([stored["anchors"], stored["slots"]]))
    assert someone.adapter == FINGERPRINTS[kept.folder.name]
    assert someone.preview.shape == stored["preview"].shape
    assert 0 <= someone.preview.min() < someone.preview.max() <= 1


@every_version
@pytest.mark.parametrize("name", [VIDEOMAKER, SLOT_ID, SAMA])
def test_a_kept_lora_changes_the_weights_that_it_names(kept, name):
    """Product of strength · alpha / rank · B A."""
    stored = load_file(kept.files[name])
    lora = {key: value for key, value in stored.items() if key.startswith("diffusion_model.")}
    model, before = load_dit(kept.files[DIT])[0], load_dit(kept.files[DIT])[0].state_dict()
    merge_lora(model, lora, 0.5)
    for key, value in model.state_dict().items():
        stem, parts = (
            f"diffusion_model.{key.removesuffix('.weight')}",
            ("lora_A.weight", "lora_B.weight", "alpha"),
        )
        if f"{stem}.{parts[0]}" not in lora:
            assert torch.equal(value, before[key]), key
            continue
        down, up, alpha = (lora[f"{stem}.{part}"].float() for part in parts)
        wanted = before[key].float() + 0.5 * alpha / len(down) * up @ down
        assert (value.float() - wanted).abs().max() < 2e-3 and not torch.equal(value, before[key]), key


@every_version
def test_a_kept_editing_adapter_has_samas_modules(kept):
    state = semantic_state(load_file(kept.files[SAMA]))
    modules = SemanticModules(semantic_config(state, "test"))
    modules.load_state_dict(state)
    assert all(torch.equal(value, state[key].float()) for key, value in modules.state_dict().items())
