"""Recognition of public weights, by keys that no others have, else by words of the file's name
[choice: recognised-by-name]. Metadata of ours come before both (`core.recipes.choose_recipe`)."""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

logger = logging.getLogger(__name__)
_told: set[str] = set()
_SEPARATORS = r"[-_. ]*"
_NAMELESS = {"model", "diffusion_pytorch_model"}  # published stems that say nothing: the folder's name does
_INSTEAD = "use Phantom, SkyReels-V3 R2V, RefAlign or VACE"
_OWN = "has a forward of its own, which references do not reach"


@dataclass(frozen=True)
class PublicWeights:
    """Public weights, and the marks of their files.

    title    as their authors call them
    recipe   that they are for, by name; None where there is none
    names    words in a row of a file's name; separators between them may be others, or none
    keys     parts of keys that no other weights have
    refusal  why no recipe here runs them, and which to use instead; empty where one does
    beside   that they are an addition to a base, which other recipes may use as well
    """

    title: str
    recipe: str | None = None
    names: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    refusal: str = ""
    beside: bool = False

    @cached_property
    def _words(self) -> re.Pattern[str] | None:
        if not self.names:
            return None
        named = (_SEPARATORS.join(map(re.escape, name.split())) for name in self.names)
        return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(named)})(?![a-z0-9])", re.IGNORECASE)

    def named_in(self, text: str) -> bool:
        """True where a text has one of the names, as whole words of any case."""
        return self._words is not None and self._words.search(text) is not None


# Facts from the authors' code and ComfyUI's model_detection.py (docs/weights.md). Keys are looked for in this
# order, so that what no recipe runs comes before what some recipe does.
PUBLIC = (
    PublicWeights(
        "BindWeave",
        names=("bind weave",),
        keys=("text_projector.",),
        refusal="it reads references by image features and Qwen2.5-VL's states beside the prompt, which are "
        f"not made here; {_INSTEAD}",
    ),
    PublicWeights(
        "MAGREF",
        names=("magref",),
        refusal="it reads references as one collage in the video's first frame, where they have no tokens that "
        f"a strength or a region could act on; {_INSTEAD}",
    ),
    PublicWeights(
        "Lynx",
        keys=("to_k_ip.", "to_k_ref."),
        refusal="it reads a face by ArcFace's features, through attention layers of its own that are not "
        "built here; use Stand-In for a face",
    ),
    PublicWeights(
        "HuMo",
        keys=("audio_proj.audio_proj_glob_1.",),
        refusal=f"it {_OWN}; {_INSTEAD}, or ComfyUI's HuMo node",
    ),
    PublicWeights("S2V", keys=("casual_audio_encoder.encoder.",), refusal=f"it {_OWN}; {_INSTEAD}"),
    PublicWeights(
        "Animate",
        keys=("face_adapter.fuser_blocks.",),
        refusal=f"it {_OWN}; {_INSTEAD}, or ComfyUI's Animate node",
    ),
    PublicWeights(
        "SCAIL",
        keys=("patch_embedding_pose.", "patch_embedding_mask."),
        refusal=f"it {_OWN}; {_INSTEAD}, or ComfyUI's SCAIL node",
    ),
    PublicWeights("SAMA", "sama", keys=("segment_embedding.",)),
    PublicWeights("Stand-In", "stand_in", keys=(".q_loras.",)),
    PublicWeights("VACE", "vace", keys=("vace_patch_embedding.",), beside=True),
    PublicWeights("Phantom", "phantom", ("phantom", "phantom wan", "wan phantom")),
    PublicWeights("SkyReels-V3 R2V", "skyreels_v3", ("skyreels v3 r2v",)),
    PublicWeights("RefAlign", "refalign", ("refalign", "ref align")),
    PublicWeights("Kaleido", "kaleido", ("kaleido",)),
    PublicWeights("Concat-ID", "concat_id", ("concat id",)),
    PublicWeights("Bernini-R", "bernini", ("bernini", "bernini r")),
)


@dataclass(frozen=True)
class Recognised:
    """Weights that a file was recognised as.

    weights  of `PUBLIC`
    by       the key or the name that says so, for people
    guessed  that it is a name, which anybody may have given
    """

    weights: PublicWeights
    by: str
    guessed: bool

    @property
    def said(self) -> str:
        """Half a sentence that says what the model is, and by what."""
        return f"the model is {self.weights.title} by {self.by}"


def module_keys(module: nn.Module) -> list[str]:
    """Beginnings of a module's keys: the names of the modules in it, which are there before any weight is."""
    return [f"{name}." for name, _ in module.named_modules()]


def by_keys(keys: Iterable[str]) -> Recognised | None:
    """Weights of a file with these keys; None where no key is a mark of any."""
    held = list(keys)
    for weights in PUBLIC:
        found = next((key for key in held if any(mark in key for mark in weights.keys)), None)
        if found is not None:
            return Recognised(weights, f"its key {found}", False)
    return None


def by_name(path: str | Path) -> Recognised | None:
    """Weights that a file's name says; None where it says none, and where it says more than one, which is
    logged once. Names that all files of a kind have are read with their folder's."""
    path = Path(str(path).replace("\\", "/"))
    text = path.parent.name if path.stem.lower() in _NAMELESS else path.stem
    found = [weights for weights in PUBLIC if weights.named_in(text)]
    if len(found) > 1 and text not in _told:
        _told.add(text)
        logger.warning(
            "refvid: the name %s says %s; it is taken for none of them: choose the recipe",
            text,
            " and ".join(weights.title for weights in found),
        )
    return Recognised(found[0], f"the name of its file, {text}", True) if len(found) == 1 else None


def recognise(path: str | Path | None, keys: Iterable[str]) -> Recognised | None:
    """Weights of a model, by its keys, else by the name of its file; None where neither says any."""
    return by_keys(keys) or (None if path is None else by_name(path))


def require_runnable(keys: Iterable[str], name: str) -> None:
    """ValueError for keys of weights that no recipe runs, with those to use instead. `name` says in it which
    file that is."""
    found = by_keys(keys)
    if found is not None and found.weights.refusal:
        raise ValueError(f"{name} is {found.weights.title} by {found.by}: {found.weights.refusal}")
