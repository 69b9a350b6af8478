"""The workflows we ship, of two kinds, told apart by the model files they name: those of the demo run as they
are, those of public weights ask for files that the pack does not have."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refvid_client import Graph

ROOT = Path(__file__).resolve().parents[2]
NODES = json.loads((ROOT / "tests/data/object_info.json").read_text("utf-8"))  # what a real server said
SHIPPED = {file.name for file in (ROOT / "demo/models").rglob("*.safetensors")}
FOLDERS = {  # of model files, by the input that names one
    "diffusion_model": "diffusion_models", "unet_name": "diffusion_models", "text_encoder": "text_encoders",
    "vae": "vae", "adapter": "loras", "lora_name": "loras",
}  # fmt: skip


def read(folder: Path) -> dict[str, Graph]:
    """API graphs of a folder, by name."""
    return {file.stem: json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))}


def model_files(graph: Graph) -> dict[str, str]:
    """Folder of every model file that a graph names."""
    given = [item for one in graph.values() for item in one["inputs"].items()]
    return {file: FOLDERS[label] for label, file in given if label in FOLDERS and isinstance(file, str)}


def is_public(graph: Graph) -> bool:
    """Whether a graph names a model file that the pack does not have."""
    return not model_files(graph).keys() <= SHIPPED


PROMPTS = read(ROOT / "workflows" / "api")
DEMO = {name: graph for name, graph in PROMPTS.items() if not is_public(graph)}
PUBLIC = {name: graph for name, graph in PROMPTS.items() if is_public(graph)}


@dataclass(frozen=True)
class Slot:
    """One input as a graph may give it: dynamic inputs are written out."""

    kind: str
    options: dict[str, Any]
    required: bool

    @property
    def choices(self) -> list[str]:
        """Choices of a combo; empty for a list of files, which differs from machine to machine."""
        return self.options.get("choices", [])


def slots(said: dict[str, Any], given: dict[str, Any], prefix: str = "") -> dict[str, Slot]:
    """The inputs of a node, or of a choice of a dynamic combo, by the names a graph gives them."""
    found: dict[str, Slot] = {}
    for group, inputs in said.items():
        if group == "hidden":  # the server's own, no socket
            continue
        for label, (kind, *rest) in inputs.items():
            options, required, full = rest[0] if rest else {}, group == "required", prefix + label
            if isinstance(kind, list):
                kind, options = "COMBO", {**options, "options": kind}
            if kind == "COMFY_AUTOGROW_V3":
                found |= _grown(full, options["template"])
                continue
            if kind == "COMFY_DYNAMICCOMBO_V3":
                of_choice = {choice["key"]: choice["inputs"] for choice in options["options"]}
                if full in given:
                    found |= slots(of_choice.get(given[full], {}), given, f"{full}.")
                options = {**options, "options": list(of_choice)}
                kind = "COMBO"
            found[full] = Slot(kind, {**options, "choices": options.get("options", [])}, required)
    return found


def _grown(full: str, template: dict[str, Any]) -> dict[str, Slot]:
    ((_, (kind, *_)),) = template["input"]["required"].items()
    names = [f"{full}.{template['prefix']}{index}" for index in range(template["max"])]
    return {name: Slot(kind, {}, index < template["min"]) for index, name in enumerate(names)}
