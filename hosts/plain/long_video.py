"""Long video without ComfyUI: key pictures, then a run for each pair of neighbours. Finished parts stay in a
folder, so that a run that was stopped goes on."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ...core.checkpoint import read_safetensors, write_tensors
from ...core.files import claim, is_ours, release
from ...core.fit import whole_tokens
from ...core.long_video import LongVideo
from .pipeline import Pipeline, Progress, Request, generate

logger = logging.getLogger(__name__)
_PARTS = "parts of a long video"
_PART = re.compile(r"keys|segment-\d{3,}")


class FinishedParts:
    """Finished parts (n, H, W, 3) in [0, 1], in steps of 1/255, in a folder that belongs to one run.

    `made_by` is all that the run depends on. ValueError where the folder is another run's, or not ours.
    """

    def __init__(self, folder: Path, made_by: str):
        self.folder, self.made_by = folder, made_by
        is_ours(folder, _PARTS, made_by, "--out")

    def kept(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """The part of this name: from the folder, else made by `make` and kept there. Both are rounded alike,
        so a run that goes on makes what one without a stop does."""
        file = self.folder / f"{name}.safetensors"
        try:
            pictures = read_safetensors(file, "--out")[0]["pictures"] if file.exists() else None
        except (ValueError, KeyError) as error:
            logger.warning("%s is damaged and made again (%s)", file, error)
            pictures = None
        if pictures is None:
            claim(self.folder, _PARTS, self.made_by, "--out")
            pictures = (make().clamp(0, 1) * 255).round().to(torch.uint8).contiguous()
            write_tensors({"pictures": pictures}, file, {})
        return pictures.float() / 255

    @property
    def files(self) -> list[str]:
        """Names of the parts that are there."""
        return [file.name for file in self.folder.glob("*.safetensors") if _PART.fullmatch(file.stem)]

    @contextmanager
    def kept_on_failure(self) -> Iterator[None]:
        """A block that keeps the parts where it fails, and says so; where it ends well, the parts go. The
        folder goes too, unless somebody put something else there."""
        try:
            yield
        except BaseException:
            if self.files:
                logger.warning(
                    "%d finished parts are kept in %s; the same command goes on", len(self.files), self.folder
                )
            raise
        release(self.folder, self.files)


def generate_long(
    backbone: Pipeline,
    plan: LongVideo,
    keys: Request | Tensor,
    between: Request,
    parts: FinishedParts,
    progress: Progress | None = None,
    clock: str = "own",
) -> Tensor:
    """Generate a long video. -> (3, length, H, W) in [-1, 1].

    keys      a request for the clip of key pictures, or these pictures (n, H, W, 3)
    between   the request for every segment
    progress  counts the steps of all runs together

    References, identities and guidance are those of the requests.
    """
    runs = _Runs(progress, plan.keys - isinstance(keys, Tensor))
    if isinstance(keys, Request):
        asked = replace(keys, settings=replace(keys.settings, frames=backbone.dit.geometry.whole(plan.keys)))
        keys = runs.run(parts, "keys", backbone, asked)
    segments = []
    for index, pair in enumerate(plan.pairs(keys)):
        height, width = whole_tokens(pair.shape[1], pair.shape[2], backbone.dit.geometry.token)
        settings = replace(between.settings, frames=plan.segment, height=height, width=width)
        asked = replace(between, settings=settings, given=plan.given(pair, clock))
        segments.append(runs.run(parts, f"segment-{index:03}", backbone, asked))
    return plan.join(segments).movedim(-1, 0) * 2 - 1


class _Runs:
    """Several runs that tell their progress as one."""

    def __init__(self, progress: Progress | None, count: int):
        self.progress, self.count, self.done = progress, count, 0

    def run(self, parts: FinishedParts, name: str, backbone: Pipeline, asked: Request) -> Tensor:
        def make() -> Tensor:
            return generate(backbone, asked, self.tell).movedim(0, -1) / 2 + 0.5

        made = parts.kept(name, make)
        self.done += 1
        self.tell(0, asked.settings.steps)
        return made

    def tell(self, step: int, of: int) -> None:
        if self.progress is not None:
            self.progress(self.done * of + step, self.count * of)
