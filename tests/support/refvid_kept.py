"""Kept files of a released version, in tests/data/VERSION: workflows, API graphs, model files and inputs for
them, saved conditionings, and what the graphs make. refvid_kept_make.py writes such a folder."""

import copy
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from refvid_client import Client, Graph, failure, node
from safetensors.torch import load_file
from torch import Tensor

DATA = Path(__file__).resolve().parents[1] / "data"
VERSIONS = sorted(file.parent.name for file in DATA.glob("*/results.safetensors"))
TILE = 16  # pixels: of a frame the mean of each tile is kept
# Results are kept in half precision. Another CPU's rounding moves a latent by 1e-5 of its spread and a
# frame's tile by a pixel or two of its 256; the smallest choice a user has (what a reference sees) moves
# latents by 1e-2. A film's colours depend on the decoder: half a level of noise on them moves latents by 4e-2
# where its pictures are given frames, less elsewhere.
HALF = 2.0**-10
LATENT, TILED, FIGURE = 2e-4, 1e-3, 1e-3  # of the spread; of full white; of the figure
FILM_LATENT, FILM_TILED = 5e-2, 1e-2  # the same of graphs that read a film
KEYS = 3  # of graphs that make eight segments, which would take half of all the time


@dataclass(frozen=True)
class Kept:
    """The folder of one version."""

    folder: Path

    @property
    def graphs(self) -> dict[str, Graph]:
        return {
            f.stem: json.loads(f.read_text("utf-8")) for f in sorted((self.folder / "api").glob("*.json"))
        }

    @property
    def canvases(self) -> dict[str, dict]:
        files = sorted((self.folder / "workflows").glob("*.json"))
        return {file.stem: json.loads(file.read_text("utf-8")) for file in files}

    @property
    def files(self) -> dict[str, Path]:
        """Models and inputs, by the name that a graph gives them."""
        places = (*(self.folder / "models").glob("*/*"), *(self.folder / "inputs").iterdir())
        return {file.name: file for file in sorted(places)}

    @property
    def conditionings(self) -> list[Path]:
        return sorted((self.folder / "conditionings").glob("*.safetensors"))

    def results(self) -> dict[str, Tensor]:
        """Results by graph/node: latents, means of frames' tiles, figures."""
        return load_file(self.folder / "results.safetensors")

    def own(self, name: str) -> str:
        """Name of a kept file among those of other tests."""
        return f"{self.folder.name}_{name}"

    def place(self, base: Path) -> None:
        """Models and inputs into a server's folder."""
        for file in self.files.values():
            kind = "input" if file.parent.name == "inputs" else f"models/{file.parent.name}"
            shutil.copy(file, base / kind / self.own(file.name))

    def asked(self, graph: Graph) -> Graph:
        """The graph on the placed files, with what is compared saved."""
        graph, files = tapped(graph), self.files
        for one in graph.values():
            if one["class_type"] == "RefVidKeyframes":
                one["inputs"]["keys"] = min(one["inputs"]["keys"], KEYS)
            names = {label: value for label, value in one["inputs"].items() if isinstance(value, str)}
            one["inputs"] |= {label: self.own(name) for label, name in names.items() if name in files}
        return graph


def tapped(graph: Graph) -> Graph:
    """A copy that saves what every decoder gets and every video shows; as it is where it saves latents
    itself."""
    graph = copy.deepcopy(graph)
    if any(one["class_type"] == "SaveLatent" for one in graph.values()):
        return graph
    taps: Graph = {}
    for name, one in graph.items():
        given = one["inputs"]
        if one["class_type"] == "VAEDecode":
            taps[f"keep_{name}"] = node("SaveLatent", samples=given["samples"], filename_prefix=name)
        if one["class_type"] == "CreateVideo":
            taps[f"keep_{name}"] = node("SaveImage", images=given["images"], filename_prefix=name)
    return graph | taps


def needed(graph: Graph, name: str) -> Graph:
    """The part of a graph that a node needs, and itself."""
    links = [value[0] for value in graph[name]["inputs"].values() if isinstance(value, list)]
    return {name: graph[name], **{key: one for link in links for key, one in needed(graph, link).items()}}


def made(server: Client, name: str, graph: Graph) -> dict[str, Tensor]:
    """Run a graph that must succeed. -> what is kept of it, by graph/node."""
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", (name, failure(entry))
    found = {node: _read(server, said) for node, said in entry["outputs"].items() if _compared(graph[node])}
    return {f"{name}/{node}": value for node, value in found.items() if value is not None}


def _compared(one: dict) -> bool:
    return one["class_type"] in ("SaveLatent", "SaveImage", "PreviewAny")


def _read(server: Client, said: dict) -> Tensor | None:
    files = [
        server.base / one["type"] / one["subfolder"] / one["filename"]
        for kind in ("latents", "images")
        for one in said.get(kind, ())
    ]
    if not files:
        return _number(said["text"][0])
    if files[0].suffix == ".latent":
        ends = dict.fromkeys((files[0], files[-1]))  # of a list; frames show the others
        return torch.cat([load_file(file)["latent_tensor"] for file in ends])
    return torch.stack([tiles(np.asarray(Image.open(file).convert("RGB"))) for file in sorted(files)])


def _number(text: str) -> Tensor | None:
    try:
        return torch.tensor([float(text)])
    except ValueError:
        return None


def tiles(picture: np.ndarray) -> Tensor:
    """(H, W, 3) uint8, both sides multiples of TILE -> (H / TILE, W / TILE, 3) in [0, 1]."""
    height, width, _ = picture.shape
    cut = picture.reshape(height // TILE, TILE, width // TILE, TILE, 3)
    return torch.from_numpy(cut.mean((1, 3), dtype=np.float64) / 255).float()


def wrong(found: Tensor, wanted: Tensor, reads_film: bool = False) -> str | None:
    """Difference by more than rounding; None where nothing does."""
    if found.shape != wanted.shape:
        return f"has shape {tuple(found.shape)}, had {tuple(wanted.shape)}"
    found, wanted = found.double(), wanted.double()
    margin = HALF * wanted.abs()
    if wanted.numel() == 1:
        margin = FIGURE * wanted.abs()
    elif wanted.ndim == 5:
        margin = margin + wanted.std() * (FILM_LATENT if reads_film else LATENT)
    else:
        margin = margin + (FILM_TILED if reads_film else TILED)
    off = (found - wanted).abs() / margin
    if off.max() <= 1:  # what is not a number is more
        return None
    return f"is up to {off.max():.3g} margins off, in {(~(off <= 1)).double().mean():.0%} of it"
