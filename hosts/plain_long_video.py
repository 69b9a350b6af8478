"""Long video without ComfyUI: key pictures, then a run for each pair of neighbours. Finished parts stay in a folder, so that a run that
was stopped goes on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..core.frames import GROUP
from ..core.long_video import LongVideo
from .pipeline import Backbone, Progress, Request, generate

MADE_BY = "made_by.txt"


class Parts:
    """Finished parts (n, H, W, 3) in [0, 1], in steps of 1/255, in a folder that belongs to one run; `made_by` is all that the run depends on.
    ValueError where the folder is another run's."""

    def __init__(self, folder: Path, made_by: str):
        self.folder, mark = folder, folder / MADE_BY
        if mark.exists() and mark.read_text("utf-8") != made_by:
            raise ValueError(f"{folder} holds parts of another run; delete it, or choose another --out")
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(made_by, "utf-8")

    def kept(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """What is there, else what `make` makes: rounded alike, so that a run that goes on makes what one without a stop does."""
        file = self._file(name)
        if not file.exists():
            partial = file.with_suffix(".partial")
            save_file({"pictures": (make().clamp(0, 1) * 255).round().to(torch.uint8).contiguous()}, partial)
            partial.replace(file)
        return load_file(file)["pictures"].float() / 255

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


def generate_long(
    backbone: Backbone,
    plan: LongVideo,
    keys: Request | Tensor,
    between: Request,
    parts: Parts,
    progress: Progress | None = None,
    clock: str = "own",
) -> Tensor:
    """`keys`: what to ask for the clip of key pictures, or the pictures (n, H, W, 3); `between`: what to ask for every segment. References,
    identities and guidance are those of the requests. -> (3, length, H, W) in [-1, 1]. `progress` counts the steps of all runs
    together."""
    runs = _Runs(progress, plan.keys - isinstance(keys, Tensor))
    if isinstance(keys, Request):
        asked = replace(keys, settings=replace(keys.settings, frames=_frames_for(plan.keys)))
        keys = runs.run(parts, "keys", backbone, asked)
    segments = []
    for index, pair in enumerate(plan.pairs(keys)):
        height, width = pair.shape[1:3]
        settings = replace(between.settings, frames=plan.segment, height=height, width=width)
        asked = replace(between, settings=settings, given=plan.given(pair, clock))
        segments.append(runs.run(parts, f"segment-{index:03}", backbone, asked))
    return plan.join(segments).movedim(-1, 0) * 2 - 1


def _frames_for(keys: int) -> int:
    """The shortest clip that Wan makes with so many pictures."""
    return GROUP * -(-(keys - 1) // GROUP) + 1


class _Runs:
    """Several runs that tell how far they are as one."""

    def __init__(self, progress: Progress | None, count: int):
        self.progress, self.count, self.done = progress, count, 0

    def run(self, parts: Parts, name: str, backbone: Backbone, asked: Request) -> Tensor:
        def make() -> Tensor:
            return generate(backbone, asked, self.tell).movedim(0, -1) / 2 + 0.5

        made = parts.kept(name, make)
        self.done += 1
        self.tell(0, asked.settings.steps)
        return made

    def tell(self, step: int, of: int) -> None:
        if self.progress is not None:
            self.progress(self.done * of + step, self.count * of)
