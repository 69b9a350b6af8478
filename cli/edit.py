"""`refvid edit`: a film changed by an instruction."""

import argparse
from pathlib import Path

from ..kernels.paths import NAMES
from .generate import RUN, tell_unknown_words
from .guidance import add_guidance, read_guidance
from .model import Progress, add_files, add_run, load_files, read_settings
from .reference import add_reference_options, read_references


def add_edit(commands) -> None:
    """The command."""
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
    add("--out", required=True, type=Path, metavar="FILE.mp4")
    add(
        "--adapter",
        type=Path,
        metavar="FILE",
        help="SAMA's modules and LoRA for a model that has none; default: the demo's, without --dit",
    )
    add("--adapter-strength", type=float, default=1.0, help="of its LoRA")
    add("--window", type=int, default=81, help="frames that a longer film is evaluated in, 4k + 1")
    add("--overlap", type=int, default=32, help="frames that neighbouring windows share, a multiple of 4")
    add("--recipe", default="auto", help="sama, in_context, or auto: what the model has modules for")
    add("--attention", choices=NAMES, default=NAMES[0])
    add_reference_options(command)
    add_guidance(command)
    add_files(command)
    add_run(command, RUN)


def _edit(options: argparse.Namespace) -> None:
    from .. import media
    from ..core.editing import LONGEST, Windows, edit_prompt
    from ..demo import models
    from ..hosts.pipeline import Request
    from ..hosts.plain_instruction import edit_film, with_editing_adapter

    edit_prompt(options.instruction)  # refused before anything is read
    windows = Windows(options.window, options.overlap)
    film = media.read_film(options.video, "--video", LONGEST)
    backbone = load_files(options)
    adapter = options.adapter or (models.SAMA if options.dit is None else None)
    if adapter is not None:
        backbone = with_editing_adapter(backbone, adapter, options.adapter_strength, "--adapter")
    settings = read_settings(options, backbone.settings)
    tell_unknown_words(backbone.text, options.instruction)
    request = Request(
        prompt=options.instruction,
        settings=settings,
        references=tuple(read_references(options)),
        recipe=options.recipe,
        attention=options.attention,
        guidance=read_guidance(options, settings),
    )
    with Progress("steps") as progress:
        video = edit_film(backbone, request, film.pictures, windows, progress)
    media.write_video(options.out, video, film.rate, options.video)
    frames, height, width = video.shape[1:]
    print(f"{options.out}: {frames} frames, {width}x{height}, {float(film.rate):g} a second")
