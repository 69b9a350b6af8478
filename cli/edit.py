"""`refvid edit`: a film changed by an instruction."""

import argparse
import sys
from pathlib import Path
from typing import Any

from .generate import RUN, tell_unknown_words
from .guidance import add_guidance, read_guidance
from .model import ProgressBar, add_attention, add_files, add_run, load_files, read_settings, runs_on
from .outputs import FILMS, add_output
from .reference import REFERENCE_NEEDS, add_reference_options, read_references
from .refusals import is_given, refuse, refuse_without, spelled

NOT_HERE = {"fps": "an edit keeps the film's own rate"}
# What an option acts on.
ADAPTED = {"adapter_strength": ("adapter",)}
_NEEDS = {
    **REFERENCE_NEEDS,
    "image_scale": ("reference",),
    "width": ("height",),
    "height": ("width",),
}


def add_edit(commands) -> None:
    """Add the command `refvid edit`."""
    command = commands.add_parser("edit", help="change a video by an instruction; its sound is kept")
    command.set_defaults(run=_edit)
    add = command.add_argument
    add("--video", required=True, type=Path, metavar="FILE", help="what to edit: MP4, WebM, GIF …")
    add(
        "--instruction",
        required=True,
        metavar="TEXT",
        help='what to change: "change the background to light"',
    )
    add_output(command, "--out", "FILM", required=True, metavar="FILE", help=FILMS)
    add(
        "--adapter",
        type=Path,
        metavar="FILE",
        help="SAMA's modules and LoRA for a model that has none; default: the demo's, without --dit",
    )
    add("--adapter-strength", type=float, help="strength of its LoRA; default 1")
    add("--window", type=int, help="frames that a longer film is evaluated in, 4k + 1; default 81")
    add("--overlap", type=int, help="frames that neighbouring windows share, a multiple of 4; default 32")
    add(
        "--recipe",
        default="auto",
        metavar="NAME",
        help="sama, in_context, or auto: what the model has modules for",
    )
    add_attention(command)
    add_reference_options(command)
    add_guidance(command)
    add_files(command)
    add_run(command, RUN)


def _edit(options: argparse.Namespace) -> None:
    from .. import media
    from ..backbones.wan.geometry import GROUP
    from ..core.editing import LONGEST_EDIT, Windows, edit_prompt
    from ..hosts.plain.edit_film import edit_film
    from ..hosts.plain.pipeline import Request

    refuse(options, NOT_HERE)
    refuse_without(options, _NEEDS | (ADAPTED if options.dit else {}))
    edit_prompt(options.instruction)  # refused before anything is read
    said = {"length": options.window, "overlap": options.overlap}
    windows = Windows(GROUP, **{name: value for name, value in said.items() if value is not None})
    runs_on(options)
    references = tuple(read_references(options))
    film = media.read_film(options.video, "--video", LONGEST_EDIT)
    _tell_one_window(options, len(film.pictures), windows.length)
    backbone = adapted(options, load_files(options), options.adapter_strength)
    settings = read_settings(options, backbone.settings)
    tell_unknown_words(backbone.text, options.instruction)
    request = Request(
        prompt=options.instruction,
        settings=settings,
        references=references,
        recipe=options.recipe,
        attention=options.attention,
        guidance=read_guidance(options, settings),
    )
    with ProgressBar("steps") as progress:
        video = edit_film(backbone, request, film.pictures, windows, progress, options.fit)
    media.write_video(options.out, video, film.rate, options.video)
    frames, height, width = video.shape[1:]
    print(f"{options.out}: {frames} frames, {width}x{height}, {float(film.rate):g} a second")


def adapted(options: argparse.Namespace, backbone: Any, strength: float | None = None) -> Any:
    """The model with the adapter that is asked for, or the demo's model with its own. Another model stays as
    it is where none is asked for."""
    from ..demo import models
    from ..hosts.plain.edit_film import with_editing_adapter

    adapter = options.adapter or (models.SAMA if options.dit is None else None)
    if adapter is None:
        return backbone
    return with_editing_adapter(backbone, adapter, 1.0 if strength is None else strength, "--adapter")


def _tell_one_window(options: argparse.Namespace, pictures: int, window: int) -> None:
    """Tell on stderr which options of windows do nothing, for a film that one window holds."""
    idle = [spelled(name) for name in ("window", "overlap") if is_given(options, name) and pictures <= window]
    if idle:
        print(
            f"refvid: {', '.join(idle)}: the film's {pictures} frames lie in one window of {window}",
            file=sys.stderr,
        )
