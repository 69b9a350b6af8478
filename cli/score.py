"""`refvid score`. What needs torch is imported by the command that uses it."""

import argparse
from pathlib import Path

from .model import ProgressBar, add_files, load_files, runs_on
from .outputs import add_output
from .refusals import refuse

# Options of the model that makes clips, and of how many it makes.
OF_A_MODEL = ("toys", "seeds", "controls", "frames", "dit", "vae", "text_encoder", "lora", "dtype", "device")

_TOYS, _SEEDS, _SEEDS_OF_FRAMES = 64, 1, 3


def add_score(commands) -> None:
    command = commands.add_parser(
        "score", help="a folder of clips of any model; without one, a model on unseen toys of the demo world"
    )
    command.set_defaults(run=_score)
    command.add_argument(
        "clips", nargs="?", type=Path, metavar="FOLDER",
        help="clips with a manifest.json, or NAME.mp4 beside NAME.png; without it clips are made in the demo world: own "
        "reference against another's and none",
    )  # fmt: skip
    command.add_argument("--toys", type=int, help=f"toys of the demo world; default {_TOYS}")
    command.add_argument(
        "--seeds", type=int, help=f"noises per toy; default {_SEEDS}, with --frames {_SEEDS_OF_FRAMES}"
    )
    command.add_argument(
        "--controls",
        action="store_true",
        default=None,
        help="in the demo world: do strengths and regions do what they say?",
    )
    command.add_argument(
        "--frames",
        action="store_true",
        default=None,
        help="in the demo world: a first frame, what lies between two, a long video (over an hour on a CPU)",
    )
    add_output(command, "--out", "FOLDER", default=Path("out/score"), metavar="FOLDER",
               help="folder for the table, figures and sheet")  # fmt: skip
    add_files(command)


def _score(options: argparse.Namespace) -> None:
    from ..evidence.trials.references import evaluate_references, reference_table

    if options.clips is not None:
        return _score_folder(options)
    runs_on(options)
    if options.controls:
        refuse(
            options, dict.fromkeys(("frames", "seeds"), "--controls are measured apart, at one noise per toy")
        )
    if options.controls:
        return _score_controls(options)
    if options.frames:
        return _score_frames(options)
    toys, seeds = _at_least(2, "toys", options.toys, _TOYS), _at_least(1, "seeds", options.seeds, _SEEDS)
    with ProgressBar("clips") as progress:
        report = evaluate_references(load_files(options), toys, options.out, progress, seeds)
    print(reference_table(report))
    print(f"{(options.out / 'score.png').resolve()}")


def _score_controls(options: argparse.Namespace) -> None:
    from ..evidence.trials.controls import control_table, evaluate_controls

    with ProgressBar("clips") as progress:
        report = evaluate_controls(
            load_files(options), _at_least(2, "toys", options.toys, _TOYS), options.out, progress
        )
    print(control_table(report))
    print(f"{(options.out / 'strengths.png').resolve()}\n{(options.out / 'regions.png').resolve()}")


def _score_frames(options: argparse.Namespace) -> None:
    from ..evidence.trials.frames import evaluate_frames, frame_table

    toys, seeds = (
        _at_least(2, "toys", options.toys, _TOYS),
        _at_least(1, "seeds", options.seeds, _SEEDS_OF_FRAMES),
    )
    with ProgressBar("clips") as progress:
        report = evaluate_frames(load_files(options), toys, seeds, options.out, progress)
    print(frame_table(report))
    print(f"{(options.out / 'frames.json').resolve()}")


def _at_least(least: int, name: str, given: int | None, default: int) -> int:
    if given is not None and given < least:
        raise ValueError(f"--{name} is {given}; give {least} or more")
    return default if given is None else given


def _score_folder(options: argparse.Namespace) -> None:
    from ..evaluation.compare import folder_table, score_folder

    refuse(options, dict.fromkeys(OF_A_MODEL, f"makes clips in the demo world, {options.clips} holds clips"))
    with ProgressBar("clips") as progress:
        report = score_folder(options.clips, options.out, progress)
    print(folder_table(report))
    print(f"{(options.out / 'score.png').resolve()}")
