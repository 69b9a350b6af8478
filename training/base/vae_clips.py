"""Clips that a VAE learns from, crops of them, and how well it gives back others."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ...backbones.wan.vae import WanVAE
from ...data.source import ClipSource
from ..masks.references import masked_frames


@dataclass(frozen=True)
class View:
    """A kind of batch: how many pictures long and pixels wide the crops are, and how many of them."""

    frames: int
    size: int
    batch: int


@dataclass(frozen=True)
class VAEStage:
    """Stage of the training: batches of these kinds in turn, for so many steps."""

    steps: int
    rate: float
    views: tuple[View, ...]


@dataclass(frozen=True)
class VAETraining:
    """Configuration of a VAE run: everything that it depends on.

    width                of the VAE, in channels
    clips, frames, size  of the source: how many, pictures of each, pixels a side
    """

    width: int
    clips: int
    frames: int
    size: int
    stages: tuple[VAEStage, ...]
    noise: float = 0.1  # on the latent, in units of its deviation: smooths it as a KL term would
    seed: int = 0


class Crops:
    """Clips and masked references in bytes, and crops of them near the subject."""

    def __init__(self, config: VAETraining, source: ClipSource, device: str = "cpu"):
        self.source = source
        generator = Generator().manual_seed(config.seed)
        video, alpha = varied_clips(config, source, config.clips, generator)
        references, masks = masked_frames(video, alpha, generator)
        self.video, self.references = _bytes(video).to(device), _bytes(references).to(device)
        self.where, self.reference_where = alpha.gt(0.5)[:, 0].to(device), masks.gt(0.5)[:, 0].to(device)

    def batch(self, view: View, generator: Generator) -> Tensor:
        """Crops (B, 3, frames, size, size) in [-1, 1]; a third of single pictures are masked references."""
        device = generator.device
        rows = torch.randint(0, len(self.video), (view.batch,), generator=generator, device=device)
        latest = self.video.shape[2] - view.frames
        start = torch.randint(0, latest + 1, (view.batch,), generator=generator, device=device)
        times = start[:, None] + torch.arange(view.frames, device=device)
        # Indices on both sides of a slice put their own axes first: (B, frames, 3, H, W).
        crops = self.video[rows[:, None], :, times].movedim(1, 2)
        where = self.where[rows[:, None], times].float().mean(1)  # (B, H, W): share of the time
        if view.frames == 1:
            reference = torch.rand(view.batch, generator=generator, device=device) < 1 / 3
            crops = torch.where(reference.view(-1, 1, 1, 1, 1), self.references[rows].unsqueeze(2), crops)
            where = torch.where(reference.view(-1, 1, 1), self.reference_where[rows].float(), where)
        return _crop(crops, where, view.size, generator).float() / 127.5 - 1


def varied_clips(
    config: VAETraining, source: ClipSource, clips: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Clips, three quarters of one subject, the others of as many as the source shows, two or more: video
    (N, 3, F, H, W) and alpha (N, 1, F, H, W) of all subjects."""
    more = range(2, source.most_subjects + 1)
    each = clips // (4 * len(more)) if more else 0
    parts = [
        source.footage(count, generator, subjects).film(config.size, config.frames)
        for subjects, count in ((1, clips - each * len(more)), *((several, each) for several in more))
        if count
    ]
    return torch.cat([video for video, _ in parts]), torch.cat([a.sum(1, keepdim=True) for _, a in parts])


def _crop(clips: Tensor, where: Tensor, size: int, generator: Generator) -> Tensor:
    """Windows (N, 3, F, size, size) of clips, centred on a random pixel of the subject by `where` (N, H, W).
    They are jittered so that borders and ground are seen too."""
    n, _, _, height, width = clips.shape
    # A pixel off the subject has a small chance of its own.
    pixel = torch.multinomial(where.flatten(1) + 0.07, 1, generator=generator)[:, 0]
    jitter = torch.randint(-14, 15, (2, n), generator=generator, device=clips.device) - size // 2
    top = (pixel // width + jitter[0]).clamp(0, height - size)
    left = (pixel % width + jitter[1]).clamp(0, width - size)
    line = torch.arange(size, device=clips.device)
    rows, columns = (top[:, None] + line)[:, :, None], (left[:, None] + line)[:, None, :]
    picked = clips.permute(0, 3, 4, 1, 2)[torch.arange(n, device=clips.device)[:, None, None], rows, columns]
    return picked.permute(0, 3, 4, 1, 2)


@dataclass(frozen=True)
class Quality:
    """Quality of what a VAE gives back of clips that it never saw.

    whole, inside  peak signal-to-noise ratio in dB of the picture, and of the subject alone
    places         of the subject in the first picture of a clip, then in those of a latent frame by place
    motion         how much more than in the clips changes from picture to picture: 1 is as much
    """

    whole: float
    inside: float
    places: tuple[float, ...]
    motion: float

    def __str__(self) -> str:
        places = ", ".join(f"{one:.1f}" for one in self.places)
        return (
            f"{self.whole:.1f} dB on unseen clips, {self.inside:.1f} dB inside the subject ({places} in the first "
            f"picture and those of a latent frame), {self.motion:.2f} times their motion"
        )


def unseen_clips(config: VAETraining, source: ClipSource, clips: int = 32) -> tuple[Tensor, Tensor]:
    """Clips that are never trained on, as `varied_clips` has them."""
    return varied_clips(config, source, clips, Generator().manual_seed(config.seed + 1000))


@torch.no_grad()
def quality(vae: WanVAE, clips: tuple[Tensor, Tensor]) -> Quality:
    """Quality on clips: video (N, 3, F, H, W) in [-1, 1] and the subjects' alpha (N, 1, F, H, W)."""
    video, alpha = clips
    parts = [vae.decode(vae.encode(part.to(vae.device))).float().clamp(-1, 1) for part in video.split(8)]
    made = torch.cat(parts).cpu()
    # Over the square of the peak, which is 2 in [-1, 1].
    error = (made - video).pow(2).mean(1, keepdim=True) / 4
    inside, weight = (one.sum((0, 1, 3, 4)) for one in (error * alpha, alpha))  # (F,) each
    group = vae.geometry.group
    slots = [slice(0, 1), *(slice(place, None, group) for place in range(1, group + 1))]
    changes = [clip.diff(dim=2).abs().mean().item() for clip in (made, video)]
    return Quality(
        _decibels(error.mean()),
        _decibels(inside.sum() / weight.sum()),
        tuple(_decibels(inside[slot].sum() / weight[slot].sum()) for slot in slots),
        changes[0] / max(changes[1], 1e-9),
    )


def _decibels(error: Tensor) -> float:
    return -10 * math.log10(max(error.item(), 1e-12))


def _bytes(video: Tensor) -> Tensor:
    """Video in [-1, 1] -> 0 to 255 in uint8, a quarter of its memory."""
    return ((video + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
