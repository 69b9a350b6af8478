"""Shipped workflows, mutated: what a client may send that nobody meant. The same seed gives the same prompt,
and no prompt asks for long work."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from refvid_client import Graph, node
from refvid_fault_nodes import values
from refvid_faults_api import WORKFLOWS, cut, digested, every_node, short

SAID = json.loads((Path(__file__).resolve().parents[1] / "data/object_info.json").read_text("utf-8"))
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, 1e300, -1e300, math.nan, math.inf, -math.inf, 1 << 31, 1 << 63, 1 << 64, -(1 << 63),
    "", "x", "nan", "0", "\0", "\ud800", "ß😀\u202e", "../../x", "a" * 100_000, "0," * 5000, "-1", "5-8", "0-999999999999",
    [], [0], ["backbone"], ["backbone", "0"], [[], []], ["backbone", 0, 0], {}, {"a": 1}, {"__value__": []},
    {"__value__": [1, 2]}, {"__value__": None}, {"__type__": "MODEL"}, [None, None],
)  # fmt: skip
NAMES = ("", "0", "a.b", "ß😀", "__value__", "x" * 500)
# Where a larger number would ask for long work.
MOST = {
    "width": 96, "height": 96, "length": 17, "batch_size": 2, "amount": 3, "steps": 2, "keys": 3, "stride": 8, "fps": 60,
    "min_length": 512, "min_padding": 512,
}  # fmt: skip
SLOW = ("sampler_name", "scheduler")  # some of whose choices take many evaluations a step


def mutated(seed: int) -> tuple[str, Graph]:
    """Mutated prompt, with what was done to which workflow."""
    random = Random(seed)
    bases = {
        **{name: digested(short(graph, 1)) for name, graph in WORKFLOWS.items()},
        "every_node": every_node(),
    }
    name = random.choice(sorted(bases))
    graph, done = bases[name], []
    if random.random() < 0.7:  # up to one of our nodes, which takes little time
        ends = [key for key, one in graph.items() if one["class_type"].startswith("RefVid")]
        graph = cut(graph, random.choice(ends))
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        mutation = random.choice(MUTATIONS)
        done.append(f"{mutation.__name__} {mutation(graph, random)}")
    return f"{seed} {name}: {'; '.join(done)}", _bounded(graph)


def _bounded(graph: Graph) -> Graph:
    for one in graph.values():
        for label, most in MOST.items():
            value = one["inputs"].get(label)
            if isinstance(value, (int, float)) and value > most:
                one["inputs"][label] = most
    return graph


def _input(graph: Graph, random: Random, linked: bool | None = None) -> tuple[str, str]:
    """A node, mostly one of ours, and the name of one of its inputs."""
    places = [
        (name, label)
        for name, one in graph.items()
        for label, value in one["inputs"].items()
        if linked is None or isinstance(value, list) is linked
    ]
    ours = [place for place in places if graph[place[0]]["class_type"].startswith("RefVid")]
    return random.choice(ours if ours and random.random() < 0.8 else places)


def drop(graph: Graph, random: Random) -> str:
    name, label = _input(graph, random)
    del graph[name]["inputs"][label]
    return f"{name}.{label}"


def replace(graph: Graph, random: Random) -> str:
    name, label = _input(graph, random)
    value = random.choice(ODD)
    graph[name]["inputs"][label] = copy.deepcopy(value)
    return f"{name}.{label} = {str(value)[:30]!r}"


def number(graph: Graph, random: Random) -> str:
    """A number within or beyond the bounds of its input."""
    name, label = _input(graph, random, linked=False)
    _, options = _said(graph[name]["class_type"], label)
    bounds = [options[side] for side in ("min", "max") if side in options]
    value = random.choice([one + step for one in bounds for step in (-1, 0, 1e-9, 1)] or [random.random()])
    graph[name]["inputs"][label] = value
    return f"{name}.{label} = {value}"


def choose(graph: Graph, random: Random) -> str:
    """Another of a combo's choices."""
    name, label = _input(graph, random, linked=False)
    _, options = _said(graph[name]["class_type"], label)
    choices = [one["key"] if isinstance(one, dict) else one for one in options.get("options", [])]
    if choices and label not in SLOW:
        graph[name]["inputs"][label] = random.choice(choices)
    return f"{name}.{label} = {graph[name]['inputs'][label]!r:.30}"


