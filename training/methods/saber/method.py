"""Saber as the engine trains it on clips of people: a LoRA on a frozen Wan DiT, by masked pictures of the very
clips (arXiv 2512.06905, §3)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ....backbones.wan.dit import WanDiT
from ....backbones.wan.loading import load_dit, load_vae
from ....backbones.wan.vae import WanVAE
from ....core.ranks import Ranks
from ....data.order import Order
from ....data.prepared import Prepared
from ....data.shares import SharedOrder
from ...engine.checkpointing import checkpoint_blocks
from ...engine.compile import compile_blocks
from ...engine.learner import Learner
from ...engine.lora import add_lora, begin_with
from ...engine.loop import Callback, Losses, Pace
from ...engine.method import Setting
from ...engine.adapter import required_models
from ...engine.noise import Draws
from ...engine.optimisers import Stepper, optimiser_for, schedule_factor
from ...engine.state import RunFiles, weights_digest
from .batch import ClipBatch, Encode, draw_row, joined
from .config import SaberSettings
from .export import export_run
from .losses import saber_losses
from .report import reports

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class FrozenModels:
    """Models that do not learn: the DiT, and the VAE that references are encoded by."""

    dit: WanDiT
    vae: WanVAE

    def encode(self, pictures: Tensor) -> Tensor:
        """Latents (N, channels, h, w) of pictures (N, 3, H, W) in [-1, 1], each a clip of one, on the CPU."""
        moved = pictures.to(self.vae.device, self.vae.dtype).unsqueeze(2)
        with torch.no_grad(), torch.autocast(self.vae.device.type, enabled=False):  # as clips were encoded
            return self.vae.encode(moved)[:, :, 0].float().cpu()


@dataclass(frozen=True)
class OrderedClips:
    """Prepared clips, in the order in which steps see them."""

    prepared: Prepared
    order: Order | SharedOrder
    encode: Encode


@dataclass(frozen=True)
class Saber:
    """Method `saber` on prepared clips; `name_of_files` is that of the LoRA."""

    settings: SaberSettings
    prepared: Prepared
    lora: str
    name = "saber"

    @property
    def files(self) -> RunFiles:
        """States, the LoRA and its workflows, and what a run reports."""
        results = (f"{self.lora}.safetensors", f"{self.lora}.workflow.json", f"{self.lora}.api.json")
        return RunFiles(self.name, results, (f"{self.lora}-[0-9]*.safetensors", "samples/[0-9]*.jpg"))

    @property
    def average(self) -> float:
        """Decay of the average of the weights."""
        return self.settings.train.ema

    def made_by(self, config: SaberSettings, setting: Setting, ranks: Ranks) -> dict[str, Any]:
        """All that weights depend on: the run file but for its reports and memory, the clips, and the files.
        ValueError for several processes, which come later."""
        if ranks.count > 1:
            raise ValueError(f"{ranks.count} processes were started; saber trains in one: run it alone")
        models = required_models(setting)
        told = asdict(config)
        for table in ("out", "models", "memory", "report"):
            del told[table]
        del told["data"]["path"]  # the clips themselves are told below
        if config.train.schedule == "constant":
            del told["train"]["steps"]  # more may follow
        return {
            "config": {**told, "base_dtype": config.models.base_dtype},
            "base": {
                "dit": weights_digest(models.dit, "models.dit"),
                "vae": weights_digest(models.vae, "models.vae"),
            },
            "start": config.train.start and weights_digest(Path(config.train.start), "train.start"),
            "data": self.prepared.name,
            "device": torch.device(setting.device).type,
        }

    def backbone(self, config: SaberSettings, setting: Setting) -> FrozenModels:
        """The DiT in `base_dtype`, and the VAE."""
        models = required_models(setting)
        half = torch.float32 if torch.device(setting.device).type == "cpu" else torch.bfloat16
        dit, _ = load_dit(models.dit, DTYPES[config.models.base_dtype], setting.device, "models.dit")
        vae = load_vae(models.vae, half, setting.device, "models.vae", dit.geometry, "models.dit")
        return FrozenModels(dit, vae.requires_grad_(False))

    def data(
        self, config: SaberSettings, backbone: FrozenModels, setting: Setting, ranks: Ranks
    ) -> OrderedClips:
        """Clips in the run's order; nothing is read before a step sees it."""
        frames, share = config.data.frames, config.data.share
        order = self.prepared.order(config.train.batch, config.seed, frames=frames, shares=share)
        return OrderedClips(self.prepared, order, backbone.encode)

    def trainee(self, config: SaberSettings, backbone: FrozenModels, data: OrderedClips) -> nn.ModuleDict:
        """LoRA that is put on the DiT, from nothing or from a file."""
        layers = add_lora(backbone.dit, config.train.rank, config.train.targets)
        if config.train.start:
            begin_with(layers, backbone.dit, config.train.start)
        if config.memory.checkpointing == "blocks":
            checkpoint_blocks(backbone.dit)
        backbone.dit.train()
        return layers

    def optimiser(self, config: SaberSettings, trainee: nn.ModuleDict, ranks: Ranks) -> Stepper:
        """Optimiser by the run file."""
        return optimiser_for(trainee, config.train)

    def compile(self, backbone: FrozenModels, trainee: nn.ModuleDict) -> None:
        """Compile the blocks of the frozen DiT, with what is added to them."""
        compile_blocks(backbone.dit)

    def steps(self, config: SaberSettings) -> int:
        """Steps of a run."""
        return config.train.steps

    def rate(self, config: SaberSettings, step: int) -> float:
        """Factor of a step's rate, by the run file's schedule."""
        return schedule_factor(config.train, step)

    def seed(self, config: SaberSettings, draws: Draws, turn: int, ranks: Ranks) -> None:
        """Nothing to seed: what is drawn follows from the run's seed and the batch's number (`batch`)."""

    def draw(
        self, config: SaberSettings, data: OrderedClips, draws: Draws, turn: int, ranks: Ranks
    ) -> ClipBatch:
        """Batch of clips of one size, with references of their own."""
        clips = [data.prepared.clips[number] for number in data.order.step(turn).clips]
        rows = [draw_row(data.prepared, clip, config, turn, place) for place, clip in enumerate(clips)]
        return joined(rows, data.encode)

    def losses(
        self, config: SaberSettings, backbone: FrozenModels, trainee: nn.ModuleDict, batch: ClipBatch
    ) -> Losses:
        """Loss by `losses.saber_losses`."""
        return saber_losses(backbone.dit, batch.to(str(backbone.dit.device)))

    def pace(self, config: SaberSettings) -> Pace:
        """Batches of a step, and how often it is saved; lines of the log are the report's."""
        seconds = 60 * config.report.save_every_minutes
        return Pace(config.train.accumulate, 0, seconds, config.train.nonfinite)

    def told(self, config: SaberSettings, batch: ClipBatch) -> str:
        """Size of a batch, for a message."""
        count, _, frames, height, width = batch.latent.shape
        return f"{count} clips of {frames} x {height} x {width} latent cells, {batch.masks.shape[1]} references"

    def callbacks(
        self, config: SaberSettings, backbone: FrozenModels, data: OrderedClips, learner: Learner,
        setting: Setting,
    ) -> Sequence[Callback]:  # fmt: skip
        """Reports by `report.reports`."""
        return reports(self, config, backbone, data, learner, setting)

    def export(
        self, config: SaberSettings, backbone: FrozenModels, data: OrderedClips, averaged: nn.ModuleDict,
        folder: Path,
    ) -> None:  # fmt: skip
        """Write the LoRA and its workflows by `export.export_run`."""
        export_run(self, averaged, folder / f"{self.lora}.safetensors")
