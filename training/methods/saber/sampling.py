"""Samples of held-out clips, made by the model as it stands, as the plain host makes a video."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ....backbones.wan.dit import WanDiT
from ....backbones.wan.sampler import flow_sigmas
from ....backbones.wan.vae import WanVAE
from ....core.guidance import Scale, joint
from ....core.recipes import saber
from ....hosts.plain.pipeline import Settings
from ....hosts.plain.references import kept_references_in_rows
from ....hosts.plain.sampling import Condition, run_steps
from .batch import batch_from_rows, padded_words, row_generator
from .held_out import HeldOutClips

_ROWS = 3  # of a sheet
_MOST_STEPS = 20  # of a sample [choice: sample-steps]


@dataclass(frozen=True)
class SampledModels:
    """Models that samples are made by, and how the DiT's file likes to be run."""

    dit: WanDiT
    vae: WanVAE
    encode: Callable[[Tensor], Tensor]
    settings: Settings


class HeldOutSampler:
    """Sampler of the first held-out clips (`reports.samples.Sampler`), each with one reference of its own."""

    def __init__(self, held_out: HeldOutClips, models: SampledModels):
        self._held_out, self._models = held_out, models

    @property
    def captions(self) -> Sequence[str]:
        """Captions of the clips that are drawn."""
        return [clip.caption for clip in self._held_out.rows[:_ROWS]]

    def reference(self, row: int) -> Tensor:
        """Picture (3, H, W) of the reference, masked and on grey."""
        return self._held_out.row(row).pictures[0]

    def truth(self, row: int) -> Tensor:
        """Film (3, F, H, W) of the clip, through the VAE."""
        return self._decoded(self._held_out.row(row).latent.unsqueeze(0))

    def sample(self, row: int, with_references: bool) -> Tensor:
        """Film (3, F, H, W) that the model makes from the clip's words."""
        shown = self._held_out.shown(row, "own" if with_references else "none")
        batch = batch_from_rows([shown], self._models.encode).to(str(self._models.dit.device))
        clip, settings = self._held_out.rows[row], self._models.settings
        no_words = padded_words([self._held_out.prepared.text(clip, "no_text")])
        rider = kept_references_in_rows(batch.reference, batch.masks, saber(), self._models.dit.geometry)
        condition = Condition(
            {"positive": batch.text, "negative": no_words},
            () if rider is None else (rider,),
            shift=settings.shift,
        )
        noise = torch.randn(shown.latent.shape, generator=row_generator(0, "sample", clip.id)).unsqueeze(0)
        film = run_steps(
            self._models.dit,
            self._models.vae,
            condition,
            joint(Scale(settings.scale)),
            noise.to(self._models.dit.device),
            flow_sigmas(min(settings.steps, _MOST_STEPS), settings.shift),
        )
        return film[0].cpu()

    def _decoded(self, latent: Tensor) -> Tensor:
        vae = self._models.vae
        with torch.autocast(vae.device.type, enabled=False):
            return vae.decode(latent.to(vae.device, vae.dtype)).float().clamp(-1, 1)[0].cpu()
