"""Methods by what they need of prepared clips: the stages, in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .index import Clip
from .settings import merged
from .weights import KNOWN, Weights

MASKS = ("birefnet", "grounding_dino", "sam2")  # weights that find subjects


@dataclass(frozen=True)
class Needs:
    """Needs of a method.

    stages    that have to be run
    wishes    stages that make it better and are run where they can be
    settings  options of stages that it wishes for, where nothing else is said
    """

    stages: Sequence[str]
    wishes: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


ALWAYS = ("cut", "score", "caption")
METHODS = {
    "saber": Needs((*ALWAYS, "encode"), wishes=("subjects",)),
    "slot_id": Needs((*ALWAYS, "subjects", "identities", "encode")),
    "videomaker": Needs((*ALWAYS, "subjects", "encode")),
    "stiv": Needs((*ALWAYS, "encode")),
    "sama": Needs((*ALWAYS, "encode"), settings={"encode": {"semantic": True}}),
}


def stages_for(method: str, clips: Sequence[Clip], weights: Weights, order: Sequence[str]) -> list[str]:
    """Stages to run for a method, in their order. A wish is left out where no clip has a mask and no weights
    find one. ValueError for a method that is not known, and where it needs masks and there are none."""
    needs = METHODS.get(method)
    if needs is None:
        raise ValueError(f"prepare: {method} is not known; needed one of {', '.join(METHODS)}")
    if "subjects" in needs.stages:
        require_masks(f"prepare: {method}", clips, weights)
    wanted = {*needs.stages, *(needs.wishes if _has_masks(clips, weights) else ())}
    return [name for name in order if name in wanted]


def require_masks(what: str, clips: Sequence[Clip], weights: Weights) -> None:
    """ValueError, saying what to give, where no clip has a mask and no weights find one."""
    if not _has_masks(clips, weights):
        birefnet, dino, sam = (f"{name} = {KNOWN[name]}" for name in MASKS)
        raise ValueError(
            f"{what}: no clip has a mask; needs {birefnet}; or {dino}, and {sam}; name them in the file of --models"
        )


def _has_masks(clips: Sequence[Clip], weights: Weights) -> bool:
    return any(clip.mask for clip in clips if clip.ok) or any(weights.has(name) for name in MASKS)


def settings_for(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that the method wishes for, with what was given on top."""
    return merged(METHODS[method].settings, given)
