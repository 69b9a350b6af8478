"""`refvid generate | long | edit | inspect | identity | demo | train | score | ablate | comfyui-files`: everything without ComfyUI, on the files ComfyUI uses."""

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ..kernels.paths import NAMES
from .ablate import add_ablate
from .edit import add_edit
from .generate import add_generate
from .identity import add_identity
from .long import add_long
from .model import Progress, add_run, read_settings
from .reference import add_reference_options, read_references
from .score import add_score
from .train import add_train

# What needs torch is imported by the command that uses it: `refvid --help` answers at once.


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: bad input ends in one line on stderr and exit code 2."""
    options = _parser().parse_args(arguments)
    logger = logging.getLogger("refvid")
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
    try:
        options.run(options)
    except ValueError as error:
        print(f"refvid: {error}", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="refvid", description="Video that keeps the identity of references, on Wan."
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    add_generate(commands)
    add_long(commands)
    add_edit(commands)
    _add_inspect(commands)
    _add_demo(commands)
    add_identity(commands)
    add_train(commands)
    add_score(commands)
    add_ablate(commands)
    _add_comfyui_files(commands)
    return parser


def _add_inspect(commands) -> None:
    command = commands.add_parser(
        "inspect", help="what references add: tokens, where and when they act, who sees whom, work, path"
    )
    command.set_defaults(run=_inspect)
    add_reference_options(command)
    command.add_argument("--out", type=Path, default=Path("out/inspect.png"), metavar="FILE.png")
    command.add_argument(
        "--recipe",
        default="auto",
        help="saber, phantom, bernini, videomaker, or auto: what the DiT's file says",
    )
    command.add_argument(
        "--dit", type=Path, metavar="FILE", help="only its shapes are read; default: the demo model"
    )
    command.add_argument("--attention", choices=NAMES, default=NAMES[0])
    add_run(command, (("width", int), ("height", int), ("frames", int)))


def _add_demo(commands) -> None:
    command = commands.add_parser(
        "demo", help="the demo model on its sample reference: clip, contact sheet, score"
    )
    command.set_defaults(run=_demo)
    command.add_argument("--out", type=Path, default=Path("out"), metavar="FOLDER")


def _add_comfyui_files(commands) -> None:
    command = commands.add_parser(
        "comfyui-files", help="copy the demo model and its sample picture into a ComfyUI"
    )
    command.set_defaults(run=_comfyui_files)
    command.add_argument("--dest", type=Path, required=True, metavar="FOLDER", help="ComfyUI's base folder")


def _inspect(options: argparse.Namespace) -> None:
    from .. import media
    from ..core.drawing import draw_inspection
    from ..core.inspection import report
    from ..demo import models
    from ..hosts.pipeline import inspect_references, settings_of

    dit = options.dit or models.DIT
    settings = read_settings(options, settings_of(dit))
    inspection, pictures = inspect_references(
        dit, read_references(options), settings, options.recipe, options.attention
    )
    media.write_picture(options.out, draw_inspection(inspection, pictures))
    print(report(inspection))
    print(options.out.resolve())


def _demo(options: argparse.Namespace) -> None:
    from ..demo import models, showcase

    backbone = models.load_demo()
    with Progress("steps, with and without the reference") as progress:
        shown = showcase.show(backbone, options.out, progress)
    print(f"prompt         {showcase.PROMPT}")
    print(f"reference      {showcase.PICTURE}")
    print(f"clip           {shown.video.resolve()}   ({shown.seconds:.1f} s)")
    print(f"contact sheet  {shown.sheet.resolve()}")
    print(
        f"colour similarity to the reference: {shown.with_reference:.2f} with it, {shown.without:.2f} without, "
        f"{shown.truth:.2f} in the true clip"
    )


def _comfyui_files(options: argparse.Namespace) -> None:
    from ..demo import models, showcase

    if not options.dest.is_dir():
        raise ValueError(
            f"--dest: {options.dest} is not a folder; give ComfyUI's base folder, which holds models/ and input/"
        )
    pictures = (showcase.PICTURE, showcase.SECOND, showcase.MASK, showcase.FIRST, showcase.LAST)
    copies = (
        (models.DIT, "models/diffusion_models"),
        (models.TEXT_ENCODER, "models/text_encoders"),
        (models.VAE, "models/vae"),
        *((adapter, "models/loras") for adapter in (models.SLOT_ID, models.SAMA, models.VIDEOMAKER)),
        *((sample, "input") for sample in (*pictures, showcase.FILM, showcase.FILM_MASK, showcase.SCENE)),
    )
    for source, folder in copies:
        target = options.dest / folder
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
        print(target / source.name)
