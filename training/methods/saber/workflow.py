"""Workflow that runs a trained Saber LoRA in ComfyUI: a template of the pack with core's LoRA loader in it.
Files are the user's; size, length and rate are those of the training."""

import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from ....core.files import replacing
from ....hosts.plain.pipeline import Settings

_TEMPLATES = Path(__file__).parents[3] / "workflows"
_TEMPLATE = "masked_reference_to_video"
_WITH_LORA = "inherent_reference"  # a template that has core's LoRA loader, as the frontend writes it
_GAP = 50  # between two nodes on the canvas, with the title of the lower one
_START_HEIGHT = 320  # of the first note, with _START in it
_LEFT_OUT = "Which weights, which recipe"  # a note on other models than this one
# By input of Load Wan Backbone: folders below models/ that ComfyUI offers it files of.
_FOLDERS = {
    "diffusion_model": ("diffusion_models", "unet"),
    "text_encoder": ("text_encoders", "clip"),
    "vae": ("vae",),
}
_START = """## Your own LoRA

`{lora}` was trained by Saber on `{base}`.

1. Copy it to `models/loras`, press **R** to see it, and choose it in *{title}*.
2. Choose your own picture in *Reference picture*, and write a prompt that names what it shows.
3. Press **Run**.

*strength_model* 1 is as trained; 0 is the base without it. Size, length and rate are those of the training: others
run too, but were not learned."""


@dataclass(frozen=True)
class WorkflowFiles:
    """Files that a workflow names: the base as ComfyUI has it, and the LoRA."""

    dit: Path
    vae: Path
    text_encoder: Path
    lora: Path


