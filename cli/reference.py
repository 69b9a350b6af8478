"""Reference pictures on the command line: `--reference`, and options for each, in the same order."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..core.controls import CROP, FITS, SEES, Controls, FrameWindow, StepWindow
from .cutout import add_cutout, cut_subjects, require_cutter

_NONE = "-"
REFERENCE_NEEDS: dict[str, tuple[str, ...]] = dict.fromkeys(
    ("soft_mask", "cutout"), ("reference",)
)  # what an option acts on


@dataclass(frozen=True)
class Option:
    """An option for every reference; NONE, or leaving it out, says nothing. `control` is what it sets of
    `Controls`, if anything."""

    name: str
    metavar: str
    help: str
    read: Callable[[str], Any]
    control: str | None = None


def add_reference_options(command: argparse.ArgumentParser) -> None:
    """Add `--reference` and its options."""
    add = command.add_argument
    add("--reference", action="append", default=[], metavar="FILE",
        help="picture of the subject, or a reference that Save Reference wrote, with what it asks for; repeat for "
             "more references")  # fmt: skip
    group = command.add_argument_group(
        "references", f"one for each --reference, in their order; {_NONE} says nothing of that one"
    )
    for option in _OPTIONS:
        group.add_argument(
            f"--{option.name}", action="append", default=[], metavar=option.metavar, help=option.help
        )
    add_cutout(group, "each reference that has no --mask and no transparency, and is none that was saved")
    add_fit(command)
    group.add_argument(
        "--soft-mask", action="store_true", help="count tokens at the mask's edge by the share that it covers"
    )


def add_fit(command: argparse.ArgumentParser) -> None:
    """Add `--fit`: how what has another size is fitted."""
    command.add_argument(
        "--fit", choices=FITS, default=CROP,
        help="how masks, regions, given frames and films of another size are fitted: the middle of them, all of them "
             "with margins, or all of them out of shape",
    )  # fmt: skip


def read_references(options: argparse.Namespace) -> list:
    """References, checked. ValueError names the option that is wrong."""
    from .. import media
    from ..core.references import make_reference

    if options.cutout is not None:
        require_cutter(options.cutout)
    values = {option.name: _values(options, option) for option in _OPTIONS}
    pictures = [media.read_picture(file, "--reference") for file in options.reference]
    if options.cutout is not None:
        values["mask"] = _with_cutouts(options, pictures, values["mask"])
    return [
        make_reference(
            picture,
            values["mask"][index],
            _controls(
                options.reference[index], {name: of[index] for name, of in values.items()}, options.soft_mask
            ),
            values["region"][index],
            fit=options.fit,
        )
        for index, picture in enumerate(pictures)
    ]


def _with_cutouts(options: argparse.Namespace, pictures: list, masks: list) -> list:
    """The masks, with those that are cut out of pictures without one of their own, told on stderr. ValueError
    where each has one that was given, or nothing stands out in a picture."""
    from ..media.reference_files import read_controls

    if all(mask is not None for mask in masks):
        raise ValueError(
            "--cutout: every reference has a --mask, which is its subject; leave one of the two out"
        )
    bare = [
        index
        for index, (file, picture) in enumerate(zip(options.reference, pictures, strict=True))
        if masks[index] is None
        and not (picture.shape[-1] == 4 and bool(picture[..., 3].lt(1).any()))
        and read_controls(file, "--reference") is None
    ]
    if not bare:
        print("refvid: --cutout: every reference has a mask of its own; nothing is cut out", file=sys.stderr)
        return masks
    masks = list(masks)
    for index, mask in zip(bare, cut_subjects(options, [pictures[index] for index in bare]), strict=True):
        file = options.reference[index]
        if not mask.gt(0.5).any():
            raise ValueError(f"--cutout: nothing stands out in {file}; give it a --mask")
        print(f"refvid: --cutout: the subject is {mask.mean():.0%} of {file}", file=sys.stderr)
        masks[index] = mask
    return masks


def _controls(picture: str, values: dict[str, Any], soft: bool) -> Controls:
    """Controls as the options say; what they leave out is as a saved reference asks for, or neutral."""
    from ..media.reference_files import read_controls

    saved = read_controls(picture, "--reference") or Controls()
    said = {option.control: values[option.name] for option in _OPTIONS if option.control is not None}
    said |= dict(zip(("focus", "focus_start"), said.pop("focus") or (), strict=False)) | {
        "soft": soft or None
    }
    return replace(saved, **{name: value for name, value in said.items() if value is not None})


def _values(options: argparse.Namespace, option: Option) -> list[Any]:
    texts, count = getattr(options, option.name.replace("-", "_")), len(options.reference)
    if texts and len(texts) != count:
        raise ValueError(
            f"--{option.name}: {len(texts)} given for {count} references; give one for each "
            f"({_NONE} says nothing), or none"
        )
    return [None if text == _NONE else _read(option, text) for text in texts or [_NONE] * count]


def _read(option: Option, text: str) -> Any:
    try:
        return option.read(text)
    except ValueError as error:
        raise ValueError(f"--{option.name} {text}: {error}") from error


def _mask(text: str):
    from .. import media

    return media.read_mask(text, "mask")


def _region(text: str):
    from .. import media

    return media.read_masks(text, "region")


def step_window(text: str) -> StepWindow:
    """A step window from START:END[:IN:OUT]."""
    return StepWindow(*_numbers(text, float, 4))


def _focus(text: str) -> tuple[float, ...]:
    """A focus, and its start where it is given, from FACTOR[:START]."""
    return tuple(_numbers(text, float, 2, 1))


def _numbers(text: str, kind: type, most: int, least: int = 2) -> list:
    parts = text.split(":")
    if not least <= len(parts) <= most:
        raise ValueError(f"needed {least} to {most} numbers with colons between them")
    return [kind(part) for part in parts]


_OPTIONS = (
    Option("mask", "FILE", "its mask, white = subject; else the alpha channel, else what --cutout finds, else all of the picture",
           _mask),
    Option("strength", "NUMBER", "how much attention it gets: 1 untouched, 2 double, 0 off", float, "strength"),
    Option("steps-window", "START:END[:IN:OUT]", "when it acts, in shares of the schedule from 0 (noise) to "
           "1, and over what shares it fades in and out", step_window, "steps"),
    Option("frames-window", "FIRST:LAST", "frames of the video that it acts on, counted from 0",
           lambda text: FrameWindow(*_numbers(text, int, 2)), "frames"),
    Option("region", "FILE", "where in the video it may act: a mask, or one for each "
           "frame (a video, or a folder of PNGs)", _region),
    Option("sees", "|".join(SEES), "what it reads itself: as the recipe has it, the video and the other references, "
           "the video, only itself, or the video's frames one by one", str, "sees"),
    Option("focus", "FACTOR[:START]", "how much more attention it gets where the video looks at it already, "
           "from a share of the schedule on: 1 off, up to 32; START is 0.2 without one", _focus, "focus"),
)  # fmt: skip
