"""Subject of a picture: as its file says, as somebody painted it, or cut out by ComfyUI's own model.

Load Image gives a painted mask and a cut-out's ground alike, as one minus the alpha channel. Which it is, the
file's name says.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import torch
from torch import Tensor

from ...core.masks import looks_inverted

AUTO, PAINTED, CUT_OUT, WHOLE, CUT_OUT_NOW = (
    "auto",
    "painted",
    "cut-out",
    "whole picture",
    "remove background",
)
SUBJECTS = (AUTO, PAINTED, CUT_OUT, WHOLE, CUT_OUT_NOW)
MARKS_SUBJECT, MARKS_BACKGROUND = "subject", "background"
MASK_SENSES = (AUTO, MARKS_SUBJECT, MARKS_BACKGROUND)
# What the Mask Editor of ComfyUI's frontend saves, where what is painted is transparent: earlier ones into a
# folder, later ones (1.49) beside the other inputs under these names.
_EDITED_FOLDER, _EDITED_NAMES = "clipspace", ("clipspace-painted-masked-", "clipspace-mask-")
# Core's nodes, and their output that is one minus the alpha.
_LOADERS = {"LoadImage": 1, "LoadImageOutput": 1, "LoadImageMask": 0}


@dataclass(frozen=True)
class Subject:
    """The mask (H, W) in [0, 1] of a picture's subject, and in words what was taken."""

    mask: Tensor
    said: str


def is_edited(name: str) -> bool:
    """True for the name of a picture in the input folder that the Mask Editor saved."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.parts[:1] == (_EDITED_FOLDER,) or path.name.startswith(_EDITED_NAMES)


def subject_of(picture: Tensor, how: str, name: str, saved: bool = False, remover: Any = None) -> Subject:
    """The subject of a picture (H, W, 3 or 4) in [0, 1].

    auto is the first that there is: paint of the Mask Editor, transparency, what `remover` cuts out. Else it
    is all of the picture, and of a saved reference its mask. ValueError where the picture has no such part,
    or the model is missing.

    how      of `SUBJECTS`
    name     of its file, as Load Image has it
    saved    whether it is a reference that was saved
    remover  of ComfyUI's Load Background Removal Model
    """
    transparent = picture.shape[-1] == 4 and bool(picture[..., 3].lt(1).any())
    chosen = _found(name, transparent, saved, remover) if how == AUTO else how
    mask = _TAKEN[chosen](picture, remover) if transparent or chosen in (WHOLE, CUT_OUT_NOW) else None
    if mask is None:
        raise ValueError(
            f"subject is {how}, but {name} has no transparent part; paint in the Mask Editor, or choose {AUTO}"
        )
    return Subject(
        mask, "\n".join([*_against(how, name), *_told(chosen, mask, saved and not is_edited(name))])
    )


def _found(name: str, transparent: bool, saved: bool, remover: Any) -> str:
    if transparent:
        return PAINTED if is_edited(name) else CUT_OUT
    return WHOLE if saved or remover is None else CUT_OUT_NOW


def _removed(picture: Tensor, remover: Any) -> Tensor:
    if remover is None:
        raise ValueError(
            f"subject is {CUT_OUT_NOW}, but nothing is linked to bg_removal_model; link Load Background Removal Model"
        )
    return remover.encode_image(picture[None, ..., :3]).reshape(picture.shape[:2]).to(picture)


_TAKEN: dict[str, Callable[[Tensor, Any], Tensor]] = {
    PAINTED: lambda picture, _: 1 - picture[..., 3],
    CUT_OUT: lambda picture, _: picture[..., 3],
    WHOLE: lambda picture, _: torch.ones(picture.shape[:2]),
    CUT_OUT_NOW: _removed,
}
_WORDS = {
    PAINTED: "subject: what was painted in the Mask Editor",
    CUT_OUT: "subject: what is not transparent",
    WHOLE: "subject: the whole picture",
    CUT_OUT_NOW: "subject: what the background removal model cut out",
}


def _against(how: str, name: str) -> list[str]:
    """Lines of what the file says against what was asked for."""
    if how == CUT_OUT and is_edited(name):
        return [
            f"subject is {how}, but the Mask Editor saved this picture: what is painted is left out. Choose {AUTO}"
        ]
    if how == PAINTED and not is_edited(name):
        return [f"subject is {how}, but this is a cut-out: its transparent ground is shown. Choose {AUTO}"]
    return []


def _told(chosen: str, mask: Tensor, saved: bool) -> list[str]:
    words = "subject: as it was saved" if saved and chosen == CUT_OUT else _WORDS[chosen]
    share = "" if chosen == WHOLE else f", {mask.mean():.0%} of the picture"
    other = None if saved else {PAINTED: CUT_OUT, CUT_OUT: PAINTED}.get(chosen)
    advice = f"Choose {other}" if other else "Paint the subject in the Mask Editor"
    return [*masks_told([mask], advice), words + share]


def masks_told(masks: list[Tensor], advice: str) -> list[str]:
    """A sentence, with what to do about it, where any of these masks (H, W) looks inverted."""
    if any(looks_inverted(mask) for mask in masks):
        return [
            f"is the mask inverted? It keeps the border and drops the middle, as an inverted mask does. {advice}"
        ]
    return []


def opposite(marks: str) -> str:
    """The other sense of a mask than subject or background."""
    return MARKS_BACKGROUND if marks == MARKS_SUBJECT else MARKS_SUBJECT


def mask_sense(
    graph: Mapping[str, Any] | None, node: str | None, asked: str, mask: Tensor | None
) -> tuple[str, list[str]]:
    """Sense of a mask that comes to a node's input `mask`, never auto; and what speaks against the one that
    was asked for.

    graph  nodes by id, each with its class and inputs: values, or links [id, output]
    """
    known = _sense_of(graph, node)
    if asked == AUTO:
        return known or MARKS_SUBJECT, []
    if known in (None, asked) or mask is None or not mask.any():
        return asked, []
    kind = (
        "the transparent part of a cut-out"
        if known == MARKS_BACKGROUND
        else "what was painted in the Mask Editor"
    )
    return asked, [f"mask_marks is {asked}, but this mask is {kind}: it is the {known}. Choose {AUTO}"]


def _sense_of(graph: Mapping[str, Any] | None, node: str | None) -> str | None:
    """The sense of a mask straight from core's Load Image; None for any other."""
    nodes = graph or {}
    link = nodes.get(str(node), {}).get("inputs", {}).get("mask")
    source = nodes.get(str(link[0]), {}) if isinstance(link, list) else {}
    inputs, output = source.get("inputs", {}), _LOADERS.get(source.get("class_type", ""))
    name = inputs.get("image")
    if (
        output is None
        or link[1] != output
        or not isinstance(name, str)
        or inputs.get("channel", "alpha") != "alpha"
    ):
        return None
    return MARKS_SUBJECT if is_edited(name) else MARKS_BACKGROUND
