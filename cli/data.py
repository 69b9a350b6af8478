"""`refvid data`: from folders of video to clips that methods learn from. What needs torch is imported by the
command that uses it."""

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from .model import ProgressBar, require_device
from .outputs import add_output

_LAYOUTS = ("folder", "musubi", "diffusion-pipe", "diffsynth", "finetrainers", "fastvideo", "pairs")
_STAGES = {
    "cut": "shots of films; borders cropped; static, flashing and short ones refused",
    "score": "motion, sharpness, pictures that are there twice",
    "caption": "captions that are there are kept, others come from a local Qwen-VL",
    "subjects": "masks of subjects: given ones, or by a local BiRefNet, or GroundingDINO and SAM2",
    "identities": "which clips show the same person or thing",
    "encode": "latents, text, and the pictures that references are drawn from, in shards",
}
_NEXT = {"cut": "score", "score": "caption"}  # after the others: encode
_METHODS = ("saber", "slot_id", "videomaker", "stiv", "sama")


def add_data(commands) -> None:
    command = commands.add_parser("data", help="folders of video become clips that methods learn from")
    steps = command.add_subparsers(required=True, metavar="step")
    scan = steps.add_parser("scan", help="every file decoded: a row each, with a reason where it is no use")
    scan.set_defaults(run=_scan, layout="folder")
    scan.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="none: those scanned before")
    scan.add_argument(
        "--forget", action="append", default=[], type=Path, metavar="FOLDER",
        help="do not read one that was scanned before; what was worked out of its clips is kept",
    )  # fmt: skip
    _add_out(scan)
    read = steps.add_parser("import", help="the same for another tool's list or dataset file, read in place")
    read.set_defaults(run=_scan, forget=[])
    read.add_argument("layout", choices=_LAYOUTS, metavar="LAYOUT", help=", ".join(_LAYOUTS))
    read.add_argument(
        "folders", nargs=1, type=Path, metavar="FILE", help="its list or dataset file, or a folder"
    )
    _add_out(read)
    for name, says in _STAGES.items():
        stage = steps.add_parser(name, help=says)
        stage.set_defaults(run=_stage, stage=name)
        _add_data(stage)
        _add_options(stage, [name])
        _add_models(stage)
    prepare = steps.add_parser("prepare", help="the steps that a method needs, in order")
    prepare.set_defaults(run=_prepare)
    prepare.add_argument("method", choices=_METHODS, metavar="METHOD", help=", ".join(_METHODS))
    _add_data(prepare)
    _add_options(prepare, list(_STAGES))
    _add_models(prepare)
    _add_check(steps)
    pack = steps.add_parser("pack", help="the index and the shards to another place, s3:// and the like too")
    pack.set_defaults(run=_pack)
    _add_data(pack)
    pack.add_argument(
        "--to", required=True, metavar="FOLDER", help="a folder, or an address as s3://bucket/prepared"
    )


def _add_out(command) -> None:
    command.add_argument(
        "--out", type=Path, required=True, metavar="DATA", help="the folder of prepared clips"
    )
    command.set_defaults(models=None, device=None)
    _add_options(command, ["scan"])


def _add_data(command) -> None:
    command.add_argument(
        "--data", type=Path, required=True, metavar="DATA", help="the folder of prepared clips"
    )


class _PrintOptions(argparse.Action):
    """Options of stages, printed; nothing else is run then."""

    def __call__(self, parser, *_: Any) -> None:
        from ..data.settings import options_text
        from ..data.stages import stage_named

        print("\n".join(options_text(stage_named(name).defaults, name) for name in self.const), end="")
        parser.exit()


def _add_options(command, stages: Sequence[str]) -> None:
    command.add_argument("--config", type=Path, metavar="FILE.toml", help="options, a table a step: [cut] …")
    command.add_argument(
        "--set", action="append", default=[], metavar="STEP.OPTION=VALUE",
        help="one option, over the others; options are kept for the next time",
    )  # fmt: skip
    command.add_argument(
        "--options", action=_PrintOptions, nargs=0, const=list(stages), default=argparse.SUPPRESS,
        help="print the options that there are, and their defaults",
    )  # fmt: skip


def _add_models(command) -> None:
    command.add_argument(
        "--models", type=Path, metavar="FILE.toml",
        help='where local weights lie, as vae = "models/vae/wan_2.1_vae.safetensors"; kept for later steps',
    )  # fmt: skip
    command.add_argument("--device", help="cpu or cuda, for models; default cpu")


def _add_check(steps) -> None:
    check = steps.add_parser(
        "check", help="counts, reasons, histograms; a sheet of clips as a model sees them"
    )
    check.set_defaults(run=_check)
    _add_data(check)
    check.add_argument("--reasons", action="store_true", help="every clip that is not used, and why")
    add_output(check, "--sheet", "PAGE", metavar="FILE.html", help="a page of clips to look at")


def _scan(options: argparse.Namespace) -> None:
    from ..data.collection import Collection

    settings = _settings(options, ["scan"])
    ranks, collection = _ranks(), Collection(options.out, "--out")
    reading = collection.read([(options.layout, path) for path in options.folders], ranks, options.forget)
    if ranks.first:
        for one in reading.ignored:
            print(f"note: {one}")
    _run(collection, ["scan"], settings, options, ranks)


