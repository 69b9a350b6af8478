"""A small Wan VAE from nothing. Every 3x3x3 kernel but two uses its present frame only, so that it trains as
a picture network. Time is mixed by the time convolutions, the decoder's first and the encoder's last layer
[choice: vae-of-pictures]."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn

from ...backbones.wan.geometry import WAN_2_1
from ...backbones.wan.loading import load_vae
from ...backbones.wan.vae import WanVAE
from ...backbones.wan.vae_layers import CausalConv, FrameAttention
from ...core.checkpoint import save_model
from ...core.ranks import Ranks
from ..engine.loop import Losses
from ..engine.method import Setting, Usual
from ..engine.noise import Draws
from ..engine.optimise import Optimiser, warm_hold_decay
from ..engine.state import RunFiles, weights_digest
from ..masks.references import DEFAULT
from .vae_clips import Crops, VAEStage, VAETraining, quality, unseen_clips
from .vae_widening import widened_vae

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CropBatch:
    """Batch of one step: crops (B, 3, frames, H, W) in [-1, 1], and noise of their latents' shape."""

    video: Tensor
    shake: Tensor


@dataclass(frozen=True)
class VAETrainer(Usual):
    """Method `vae`: a VAE from nothing, or from the weights of `initial`, which may be narrower."""

    initial: Path | None = None
    name = "vae"
    files = RunFiles("vae", ("vae.safetensors",))

    def average(self, config: VAETraining) -> float:
        """Decay of the average of the weights."""
        return 0.99

    def made_by(self, config: VAETraining, setting: Setting, ranks: Ranks) -> dict[str, Any]:
        """Configuration, the weights that the run begins with, and a device that is no CPU. ValueError where
        several processes or compiling are asked for."""
        if ranks.count > 1 or setting.compiled:
            raise ValueError("a VAE trains in one process, not compiled; leave the others out")
        begun = None if self.initial is None else weights_digest(self.initial, "--from")
        device = torch.device(setting.device).type
        elsewhere = {} if device == "cpu" else {"device": device}
        return {"config": asdict(config), "references": asdict(DEFAULT), "--from": begun, **elsewhere}

    def backbone(self, config: VAETraining, setting: Setting) -> None:
        """Nothing: no model is there before."""

    def data(self, config: VAETraining, backbone: None, setting: Setting, ranks: Ranks) -> Crops:
        """Clips in bytes: they are not encoded."""
        return Crops(config, setting.source, setting.device)

    def trainee(self, config: VAETraining, backbone: None, data: Crops) -> WanVAE:
        """A VAE whose kernels do not see the past yet."""
        if self.initial is None:
            vae = WanVAE(config.width)
        else:
            given = load_vae(self.initial, what="--from", needed=WAN_2_1)
            vae = widened_vae(given, config.width, Generator().manual_seed(config.seed)).train()
        start_as_pictures(vae, fresh=self.initial is None)
        return vae

    def optimiser(self, config: VAETraining, trainee: WanVAE, ranks: Ranks) -> Optimiser:
        """Muon for kernels, Adam for those from or to the three colours; the rate is the stage's."""
        return Optimiser(trainee, lambda _, p: p.ndim > 3 and min(p.shape[:2]) > 3, rate=1.0)

    def compile(self, backbone: None, trainee: WanVAE) -> None:
        """Nothing: `made_by` refuses it."""

    def steps(self, config: VAETraining) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in config.stages)

    def rate(self, config: VAETraining, step: int) -> float:
        """Rate of a step: its stage's, from the stage's own start: warm, hold, decay."""
        stage, inside = _stage(config.stages, step)
        return stage.rate * warm_hold_decay(inside, stage.steps, warm=40, hold=0.3, floor=0.05)

    def seed(self, config: VAETraining, draws: Draws, turn: int, ranks: Ranks) -> None:
        """Seed the generator once: later steps draw on, and the state keeps it."""
        if not turn:
            draws.own.manual_seed(config.seed + 1)

    def draw(self, config: VAETraining, data: Crops, draws: Draws, turn: int, ranks: Ranks) -> CropBatch:
        """Crops of the stage's views in turn."""
        stage, inside = _stage(config.stages, turn)
        video = data.batch(stage.views[inside % len(stage.views)], draws.own)
        batch, _, *size = video.shape
        shape = (batch, WAN_2_1.channels, *WAN_2_1.latent(*size))
        return CropBatch(video, torch.randn(shape, generator=draws.own, device=video.device))

    def losses(self, config: VAETraining, backbone: None, trainee: WanVAE, batch: CropBatch) -> Losses:
        """Loss by `reconstruction_loss`."""
        return Losses({"loss": (1.0, reconstruction_loss(trainee, batch, config.noise))})

    def export(
        self, config: VAETraining, backbone: None, data: Crops, averaged: WanVAE, folder: Path
    ) -> None:
        """Write `vae.safetensors` (fp16), with unit latents on the source's clips."""
        averaged.eval().requires_grad_(False)
        logger.info("vae: %s", quality(averaged, unseen_clips(config, data.source)))
        centre_latents(averaged, data.video[:256].float() / 127.5 - 1)
        save_model(dict(averaged.state_dict()), folder / "vae.safetensors")


