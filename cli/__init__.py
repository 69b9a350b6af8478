"""The command line `refvid`: everything without ComfyUI, on the files that ComfyUI uses.

One command a file; inspect and demo are here.
"""

import argparse
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..training.stopped import TrainingStopped
from .ablate import add_ablate
from .comfyui_files import add_comfyui_files
from .convert import add_convert
from .data import add_data
from .edit import add_edit
from .generate import add_generate
from .identity import add_identity
from .long import add_long
from .model import ProgressBar, add_attention, add_recipe, add_run, read_settings
from .outputs import add_output, check_outputs
from .parser import CommandParser
from .reference import REFERENCE_NEEDS, add_reference_options, read_references
from .refusals import refuse_without
from .score import add_score
from .train import add_train

# What needs torch is imported by the command that uses it: `refvid --help` answers at once.


class Terminated(BaseException):
    """SIGTERM came."""


# Endings that are not good: one line on stderr, and an exit code (128 + n for signal n, as shells say it).
_ENDINGS: tuple[tuple[type[BaseException], str, int], ...] = (
    (ValueError, "{}", 2),
    (OSError, "{}", 1),
    (TrainingStopped, "{}", 1),
    (KeyboardInterrupt, "interrupted", 130),
    (Terminated, "terminated", 143),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point. Bad input, and a file that cannot be written, end in one line on stderr, as signals
    do."""
    options = _parser().parse_args(arguments)
    logger = logging.getLogger("refvid")
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
    try:
        with _terminated_as_interrupted():
            check_outputs(options)
            options.run(options)
    except tuple(kind for kind, _, _ in _ENDINGS) as error:
        says, code = next((says, code) for kind, says, code in _ENDINGS if isinstance(error, kind))
        print(f"refvid: {says.format(error)}", file=sys.stderr)
        sys.exit(code)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """A block in which SIGTERM raises, so that whatever is being written is cleared away."""

    def raise_it(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, raise_it)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="refvid",
        description="Video that keeps the identity of references, on Wan.",
        epilog="Each command tells its options with --help. Without --dit the demo model runs, which knows toys alone.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for add in _COMMANDS:
        add(commands)
    return parser


def _add_inspect(commands) -> None:
    command = commands.add_parser(
        "inspect", help="what references add: tokens, where and when they act, who sees whom, work, path"
    )
    command.set_defaults(run=_inspect)
    add_reference_options(command)
    add_output(command, "--out", "PICTURE", default=Path("out/inspect.png"), metavar="FILE.png",
               help="picture of what they add")  # fmt: skip
    add_recipe(command)
    command.add_argument(
        "--dit", type=Path, metavar="FILE", help="only its shapes are read; default: the demo model"
    )
    add_attention(command)
    add_run(command, (("width", int), ("height", int), ("frames", int)))


def _add_demo(commands) -> None:
    command = commands.add_parser(
        "demo", help="the demo model on its sample reference: clip, contact sheet, score"
    )
    command.set_defaults(run=_demo)
    add_output(command, "--out", "FOLDER", default=Path("out"), metavar="FOLDER", help="folder for the three")


# In the order in which a newcomer needs them.
_COMMANDS = (
    _add_demo,
    add_generate,
    _add_inspect,
    add_identity,
    add_edit,
    add_long,
    add_score,
    add_convert,
    add_comfyui_files,
    add_data,
    add_train,
    add_ablate,
)


def _inspect(options: argparse.Namespace) -> None:
    from .. import media
    from ..core.inspection import inspection_report
    from ..demo import models
    from ..drawing.inspection import draw_inspection
    from ..hosts.plain.pipeline import inspect_references, settings_of

    refuse_without(options, REFERENCE_NEEDS)
    dit = options.dit or models.DIT
    settings = read_settings(options, settings_of(dit))
    inspection, pictures = inspect_references(
        dit, read_references(options), settings, options.recipe, options.attention
    )
    sheet = draw_inspection(inspection, pictures)
    media.written(options.out, lambda path: media.write_picture(path, sheet))
    print(inspection_report(inspection))
    print(options.out.resolve())


def _demo(options: argparse.Namespace) -> None:
    from ..demo import models
    from ..evidence import showcase

    backbone = models.load_demo()
    with ProgressBar("steps, with and without the reference") as progress:
        result = showcase.show(backbone, options.out, progress)
    print(f"prompt         {showcase.PROMPT}")
    print(f"reference      {showcase.SAMPLE_PICTURE}")
    print(f"clip           {result.video.resolve()}   ({result.seconds:.1f} s)")
    print(f"contact sheet  {result.sheet.resolve()}")
    print(
        f"colour similarity to the reference: {result.with_reference:.2f} with it, {result.without:.2f} "
        "without, "
        f"{result.truth:.2f} in the true clip"
    )
