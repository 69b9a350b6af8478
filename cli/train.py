"""`refvid train`. What needs torch is imported by the command that uses it."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .model import require_device
from .outputs import add_output
from .refusals import refuse

CPU = "cpu"


def add_train(commands) -> None:
    command = commands.add_parser("train", help="train a LoRA on your own clips; train the demo's models")
    command.set_defaults(run=_train)
    command.add_argument(
        "part",
        choices=(SABER, *PARTS),
        help="saber: a LoRA on your own clips and Wan files, by a run file. The others train the demo's parts: the DiT on the VAE "
        "found in --out; export writes the files of a run that has not ended",
    )
    command.add_argument(
        "--config", type=Path, metavar="RUN.toml", help="the run file; default for the demo's parts: theirs"
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="TABLE.KEY=VALUE",
        help="one setting, over the run file's",
    )
    command.add_argument("--plan", action="store_true", help="say clips, memory and time, and train nothing")
    add_output(
        command, "--out", "FOLDER", metavar="FOLDER", help="the folder of the run, over the run file's"
    )
    command.add_argument(
        "--data",
        metavar="PLACE",
        help="where clips come from, over the run file's: saber takes prepared clips or a folder of clips, the demo's parts world: "
        "or index:FOLDER",
    )
    _add_run(command)
    _add_start(command)


def _add_run(command: argparse.ArgumentParser) -> None:
    command.add_argument("--resume", action="store_true", help="go on from the state in --out")
    command.add_argument(
        "--smoke", action="store_true", help="a few steps of a tiny model, to see that it runs"
    )
    command.add_argument(
        "--compile", action="store_true", help="torch.compile the DiT's blocks: slower start, faster steps"
    )
    command.add_argument("--device", help="cpu or cuda; default cpu, of saber cuda where there is one")
    command.add_argument("--seed", type=int, help="of the run; default its run file's")


def _add_start(command: argparse.ArgumentParser) -> None:
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
        help="the text encoder that was trained with the DiT of --from; left out, the run learns all words anew",
    )
    command.add_argument(
        "--siglip",
        type=Path,
        metavar="FOLDER",
        help="sama's semantic tokens from this SigLIP, in transformers' format; left out: from a hand-made extractor",
    )


def _vae(options: argparse.Namespace):
    from ..training.base.vae import VAETrainer

    return VAETrainer(options.from_)


def _dit(options: argparse.Namespace):
    from ..training.base.dit.method import DiTTrainer

    return DiTTrainer(_start(options.from_, options.from_text))


def _registered(options: argparse.Namespace):
    from ..training import methods  # noqa: F401  (registers them)
    from ..training.engine.method import method_named

    return method_named(options.part)


def _sama(options: argparse.Namespace):
    from ..training.methods.sama.method import Sama

    if options.siglip is None:
        return Sama()
    from ..data.models.siglip import Siglip
    from ..training.engine.state import require_unused

    require_unused(Sama.files, options.out, options.resume)  # before SigLIP is read, which is large
    return Sama(Siglip(options.siglip, options.device or CPU))


def _slot_previews(config: Any, folder: Path):
    from ..evidence.preview import slot_previews

    return slot_previews(config, folder)


@dataclass(frozen=True)
class Part:
    """A part that is trained.

    method   that its options ask for
    takes    options besides --out, --smoke and --data
    films    whether clips of an index can be learned from
    adapter  whether it trains on the demo's frozen files
    preview  of a configuration, drawn into the folder while the part trains
    """

    method: Callable[[argparse.Namespace], Any]
    takes: tuple[str, ...]
    films: bool = False
    adapter: bool = False
    preview: Callable[[Any, Path], Any] | None = None


SABER, EXPORT = "saber", "export"
SABER_TAKES = ("config", "set", "plan", "resume", "compile", "device", "seed")
COMMON = ("config", "set", "smoke")
ADAPTER_TAKES = (*COMMON, "resume", "compile", "device", "seed")
PARTS = {
    "vae": Part(_vae, (*COMMON, "resume", "from_", "device"), films=True),
    "dit": Part(_dit, (*COMMON, "resume", "compile", "from_", "from_text", "device"), films=True),
    EXPORT: Part(_dit, COMMON, films=True),
    "slot_id": Part(_registered, ADAPTER_TAKES, adapter=True, preview=_slot_previews),
    "videomaker": Part(_registered, ADAPTER_TAKES, adapter=True),
    "sama": Part(_sama, (*ADAPTER_TAKES, "siglip"), adapter=True),
}


def _train(options: argparse.Namespace) -> None:
    _require_takes(options)
    if options.part == SABER:
        from .train_saber import train_saber

        train_saber(options)
        return
    part = PARTS[options.part]
    require_device(options.device or CPU)
    from ..demo.runs import DEMO_RUNS
    from ..training.base.dit.method import export_run
    from ..training.engine.method import train

    config, run = _config(options)
    options.out = options.out or Path(run.out)  # parts look into it before they begin
    if options.smoke:
        reason = "a run of a few steps has a configuration of its own"
        refuse(options, {"config": reason, "set": reason})
        config = DEMO_RUNS["dit" if options.part == EXPORT else options.part].smoke()
    setting = _setting(options, part, run)
    if options.part == EXPORT:
        export_run(config, setting)
        return
    if options.seed is not None:
        config = replace(config, seed=options.seed)
    previews = [] if part.preview is None else [part.preview(config, setting.folder)]
    train(part.method(options), config, setting, previews)


def _require_takes(options: argparse.Namespace) -> None:
    """Refuse options that the part has no use for."""
    takes = {SABER: SABER_TAKES, **{name: one.takes for name, one in PARTS.items()}}
    for name in sorted({name for one in takes.values() for name in one}.difference(takes[options.part])):
        others = ", ".join(other for other, one in takes.items() if name in one)
        refuse(options, {name: f"refvid train {options.part} has no use for it; it is for {others}"})


def _config(options: argparse.Namespace) -> tuple[Any, Any]:
    """Configuration of a part, and the run file that it comes from: the demo's, or that of --config."""
    from ..data.settings import assigned, filled, merged, read_toml
    from ..demo.runs import DEMO_RUNS, run_path
    from ..training.engine.run_file import RenderedRun

    name = "dit" if options.part == EXPORT else options.part
    path = options.config or run_path(name)
    table = merged(read_toml(path, "--config"), *(assigned(text) for text in options.set))
    run = filled(RenderedRun, table, f"--config: {path.name}")
    if run.method != name:
        raise ValueError(f"--config: {path} is a run file of {run.method}; run refvid train {run.method}")
    return filled(DEMO_RUNS[name].kind, run.train, f"--config: {path.name}: train"), run


def _setting(options: argparse.Namespace, part: Part, run: Any):
    """The place and the data of a run."""
    from ..data import index_source
    from ..data.source import open_source, register_source
    from ..demo import models
    from ..demo.source import SCHEME, open_world
    from ..training.engine.method import Setting
    from ..training.engine.models import Models

    register_source(SCHEME, open_world)
    register_source(index_source.INDEX, index_source.open_index)
    source = open_source(options.data or run.data.path)
    if isinstance(source, index_source.IndexSource) and not part.films:
        raise ValueError(
            f"--data: refvid train {options.part} takes no clips of people yet; saber does, and vae and dit"
        )
    base = Models(models.DIT, models.VAE, models.TEXT_ENCODER) if part.adapter else None
    how = {"resume": options.resume, "device": options.device or CPU, "compiled": options.compile}
    return Setting(source, options.out, base, **how)


def _start(dit_file: Path | None, text_file: Path | None):
    from ..training.base.dit.start import Start

    if dit_file is None and text_file is not None:
        raise ValueError(
            f"--from-text {text_file}: a text encoder starts together with the DiT that was trained with it; "
            "give --from too"
        )
    return None if dit_file is None else Start(dit_file, text_file)