def optional(graph: Graph, random: Random) -> str:
    """An odd value on an input that the workflow leaves out."""
    name, _ = _input(graph, random)
    said = SAID.get(graph[name]["class_type"], {"input": {}})["input"].get("optional", {})
    label, value = random.choice(sorted(said) or ["odd"]), random.choice(ODD)
    graph[name]["inputs"][label] = copy.deepcopy(value)
    return f"{name}.{label} = {str(value)[:30]!r}"


def retarget(graph: Graph, random: Random) -> str:
    """A link to another output; the inputs that links may leave lie in the schema."""
    name, label = _input(graph, random, linked=True)
    target = random.choice([*graph, "missing"] if _said(graph[name]["class_type"], label)[0] else [*graph])
    graph[name]["inputs"][label] = [target, random.choice((0, 0, 0, 1, 2, 3, 9, -1, 0.0, True))]
    return f"{name}.{label} -> {graph[name]['inputs'][label]}"


def anything(graph: Graph, random: Random) -> str:
    """A link to something of another kind."""
    name, label = _input(graph, random)
    what = random.choice(sorted(values()))
    graph["anything"] = node("RefVidTestAnything", what=what)
    graph[name]["inputs"][label] = ["anything", 0]
    return f"{name}.{label} -> {what}"


def swap(graph: Graph, random: Random) -> str:
    one, two = _input(graph, random, linked=True), _input(graph, random, linked=True)
    first, second = graph[one[0]]["inputs"], graph[two[0]]["inputs"]
    first[one[1]], second[two[1]] = second[two[1]], first[one[1]]
    return f"{'.'.join(one)} and {'.'.join(two)}"


def undeclared(graph: Graph, random: Random) -> str:
    """An input that the node does not have: a literal, or a link to a node that is there."""
    name, label = _input(graph, random)
    group = label.partition(".")[0]
    added = random.choice(
        (*NAMES, f"{group}.x", f"{group}.reference_8", f"{group}.{group}", "task.frames_at", "cls", "self")
    )
    graph[name]["inputs"][added] = (
        [random.choice([*graph]), 0] if random.random() < 0.7 else random.choice(ODD[:20])
    )
    return f"{name}.{added} = {str(graph[name]['inputs'][added])[:30]}"


def rename(graph: Graph, random: Random) -> str:
    """A node under an odd name, its links with it."""
    name, other = random.choice(sorted(graph)), random.choice(NAMES)
    if other in graph:
        return "nothing"
    graph[other] = graph.pop(name)
    for one in graph.values():
        for label, value in one["inputs"].items():
            if isinstance(value, list) and value[:1] == [name]:
                one["inputs"][label] = [other, *value[1:]]
    return f"{name} to {other[:20]!r}"


def double(graph: Graph, random: Random) -> str:
    """A node twice, and a link to the second."""
    name, label = _input(graph, random, linked=True)
    target = graph[name]["inputs"][label]
    if target[0] in graph:
        graph["twin"] = copy.deepcopy(graph[target[0]])
        graph[name]["inputs"][label] = ["twin", *target[1:]]
    return f"{target} at {name}.{label}"


def retype(graph: Graph, random: Random) -> str:
    """Another node of ours on the same inputs."""
    name, _ = _input(graph, random)
    graph[name]["class_type"] = random.choice(sorted(one for one in SAID if one.startswith("RefVid")))
    return f"{name} is {graph[name]['class_type']}"


def _said(class_type: str, label: str) -> tuple[Any, dict[str, Any]]:
    """Type and options of an input as the server says; (None, {}) for one that is not in the schema."""
    groups = SAID.get(class_type, {"input": {}})["input"]
    for group in ("required", "optional"):
        if label in groups.get(group, {}):
            kind, *options = groups[group][label]
            return kind, (options or [{}])[0]
    return None, {}


MUTATIONS: tuple[Callable[[Graph, Random], str], ...] = (
    drop, replace, replace, replace, number, number, choose, optional, retarget, retarget, anything, anything, swap,
    undeclared, undeclared, rename, double, retype,
)  # fmt: skip
