"""Subjects cut out on the command line: `--cutout`, by a BiRefNet file."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .model import ProgressBar, chosen_device

SOURCE = "birefnet.safetensors of huggingface.co/Comfy-Org/BiRefNet, which ComfyUI has in models/background_removal"


def add_cutout(command: Any, of: str) -> None:
    """Add `--cutout`; `of` says what subjects are cut out of."""
    command.add_argument(
        "--cutout", type=Path, metavar="FILE", help=f"cut the subject out of {of}, by a BiRefNet: {SOURCE}"
    )


def require_cutter(path: Path) -> None:
    """ValueError, before anything is read, for a file that is not there or is another kind of model."""
    if path.suffix.lower() not in (".safetensors", ".sft"):
        raise ValueError(
            f"--cutout: {path} is no .safetensors; models of rembg (u2net, isnet: .onnx) and pickles are not read. Needed "
            f"{SOURCE}"
        )
    if not path.is_file():
        raise ValueError(f"--cutout: there is no file {path}; needed {SOURCE}")


def cut_subjects(options: argparse.Namespace, pictures: Sequence[Any]) -> list[Any]:
    """Masks (H, W) in [0, 1] of pictures (H, W, 3 or 4). ValueError for a file that is no BiRefNet."""
    from ..data.models.subject_cutter import SubjectCutter

    try:
        cutter = SubjectCutter(options.cutout, chosen_device(options))
    except ValueError as error:
        raise ValueError(f"--cutout: {error}. Take {SOURCE}") from error
    masks = []
    with ProgressBar("pictures cut out") as progress:
        for picture in pictures:
            progress(len(masks), len(pictures))  # shown before the first, which may take minutes on a CPU
            masks.append(cutter(picture))
    return masks
