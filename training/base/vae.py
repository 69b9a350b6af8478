"""Train a small Wan VAE. Every 3x3x3 kernel but two uses its present frame only, so that it trains as a picture
network; time is mixed by the time convolutions, the decoder's first and the encoder's last layer (our choice)."""

import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Generator, Tensor, nn

from ...backbones.wan.geometry import WAN_2_1
from ...backbones.wan.loading import load_vae
from ...backbones.wan.vae import WanVAE
from ...backbones.wan.vae_layers import CausalConv, FrameAttention
from ...core.checkpoint import save_model
from ...demo import world
from ..engine.optimise import Optimiser, warm_hold_decay
from ..engine.state import RunFiles, RunState, weights_digest
from ..masks.references import masked_frames

logger = logging.getLogger(__name__)
FILES = RunFiles("vae", ("vae.safetensors",))


@dataclass(frozen=True)
class View:
    """A kind of batch: how many pictures long and pixels wide the crops are, and how many of them."""

    frames: int
    size: int
    batch: int


@dataclass(frozen=True)
class Stage:
    """A leg of the training: batches of these kinds in turn, for so many steps."""

    steps: int
    rate: float
    views: tuple[View, ...]


@dataclass(frozen=True)
class VAEConfig:
    """Everything a VAE run depends on."""

    width: int
    clips: int
    frames: int
    size: int
    stages: tuple[Stage, ...]
    noise: float = 0.1  # on the latent, in units of its deviation: smooths it as a KL term would
    seed: int = 0


def demo_vae() -> VAEConfig:
    """The demo's VAE: pictures first, then crops of clips, then whole clips."""
    crop, clip_crop, picture, clip = View(1, 32, 64), View(5, 32, 16), View(1, 80, 12), View(9, 80, 3)
    stages = (
        Stage(800, 3.5e-3, (View(1, 32, 32),)),
        Stage(1200, 3.5e-3, (crop, clip_crop, picture, clip_crop)),
        Stage(700, 1.7e-3, (clip, clip_crop, picture, clip)),
    )
    return VAEConfig(width=8, clips=3072, frames=9, size=world.SIZE, stages=stages)


def smoke_vae() -> VAEConfig:
    """A few steps of every kind, for tests."""
    return VAEConfig(
        2, 8, 9, 64, (Stage(2, 1e-3, (View(1, 32, 4),)), Stage(2, 1e-3, (View(5, 32, 2), View(9, 64, 2))))
    )


class Clips:
    """Rendered clips and masked references in bytes, and crops of them near the toy."""

    def __init__(self, config: VAEConfig):
        generator = Generator().manual_seed(config.seed)
        video, alpha = varied_clips(config, config.clips, generator)
        references, masks = masked_frames(video, alpha, generator)
        self.video, self.references = _bytes(video), _bytes(references)
        self.where, self.reference_where = alpha.gt(0.5)[:, 0], masks.gt(0.5)[:, 0]

    def batch(self, view: View, generator: Generator) -> Tensor:
        """-> (B, 3, frames, size, size) in [-1, 1]; a third of single pictures are masked references."""
        rows = torch.randint(0, len(self.video), (view.batch,), generator=generator)
        start = torch.randint(0, self.video.shape[2] - view.frames + 1, (view.batch,), generator=generator)
        times = start[:, None] + torch.arange(view.frames)
        crops = self.video[rows[:, None], :, times].movedim(1, 2)
        where = self.where[rows[:, None], times].float().mean(1)
        if view.frames == 1:
            reference = torch.rand(view.batch, generator=generator) < 1 / 3
            crops = torch.where(reference.view(-1, 1, 1, 1, 1), self.references[rows].unsqueeze(2), crops)
            where = torch.where(reference.view(-1, 1, 1), self.reference_where[rows].float(), where)
        return _crop(crops, where, view.size, generator).float() / 127.5 - 1


