"""Prompts for the tests of faults: the shipped workflows made short, every node of ours in its place, and
what a run says about errors that nobody meant."""

import copy
from typing import Any

from refvid_base_folder import SAMA
from refvid_client import Graph, edited, failure, node
from refvid_templates import DEMO

WORKFLOWS = DEMO
# What nobody meant to raise, wherever it comes from.
BARE = {
    one.__name__
    for one in (
        KeyError, AttributeError, TypeError, IndexError, UnboundLocalError, NameError, RecursionError,
        AssertionError, ZeroDivisionError, NotImplementedError,
    )
}  # fmt: skip
NOBODYS = ("graph.DependencyCycleError",)  # core's own, of a graph
IDENTITY = "someone.safetensors"  # among the inputs
SMALL = {
    "steps": 2,
    "width": 96,
    "height": 96,
    "length": 9,
    "keys": 2,
    "stride": 4,
    "keep": 1,
    "batch_size": 1,
}


def short(graph: Graph, steps: int = 2) -> Graph:
    """A workflow with so many steps of every sampler, and of a long video one segment, 9 pictures long."""
    graph = copy.deepcopy(graph)
    for one in graph.values():
        given = one["inputs"]
        if one["class_type"] == "RefVidKeyframes":
            given.update(keys=2, stride=4, keep=1)
        if one["class_type"] == "EmptyHunyuanLatentVideo":
            given["length"] = 9
        if "steps" in given:
            in_two = (
                given.get("add_noise") == "disable" or given.get("return_with_leftover_noise") == "enable"
            )
            given["steps"] = max(steps, 2) if in_two else steps
        if given.get("add_noise") == "disable":
            given["start_at_step"] = given["steps"] // 2
        elif given.get("return_with_leftover_noise") == "enable":
            given["end_at_step"] = given["steps"] // 2
    return graph


def digested(graph: Graph) -> Graph:
    """Graph with digests instead of files: of every latent that is decoded, of every video's pictures and of
    every number."""
    kept = {name: one for name, one in graph.items() if one["class_type"] not in ("SaveVideo", "CreateVideo")}
    for name, one in graph.items():
        for label in ("samples", "images"):
            if one["class_type"] in ("VAEDecode", "CreateVideo") and label in one["inputs"]:
                kept[f"digest_{name}"] = node("RefVidTestDigest", value=one["inputs"][label])
    return kept


def digests(entry: dict[str, Any]) -> dict[str, str]:
    """Digests of a run, by node. AssertionError where it did not end well."""
    assert entry["status"]["status_str"] == "success", failure(entry)
    return {name: said["digest"][0] for name, said in entry["outputs"].items() if "digest" in said}


