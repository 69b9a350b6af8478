"""Graphs cut to what a server knows, and to what takes little time."""

import copy
from collections.abc import Container

from refvid_client import Graph

KEYS, STEPS = 3, 4  # at most: eight segments of twenty steps would take half of all the time


def shorter(graph: Graph) -> Graph:
    """Of few steps, and few segments of a long video."""
    graph = copy.deepcopy(graph)
    for one in graph.values():
        given = one["inputs"]
        if one["class_type"] == "RefVidKeyframes":
            given["keys"] = min(given["keys"], KEYS)
        steps = given.get("steps")
        if not isinstance(steps, int):
            continue
        few = min(steps, STEPS)
        for name in {"start_at_step", "end_at_step"} & given.keys():
            if given[name] < steps:
                given[name] = round(given[name] * few / steps)  # two ranges meet where they met
        given["steps"] = few
    return graph


def known(graph: Graph, types: Container[str]) -> Graph:
    """Without nodes of types that this server lacks and what needs them, which is then missing."""
    while lacking := {
        name for name, one in graph.items() if one["class_type"] not in types or _dangling(one, graph)
    }:
        graph = {name: one for name, one in graph.items() if name not in lacking}
    return graph


def _dangling(one: dict, graph: Graph) -> bool:
    return any(isinstance(value, list) and value[0] not in graph for value in one["inputs"].values())
