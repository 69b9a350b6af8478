"""Given frames (STIV) on the plain host: clean pictures that a pass is shown on the video, and in which the
video ends."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...backbones.base import VideoVAE
from ...core.frames import GivenFrames, Placed, given_frames
from .evaluation import Evaluation, Rider, levels
from .references import encode_pictures


@dataclass(frozen=True)
class FramesRider(Rider):
    """Given frames of a video. A pass that keeps the conditions is shown them clean, and its velocity leads
    to them."""

    given: GivenFrames

    def over(self, start: int, stop: int) -> "FramesRider":
        return FramesRider(self.given.over(start, stop))

    def now(self, evaluation: Evaluation) -> Evaluation:
        if not evaluation.entry.conditions:
            return evaluation
        latent = self.given.on(evaluation.latent)
        return replace(evaluation, latent=latent, clock=self._clock(evaluation.clock, len(latent)))

    def finish(self, evaluation: Evaluation, out: Tensor, after: Tensor) -> Tensor:
        if not evaluation.entry.conditions:
            return out
        return self.guide(evaluation.video, evaluation.sigma, out.to(evaluation.video))

    def guide(self, latent: Tensor, sigma: Tensor, velocity: Tensor) -> Tensor:
        """The velocity, straight to what was given on the given frames, from where they are."""
        frames = self.given.latent.shape[2]
        straight = (latent[:, :, :frames] - self.given.latent.to(latent)) / levels(sigma.to(latent.device))
        video = torch.where(self.given.mask.to(latent.device), straight, velocity[:, :, :frames])
        return torch.cat([video, velocity[:, :, frames:]], dim=2)

    def _clock(self, clock: Tensor, batch: int) -> Tensor:
        """Levels (B, F), 0 for frames with a clock of their own; or as they are."""
        if self.given.clock != "own":
            return clock
        replaced = self.given.replaced.to(clock.device)
        rows = clock if clock.ndim == 2 else clock.reshape(-1, 1).expand(batch, replaced.shape[-1])
        return rows * ~replaced


def encode_frames(vae: VideoVAE, placed: Placed, empty: Tensor) -> FramesRider:
    """Encode pictures that stand on a video with this empty latent (1, C, F, h, w). ValueError as
    `core.frames.clips_to_encode` says."""
    return FramesRider(
        given_frames(placed, lambda pictures: encode_pictures(vae, pictures), empty, vae.geometry)
    )