def varied_clips(config: VAEConfig, clips: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Three quarters single toys, one quarter pairs: video (N, 3, F, H, W), alpha (N, 1, F, H, W) of all toys."""
    pairs = clips // 4
    parts = [
        world.render_cast(world.sample_cast(n, generator, duet), config.frames, config.size)
        for n, duet in ((clips - pairs, False), (pairs, True))
        if n
    ]
    return torch.cat([video for video, _ in parts]), torch.cat([a.sum(1, keepdim=True) for _, a in parts])


def _crop(clips: Tensor, where: Tensor, size: int, generator: Generator) -> Tensor:
    """Windows centred on a random pixel of the toy, jittered so that borders and ground are seen too."""
    n, _, _, height, width = clips.shape
    pixel = torch.multinomial(where.flatten(1) + 0.07, 1, generator=generator)[:, 0]
    jitter = torch.randint(-14, 15, (2, n), generator=generator) - size // 2
    top = (pixel // width + jitter[0]).clamp(0, height - size)
    left = (pixel % width + jitter[1]).clamp(0, width - size)
    line = torch.arange(size)
    rows, columns = (top[:, None] + line)[:, :, None], (left[:, None] + line)[:, None, :]
    picked = clips.permute(0, 3, 4, 1, 2)[torch.arange(n)[:, None, None], rows, columns]
    return picked.permute(0, 3, 4, 1, 2)


def train_vae(config: VAEConfig, folder: Path, resume: bool = False, initial: Path | None = None) -> WanVAE:
    """Train and leave `vae.safetensors` (fp16, unit latents on this world) in `folder`; from the weights of the VAE
    `initial` where given, which keeps its width."""
    begun = None if initial is None else weights_digest(initial, "--from")
    state = RunState(FILES, folder, {"config": asdict(config), "--from": begun}, resume)
    torch.manual_seed(config.seed)
    clips, generator = Clips(config), Generator().manual_seed(config.seed + 1)
    vae = (
        WanVAE(config.width)
        if initial is None
        else load_vae(initial, what="--from", needed=WAN_2_1).train().requires_grad_()
    )
    start_as_pictures(vae, fresh=initial is None)
    optimiser = Optimiser(vae, lambda _, p: p.ndim > 3 and min(p.shape[:2]) > 3, rate=1.0, average=0.99)
    steps = sum(stage.steps for stage in config.stages)
    first = state.first_step(vae, optimiser, generator, steps)
    shown = time.monotonic()
    for step in range(first, steps):
        stage, inside = _stage(config.stages, step)
        loss = _step_loss(
            vae, clips.batch(stage.views[inside % len(stage.views)], generator), config.noise, generator
        )
        loss.backward()
        optimiser.step(vae, stage.rate * warm_hold_decay(inside, stage.steps, warm=40, hold=0.3, floor=0.05))
        if time.monotonic() - shown > 30 or step + 1 == steps:
            shown = time.monotonic()
            logger.info("vae step %d of %d: loss %.4f", step + 1, steps, loss.item())
            state.save(vae, optimiser, generator, step + 1)
    vae.load_state_dict(optimiser.average.module.state_dict())
    vae.eval().requires_grad_(False)
    whole, inside_toy = quality(vae, config)
    logger.info("vae: %.1f dB on unseen clips, %.1f dB inside the toy", whole, inside_toy)
    centre_latents(vae, clips.video[:256].float() / 127.5 - 1)
    save_model(dict(vae.state_dict()), folder / "vae.safetensors")
    return vae


def start_as_pictures(vae: WanVAE, fresh: bool = True) -> None:
    """Zero the taps of the past; of a fresh VAE start the time convolutions as copies, so that picture training
    carries over."""
    timed = {vae.decoder.conv1, vae.encoder.head[2]}
    with torch.no_grad():
        for module in vae.modules():
            if isinstance(module, CausalConv) and module.kernel_size[0] == 3 and module not in timed:
                if module.kernel_size[1] == 3:
                    module.weight[:, :, :2] = 0
                    module.present_only = True
                elif fresh:
                    _start_as_copy(module)
        for middle in (vae.encoder.middle, vae.decoder.middle) if fresh else ():
            nn.init.zeros_(cast(FrameAttention, middle[1]).proj.weight)


def _start_as_copy(convolution: CausalConv) -> None:
    convolution.weight.mul_(0.3)
    convolution.bias.zero_()
    identity = torch.eye(convolution.in_channels)
    for copy in convolution.weight[:, :, 2, 0, 0].split(convolution.in_channels):
        copy.add_(identity)


def _step_loss(vae: WanVAE, video: Tensor, noise: float, generator: Generator) -> Tensor:
    """L1 + L2 + half the L1 of the picture's gradients, with noise on the latent (our choice)."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        video = video.contiguous(memory_format=torch.channels_last_3d)
        latent = vae.encode(video, chunk=2 * vae.geometry.group)
        shake = torch.randn(latent.shape, generator=generator)
        deviation = latent.detach().float().std((0, 2, 3, 4), keepdim=True)
        out = vae.decode(latent + noise * deviation * shake, chunk=2)
    error = out.float() - video
    slopes = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + error.pow(2).mean() + 0.5 * slopes + 1e-4 * latent.float().pow(2).mean()


@torch.no_grad()
def quality(vae: WanVAE, config: VAEConfig, clips: int = 32) -> tuple[float, float]:
    """Peak signal-to-noise ratio in dB on clips never trained on: the whole picture, and inside the toy."""
    generator = Generator().manual_seed(config.seed + 1000)
    video, alpha = varied_clips(config, clips, generator)
    error = (vae.decode(vae.encode(video)).clamp(-1, 1) - video).pow(2).mean(1, keepdim=True) / 4
    whole, inside = error.mean(), (error * alpha).sum() / alpha.sum()
    return -10 * math.log10(whole), -10 * math.log10(inside)


@torch.no_grad()
def centre_latents(vae: WanVAE, video: Tensor) -> None:
    """Fold the data's latent statistics into the two 1x1x1 convolutions, so that each latent channel has mean 0 and
    deviation 1 under Wan's constants. Exact: reconstructions stay."""
    latent = torch.cat([vae.encode(part) for part in video.split(32)])
    mean, spread = latent.mean((0, 2, 3, 4)), latent.std((0, 2, 3, 4))
    wan_mean, wan_deviation = vae.mean.flatten(), vae.deviation.flatten()
    # raw' = gain · raw + offset, from (raw' - wan_mean) / wan_deviation = ((raw - wan_mean) / wan_deviation - mean) / spread
    gain = 1 / spread
    offset = wan_mean - gain * (wan_mean + mean * wan_deviation)
    channels = len(mean)
    vae.conv1.weight[:channels] *= gain.view(-1, 1, 1, 1, 1)
    vae.conv1.bias[:channels] = vae.conv1.bias[:channels] * gain + offset
    vae.conv2.bias.sub_(vae.conv2.weight[:, :, 0, 0, 0] @ (offset / gain))
    vae.conv2.weight.div_(gain.view(1, -1, 1, 1, 1))


def _stage(stages: tuple[Stage, ...], step: int) -> tuple[Stage, int]:
    for stage in stages:
        if step < stage.steps:
            return stage, step
        step -= stage.steps
    raise ValueError("step is past the last stage")


def _bytes(video: Tensor) -> Tensor:
    return ((video + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
