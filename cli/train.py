"""`refvid train`. What needs torch is imported by the command that uses it."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path


def add_train(commands) -> None:
    command = commands.add_parser("train", help="train the demo's VAE, then its DiT, on the procedural world")
    command.set_defaults(run=_train)
    command.add_argument(
        "part",
        choices=tuple(PARTS),
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
    command.add_argument(
        "--siglip",
        type=Path,
        metavar="FOLDER",
        help="sama's semantic tokens from this SigLIP, in transformers' format; left out: from a hand-made extractor",
    )
    command.add_argument("--seed", type=int, default=0, help="of an adapter's run")


def _train_vae(options: argparse.Namespace) -> None:
    from ..training.vae import demo_vae, smoke_vae, train_vae

    train_vae(smoke_vae() if options.smoke else demo_vae(), options.out, options.resume, options.initial)


def _train_dit(options: argparse.Namespace) -> None:
    from ..training.dit import demo_dit, smoke_dit, train_dit

    config, start = smoke_dit() if options.smoke else demo_dit(), _start(options.initial, options.from_text)
    train_dit(config, options.out, options.resume, options.compile, options.device, start)


def _export(options: argparse.Namespace) -> None:
    from ..training.dit import demo_dit, export_run, smoke_dit

    export_run(smoke_dit() if options.smoke else demo_dit(), options.out)


def _train_adapter(module: str, name: str) -> Callable[[argparse.Namespace], None]:
    """What trains an adapter for the demo model: `train_NAME` of a module, with its `demo_NAME` or `smoke_NAME` configuration."""

    def run(options: argparse.Namespace) -> None:
        from ..demo import models
        from ..training.adapter import Models

        found = import_module(f"..training.{module}", __package__)
        config = getattr(found, f"{'smoke' if options.smoke else 'demo'}_{name}")()
        base = Models(models.DIT, models.VAE, models.TEXT_ENCODER)
        train = getattr(found, f"train_{name}")
        seeded, go_on = replace(config, seed=options.seed), options.resume
        given = {"compiled": options.compile, **_extractor(options.siglip, options.device)}
        train(seeded, base, options.out, go_on, options.device, **given)

    return run


def _extractor(folder: Path | None, device: str) -> dict:
    """What --siglip gives a training besides."""
    if folder is None:
        return {}
    from ..training.semantic_targets import Siglip

    return {"extractor": Siglip(folder, device)}


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "vae": _train_vae,
    "dit": _train_dit,
    "export": _export,
    "slot_id": _train_adapter("slot_id", "slots"),
    "videomaker": _train_adapter("videomaker", "videomaker"),
    "sama": _train_adapter("sama", "sama"),
}
SEMANTIC = ("sama",)  # parts that learn semantic tokens


def _train(options: argparse.Namespace) -> None:
    if options.siglip is not None and options.part not in SEMANTIC:
        raise ValueError(
            f"--siglip {options.siglip}: {options.part} has no semantic tokens; needed only by {', '.join(SEMANTIC)}"
        )
    PARTS[options.part](options)


def _start(dit_file: Path | None, text_file: Path | None):
    from ..training.dit import Start

    if (dit_file is None) != (text_file is None):
        raise ValueError(
            f"--from {dit_file} --from-text {text_file}: a DiT starts together with the text encoder that was "
            "trained with it; give both or neither"
        )
    return None if dit_file is None or text_file is None else Start(dit_file, text_file)
