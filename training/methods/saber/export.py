"""File of a Saber LoRA: ComfyUI's own format, which says by metadata what it was trained for and on."""

import json
import re
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from torch import nn

from ....core.checkpoint import is_finite, save_model
from ....core.recipes import TRAINED_FOR
from ....data.prepared import Prepared
from ....hosts.plain.pipeline import Settings
from ...engine.lora import changed_layers, lora_state
from .config import SaberSettings

_PROJECT = Path(__file__).parents[3] / "pyproject.toml"  # beside the rooms, where the pack is not installed
_TYPE = "fp16"  # as `save_model` writes


@dataclass(frozen=True)
class LoraFacts:
    """Facts of a LoRA's training, which its file carries.

    base         file name of the DiT that it changes
    base_digest  of that file's weights, by `engine.state.weights_digest`
    recipe       of the references
    targets      layers that are changed, as `add_lora` takes them
    shift        of the noise levels
    frames       lengths of the clips, in pictures
    fps          pictures a second
    sizes        widths and heights of the clips, in pixels
    licences     of the clips, each once
    steps        taken
    method       that trained it
    """

    base: str
    base_digest: str
    targets: tuple[str, ...]
    shift: float
    frames: tuple[int, ...]
    fps: float
    sizes: tuple[tuple[int, int], ...]
    licences: tuple[str, ...]
    steps: int
    recipe: str = "saber"
    method: str = "saber"


def export_lora(layers: nn.ModuleDict, facts: LoraFacts, path: Path) -> None:
    """Write the LoRA (fp16 [choice: lora-in-half]). ValueError where a weight is not finite in that type;
    OSError where the file cannot be written."""
    state = lora_state(layers)
    for key, value in state.items():
        if not is_finite(value.half()):
            raise ValueError(f"{path.name}: {key} is not finite in {_TYPE}; start from an earlier state")
    rank = len(next(changed_layers(layers))[1])
    save_model(state, path, lora_metadata(facts, rank, path.stem))


def facts_of(settings: SaberSettings, prepared: Prepared, base_digest: str, steps: int) -> LoraFacts:
    """Facts of a run on prepared clips, after so many steps."""
    wanted = settings.data.frames
    buckets = [one for one in prepared.buckets() if not wanted or one.frames in wanted]
    used = {number for bucket in buckets for number in prepared.buckets()[bucket]}
    return LoraFacts(
        base=Path(settings.models.dit).name,
        base_digest=base_digest,
        targets=settings.train.targets,
        shift=settings.train.noise.shift,
        frames=tuple(sorted({one.frames for one in buckets})),
        fps=prepared.options.fps,
        sizes=tuple(sorted({(one.width, one.height) for one in buckets})),
        licences=tuple(sorted({prepared.clips[number].licence for number in used} - {""})),
        steps=steps,
    )


def shown_at(facts: LoraFacts, usual: Settings) -> Settings:
    """Settings to try a LoRA with: the longest clips and the first of their sizes."""
    width, height = facts.sizes[-1]
    return replace(usual, width=width, height=height, frames=facts.frames[-1], fps=max(1, round(facts.fps)))


def lora_metadata(facts: LoraFacts, rank: int, title: str) -> dict[str, str]:
    """Metadata of the file: the recipe, for loaders of ours; the facts; and what other tools show of a LoRA
    (Stability's modelspec, kohya's `ss_`)."""
    told = {**asdict(facts), "rank": rank, "alpha": float(rank), "refvid": refvid_version()}
    return {
        TRAINED_FOR: facts.recipe,
        "refvid.training": json.dumps(told),
        "modelspec.title": title,
        "modelspec.license": ", ".join(facts.licences),
        "ss_base_model_version": facts.base,
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(float(rank)),
    }


def refvid_version() -> str:
    """Version of this package, installed or as a folder."""
    try:
        return version("refvid")
    except PackageNotFoundError:
        found = re.search(r'^version = "(.+)"', _PROJECT.read_text("utf-8"), re.MULTILINE)
        return found[1] if found else "unknown"
