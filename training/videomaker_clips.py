"""Clips of a trial's toys with their references, many at once: what `demo.evaluate.clips_of` makes one by one on the plain host."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..backbones.wan.sampler import flow_sigmas, sample_euler
from ..backbones.wan.text import fold_padding
from ..demo.evaluate import Trial
from ..hosts.pipeline import Backbone
from .references import GROUND
from .videomaker import VideoMakerTraining, reference_tail

TOGETHER = 16


@torch.no_grad()
def clips_together(
    backbone: Backbone, config: VideoMakerTraining, trial: Trial, given: Tensor, seed: int
) -> Tensor:
    """Clips (N, 3, F, H, W) of what the toys' captions ask for with the references of the toys `given` (N,), at the backbone's settings, guided
    against a pass without words and with zero latents; noise depends on the toy and the seed alone."""
    settings, device, geometry = backbone.settings, backbone.dit.device, backbone.dit.geometry
    size = geometry.latent(settings.frames, settings.height, settings.width)
    made = []
    for rows in torch.arange(len(trial)).split(TOGETHER):
        noise = [
            torch.randn(geometry.channels, *size, generator=torch.Generator().manual_seed(number))
            for number in (settings.seed + rows + 1000 * seed).tolist()
        ]
        masks = trial.masks[given[rows]]
        pictures = torch.where(masks > 0.5, trial.pictures[given[rows]], GROUND)
        latent = backbone.vae.encode(pictures.unsqueeze(2).to(device))[:, :, 0]
        keep = F.max_pool2d(masks, geometry.token).flatten(1).gt(0.5).to(device)
        prompts = [trial.prompts[row] for row in rows.tolist()]
        step = _Guided(backbone, config, prompts, latent, keep, size[0])
        clips = sample_euler(
            step, torch.stack(noise).to(device), flow_sigmas(settings.steps, settings.shift).to(device)
        )
        made.append(backbone.vae.decode(clips).clamp(-1, 1).cpu())
    return torch.cat(made)


class _Guided:
    """The velocity of clips with their references, pushed away from that of the null pass."""

    def __init__(
        self,
        backbone: Backbone,
        config: VideoMakerTraining,
        prompts: list[str],
        references: Tensor,
        keep: Tensor,
        frames: int,
    ):
        self.dit, self.scale = backbone.dit, backbone.settings.scale
        self.passes = []
        for said, shown in ((prompts, references), ([""] * len(prompts), torch.zeros_like(references))):
            tokens = backbone.text.tokenize(said).to(references.device)
            context = fold_padding(backbone.text.states(tokens), tokens)
            clean = shown.new_zeros(len(shown))
            self.passes.append((*context, reference_tail(self.dit, config, shown, keep, frames, clean)))

    def __call__(self, latent: Tensor, sigma: Tensor) -> Tensor:
        clock = (sigma * self.dit.geometry.clock).expand(len(latent))
        with_, without = (
            self.dit(latent, clock, context, context_bias=bias, tail=tail)
            for context, bias, tail in self.passes
        )
        return without + self.scale * (with_ - without)
