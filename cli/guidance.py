"""Guidance on the command line: `--scale` for prompt and references together, and options beside it."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..core.controls import RENORMS
from .reference import step_window
from .refusals import refuse

if TYPE_CHECKING:
    from ..core.guidance import Guidance

_GUIDED = ("negative", "guidance_window", "renorm")  # options that act through guidance


def add_guidance(command: argparse.ArgumentParser) -> None:
    """Add the options of guidance; `--scale` is one of the run's."""
    group = command.add_argument_group("guidance", "joint (JIT-CFG) at --scale, unless said otherwise")
    group.add_argument(
        "--image-scale",
        type=float,
        metavar="NUMBER",
        help="a scale for references and identities alone, beside --scale for the prompt: three "
        "passes (SIT-CFG); default --scale for both, in two",
    )
    group.add_argument(
        "--guidance-window",
        metavar="START:END[:IN:OUT]",
        help="when it acts, in shares of the schedule from 0 (noise) to 1, and over what shares it fades in "
        "and out; default 0:1, always",
    )
    group.add_argument(
        "--renorm",
        choices=RENORMS,
        help="bring the guided velocity back to the norm it has with the prompt, of the clip or of each "
        "latent frame; "
        f"default {RENORMS[0]}",
    )


def read_guidance(options: argparse.Namespace, settings: Any, published: float | None = None) -> "Guidance":
    """Checked guidance at the settings' scale. `published` is the image scale where none is given; without
    one it is joint. ValueError names the option that is wrong, and one that says how to guide where nothing
    is guided."""
    from ..core.guidance import Guidance, Scale

    window = _checked("--guidance-window", step_window, options.guidance_window or "0:1")
    text = _checked("--scale", Scale, settings.scale, window)
    own = published if options.image_scale is None else options.image_scale
    image = text if own is None else _checked("--image-scale", Scale, own, window)
    if image.value == text.value == 1:
        refuse(options, dict.fromkeys(_GUIDED, "a scale of 1 is no guidance, no pass reads it"))
    return Guidance(image, text, options.renorm or RENORMS[0])


def _checked(option: str, make: Callable, value: Any, *more: Any) -> Any:
    try:
        return make(value, *more)
    except ValueError as error:
        raise ValueError(f"{option} {value}: {error}") from error
