"""Cells of a sheet: a clip's title, strips of pictures, words and numbers."""

from collections.abc import Iterable
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element

import numpy as np

from ...drawing.page import picture_tag, tag
from ..index import Clip
from .counts import number, with_span
from .strips import ClipView, fitted_view
from .text import counted_in, duration


def title(clip: Clip, misfit: str) -> Element:
    """Name of a clip, with its set, its split, and why it has no bucket."""
    head = tag("header", tag("b", name_of(clip), dir="auto", title=clip.path), badge(clip.set or "no set"))
    head.append(
        badge("train" if clip.split == "train" else "held out", "" if clip.split == "train" else "other")
    )
    if clip.identity:
        head.append(badge(f"shows {clip.identity}"))
    if misfit:
        head.append(badge(misfit, "other"))
    return head


def name_of(clip: Clip) -> str:
    """Name of a clip's file, and which pictures of it."""
    return with_span(clip, PurePosixPath(clip.path).name)


def badge(words: str, colour: str = "") -> Element:
    """A word or two in a frame."""
    return tag("span", words, class_=f"badge {colour}".strip(), dir="auto")


def part(name: str, *inside: Element) -> Element:
    """Part of a card, with its name at the side."""
    return tag("div", tag("h3", name), tag("div", *inside), class_="part")


def window_strip(clip: Clip, seen: dict[int, np.ndarray] | str, view: ClipView) -> Element:
    """Pictures of a clip's window beside each other, with their times; or why there are none."""
    if isinstance(seen, str):
        return row([no_picture(seen)])
    cells = [
        figure(fitted_view(seen[place], view.size), moment(clip, place))
        if place in seen
        else no_picture(f"picture {place} cannot be read")
        for place in view.places
    ]
    return row(cells, "row strip" if len(cells) > 1 else "row")


def row(cells: Iterable[Element], style: str = "row") -> Element:
    """Cells beside each other."""
    return tag("div", *cells, class_=style)


def figure(picture: np.ndarray, *said: str) -> Element:
    """A picture with a line below it."""
    line = " · ".join(one for one in said if one)
    inside = [tag("figcaption", line, dir="auto")] if line else []
    return tag("figure", picture_tag(picture, line), *inside)


def no_picture(why: str) -> Element:
    """A cell in the place of a picture, which says why there is none."""
    return tag("div", why, class_="none")


def moment(clip: Clip, place: int) -> str:
    """Time of a picture in the file."""
    return f"{(clip.start + place) / clip.fps:.2f} s" if clip.fps else ""


def covered(mask: np.ndarray) -> str:
    """Share of a picture that is in a mask."""
    return f"{np.mean(mask):.0%}"


def words(clip: Clip) -> list[Element]:
    """Captions, and the instruction of an edit; what is missing is said."""
    said = [tag("p", clip.caption, class_="said", dir="auto")] if clip.caption else []
    if clip.instruction:
        asked = tag("p", badge(clip.edit or "edit"), " ", clip.instruction, class_="said", dir="auto")
        said.insert(0, asked)
    if clip.short_caption:
        said.append(tag("p", clip.short_caption, class_="said", dir="auto"))
    return said or [tag("p", "no caption", class_="faint")]


def numbers(clip: Clip, view: ClipView, rate: float) -> Element:
    """Numbers of a row, with what training makes of them."""
    wide = f"{clip.size[0]}x{clip.size[1]}"
    pairs = {
        "size": wide if view.size is None else "{} → {}x{}".format(wide, *view.size),
        "length": f"{duration(clip.seconds)}, {counted_in(clip.frames, 'picture')}" if clip.fps else "",
        "window": _windows(view) if clip.fps else "",
        "rate": _rate(clip, rate),
        "motion": _known(clip.motion, " pixels/s"),
        "sharpness": _known(clip.sharpness),
        "flash": _known(clip.flash),
        "aesthetic": _known(clip.aesthetic),
        "text area": _known(None if clip.text_area is None else 100 * clip.text_area, " %"),
        "repeats": f"{clip.repeats:,}" if clip.repeats != 1 else "",
        "licence": clip.licence,
        "file": ", ".join(_features(clip)),
        "encoded": f"{clip.shard}, row {clip.row}" if clip.shard else "",
    }
    cells = [
        tag("div", tag("dt", name), tag("dd", value, dir="auto")) for name, value in pairs.items() if value
    ]
    return tag("dl", *cells)


def _windows(view: ClipView) -> str:
    more = f", one of {len(view.windows)} windows" if len(view.windows) > 1 else ""
    return f"{counted_in(view.frames, 'picture')}{more}" if view.windows else ""


def _rate(clip: Clip, rate: float) -> str:
    if not clip.fps:
        return ""
    own = f"{clip.fps:.4g}{' (variable)' if clip.variable else ''}"
    return f"{own} fps" if own == number(rate) else f"{own} → {number(rate)} fps"


def _known(value: float | None, unit: str = "") -> str:
    return "" if value is None else number(value) + unit


def _features(clip: Clip) -> list[str]:
    """Unusual things about a file."""
    return [
        words
        for words, true in (
            (f"turned by {clip.rotation}°", clip.rotation),
            (f"pixels {clip.pixel_aspect:.4g} : 1", clip.pixel_aspect != 1),
            ("interlaced", clip.interlaced),
            ("alpha", clip.alpha),
            ("sound", clip.sound),
        )
        if true
    ]
