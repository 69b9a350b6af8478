"""`refvid train` and `refvid ablate`. What needs torch is imported by the command that uses it."""

import argparse
from dataclasses import replace
from pathlib import Path


def add_train(commands) -> None:
    command = commands.add_parser("train", help="train the demo's VAE, then its DiT, on the procedural world")
    command.set_defaults(run=_train)
    command.add_argument(
        "part",
        choices=("vae", "dit", "export", "slot_id", "videomaker", "sama"),
        help="the DiT trains on the VAE found in --out; export writes the files of a run that has not ended; slot_id, videomaker and "
        "sama train an adapter for the demo model",
    )
    command.add_argument("--out", type=Path, default=Path("runs/demo"), metavar="FOLDER")
    command.add_argument("--resume", action="store_true", help="go on from the state in --out")
    command.add_argument(
        "--smoke", action="store_true", help="a few steps of a tiny model, to see that it runs"
    )
    command.add_argument(
        "--compile", action="store_true", help="torch.compile the DiT's blocks: slower start, faster steps"
    )
    command.add_argument(
        "--from",
        type=Path,
        dest="initial",
        metavar="FILE",
        help="start from the weights of another VAE or DiT",
    )
    command.add_argument(
        "--from-text",
        type=Path,
        metavar="FILE",
        help="the text encoder that was trained with the DiT of --from",
    )
    command.add_argument("--device", default="cpu", help="cpu or cuda, for the DiT and the adapter")
    command.add_argument("--seed", type=int, default=0, help="of an adapter's run")


def add_ablate(commands) -> None:
    command = commands.add_parser(
        "ablate", help="a system's ablations on the demo world: train, measure, tabulate"
    )
    command.set_defaults(run=_ablate)
    add = command.add_argument
    add("system", nargs="?", choices=("saber", "slot_id", "frames", "videomaker", "sama"), default="saber")
    add("--seeds", type=int, default=2, help="training seeds of every run of slot_id, videomaker and sama")
    add("--noises", type=int, default=3, help="clips of every toy in every variant; not of saber")
    add(
        "--out",
        type=Path,
        default=Path("runs/ablations"),
        metavar="FOLDER",
        help="what is there is not trained again",
    )
    add(
        "--pretraining",
        type=int,
        default=1500,
        metavar="STEPS",
        help="text to video, which every run starts from",
    )
    add("--steps", type=int, default=600, help="of each run; of sama's pretexts and edits together")
    add("--toys", type=int, default=64, help="unseen ones; of sama unseen edits of each kind")
    add("--vae", type=Path, metavar="FILE", help="default: the demo model's")
    add("--compile", action="store_true")
    add("--device", default="cpu", help="cpu or cuda")


def _train(options: argparse.Namespace) -> None:
    from ..training import dit, vae

    config = dit.smoke_dit() if options.smoke else dit.demo_dit()
    if options.part == "vae":
        small = vae.smoke_vae() if options.smoke else vae.demo_vae()
        vae.train_vae(small, options.out, options.resume, options.initial)
    elif options.part == "slot_id":
        _train_slots(options)
    elif options.part == "videomaker":
        _train_videomaker(options)
    elif options.part == "sama":
        _train_sama(options)
    elif options.part == "dit":
        start = _start(options.initial, options.from_text)
        dit.train_dit(config, options.out, options.resume, options.compile, options.device, start)
    else:
        dit.export_run(config, options.out)


def _train_slots(options: argparse.Namespace) -> None:
    from ..demo import models
    from ..training.slot_id import Models, demo_slots, smoke_slots, train_slots

    config = smoke_slots() if options.smoke else demo_slots()
    base = Models(models.DIT, models.VAE, models.TEXT_ENCODER)
    train_slots(replace(config, seed=options.seed), base, options.out, options.resume, options.device)


def _train_videomaker(options: argparse.Namespace) -> None:
    from ..demo import models
    from ..training.slot_id import Models
    from ..training.videomaker import demo_videomaker, smoke_videomaker, train_videomaker

    config = smoke_videomaker() if options.smoke else demo_videomaker()
    base = Models(models.DIT, models.VAE, models.TEXT_ENCODER)
    train_videomaker(replace(config, seed=options.seed), base, options.out, options.resume, options.device)


def _train_sama(options: argparse.Namespace) -> None:
    from ..demo import models
    from ..training.sama import demo_sama, smoke_sama, train_sama
    from ..training.slot_id import Models

    config = smoke_sama() if options.smoke else demo_sama()
    base = Models(models.DIT, models.VAE, models.TEXT_ENCODER)
    train_sama(replace(config, seed=options.seed), base, options.out, options.resume, options.device)


def _start(dit_file: Path | None, text_file: Path | None):
    from ..training.dit import Start

    if (dit_file is None) != (text_file is None):
        raise ValueError(
            f"--from {dit_file} --from-text {text_file}: a DiT starts together with the text encoder that was "
            "trained with it; give both or neither"
        )
    return None if dit_file is None or text_file is None else Start(dit_file, text_file)


def _ablate(options: argparse.Namespace) -> None:
    if options.system == "slot_id":
        _ablate_slots(options)
        return
    if options.system == "videomaker":
        _ablate_videomaker(options)
        return
    if options.system == "sama":
        _ablate_sama(options)
        return
    from ..demo import models
    from ..training.ablation import Place, ablate
    from ..training.frame_ablation import ablate_frames

    place = Place(options.vae or models.VAE, options.out, options.device, options.compile)
    if options.system == "frames":
        print(
            "\n".join(ablate_frames(place, options.steps, options.pretraining, options.toys, options.noises))
        )
        return
    lines = ablate(place, options.steps, options.pretraining, options.toys)
    print("\n".join(lines))
    print(f"{(options.out / 'ablations.jpg').resolve()}")


def _ablate_slots(options: argparse.Namespace) -> None:
    from ..demo import models
    from ..training.slot_ablation import ablate_slots
    from ..training.slot_id import Models, demo_slots

    base = Models(models.DIT, options.vae or models.VAE, models.TEXT_ENCODER)
    config = replace(demo_slots(), steps=options.steps)
    lines = ablate_slots(
        config, base, options.out, options.toys, options.seeds, options.noises, options.device
    )
    print("\n".join(lines))


def _ablate_videomaker(options: argparse.Namespace) -> None:
    from ..demo import models
    from ..training.slot_id import Models
    from ..training.videomaker import demo_videomaker
    from ..training.videomaker_ablation import ablate_videomaker

    base = Models(models.DIT, options.vae or models.VAE, models.TEXT_ENCODER)
    config = replace(demo_videomaker(), steps=options.steps)
    lines = ablate_videomaker(
        config, base, options.out, options.toys, options.seeds, options.noises, options.device
    )
    print("\n".join(lines))


def _ablate_sama(options: argparse.Namespace) -> None:
    from ..demo import models
    from ..training.sama import demo_sama
    from ..training.sama_ablation import ablate_sama, of_length
    from ..training.slot_id import Models

    base = Models(models.DIT, options.vae or models.VAE, models.TEXT_ENCODER)
    config = of_length(demo_sama(), options.steps)
    lines = ablate_sama(
        config, base, options.out, options.toys, options.seeds, options.noises, options.device
    )
    print("\n".join(lines))
