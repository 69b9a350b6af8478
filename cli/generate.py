"""`refvid generate`: a video from references, an identity, given frames and a prompt."""

import argparse
import sys
from pathlib import Path
from typing import Any

from .frames import add_frames, read_frames
from .guidance import add_guidance, read_guidance
from .identity import IDENTITY_NEEDS, add_identity_options, read_people
from .model import (
    ProgressBar,
    add_attention,
    add_files,
    add_recipe,
    add_run,
    load_files,
    read_settings,
    runs_on,
)
from .outputs import FILMS, add_output
from .reference import REFERENCE_NEEDS, add_reference_options, read_references
from .refusals import refuse_without

RUN = (
    ("width", int),
    ("height", int),
    ("steps", int),
    ("scale", float),
    ("shift", float),
    ("fps", int),
    ("seed", int),
)


# what an option acts on
GENERATE_NEEDS = {
    **REFERENCE_NEEDS,
    **dict.fromkeys(("attention", "reference_adapter"), ("reference",)),
    **IDENTITY_NEEDS,
}
OF_FRAMES = {"clock": ("given",), "image_scale": ("reference", "identity", "given")}


def add_generate(commands) -> None:
    """Add the command `refvid generate`."""
    command = commands.add_parser("generate", help="a video from reference pictures and a prompt")
    command.set_defaults(run=_generate)
    add_request(command)
    command.add_argument(
        "--published",
        action="store_true",
        help="begin with the settings that the recipe's weights were published with: size, frames, rate, "
        "steps, shift and both scales; what is given beside it wins",
    )
    add_frames(command)
    add_run(command, (("frames", int), *RUN))


def add_request(command: argparse.ArgumentParser) -> None:
    """Add the options of every command that generates."""
    add = command.add_argument
    add_reference_options(command)
    add("--prompt", required=True, metavar="TEXT", help="what the video shows")
    add("--negative", default="", metavar="TEXT", help="what it is not to show")
    add_output(command, "--out", "FILM", required=True, metavar="FILE", help=FILMS)
    add_recipe(command)
    add(
        "--reference-adapter",
        type=Path,
        metavar="FILE",
        help="a LoRA on reference tokens alone (Stand-In, as .safetensors); with --recipe auto its recipe",
    )
    add_attention(command)
    add_identity_options(command)
    add_guidance(command)
    add_files(command)


def read_request(options: argparse.Namespace) -> tuple[Any, Any]:
    """The backbone and the `hosts.plain.pipeline.Request`, without given frames."""
    from ..core.recipes import choose_recipe
    from ..core.token_lora import look_at_token_lora
    from ..hosts.plain.pipeline import Request, with_reference_adapter

    references, adapter = read_references(options), options.reference_adapter
    if adapter is not None:
        look_at_token_lora(adapter, "--reference-adapter")  # refused before a model is loaded
    backbone = load_files(options, hints=True)
    if adapter is not None:
        backbone = with_reference_adapter(backbone, adapter, "--reference-adapter")
    recipe = choose_recipe(options.recipe, backbone.recipe, found=backbone.found)
    own = backbone.settings
    as_published = getattr(options, "published", False)
    own = own.published(recipe) if as_published else own
    image_scale = recipe.hints.image_scale if as_published and recipe.hints is not None else None
    settings = read_settings(options, own)
    tell_unknown_words(backbone.text, options.prompt)
    request = Request(
        prompt=options.prompt,
        settings=settings,
        references=tuple(references),
        negative=options.negative,
        recipe=recipe.name,
        attention=options.attention,
        people=read_people(options, backbone),
        guidance=read_guidance(options, settings, image_scale),
    )
    return backbone, request


def tell_unknown_words(text: Any, prompt: str) -> None:
    """Tell on stderr which words of a prompt the text encoder does not know."""
    unknown = text.unknown_words(prompt)
    if unknown:
        print(f"refvid: the text encoder has no word for {', '.join(unknown)}", file=sys.stderr)


def _generate(options: argparse.Namespace) -> None:
    from dataclasses import replace

    from .. import media
    from ..hosts.plain.pipeline import generate

    refuse_without(options, GENERATE_NEEDS | OF_FRAMES)
    runs_on(options)
    given = read_frames(options)
    backbone, request = read_request(options)
    with ProgressBar("steps") as progress:
        video = generate(backbone, replace(request, given=given), progress)
    settings = request.settings
    media.write_video(options.out, video, settings.fps)
    print(
        f"{options.out}: {settings.frames} frames, {settings.width}x{settings.height}, recipe "
        f"{request.recipe}"
    )
