"""Previews of a Slot-ID adapter while it learns: sheets of four unseen toys."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..core.slots import SlotEncoder
from ..drawing.sheet import FRAMES_OF_MOTION, column_sheet
from ..hosts.plain.pipeline import Pipeline
from ..training.engine.loop import Callback, Losses, Update
from ..training.methods.slot_id.config import SlotTraining
from ..training.methods.slot_id.method import SlotTrainee
from .trials import identity
from .trials.clips import TRUTH

logger = logging.getLogger(__name__)
_TOYS = 4
FEW_READINGS = ("own video", "another's video", "nobody")  # of `identity.READINGS`


class SlotPreviews(Callback):
    """Callback of a run of Slot-ID: a sheet every `preview_every` steps, in the size and length of its clips.

    The same toys are drawn at the same noises: two sheets differ by what was learned between them.
    """

    def __init__(self, config: SlotTraining, folder: Path, backbone: Pipeline, trainee: SlotTrainee):
        """`backbone` carries the LoRA that learns; sheets go into `folder`."""
        size = {"width": config.size, "height": config.size, "frames": config.meetings[0].frames}
        self._backbone = replace(backbone, settings=replace(backbone.settings, **size))
        self._trial = identity.IdentityTrial(_TOYS, self._backbone.settings, config.slots)
        self._every, self._trainee, self._folder = config.preview_every, trainee, folder

    def after(self, done: int, losses: Sequence[Losses], update: Update) -> None:
        """Draw the toys as the adapter stands, if it is time."""
        if done % self._every == 0:
            path = self._folder / f"slot_id-{done:05}.png"
            identity_sheet(self._backbone, self._trial, self._trainee.encoder, FEW_READINGS, path)
            logger.info("slot_id preview: %s", path)


def slot_previews(config: SlotTraining, folder: Path) -> Callable[[Pipeline, SlotTrainee], SlotPreviews]:
    """Previews of a run, as `training.engine.method.train` takes them."""
    return lambda backbone, trainee: SlotPreviews(config, folder, backbone, trainee)


@torch.no_grad()
def identity_sheet(
    backbone: Pipeline,
    trial: identity.IdentityTrial,
    encoder: SlotEncoder,
    shown: Sequence[str],
    path: Path,
    scale: int = 3,
) -> None:
    """Draw a row per toy: its own video as read, a clip for each of `shown` (names of READINGS), and the
    truth. `backbone` carries the LoRA."""
    columns: dict[str, Tensor | Sequence[Tensor]] = {
        "reference video": [video.pictures.movedim(-1, 0) * 2 - 1 for video in trial.videos]
    }
    for name in shown:
        tokens = identity.read_tokens(trial, backbone.vae, encoder, identity.READINGS[name])
        read = identity.Known(tokens, encoder.nobody())
        columns[name] = identity.clips_of_identity(backbone, trial, read, noise=0)
    column_sheet({**columns, TRUTH: trial.truth}, path, trial.prompts, scale, shown=FRAMES_OF_MOTION)
