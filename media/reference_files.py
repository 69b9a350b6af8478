"""Masked references as pictures: the mask is the alpha channel of a PNG, what is asked of the reference is
its text. Any program shows them, any can paint the mask anew."""

import json
import reprlib
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..core.controls import Controls, FrameWindow, StepWindow
from ..core.records import parsed
from ..core.references import Reference
from .pictures import opened, save_image, to_bytes

REFERENCE_ENDING = ".png"
TEXT_KEY = "refvid_reference"  # keyword of the text in the PNG
REFERENCE_VERSION = 1
_WINDOWS = {"steps": StepWindow, "frames": FrameWindow}  # controls that are records themselves


def write_reference(path: str | Path, reference: Reference) -> None:
    """A reference as a PNG, whole or not at all. Picture and mask have 8 bits; colours stay under the mask
    too. A region is not kept: it belongs to a video."""
    said = {"version": REFERENCE_VERSION, "controls": asdict(reference.controls)}
    text = PngInfo()
    text.add_text(TEXT_KEY, json.dumps(said))
    values = torch.cat([reference.picture, reference.mask[..., None].to(reference.picture)], dim=-1)
    save_image(Image.fromarray(to_bytes(values)), path, pnginfo=text)


def read_controls(path: str | Path, what: str) -> Controls | None:
    """Controls that a saved reference asks for; None for any other picture. ValueError, which names the input
    `what`, for a file of a later version and for one that is damaged."""
    with opened(path, what) as picture:
        text = picture.info.get(TEXT_KEY)
    return None if text is None else _controls(text, f"{what}: {Path(path).name}")


def _controls(text: Any, name: str) -> Controls:
    try:
        said = parsed(str(text))
    except ValueError as error:
        raise ValueError(
            f"{name}: its text {TEXT_KEY} is no JSON ({error}); save the reference anew"
        ) from error
    if (
        not isinstance(said, dict)
        or set(said) != {"version", "controls"}
        or said["version"] != REFERENCE_VERSION
    ):
        raise ValueError(
            f"{name}: its text {TEXT_KEY} is {reprlib.repr(said)}; this refvid reads version {REFERENCE_VERSION}. Update it, "
            "or save the reference anew"
        )
    try:
        values = _record(Controls, said["controls"])
        windows = {key: kind(**_record(kind, values[key])) for key, kind in _WINDOWS.items() if key in values}
        return Controls(**(values | windows))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: what it asks of the reference cannot be used ({error}); save the reference anew"
        ) from error


def _record(kind: type, said: Any) -> dict[str, Any]:
    """The values of a record's fields. ValueError for what is no object, for a field that it has not, and for
    a value of another type."""
    known = {one.name: one.default for one in fields(kind)}
    odd = [key for key in said if key not in known] if isinstance(said, dict) else [said]
    if odd:
        raise ValueError(f"{reprlib.repr(odd[0])} is none of {', '.join(known)}")
    for key, value in said.items():
        if known[key] is not MISSING and not _like(value, known[key]):
            raise ValueError(f"{key} is {reprlib.repr(value)}")
    return said


def _like(value: Any, default: Any) -> bool:
    if default is None:  # the last frame, which may be the clip's
        return value is None or type(value) is int
    return type(value) is type(default) or (type(default) is float and type(value) is int)
