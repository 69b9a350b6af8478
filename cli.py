"""`refvid generate | inspect | identity | demo | train | score | ablate | comfyui-files`: everything without ComfyUI, on the files ComfyUI uses."""

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from .cli_frames import add_frames, read_frames
from .cli_guidance import add_guidance, read_guidance
from .cli_identity import add_identity, add_identity_options, read_people
from .cli_model import Progress, add_files, load_files
from .cli_reference import add_reference_options, read_references
from .kernels.paths import NAMES
from .scoring.command import add_score
from .training.command import add_ablate, add_train

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
    _add_generate(commands)
    _add_inspect(commands)
    _add_demo(commands)
    add_identity(commands)
    add_train(commands)
    add_score(commands)
    add_ablate(commands)
    _add_comfyui_files(commands)
    return parser


def _add_generate(commands) -> None:
    command = commands.add_parser("generate", help="a video from reference pictures and a prompt")
    command.set_defaults(run=_generate)
    add = command.add_argument
    add_reference_options(command)
    add("--prompt", required=True)
    add("--negative", default="", help="negative prompt")
    add("--out", required=True, type=Path, metavar="FILE.mp4")
    add("--recipe", default="auto", help="saber, phantom, bernini, or auto: what the DiT's file says")
    add(
        "--attention",
        choices=NAMES,
        default=NAMES[0],
        help="eager checks the fast ways by plain torch, slowly",
    )
    add_identity_options(command)
    add_guidance(command)
    add_frames(command)
    add_files(command)
    _add_run(command, (("width", int), ("height", int), ("frames", int), ("steps", int), ("scale", float),
                       ("shift", float), ("fps", int), ("seed", int)))  # fmt: skip


def _add_run(command: argparse.ArgumentParser, settings: Sequence[tuple[str, type]]) -> None:
    group = command.add_argument_group("run", "defaults come from the DiT's file, else Wan 2.1's")
    for name, kind in settings:
        group.add_argument(f"--{name}", type=kind)


def _add_inspect(commands) -> None:
    command = commands.add_parser(
        "inspect", help="what references add: tokens, where and when they act, who sees whom, work, path"
    )
    command.set_defaults(run=_inspect)
    add_reference_options(command)
    command.add_argument("--out", type=Path, default=Path("out/inspect.png"), metavar="FILE.png")
    command.add_argument(
        "--recipe", default="auto", help="saber, phantom, bernini, or auto: what the DiT's file says"
    )
    command.add_argument(
        "--dit", type=Path, metavar="FILE", help="only its shapes are read; default: the demo model"
    )
    command.add_argument("--attention", choices=NAMES, default=NAMES[0])
    _add_run(command, (("width", int), ("height", int), ("frames", int)))


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


def _generate(options: argparse.Namespace) -> None:
    from . import media
    from .core.recipes import choose_recipe
    from .hosts import pipeline

    references, given = read_references(options), read_frames(options)
    backbone = load_files(options)
    recipe = choose_recipe(options.recipe, backbone.recipe).name
    _tell_unknown_words(backbone.text, options.prompt)
    settings = _settings(options, backbone.settings)
    guidance, people = read_guidance(options, settings), read_people(options, backbone)
    with Progress("steps") as progress:
        video = pipeline.generate(
            backbone,
            references,
            options.prompt,
            settings,
            recipe,
            options.negative,
            progress,
            options.attention,
            people,
            guidance,
            given,
        )
    media.write_video(options.out, video, settings.fps)
    print(f"{options.out}: {settings.frames} frames, {settings.width}x{settings.height}, recipe {recipe}")


def _settings(options: argparse.Namespace, own: Any) -> Any:
    """The model's own settings with what the command line says instead."""
    given = {field.name: getattr(options, field.name, None) for field in fields(own)}
    return replace(own, **{name: value for name, value in given.items() if value is not None})


def _inspect(options: argparse.Namespace) -> None:
    from . import media
    from .core.drawing import draw_inspection
    from .core.inspection import report
    from .demo import models
    from .hosts.pipeline import inspect_references, settings_of

    dit = options.dit or models.DIT
    settings = _settings(options, settings_of(dit))
    inspection, pictures = inspect_references(
        dit, read_references(options), settings, options.recipe, options.attention
    )
    media.write_picture(options.out, draw_inspection(inspection, pictures))
    print(report(inspection))
    print(options.out.resolve())


def _demo(options: argparse.Namespace) -> None:
    from .demo import models, showcase

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
    from .demo import models, showcase

    if not options.dest.is_dir():
        raise ValueError(
            f"--dest: {options.dest} is not a folder; give ComfyUI's base folder, which holds models/ and input/"
        )
    copies = (
        (models.DIT, "models/diffusion_models"),
        (models.TEXT_ENCODER, "models/text_encoders"),
        (models.VAE, "models/vae"),
        (showcase.PICTURE, "input"),
        (showcase.SECOND, "input"),
        (showcase.MASK, "input"),
        (showcase.FILM, "input"),
        (showcase.FILM_MASK, "input"),
    )
    for source, folder in copies:
        target = options.dest / folder
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
        print(target / source.name)


def _tell_unknown_words(text, prompt: str) -> None:
    unknown = text.unknown_words(prompt)
    if unknown:
        print(f"refvid: the text encoder has no word for {', '.join(unknown)}", file=sys.stderr)
