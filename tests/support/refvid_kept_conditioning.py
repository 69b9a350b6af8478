"""Saved conditionings: which runs of the small graphs leave one, and how the files are read."""

import json
from pathlib import Path
from typing import Any

from refvid_client import Graph, node
from safetensors import safe_open

# By graph, the runs of core's sampler whose positive and negative conditioning are kept. Runs are added, none
# is taken away: earlier versions have files of them.
RUNS = {
    "every_references": (
        "sees_all", "sees_video", "sees_itself", "sees_frames", "weak", "early", "late", "later_frames",
        "region", "soft", "null_keep", "null_zero", "chained",
    ),
    "every_recipes": (
        "phantom", "bernini", "videomaker", "videomaker_shared", "videomaker_no_text", "masked_input",
    ),
    "every_identities": ("named", "both", "two", "with_reference"),
    "every_frames": ("clock_own", "clock_shared", "with_reference"),
    "every_edits": ("sama_run", "in_context_run", "with_reference_run"),
}  # fmt: skip
SIDES = ("positive", "negative")
CORES, OURS = "SaveConditioning", "RefVidKeptSaveConditioning"
PREFIX = "kept_conditioning"


def with_saves(graph: Graph, name: str, kind: str) -> Graph:
    """A graph that also saves the conditionings of its runs, with a node of this type."""
    saves = {
        f"save_{run}_{side}": node(
            kind, conditioning=graph[run]["inputs"][side], filename_prefix=f"{PREFIX}/{stem(name, run, side)}"
        )
        for run in RUNS.get(name, ())
        for side in SIDES
    }  # fmt: skip
    return graph | saves


def stem(graph: str, run: str, side: str) -> str:
    """The name of a kept conditioning."""
    return f"{graph.removeprefix('every_')}-{run.removesuffix('_run')}-{side}"


def carries_ours(path: Path) -> bool:
    """True where a file has more than a text."""
    with safe_open(path, "pt") as file:
        return any("refvid" in key for key in (*file.keys(), *(file.metadata() or {}).values()))


def read_conditioning(path: Path) -> list[list[Any]]:
    """Conditioning as core's Load Conditioning gives it, which is asked where this ComfyUI has it."""
    import comfy_extras.nodes_cond as core

    if hasattr(core, "ConditioningLoader"):
        import folder_paths

        folder_paths.add_model_folder_path("embeddings", str(path.parent))
        return core.ConditioningLoader.execute(path.name).result[0]
    with safe_open(path, "pt") as file:
        stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        options = json.loads(file.metadata()["conditioning_options"])
    text = stored.pop("conditioning")
    for key in sorted(stored, key=lambda key: (len(key), key)):
        name, _, place = key.rpartition(".")
        if place.isdigit():
            options.setdefault(name, []).append(stored[key])
        else:
            options[key] = stored[key]
    return [[text, options]]
