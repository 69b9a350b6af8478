"""`refvid long`: key pictures, and the frames between them, as one video."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from ..core.controls import CLOCKS
from ..core.files import clear_left
from .generate import GENERATE_NEEDS, RUN, add_request, read_request, tell_unknown_words
from .model import ProgressBar, add_run, runs_on
from .outputs import read_files, shipped
from .refusals import refuse, refuse_without

NOT_THE_VIDEO = ("run", "out", "outputs", "device", "fps")  # options that change nothing of what is generated


def add_long(commands) -> None:
    """Add the command `refvid long`."""
    command = commands.add_parser(
        "long",
        help="a long video: key pictures far apart, then what lies between; a run that was stopped goes on",
    )
    command.set_defaults(run=_long)
    add_request(command)
    group = command.add_argument_group("keys", "key pictures")
    add = group.add_argument
    add("--keys", type=int, metavar="N", help="how many; default 20, or all of --from")
    add("--stride", type=int, default=20, help="frames from one to the next, a multiple of 4")
    add(
        "--keep",
        type=int,
        default=1,
        help="keep every n-th frame: --from with --stride 4 --keep 2 doubles a clip's rate",
    )
    add(
        "--from",
        dest="from_",
        metavar="CLIP",
        help="take the keys from a video or a folder of PNGs instead of generating them",
    )
    add("--between-prompt", metavar="TEXT", help="what to ask for the frames between; default: --prompt")
    add(
        "--clock",
        choices=CLOCKS,
        default=CLOCKS[0],
        help="timestep of the key pictures: that of clean ones, or the video's",
    )
    add_run(command, RUN)


def _long(options: argparse.Namespace) -> None:
    from .. import media
    from ..backbones.wan.geometry import GROUP
    from ..core.long_video import LongVideo
    from ..hosts.plain.long_video import FinishedParts, generate_long

    refuse_without(options, GENERATE_NEEDS)
    if options.from_ is not None:
        refuse(
            options,
            {"between_prompt": "with --from no key picture is asked for, --prompt is for what lies between"},
        )
    runs_on(options)
    pictures = None if options.from_ is None else media.read_video(options.from_, "--from")
    plan = LongVideo(
        GROUP, options.keys or (20 if pictures is None else len(pictures)), options.stride, options.keep
    )
    if pictures is not None:
        plan.pairs(pictures)  # refuses too few before a model is loaded
    folder = options.out.with_suffix(".parts")
    if folder == options.out:
        raise ValueError(
            f"--out: {folder} is where parts are kept while a long video is made; choose another name"
        )
    parts = FinishedParts(folder, _made_by(options))
    backbone, request = read_request(options)
    between = replace(request, prompt=options.between_prompt or request.prompt)
    tell_unknown_words(backbone.text, between.prompt)
    keys = request if pictures is None else pictures
    with parts.kept_on_failure():
        with ProgressBar("steps of all segments") as progress:
            video = generate_long(backbone, plan, keys, between, parts, progress, options.clock)
        clear_left(options.out)  # the parts are this run's alone, so is what a kill left of its film
        media.write_video(options.out, video, request.settings.fps)
    print(
        f"{options.out}: {plan.length} frames from {plan.keys} key pictures {plan.stride} apart, recipe "
        f"{request.recipe}"
    )


def _made_by(options: argparse.Namespace) -> str:
    """A text of all that a run depends on: its options, and every file among them, in folders too, by length
    and time of writing."""
    values = {name: value for name, value in vars(options).items() if name not in NOT_THE_VIDEO}
    named = [*read_files(options, NOT_THE_VIDEO), *shipped()]
    held = [one for path in named for one in (path.iterdir() if path.is_dir() else [path])]
    files = sorted({str(one) for one in held if one.is_file()})
    written = [(file, (stat := Path(file).stat()).st_size, stat.st_mtime_ns) for file in files]
    return json.dumps([values, written], default=str, sort_keys=True)