def errors(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Errors of the nodes that failed, from a run's history."""
    return [said for kind, said in entry["status"]["messages"] if kind == "execution_error"]


def unmeant(entry: dict[str, Any], folder: str) -> list[str]:
    """The errors of a run that nobody meant: in a node of ours all but a ValueError that the pack itself
    raised, in others a bare one that came through the pack."""
    return [
        f"{said['node_type']} {said['node_id']}: {said['exception_type']}: {said['exception_message']}"
        + "".join(said["traceback"][-2:])
        for said in errors(entry)
        if not _meant(said, f"/{folder}/")
    ]


def _meant(said: dict[str, Any], folder: str) -> bool:
    kind, trace = said["exception_type"], said["traceback"]
    if said["node_type"].startswith("RefVid") and not said["node_type"].startswith("RefVidTest"):
        # A dataclass' own __init__ lies in no file.
        frames = [line for line in trace if '"<string>"' not in line]
        return kind in NOBODYS or (kind == "ValueError" and folder in frames[-1])
    return kind.rpartition(".")[2] not in BARE or not any(folder in line for line in trace)


def watched(graph: Graph) -> Graph:
    """Graph with a node behind every model that is loaded, where a run can be made to go wrong, and begins
    anew."""
    graph = copy.deepcopy(graph)
    for name in [name for name, one in graph.items() if one["class_type"] == "RefVidLoadBackbone"]:
        for one in graph.values():
            for label, value in one["inputs"].items():
                if value == [name, 0]:
                    one["inputs"][label] = [f"watch_{name}", 0]
        graph[f"watch_{name}"] = node("RefVidTestFault", model=[name, 0])
    return graph


def evaluations(graph: Graph) -> int:
    """Evaluations of its models that a graph asks for at least: one a step."""
    samplers = [one["inputs"] for one in graph.values() if "steps" in one["inputs"]]
    return sum(
        min(one["steps"], one.get("end_at_step", one["steps"])) - one.get("start_at_step", 0)
        for one in samplers
    )


def two_experts() -> Graph:
    """A reference on both of Wan 2.2's experts: the first steps on one, the others on the second."""
    graph = copy.deepcopy(WORKFLOWS["masked_reference_to_video"])
    low = copy.deepcopy(graph["backbone"])
    low["inputs"]["shift"] = 3.0
    halves = {
        "start_at_step": 1,
        "add_noise": "disable",
        "guider": ["guider_low", 0],
        "latent": ["denoise", 0],
    }
    graph = edited(
        graph,
        {
            "apply.low_noise_model": ["low", 0], "denoise.end_at_step": 1,
            "denoise.return_with_leftover_noise": "enable", "decode.samples": ["denoise_low", 0],
        },
        {"low": low},
    )  # fmt: skip
    guider, denoise = (
        copy.deepcopy(WORKFLOWS["masked_reference_to_video"][name]) for name in ("guider", "denoise")
    )
    guider["inputs"]["model"] = ["apply", 1]
    denoise["inputs"] |= halves
    return graph | {"guider_low": guider, "denoise_low": denoise}


def every_node() -> Graph:
    """One graph in which every node of ours stands, each with something to do."""
    graph = short(WORKFLOWS["complete_graph"])
    edit = short(WORKFLOWS["edit_video_by_instruction"])
    vae, texts = ["backbone", 2], {"positive": ["positive_prompt", 0], "negative": ["negative_prompt", 0]}
    more = {
        "first": node("LoadImage", image="refvid_first.png"),
        "last": node("LoadImage", image="refvid_last.png"),
        "pair": node("ImageBatch", image1=["first", 0], image2=["last", 0]),
        "replace": node(
            "RefVidReplaceFrames", model=["backbone", 0], vae=vae, latent=["empty_video", 0], frames=["pair", 0],
            task="free", clock="own", **texts, **{"task.frames_at": "0, -1"},
        ),
        "keys": node("RefVidKeyframes", clip=["pair", 0], keys=2, stride=4, keep=1),
        "between": node(
            "RefVidInbetween", model=["backbone", 0], vae=vae, pair=["keys", 0], plan=["keys", 1], clock="own", **texts
        ),
        "segment": node("ImageFromBatch", image=["pictures", 0], batch_index=0, length=9),
        "join": node("RefVidJoinSegments", segments=["segment", 0], plan=["keys", 1]),
        "pretext": node("RefVidMotionPretext", clip=["pictures", 0], pretext="speed", seed=0, tubes=2),
        "editing": edit["adapter"],
        "edit": edited(edit, {"edit.model": ["editing", 0], "edit.source": ["segment", 0]})["edit"],
        "separate": node("RefVidSeparateGuider", model=["apply", 0], image_scale=1.5, text_scale=2.0, **texts),
        "renorm": node("RefVidRenormGuidance", model=["apply", 0], over="clip"),
        "keep_identity": node("RefVidSaveIdentity", identity=["encode", 0], filename_prefix="identities/one"),
        "known": node("RefVidLoadIdentity", file=IDENTITY),
        "blend": node("RefVidBlendIdentities", first=["encode", 0], second=["known", 0], share=0.5),
        "score": node("RefVidScore", clip=["pair", 0], reference=["reference", 0]),
    }  # fmt: skip
    more["editing"]["inputs"]["adapter"] = SAMA
    return graph | more


def cut(graph: Graph, name: str) -> Graph:
    """A node with what it depends on, and a digest of its first output where it is none itself."""
    kept: Graph = {}
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one in kept:
            continue
        kept[one] = copy.deepcopy(graph[one])
        waiting += [value[0] for value in kept[one]["inputs"].values() if isinstance(value, list)]
    said = kept[name]["class_type"] == "RefVidTestDigest"
    return kept if said else kept | {"digest": node("RefVidTestDigest", value=[name, 0])}
