"""`refvid train`. What needs torch is imported by the command that uses it."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from .applies import refuse
from .model import require_device
from .outputs import add_output

CPU = "cpu"


def add_train(commands) -> None:
    command = commands.add_parser("train", help="train the demo's VAE, then its DiT, on the procedural world")
    command.set_defaults(run=_train)
    command.add_argument(
        "part",
        choices=tuple(PARTS),
        help="the DiT trains on the VAE found in --out; export writes the files of a run that has not ended; slot_id, videomaker and "
        "sama train an adapter for the demo model",
    )
    add_output(command, "--out", "FOLDER", default=Path("runs/demo"), metavar="FOLDER")
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
        dest="from_",
        metavar="FILE",
        help="start from the weights of another VAE or DiT",
    )
    command.add_argument(
        "--from-text",
        type=Path,
        metavar="FILE",
        help="the text encoder that was trained with the DiT of --from",
    )
    command.add_argument("--device", help="cpu or cuda, for the DiT and the adapter; default cpu")
    command.add_argument(
        "--siglip",
        type=Path,
        metavar="FOLDER",
        help="sama's semantic tokens from this SigLIP, in transformers' format; left out: from a hand-made extractor",
    )
    command.add_argument("--seed", type=int, help="of an adapter's run; default 0")


def _train_vae(options: argparse.Namespace) -> None:
    from ..training.base.vae import demo_vae, smoke_vae, train_vae

    train_vae(smoke_vae() if options.smoke else demo_vae(), options.out, options.resume, options.from_)


def _train_dit(options: argparse.Namespace) -> None:
    from ..training.methods.saber.config import demo_dit, smoke_dit, train_dit

    config, start = smoke_dit() if options.smoke else demo_dit(), _start(options.from_, options.from_text)
    train_dit(config, options.out, options.resume, options.compile, options.device or CPU, start)


def _export(options: argparse.Namespace) -> None:
    from ..training.methods.saber.config import demo_dit, export_run, smoke_dit

    export_run(smoke_dit() if options.smoke else demo_dit(), options.out)


def _train_adapter(module: str, name: str) -> Callable[[argparse.Namespace], None]:
    """What trains an adapter for the demo model: `train_NAME` of a module, with its `demo_NAME` or `smoke_NAME` configuration."""

    def run(options: argparse.Namespace) -> None:
        from ..demo import models
        from ..training.engine.loop import Models
        from ..training.engine.state import require_unused

        found = import_module(f"..training.methods.{module}.config", __package__)
        require_unused(found.FILES, options.out, options.resume)  # SigLIP is large
        config = getattr(found, f"{'smoke' if options.smoke else 'demo'}_{name}")()
        base = Models(models.DIT, models.VAE, models.TEXT_ENCODER)
        train = getattr(found, f"train_{name}")
        seeded, device = replace(config, seed=options.seed or 0), options.device or CPU
        given = {"compiled": options.compile, **_extractor(options.siglip, device)}
        train(seeded, base, options.out, options.resume, device, **given)

    return run


def _extractor(folder: Path | None, device: str) -> dict:
    """What --siglip gives a training besides."""
    if folder is None:
        return {}
    from ..training.methods.sama.targets import Siglip

    return {"extractor": Siglip(folder, device)}


@dataclass(frozen=True)
class Part:
    """What trains a part, and which options it takes besides --out and --smoke."""

    run: Callable[[argparse.Namespace], None]
    takes: tuple[str, ...]


ADAPTER = ("resume", "compile", "device", "seed")
PARTS = {
    "vae": Part(_train_vae, ("resume", "from_")),
    "dit": Part(_train_dit, ("resume", "compile", "from_", "from_text", "device")),
    "export": Part(_export, ()),
    "slot_id": Part(_train_adapter("slot_id", "slots"), ADAPTER),
    "videomaker": Part(_train_adapter("videomaker", "videomaker"), ADAPTER),
    "sama": Part(_train_adapter("sama", "sama"), (*ADAPTER, "siglip")),
}


def _train(options: argparse.Namespace) -> None:
    part = PARTS[options.part]
    for name in sorted({name for one in PARTS.values() for name in one.takes}.difference(part.takes)):
        others = ", ".join(other for other, one in PARTS.items() if name in one.takes)
        refuse(options, {name: f"refvid train {options.part} has no use for it; it is for {others}"})
    require_device(options.device or CPU)
    part.run(options)


def _start(dit_file: Path | None, text_file: Path | None):
    from ..training.methods.saber.config import Start

    if (dit_file is None) != (text_file is None):
        raise ValueError(
            f"--from {dit_file} --from-text {text_file}: a DiT starts together with the text encoder that was "
            "trained with it; give both or neither"
        )
    return None if dit_file is None or text_file is None else Start(dit_file, text_file)
