"""What an adapter makes of four unseen toys while it learns."""

from pathlib import Path

import torch

from ..core.slots import SlotEncoder, SlotsConfig
from ..demo import evaluate_identity as measured
from ..demo.sheet import contact_sheet
from ..hosts.pipeline import Backbone

TOYS = 4
SHOWN = ("own video", "another's video", "nobody")  # of `evaluate_identity.READINGS`


class Preview:
    """Draws the same toys at the same noises every time, so that two sheets differ by what was learned between them."""

    def __init__(self, backbone: Backbone, slots: SlotsConfig, folder: Path):
        """`backbone` carries the LoRA that learns; sheets go into `folder`."""
        self._backbone, self._folder = backbone, folder
        self._trial = measured.IdentityTrial(TOYS, backbone.settings, slots)

    @torch.no_grad()
    def draw(self, encoder: SlotEncoder, step: int) -> Path:
        """A row per toy: its own video as it was read, clips of those whose video was read or of nobody, the truth."""
        trial, backbone, clips = self._trial, self._backbone, []
        for name in SHOWN:
            tokens = measured.read_tokens(trial, backbone.vae, encoder, measured.READINGS[name])
            clips.append(measured.clips_of(backbone, trial, tokens, encoder.nobody(), seed=0))
        read = [video.pictures.movedim(-1, 0) * 2 - 1 for video in trial.videos]
        rows = [[read[toy], *(made[toy] for made in clips), trial.truth[toy]] for toy in range(TOYS)]
        path = self._folder / f"slot_id-{step:05}.png"
        contact_sheet(rows, ["reference video", *SHOWN, "truth"], path, trial.prompts)
        return path
