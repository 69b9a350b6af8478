"""Saber as the engine trains it on clips of people: a LoRA on a frozen Wan DiT (arXiv 2512.06905, §3)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ....backbones.wan.dit import WanDiT
from ....backbones.wan.loading import load_dit, load_vae
from ....backbones.wan.vae import WanVAE
from ....core.ranks import Ranks
from ....data.prepared import Prepared
from ....hosts.plain.pipeline import Settings, settings_of
from ...engine.adapter import required_models
from ...engine.checkpointing import checkpoint_blocks
from ...engine.compile import compile_blocks
from ...engine.learner import Learner, Steps
from ...engine.loop import Callback, Losses, Pace
from ...engine.lora import add_lora, begin_with
from ...engine.method import Setting, Usual
from ...engine.noise import Draws
from ...engine.optimisers import learning_made_by, optimiser_for, schedule_factor
from ...engine.state import RunFiles, weights_digest
from ...masks.shapes import MASK_VERSION
from .batch import ClipBatch, ClipRow, batch_from_rows, draw_row
from .config import DTYPES, SaberSettings, require_settings
from .export import export_lora, facts_of, shown_at
from .losses import saber_losses
from .plan import SaberPlan
from .report import Orders, reports
from .sampling import SampledModels
from .workflow import WorkflowFiles, write_workflows


@dataclass(frozen=True)
class FrozenModels:
    """Models that do not learn: the DiT, the VAE that references are encoded by, and how the DiT's file likes
    to be run."""

    dit: WanDiT
    vae: WanVAE
    settings: Settings

    def encode(self, pictures: Tensor) -> Tensor:
        """Latents (N, channels, h, w) of pictures (N, 3, H, W) in [-1, 1], each a clip of one, on the CPU."""
        moved = pictures.to(self.vae.device, self.vae.dtype).unsqueeze(2)
        with torch.no_grad(), torch.autocast(self.vae.device.type, enabled=False):  # as clips were encoded
            return self.vae.encode(moved)[:, :, 0].float().cpu()


@dataclass(frozen=True)
class OrderedClips:
    """Prepared clips, and the order in which steps see them."""

    prepared: Prepared
    order: Orders
    base_digest: str


def saber_files(lora: str) -> RunFiles:
    """States, and the LoRAs and workflows of a run. Reports are none of them: they follow the state."""
    results = tuple(f"{lora}{end}" for end in (".safetensors", ".workflow.json", ".api.json"))
    return RunFiles(Saber.name, results, (f"{lora}-[0-9]*.safetensors",))


@dataclass(frozen=True)
class Saber(Usual):
    """Method `saber` on prepared clips. Its LoRA is called as the folder of the run."""

    prepared: Prepared
    lora: str
    plan: SaberPlan | None = None
    name = "saber"
    warm = True

    @property
    def files(self) -> RunFiles:
        """Files of this run."""
        return saber_files(self.lora)

    def average(self, config: SaberSettings) -> float:
        """Decay of the average of the weights."""
        return config.train.ema

    def made_by(self, config: SaberSettings, setting: Setting, ranks: Ranks) -> dict[str, Any]:
        """Everything that weights depend on: the run file but for its reports and memory, and the files.
        ValueError for settings that cannot train, and for several processes."""
        if ranks.count > 1:
            raise ValueError(f"{ranks.count} processes were started; saber trains in one: run it alone")
        require_settings(config)
        models, start = required_models(setting), config.train.start
        clips = {name: one for name, one in asdict(config.data).items() if name != "path"}  # they have a name
        return {
            "seed": config.seed,
            "models": {"base_dtype": config.models.base_dtype},
            "data.toml": clips,
            "references": {**asdict(config.references), "version": MASK_VERSION},
            "train": {**learning_made_by(config.train), "start": start and weights_digest(Path(start), "train.start")},
            "base": {name: weights_digest(getattr(models, name), f"models.{name}") for name in ("dit", "vae")},
            "device": torch.device(setting.device).type,
        }  # fmt: skip

    def backbone(self, config: SaberSettings, setting: Setting) -> FrozenModels:
        """The DiT in `base_dtype`, and the VAE."""
        models = required_models(setting)
        half = torch.float32 if torch.device(setting.device).type == "cpu" else torch.bfloat16
        dit, _ = load_dit(models.dit, DTYPES[config.models.base_dtype], setting.device, "models.dit")
        vae = load_vae(models.vae, half, setting.device, "models.vae", dit.geometry, "models.dit")
        return FrozenModels(dit, vae.requires_grad_(False), settings_of(models.dit))

    def data(
        self, config: SaberSettings, backbone: FrozenModels, setting: Setting, ranks: Ranks
    ) -> OrderedClips:
        """Clips in the run's order; nothing is read before a step sees it."""
        clips, digest = config.data, weights_digest(required_models(setting).dit, "models.dit")
        order = self.prepared.order(config.train.batch, config.seed, frames=clips.frames, shares=clips.share)
        return OrderedClips(self.prepared, order, digest)

    def trainee(self, config: SaberSettings, backbone: FrozenModels, data: OrderedClips) -> nn.ModuleDict:
        """LoRA that is put on the DiT, from nothing or from a file."""
        layers = add_lora(backbone.dit, config.train.rank, config.train.targets)
        if config.train.start:
            begin_with(layers, backbone.dit, config.train.start)
        if config.memory.checkpointing == "blocks":
            checkpoint_blocks(backbone.dit)
        backbone.dit.train()
        return layers

    def optimiser(self, config: SaberSettings, trainee: nn.ModuleDict, ranks: Ranks) -> Steps:
        """Optimiser that the run file asks for."""
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
    ) -> Sequence[ClipRow]:
        """Rows of a batch: clips of one size, with references of their own."""
        clips = [data.prepared.clips[number] for number in data.order.step(turn).clips]
        return [draw_row(data.prepared, clip, config, turn, place) for place, clip in enumerate(clips)]

    def losses(
        self, config: SaberSettings, backbone: FrozenModels, trainee: nn.ModuleDict, batch: Sequence[ClipRow]
    ) -> Losses:
        """Loss by `losses.saber_losses`; references are encoded here."""
        whole: ClipBatch = batch_from_rows(batch, backbone.encode)
        return saber_losses(backbone.dit, whole.to(str(backbone.dit.device)))

    def pace(self, config: SaberSettings) -> Pace:
        """Batches of a step, and how often it is saved; lines of the log are the report's."""
        seconds = 60 * config.report.save_every_minutes
        return Pace(config.train.accumulate, 0, seconds, config.train.nonfinite)

    def told(self, config: SaberSettings, batch: Sequence[ClipRow]) -> str:
        """Size of a batch, for a message."""
        _, frames, height, width = batch[0].latent.shape
        references = sum(len(row.pictures) for row in batch)
        told = f"{len(batch)} clips of {frames} x {height} x {width} latent cells, {references} references"
        return told if self.plan is None else f"{told}, planned at {self.plan.gibibytes:.1f} GiB"

    def callbacks(
        self, config: SaberSettings, backbone: FrozenModels, data: OrderedClips, learner: Learner,
        setting: Setting,
    ) -> Sequence[Callback]:  # fmt: skip
        """Reports by `report.reports`."""
        models = SampledModels(backbone.dit, backbone.vae, backbone.encode, backbone.settings)

        def keep(done: int) -> None:
            path = setting.folder / f"{self.lora}-{done:06}.safetensors"
            layers: Any = learner.average.module
            export_lora(layers, facts_of(config, self.prepared, data.base_digest, done), path)

        return reports(
            config,
            self.prepared,
            data.order,
            models,
            learner.average,
            setting.folder,
            keep,
            self.plan and self.plan.tokens_per_second,
        )

    def export(
        self, config: SaberSettings, backbone: FrozenModels, data: OrderedClips, averaged: nn.ModuleDict,
        folder: Path,
    ) -> None:  # fmt: skip
        """Write the LoRA, and the workflows that use it."""
        path = folder / f"{self.lora}.safetensors"
        facts = facts_of(config, self.prepared, data.base_digest, config.train.steps)
        export_lora(averaged, facts, path)
        files = config.models
        named = WorkflowFiles(Path(files.dit), Path(files.vae), Path(files.text_encoder), path)
        write_workflows(named, shown_at(facts, backbone.settings), self.prepared.clips[0].caption)