def _stage(options: argparse.Namespace) -> None:
    from ..data.collection import Collection

    collection = Collection.opened(options.data)
    _run(collection, [options.stage], _settings(options, [options.stage]), options, _ranks())


def _prepare(options: argparse.Namespace) -> None:
    from ..data.collection import Collection
    from ..data.prepare import settings_for, stages_for
    from ..data.stages import STAGES as order

    collection = Collection.opened(options.data)
    weights = _weights(collection, options)
    names = stages_for(options.method, collection.clips(), weights, [one.name for one in order])
    settings = settings_for(options.method, _settings(options, names))
    collection.require(names, settings, weights)
    _run(collection, names, settings, options, _ranks())


def _run(collection: Any, names: Sequence[str], given: dict, options: argparse.Namespace, ranks: Any) -> None:
    device = require_device(_device(options.device or "cpu"))
    weights = _weights(collection, options)
    for name in names:
        with ProgressBar(name) as progress:
            done = collection.run(
                name, given.get(name, {}), weights, ranks, progress if ranks.first else None, device
            )
        if ranks.first:
            print(f"{name}: {done.made} looked at, {done.kept} known. {_counted(collection.clips())}")
    if ranks.first:
        print(f"next: {_following(names[-1], collection.folder)}")


def _following(name: str, folder: Path) -> str:
    """Command that goes on after a stage."""
    data = f"--data {quote(str(folder))}"
    if name == "scan":
        return f"refvid data prepare METHOD {data}, or step by step: refvid data cut {data}"
    if name == "encode":
        return f"refvid data check {data} --sheet sheet.html"
    return f"refvid data {_NEXT.get(name, 'encode')} {data}"


def _counted(clips: Sequence[Any]) -> str:
    """Counts of rows, used and not, and of the reasons."""
    reasons = Counter(clip.reason for clip in clips if not clip.ok)
    told = ", ".join(
        f"{count} {reason}" for reason, count in sorted(reasons.items(), key=lambda r: (-r[1], r[0]))
    )
    good = len(clips) - reasons.total()
    return f"{len(clips)} rows, {good} to be used" + (f"; not used: {told}" if told else "")


def _settings(options: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """Tables of options by a stage's name. ValueError for what no stage has, and for --set of one that is not
    among `names`: it would change nothing."""
    from ..data.settings import assigned, filled, merged, read_toml, require_known
    from ..data.stages import STAGES as order

    given = [] if options.config is None else [read_toml(options.config, "--config")]
    given += [assigned(text) for text in options.set]
    table = merged(*given)
    require_known(table, [one.name for one in order], "--config" if options.config else "--set")
    for stage in order:
        filled(stage.defaults, table.get(stage.name, {}), stage.name)
    for text in options.set:
        if not assigned(text).keys() & set(names):
            raise ValueError(f"--set {text}: that step is not run here; needed one of {', '.join(names)}")
    return table


def _weights(collection: Any, options: argparse.Namespace) -> Any:
    from ..data.weights import read_weights

    if options.models is not None:
        collection.remember(read_weights(options.models))
    return collection.weights()


def _device(asked: str) -> str:
    """The device that is asked for; of several processes on a machine each takes a GPU of its own."""
    mine = os.environ.get("LOCAL_RANK")
    return f"cuda:{mine}" if asked == "cuda" and mine is not None else asked


def _ranks() -> Any:
    """Processes of torchrun, which may wait for one another as long as it takes."""
    if "WORLD_SIZE" not in os.environ:
        from ..core.ranks import ALONE

        return ALONE
    from ..core.ranks import join

    return join("cpu")


def _check(options: argparse.Namespace) -> None:
    from ..data.collection import Collection
    from ..data.misfits import misfits
    from ..data.report.counts import report
    from ..data.report.text import report_text

    collection = Collection.opened(options.data)
    clips, encode = collection.clips(), collection.options_now("encode")
    print(report_text(report(clips, encode.fps, misfits(clips, encode)), options.reasons), end="")
    if options.sheet is not None:
        from ..data.report.sheet import write_sheet

        write_sheet(clips, options.sheet, encode, _random_masks)
        print(options.sheet.resolve())


def _random_masks(name: str, count: int, height: int, width: int) -> Any:
    """Masks (count, H, W) bool as Saber draws them, always the same for one name."""
    from zlib import crc32

    from torch import Generator

    from ..training.masks.generator import MaskGenerator

    generator = Generator().manual_seed(crc32(name.encode("utf-8", "surrogateescape")))
    return MaskGenerator()(count, height, width, generator)[:, 0].numpy() > 0


def _pack(options: argparse.Namespace) -> None:
    from ..data.collection import Collection
    from ..data.report.text import counted_in
    from ..data.shards import copy_to
    from ..data.stages.encode import ENCODING

    collection = Collection.opened(options.data)
    shards = sorted({clip.shard for clip in collection.clips() if clip.shard})
    names = [*shards, *([ENCODING] if shards else ()), "index.jsonl"]  # last: an index names what is there
    copy_to(collection.folder, names, options.to)
    print(f"the index and {counted_in(len(shards), 'shard')} are at {options.to}")