def start_as_pictures(vae: WanVAE, fresh: bool = True) -> None:
    """Zero the taps of the past; of a fresh VAE start the time convolutions as copies, so that picture
    training carries over."""
    timed = {vae.decoder.conv1, vae.encoder.head[2]}
    with torch.no_grad():
        for module in vae.modules():
            if isinstance(module, CausalConv) and module.kernel_size[0] == 3 and module not in timed:
                if module.kernel_size[1] == 3:
                    module.weight[:, :, :2] = 0  # (out, in, 3, 3, 3): the two frames before
                    module.present_only = True
                elif fresh:
                    _start_as_copy(module)
        # Attention of the middle adds nothing at first.
        for middle in (vae.encoder.middle, vae.decoder.middle) if fresh else ():
            nn.init.zeros_(cast(FrameAttention, middle[1]).proj.weight)


def _start_as_copy(convolution: CausalConv) -> None:
    """Let a time convolution hand its present frame on, with little of its random taps."""
    convolution.weight.mul_(0.3)
    convolution.bias.zero_()
    identity = torch.eye(convolution.in_channels)
    # Upsampling has twice as many outputs as inputs, for two pictures: each begins as a copy.
    for copy in convolution.weight[:, :, 2, 0, 0].split(convolution.in_channels):
        copy.add_(identity)


def reconstruction_loss(vae: WanVAE, batch: CropBatch, noise: float) -> Tensor:
    """Loss of a reconstruction, with `noise` deviations on the latent [choice: vae-loss].

    L1 + L2 + half the L1 of the picture's gradients + the L1 of what changes from picture to picture. Beside
    it a little of the latent's square keeps it from growing.
    """
    video = batch.video.contiguous(memory_format=torch.channels_last_3d)
    latent = vae.encode(video, chunk=2 * vae.geometry.group)
    deviation = latent.detach().float().std((0, 2, 3, 4), keepdim=True)
    out = vae.decode(latent + noise * deviation * batch.shake, chunk=2)
    error = out.float() - video
    slopes = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    # Pictures of a latent frame that are wrong in ways of their own flicker; a still error does not.
    flicker = error.diff(dim=2).abs().mean() if error.shape[2] > 1 else 0.0
    own = error.abs().mean() + error.pow(2).mean() + 0.5 * slopes
    return own + flicker + 1e-4 * latent.float().pow(2).mean()


@torch.no_grad()
def centre_latents(vae: WanVAE, video: Tensor) -> None:
    """Fold the data's latent statistics into the two 1x1x1 convolutions. Each latent channel then has mean 0
    and deviation 1 under Wan's constants. Exact: reconstructions stay."""
    latent = torch.cat([vae.encode(part) for part in video.split(32)])
    mean, spread = latent.mean((0, 2, 3, 4)), latent.std((0, 2, 3, 4))
    wan_mean, wan_deviation = vae.mean.flatten(), vae.deviation.flatten()
    # raw' = gain · raw + offset, from
    # (raw' - wan_mean) / wan_deviation = ((raw - wan_mean) / wan_deviation - mean) / spread
    gain = 1 / spread
    offset = wan_mean - gain * (wan_mean + mean * wan_deviation)
    channels = len(mean)  # the encoder's other half is the logarithm of a variance, which nothing reads
    vae.conv1.weight[:channels] *= gain.view(-1, 1, 1, 1, 1)
    vae.conv1.bias[:channels] = vae.conv1.bias[:channels] * gain + offset
    # The decoder undoes it: raw = (raw' - offset) / gain.
    vae.conv2.bias.sub_(vae.conv2.weight[:, :, 0, 0, 0] @ (offset / gain))
    vae.conv2.weight.div_(gain.view(1, -1, 1, 1, 1))


def _stage(stages: tuple[VAEStage, ...], step: int) -> tuple[VAEStage, int]:
    """Stage that a step belongs to, and the step's number in it. ValueError past the last stage."""
    for stage in stages:
        if step < stage.steps:
            return stage, step
        step -= stage.steps
    raise ValueError("step is past the last stage")
