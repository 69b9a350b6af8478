"""The workflows we ship, of two kinds, told apart by the model files they name: those of the demo run as they
are, those of public weights ask for files that the pack does not have."""

import json
from pathlib import Path

from refvid_client import Graph

ROOT = Path(__file__).resolve().parents[2]
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
