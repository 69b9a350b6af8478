"""Local weights that stages of data work use: named by a TOML, asked for by name, loaded once."""

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from ..core.files import write_text
from .settings import read_toml, require_known

KNOWN = {  # what each is, for who must give it
    "vae": "Wan's VAE, one file",
    "text_encoder": "Wan's UMT5, one file with its tokenizer inside",
    "captioner": "a folder of Qwen2.5-VL or Qwen3-VL in transformers' format",
    "birefnet": "BiRefNet, one file as ComfyUI's models/background_removal has it",
    "grounding_dino": "a folder of GroundingDINO in transformers' format",
    "sam2": "a folder of SAM2 in transformers' format",
    "features": "a folder of DINOv2 or SigLIP in transformers' format",
    "siglip": "a folder of SigLIP in transformers' format: SAMA's semantic tokens",
    "clip": "a folder of CLIP in transformers' format: missed cuts",
    "aesthetic": "a folder of the CLIP or SigLIP that the head reads, with the head aesthetic.safetensors in it",
    "text_detector": "a text detector for opencv, one DB file in ONNX",
    "faces": "a face detector: BlazeFace in TFLite for MediaPipe, YuNet in ONNX or a Haar cascade in XML for opencv",
}
_PART = 1 << 24  # bytes
_T = TypeVar("_T")


class Weights:
    """Paths of local weights by name. Digests are kept by size and time of a file in `memory`."""

    def __init__(self, paths: Mapping[str, Path], memory: Path | None = None):
        self.paths = dict(paths)
        self._memory = memory
        self._loaded: dict[str, Any] = {}

    def has(self, name: str) -> bool:
        """True where the weights were given."""
        return name in self.paths

    def path(self, name: str, stage: str) -> Path:
        """Path of weights. ValueError, saying which folder to give, where none was given or none is there."""
        if name not in self.paths:
            raise ValueError(f"{stage}: needs {name} = {KNOWN[name]}; name it in the file of --models")
        if not self.paths[name].exists():
            raise ValueError(f"{stage}: {name}: there is no {self.paths[name]}; give {KNOWN[name]}")
        return self.paths[name]

    def load(self, name: str, stage: str, load: Callable[[Path], _T]) -> _T:
        """Model that `load` makes of the weights' path, made once."""
        if name not in self._loaded:
            self._loaded[name] = load(self.path(name, stage))
        return self._loaded[name]

    def digest(self, name: str, stage: str) -> str:
        """Digest of all that is in a file, or in the files of a folder."""
        path = self.path(name, stage)
        files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
        known = _remembered(self._memory)
        parts = {str(one.relative_to(path)): self._of_file(one, known) for one in files}
        if self._memory is not None and known != _remembered(self._memory):
            write_text(self._memory, json.dumps(known, indent=1, sort_keys=True))
        return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def _of_file(self, path: Path, known: dict[str, str]) -> str:
        state = path.stat()
        key = f"{path.absolute()} {state.st_size} {state.st_mtime_ns}"
        if key not in known:
            known[key] = file_digest(path)
        return known[key]


def read_weights(path: Path) -> dict[str, Path]:
    """Paths by name of a TOML; one that is not absolute is meant from the file's folder. ValueError for a
    name that is not known."""
    table = read_toml(path, "--models")
    require_known(table, tuple(KNOWN), f"--models: {path.name}")
    for name, value in table.items():
        if not isinstance(value, str):
            raise ValueError(f"--models: {path.name}: {name} is {value!r}; needed a path")
    return {name: (path.parent / value).absolute() for name, value in table.items()}


def file_digest(path: Path) -> str:
    """Digest of a file's contents."""
    digest = sha256()
    with path.open("rb") as file:
        while part := file.read(_PART):
            digest.update(part)
    return digest.hexdigest()[:24]


def _remembered(memory: Path | None) -> dict[str, str]:
    try:
        return json.loads(memory.read_text("utf-8")) if memory is not None else {}
    except (OSError, ValueError):
        return {}