def write_workflows(files: WorkflowFiles, settings: Settings, prompt: str) -> tuple[Path, Path]:
    """Write NAME.workflow.json, for the canvas, and NAME.api.json, for the server, beside NAME.safetensors.
    -> their paths. OSError where they cannot be written."""
    canvas, api = (files.lora.with_suffix(end) for end in (".workflow.json", ".api.json"))
    for path, graph in (
        (canvas, canvas_workflow(files, settings, prompt)),
        (api, api_workflow(files, settings, prompt)),
    ):
        with replacing(path) as partial:
            Path(partial).write_text(json.dumps(graph, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return canvas, api


def api_workflow(files: WorkflowFiles, settings: Settings, prompt: str) -> dict[str, Any]:
    """Graph as the server takes it, nodes by name."""
    graph = _read(f"api/{_TEMPLATE}")
    loader = deepcopy(_read(f"api/{_WITH_LORA}")["lora"])
    loader["_meta"]["title"] = _title(files)
    graph = {"backbone": graph.pop("backbone"), "lora": loader, **graph}
    graph["apply"]["inputs"]["model"] = ["lora", 0]
    for name, values in _values(files, settings, prompt).items():
        graph[name]["inputs"].update(values)
    return graph


def canvas_workflow(files: WorkflowFiles, settings: Settings, prompt: str) -> dict[str, Any]:
    """Graph as the frontend takes it, dragged onto the canvas."""
    canvas = _read(_TEMPLATE)
    canvas["id"] = str(uuid5(NAMESPACE_URL, f"refvid:{files.lora.name}"))  # tabs are told apart by it
    canvas["nodes"] = [node for node in canvas["nodes"] if node["title"] != _LEFT_OUT]
    by_title = {node["title"]: node for node in canvas["nodes"]}
    titles = {name: node["_meta"]["title"] for name, node in _read(f"api/{_TEMPLATE}").items()}
    by_name = {name: by_title[title] for name, title in titles.items()}
    by_name["lora"] = _put_lora(canvas, by_name["backbone"], by_name["apply"], _title(files))
    for name, values in _values(files, settings, prompt).items():
        _set(by_name[name], values)
    told = _START.format(lora=files.lora.name, base=files.dit.name, title=_title(files))
    note = by_title["Start here"]
    note["widgets_values"] = [told]
    note["widgets_values_named"] = dict.fromkeys(note["widgets_values_named"], told)
    _lower(canvas, note, _START_HEIGHT - note["size"][1])
    note["size"][1] = _START_HEIGHT
    return canvas


def _values(files: WorkflowFiles, settings: Settings, prompt: str) -> dict[str, dict[str, Any]]:
    """Values of inputs that differ from the template, by node and input."""
    return {
        "backbone": {
            "diffusion_model": _offered(files.dit, "diffusion_model"),
            "text_encoder": _offered(files.text_encoder, "text_encoder"),
            "vae": _offered(files.vae, "vae"),
            "shift": settings.shift,
        },
        "lora": {"lora_name": files.lora.name, "strength_model": 1.0},
        "positive_prompt": {"text": prompt},
        "empty_video": {"width": settings.width, "height": settings.height, "length": settings.frames},
        "apply": {"recipe": "saber"},
        "guider": {"scale": settings.scale},
        "denoise": {"steps": settings.steps, "noise_seed": settings.seed},
        "video": {"fps": float(settings.fps)},
        "save": {"filename_prefix": f"refvid/{files.lora.stem}"},
    }


def _offered(path: Path, kind: str) -> str:
    """Name of a file as ComfyUI offers it: below its models' folder, where it lies in one, else alone."""
    parents = path.absolute().parents
    folder = next((parent for parent in parents if parent.name in _FOLDERS[kind]), path.absolute().parent)
    return str(path.absolute().relative_to(folder))


def _title(files: WorkflowFiles) -> str:
    return f"{files.lora.stem} (a LoRA)"


def _read(name: str) -> dict[str, Any]:
    return json.loads((_TEMPLATES / f"{name}.json").read_text("utf-8"))


def _put_lora(
    canvas: dict[str, Any], backbone: dict[str, Any], apply: dict[str, Any], title: str
) -> dict[str, Any]:
    """Put core's LoRA loader into the link between the model's loader and Apply References. -> its node."""
    like = next(node for node in _read(_WITH_LORA)["nodes"] if node["type"] == "LoraLoaderModelOnly")
    model = next(given for given in apply["inputs"] if given["name"] == "model")
    link = next(link for link in canvas["links"] if link[0] == model["link"])
    canvas["last_node_id"] += 1
    canvas["last_link_id"] += 1
    number, behind = canvas["last_node_id"], canvas["last_link_id"]
    _lower(canvas, backbone, like["size"][1] + _GAP)
    left, top = backbone["pos"][0], backbone["pos"][1] + backbone["size"][1] + _GAP
    node = {
        **deepcopy(like),
        "id": number,
        "title": title,
        "pos": [left, top],
        "order": backbone["order"] + 1,
    }
    node["inputs"][0]["link"], node["outputs"][0]["links"] = link[0], [behind]
    canvas["links"].append([behind, number, 0, *link[3:]])
    link[3:5] = [number, 0]
    model["link"] = behind
    for later in canvas["nodes"]:
        later["order"] += later["order"] > backbone["order"]
    canvas["nodes"].append(node)
    return node


def _lower(canvas: dict[str, Any], node: dict[str, Any], by: float) -> None:
    """Move what stands below a node in its column down, and lengthen the group that holds the node.

    Groups below keep their lower edge: columns end on one line.
    """
    left, top = node["pos"]
    for other in canvas["nodes"]:
        if other["pos"][0] == left and other["pos"][1] > top:
            other["pos"][1] += by
    for group in canvas["groups"]:
        x, y, width, height = group["bounding"]
        if x <= left < x + width and y + height > top:
            group["bounding"] = [x, y, width, height + by] if y <= top else [x, y + by, width, height - by]


def _set(node: dict[str, Any], values: dict[str, Any]) -> None:
    """Give widgets of a node on the canvas other values; they are kept twice, in order and by name."""
    named = node["widgets_values_named"]
    for name, value in values.items():
        node["widgets_values"][list(named).index(name)] = value
        named[name] = value
