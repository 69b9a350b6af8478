"""`refvid convert`: published weights as one safetensors file that ComfyUI and this package read."""

import argparse
from pathlib import Path
from typing import Any

from .model import ProgressBar
from .outputs import add_output

_DTYPES = ("keep", "bf16", "fp16", "fp32")


def add_convert(commands) -> None:
    """Add the command `refvid convert`."""
    command = commands.add_parser(
        "convert",
        help="make one safetensors file of published weights: shards, diffusers folders, pickles, SAT checkpoints",
    )
    command.set_defaults(run=_convert)
    command.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="SOURCE",
        help="files of one model (.safetensors, .pt, .pth, .ckpt, .bin; all its shards), or the folder they are "
        "in; pickles are read as weights alone",
    )
    add_output(
        command, "--out", "TENSORS", required=True, metavar="FILE.safetensors", help="the file to make"
    )
    command.add_argument(
        "--recipe",
        metavar="NAME",
        help="what the weights were trained for, which becomes their recipe on auto; none: no recipe is for "
        "them; default: what their keys, metadata or names say",
    )
    command.add_argument(
        "--dtype", choices=_DTYPES, default=_DTYPES[0], help="numbers of the file; keep: as published"
    )
    command.add_argument("--licence", metavar="TEXT", help="written into the file, for whoever finds it")
    command.add_argument("--plan", action="store_true", help="say what would be done, and write nothing")


def _convert(options: argparse.Namespace) -> None:
    from ..convert.conversion import convert, plan_conversion, require_space

    planned = plan_conversion(options.sources, options.recipe, options.dtype, options.licence)
    print(*_lines(planned), sep="\n")
    if options.plan:
        free = require_space(planned, options.out)
        print(f"would write  {options.out.resolve()}, {free / 2**30:.1f} GiB being free")
        return
    with ProgressBar("MiB looked at") as hashed, ProgressBar("tensors written") as written:
        convert(planned, options.out, hashed, written)
    print(f"written      {options.out.resolve()}")
    print(f"belongs in   ComfyUI's {planned.folder}")


def _lines(planned: Any) -> list[str]:
    count = len(planned.files)
    lines = [
        f"format       {planned.names.format.name}, {count} file{'s' * (count > 1)}",
        f"tensors      {len(planned.opened.tensors)} become {len(planned.shapes)}, {planned.size / 2**30:.2f} GiB",
        f"recipe       {planned.recipe or 'none'} ({planned.why})",
    ]
    if planned.left_out:
        some = ", ".join(planned.left_out[:3])
        lines.append(f"left out     {some}{' …' * (len(planned.left_out) > 3)} ({len(planned.left_out)})")
    return lines
