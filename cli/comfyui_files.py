"""`refvid comfyui-files`: the demo model and its samples, where a ComfyUI looks for them."""

import argparse
import filecmp
import shutil
from pathlib import Path

from ..core.files import replacing


def add_comfyui_files(commands) -> None:
    """Add the command `refvid comfyui-files`."""
    command = commands.add_parser(
        "comfyui-files", help="copy the demo model and its sample pictures into a ComfyUI"
    )
    command.set_defaults(run=_comfyui_files)
    command.add_argument("--dest", type=Path, required=True, metavar="FOLDER", help="ComfyUI's base folder")
    command.add_argument("--replace", action="store_true", help="files of these names that are others")


def _comfyui_files(options: argparse.Namespace) -> None:
    if not options.dest.is_dir():
        raise ValueError(
            f"--dest: {options.dest} is not a folder; give ComfyUI's base folder, which holds models/ and "
            "input/"
        )
    copies = {source: options.dest / folder / source.name for source, folder in _files()}
    wanted = {source: target for source, target in copies.items() if not _same(source, target)}
    others = [target for target in wanted.values() if target.exists()]
    if others and not options.replace:
        raise ValueError(
            f"--dest: {others[0]} is there and is another file ({len(others)} such files); move it away, or "
            "add --replace"
        )
    for source, target in wanted.items():
        with replacing(target) as beside:
            shutil.copy2(source, beside)
    print(*copies.values(), sep="\n")


def _same(source: Path, target: Path) -> bool:
    return target.is_file() and filecmp.cmp(source, target, shallow=False)


def _files() -> list[tuple[Path, str]]:
    """Each file that the demo ships, and the folder it goes to."""
    from ..demo import models
    from ..evidence import showcase

    return [
        *(
            (model, f"models/{model.parent.name}")
            for model in sorted(models.DEMO_MODELS.glob("*/*.safetensors"))
        ),
        *((sample, "input") for sample in sorted(showcase.SAMPLES.glob("refvid_*"))),
    ]
