"""`refvid score`. What needs torch is imported by the command that uses it."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .edit import adapted
from .identity import read_adapter
from .model import ProgressBar, add_files, load_files, runs_on
from .outputs import add_output
from .refusals import refuse, refuse_without, require_least

_LEVELS = ("still", "lively")
_TOYS, _SEEDS, _SEEDS_OF_FRAMES, _EDITS = 64, 1, 3, 16
_NEEDS = {"adapter": ("identity", "edits")}


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
    command.add_argument(
        "--toys",
        type=int,
        help=f"toys of the demo world, with --edits edits of each kind; default {_TOYS}, {_EDITS} edits",
    )
    command.add_argument(
        "--seeds", type=int, help=f"noises per toy; default {_SEEDS}, with --frames {_SEEDS_OF_FRAMES}"
    )
    for name, trial in _TRIALS.items():
        command.add_argument(
            f"--{name}", action="store_true", default=None, help=f"in the demo world: {trial.asks}"
        )
    command.add_argument(
        "--adapter", type=Path, metavar="FILE",
        help="a Slot-ID adapter with --identity, SAMA's with --edits; default: the demo's",
    )  # fmt: skip
    command.add_argument(
        "--level", choices=_LEVELS,
        help=f"of the demo world: {_LEVELS[0]} (default), or half of the toys move in themselves",
    )  # fmt: skip
    add_output(command, "--out", "FOLDER", default=Path("out/score"), metavar="FOLDER",
               help="folder for the table, figures and sheet")  # fmt: skip
    add_files(command)


def _score(options: argparse.Namespace) -> None:
    from ..evidence.trials.references import evaluate_references, reference_table

    if options.clips is not None:
        return _score_folder(options)
    refuse_without(options, _NEEDS)
    runs_on(options)
    chosen = [trial for trial in _TRIALS if getattr(options, trial)]
    for trial in chosen:
        others = dict.fromkeys((one for one in _TRIALS if one != trial), f"--{trial} is another trial")
        refuse(options, others | {"level": f"--{trial} has toys of its own"})
    if options.controls or options.words:
        refuse(options, {"seeds": f"--{chosen[0]} is measured at one noise per toy"})
    if chosen:
        return _TRIALS[chosen[0]].run(options)
    toys, seeds = _toys(options), _seeds(options)
    with ProgressBar("clips") as progress:
        report = evaluate_references(
            _model(options), toys, options.out, progress, seeds, options.level or _LEVELS[0]
        )
    print(reference_table(report))
    print(f"{(options.out / 'score.png').resolve()}")


def _score_controls(options: argparse.Namespace) -> None:
    from ..evidence.trials.controls import control_table, evaluate_controls

    toys = _toys(options)
    with ProgressBar("clips") as progress:
        report = evaluate_controls(_model(options), toys, options.out, progress)
    print(control_table(report))
    print(f"{(options.out / 'strengths.png').resolve()}\n{(options.out / 'regions.png').resolve()}")


def _score_frames(options: argparse.Namespace) -> None:
    from ..evidence.trials.frames import evaluate_frames, frame_table

    toys, seeds = _toys(options), _seeds(options, _SEEDS_OF_FRAMES)
    with ProgressBar("clips") as progress:
        report = evaluate_frames(_model(options), toys, seeds, options.out, progress)
    print(frame_table(report))
    print(f"{(options.out / 'frames.json').resolve()}")


def _score_views(options: argparse.Namespace) -> None:
    from ..evidence.trials.views import evaluate_views, view_table

    toys, seeds = _toys(options), _seeds(options)
    with ProgressBar("clips") as progress:
        report = evaluate_views(_model(options), toys, options.out, progress, seeds)
    print(view_table(report))
    print(f"{(options.out / 'views.png').resolve()}")


def _score_words(options: argparse.Namespace) -> None:
    from ..evidence.trials.words import evaluate_words, word_table

    toys = _toys(options)
    with ProgressBar("clips") as progress:
        report = evaluate_words(_model(options), toys, options.out, progress)
    print(word_table(report))
    print(f"{(options.out / 'words.png').resolve()}")


def _score_identity(options: argparse.Namespace) -> None:
    from ..evidence.trials.adapters import adapter_table, evaluate_slot_adapter

    asked = _toys(options), _seeds(options)
    adapter = read_adapter(options)
    with ProgressBar("readings") as progress:
        report = evaluate_slot_adapter(_model(options), adapter, *asked, options.out, progress)
    print(adapter_table(report))
    print(f"{(options.out / 'identity.png').resolve()}")


def _score_edits(options: argparse.Namespace) -> None:
    from ..evidence.trials.adapters import adapter_table, evaluate_edit_adapter

    asked = _toys(options, _EDITS), _seeds(options)
    with ProgressBar("kinds of edits") as progress:
        backbone = adapted(options, _model(options))
        report = evaluate_edit_adapter(backbone, *asked, options.out, progress)
    print(adapter_table(report))
    print(f"{(options.out / 'edits.png').resolve()}")


@dataclass(frozen=True)
class _Trial:
    """A trial: what runs it, and the question that it answers."""

    run: Callable[[argparse.Namespace], None]
    asks: str


# Trials beside that of references, by the option that asks for each: at most one.
_TRIALS = {
    "controls": _Trial(
        _score_controls, "do strengths, regions and words that tell two toys apart do what they say?"
    ),
    "frames": _Trial(
        _score_frames, "a first frame, what lies between two, a long video (over an hour on a CPU)"
    ),
    "views": _Trial(_score_views, "do pictures of both sides of a turning toy tell more than one?"),
    "words": _Trial(_score_words, "do clips show the colours, shapes, places and motions of the prompt?"),
    "identity": _Trial(_score_identity, "does a Slot-ID adapter bring who is in a video, and how it moves?"),
    "edits": _Trial(_score_edits, "do instructions change what they say, and nothing else?"),
}
# Options of the model that makes clips, and of how many it makes.
_OF_A_MODEL = (
    "toys", "seeds", "level", *_TRIALS, "adapter", "dit", "vae", "text_encoder", "lora", "dtype", "device",
)  # fmt: skip


def _model(options: argparse.Namespace) -> Any:
    """The model that is measured. ValueError for one whose clips are not square, as the demo world's are."""
    backbone = load_files(options)
    width, height = backbone.settings.width, backbone.settings.height
    if width != height:
        raise ValueError(
            f"--dit: the model makes clips of {width} x {height}; those of the demo world are square"
        )
    return backbone


def _toys(options: argparse.Namespace, default: int = _TOYS) -> int:
    return require_least(2, "toys", default if options.toys is None else options.toys)


def _seeds(options: argparse.Namespace, default: int = _SEEDS) -> int:
    return require_least(1, "seeds", default if options.seeds is None else options.seeds)


def _score_folder(options: argparse.Namespace) -> None:
    from ..evaluation.compare import folder_table, score_folder

    refuse(options, dict.fromkeys(_OF_A_MODEL, f"makes clips in the demo world, {options.clips} holds clips"))
    with ProgressBar("clips") as progress:
        report = score_folder(options.clips, options.out, progress)
    print(folder_table(report))
    print(f"{(options.out / 'score.png').resolve()}")
