"""What a real ComfyUI server makes with a tree as its pack: every shipped workflow on the demo model, and on
small files the graphs in which every node and choice occurs, and every recipe with every control."""

import re
import sys
from pathlib import Path

import torch
from refvid_client import Client, Graph, failure
from refvid_comfy import find_comfyui
from refvid_folder import import_folder
from refvid_golden_fit import known, shorter
from refvid_golden_record import NUMBER, PACKAGE, ROOT, Record, read_tensors
from refvid_server import serve
from refvid_templates import is_public, read
from torch import Tensor

if PACKAGE not in sys.modules:  # for the helpers that build graphs; the server has its own
    import_folder(PACKAGE, ROOT)

from refvid_golden_graphs import graphs
from refvid_kept import DATA, VERSIONS, Kept, tapped

FOLDERS = ("diffusion_models", "text_encoders", "vae", "loras")


def record(record: Record, tree: Path, asked: Path, folder: Path) -> None:
    """By graph/node: latents, pictures, sheets, figures."""
    root = find_comfyui()
    if root is None:
        raise ValueError("no ComfyUI found; name it with COMFYUI_PATH=/path/to/ComfyUI")
    for kind in FOLDERS:
        (folder / "models" / kind).mkdir(parents=True)
    (folder / "input").mkdir()
    kept = Kept(DATA / VERSIONS[-1])
    kept.place(folder)
    with serve(root, folder, PACKAGE, tree) as server:
        types = server.get("/object_info").keys()
        for name, graph in read(asked / "workflows" / "api").items():
            if not is_public(graph):
                _run(record, server, f"workflows/{name}", shorter(tapped(graph)))
        for name, graph in graphs().items():
            _run(record, server, name, known(kept.asked(graph), types))


def _run(record: Record, server: Client, name: str, graph: Graph) -> None:
    with record.case(name):
        entry = server.run(graph)
        if entry["status"]["status_str"] != "success":
            raise RuntimeError(str(failure(entry)))
        for node, said in sorted(entry["outputs"].items()):
            for place, tensor in _read(server, said).items():
                record.keep(f"{name}/{node.removeprefix('keep_')}{place}", tensor)


def _read(server: Client, said: dict) -> dict[str, Tensor]:
    """Latents and pictures of a node, by their place in a list; numbers of what it says. Films are left out:
    their frames are saved as pictures before they are coded."""
    files = [
        server.base / one["type"] / one["subfolder"] / one["filename"]
        for kind in ("latents", "images")
        for one in said.get(kind, ())
    ]
    found = {}
    for index, file in enumerate(sorted(files)):
        if file.suffix == ".latent":
            found[f"/{index}"] = read_tensors(file)["latent_tensor"]
    pictures = [read_tensors(file)[""] for file in sorted(files) if file.suffix == ".png"]
    if pictures and len({one.shape for one in pictures}) == 1:
        found["/pictures"] = torch.stack(pictures)
    elif pictures:
        found |= {f"/{index}": one for index, one in enumerate(pictures)}
    figures = [float(one) for text in said.get("text", ()) for one in re.findall(NUMBER, str(text))]
    return found | ({"/figures": torch.tensor(figures, dtype=torch.float64)} if figures else {})
