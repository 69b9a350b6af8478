"""Nodes of an API graph called in this process, where ComfyUI is."""

import asyncio
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import folder_paths
from comfy_api.latest import io
from refvid_client import Graph
from refvid_kept import Kept

import nodes as core
from refvid.nodes import RefVidExtension

EXTRAS = ("cond", "hunyuan", "images", "mask")  # of core's nodes, the files that our small graphs use


def _node_types() -> dict[str, type]:
    types = dict(core.NODE_CLASS_MAPPINGS)
    modules = [importlib.import_module(f"comfy_extras.nodes_{name}") for name in EXTRAS]
    found = [one for module in modules for one in vars(module).values() if isinstance(one, type)]
    ours = asyncio.run(RefVidExtension().get_node_list())
    for one in (*found, *ours):
        if issubclass(one, io.ComfyNode) and one is not io.ComfyNode:
            types[one.GET_SCHEMA().node_id] = one
    return types


TYPES = _node_types()


@contextmanager
def looking_in(kept: Kept) -> Iterator[None]:
    """ComfyUI finds this version's models and inputs, and no others of these kinds."""
    models, before = folder_paths.folder_names_and_paths, folder_paths.get_input_directory()
    kinds = {folder.name: folder for folder in (kept.folder / "models").iterdir()}
    places = {kind: models[kind] for kind in kinds}
    models.update({kind: ([str(folder)], places[kind][1]) for kind, folder in kinds.items()})
    folder_paths.set_input_directory(str(kept.folder / "inputs"))
    folder_paths.filename_list_cache.clear()
    try:
        yield
    finally:
        models.update(places)
        folder_paths.set_input_directory(before)
        folder_paths.filename_list_cache.clear()


class Inside:
    """Outputs of the nodes of a graph, each called once."""

    def __init__(self, graph: Graph):
        self.graph, self.given = graph, {}

    def value(self, link: list) -> Any:
        name, output = link
        if name not in self.given:
            self.given[name] = self.call(name)
        return self.given[name][output]

    def call(self, name: str, **instead: Any) -> tuple:
        """The outputs of a node; some of its inputs may be others than the graph's."""
        one = self.graph[name]
        asked = {
            label: instead.get(label, self.value(value) if isinstance(value, list) else value)
            for label, value in one["inputs"].items()
            if label not in instead
        } | instead
        kind = TYPES[one["class_type"]]
        if issubclass(kind, io.ComfyNode):
            return kind.execute(**_nested(kind, asked)).result
        return getattr(kind(), kind.FUNCTION)(**asked)


def _nested(kind: type, asked: dict[str, Any]) -> dict[str, Any]:
    """`group.name` as the server hands it to a node: a dictionary for each group, with a dynamic combo's own
    choice in it."""
    combos = {one.id for one in kind.GET_SCHEMA().inputs if isinstance(one, io.DynamicCombo.Input)}
    found: dict[str, Any] = {label: {label: asked[label]} for label in combos & asked.keys()}
    for label, value in asked.items():
        group, _, name = label.partition(".")
        if name:
            found.setdefault(group, {})[name] = value
        elif label not in combos:
            found[label] = value
    return found
