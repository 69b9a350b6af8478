"""DiT as the engine trains it whole, with its text encoder, from nothing or from the weights of a run
before. The VAE is the one in the run's folder; one process trains, or several."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ....backbones.wan.dit import WanDiT
from ....backbones.wan.geometry import WAN_2_1
from ....backbones.wan.loading import load_vae
from ....backbones.wan.text import TextEncoder
from ....backbones.wan.vae import WanVAE
from ....core.ranks import ALONE, Ranks
from ...engine.average import Average
from ...engine.compile import compile_blocks
from ...engine.encode import ClipEncoder
from ...engine.learner import Learner
from ...engine.loop import Losses
from ...engine.method import Setting, Usual
from ...engine.noise import Draws
from ...engine.optimise import Optimiser, warm_hold_decay
from ...engine.state import RunFiles, RunState, weights_digest
from ..text import fresh_text_encoder
from .batch import MaskedBatch, draw_batch
from .config import ClipKind, DiTTraining
from .config import turn as kind_of
from .export import export
from .losses import masked_reference_loss
from .rows import MaskedClips, cached_clips
from .start import Start, begun_dit, fresh_dit

logger = logging.getLogger(__name__)
VAE_FILE, VAE_NEEDED = "vae.safetensors", "--out (run `refvid train vae` first)"
Data = list[tuple[ClipKind, MaskedClips]]


class DiTTrainee(nn.Module):
    """Trainee: the DiT and the text model, trained as one."""

    def __init__(self, dit: WanDiT, text: TextEncoder):
        super().__init__()
        self.dit = dit
        self.text: nn.Module = text.model


@dataclass(frozen=True)
class Parts:
    """Parts that are there before the DiT learns: the VAE, the text encoder, and the DiT that it begins with,
    if any."""

    vae: WanVAE
    text: TextEncoder
    begun: WanDiT | None


@dataclass(frozen=True)
class DiTTrainer(Usual):
    """Trainer of a DiT; `start` are the weights that the run begins with."""

    start: Start | None = None
    name = "dit"
    files = RunFiles("dit", ("dit.safetensors", "text_encoder.safetensors"))

    def average(self, config: DiTTraining) -> float:
        """Decay of the average of the weights."""
        return 0.997

    def made_by(self, config: DiTTraining, setting: Setting, ranks: Ranks) -> dict[str, Any]:
        """Everything that a run depends on, by name: the number of processes too."""
        start = self.start
        return {
            "config": asdict(config),
            "vae": weights_digest(setting.folder / VAE_FILE, VAE_NEEDED),
            "--from": start and weights_digest(start.dit, "--from"),
            "--from-text": start and start.text_encoder and weights_digest(start.text_encoder, "--from-text"),
            "device": torch.device(setting.device).type,
            "processes": ranks.count,
        }

    def backbone(self, config: DiTTraining, setting: Setting) -> Parts:
        """Models before training: the VAE in the run's folder, and a text encoder for the source's words."""
        text = fresh_text_encoder(config.model.text_width, setting.source.vocabulary)
        begun = None if self.start is None else begun_dit(config.model, text, self.start)
        vae = load_vae(setting.folder / VAE_FILE, device=setting.device, what=VAE_NEEDED, needed=WAN_2_1)
        return Parts(vae, text, begun)

    def data(self, config: DiTTraining, backbone: Parts, setting: Setting, ranks: Ranks) -> Data:
        """Clips of every kind, made by the first process and read by the others."""
        if not ranks.first:
            ranks.wait()  # until the files are there
        encoder = ClipEncoder(backbone.vae, backbone.text, setting.source, setting.encoded)
        data = [(kind, cached_clips(encoder, kind, config).to(setting.device)) for kind in config.kinds]
        if ranks.first:
            ranks.wait()
        return data

    def trainee(self, config: DiTTraining, backbone: Parts, data: Data) -> DiTTrainee:
        """A DiT of the run's sizes, and the text encoder."""
        dit = fresh_dit(config.model) if backbone.begun is None else backbone.begun
        return DiTTrainee(dit, backbone.text)

    def optimiser(self, config: DiTTraining, trainee: DiTTrainee, ranks: Ranks) -> Optimiser:
        """Muon for the blocks' matrices; what reads words learns gently."""
        return Optimiser(
            trainee, _hidden, config.rate, adam_share=0.5, weight_decay=0.02, ranks=ranks, gentle=_words
        )

    def compile(self, backbone: Parts, trainee: DiTTrainee) -> None:
        """Compile the DiT's blocks."""
        compile_blocks(trainee.dit)

    def steps(self, config: DiTTraining) -> int:
        """Steps of all stages."""
        return config.steps

    def rate(self, config: DiTTraining, step: int) -> float:
        """Factor of a step's rate: warm, hold, decay."""
        return warm_hold_decay(step, config.steps, hold=config.hold)

    def seed(self, config: DiTTraining, draws: Draws, turn: int, ranks: Ranks) -> None:
        """Seed the generators by the run's seed and the step; `own` by the process too."""
        # Each step has a seed in common and one for each process: no two are the same.
        seed = (config.seed * config.steps + turn) * (ranks.count + 1)
        draws.common.manual_seed(seed)
        draws.own.manual_seed(seed + 1 + ranks.rank)

    def draw(self, config: DiTTraining, data: Data, draws: Draws, turn: int, ranks: Ranks) -> MaskedBatch:
        """Batch of one kind, of which this process draws its share."""
        stage = config.stage_of(turn)
        kind, clips = data[kind_of(stage.shares, turn)]
        return draw_batch(clips, ranks.share(kind.batch), stage.drawing_of(kind), draws.own, draws.common)

    def losses(self, config: DiTTraining, backbone: Parts, trainee: DiTTrainee, batch: MaskedBatch) -> Losses:
        """Loss by `losses.masked_reference_loss`."""
        loss = masked_reference_loss(trainee.dit, backbone.text, config.recipe, config.attention_mask)
        return Losses({"loss": (1.0, loss(batch))})

    def export(
        self, config: DiTTraining, backbone: Parts, data: Data, averaged: DiTTrainee, folder: Path
    ) -> None:
        """Write files by `export.export`."""
        export(averaged.dit, TextEncoder(averaged.text, backbone.text.spiece_model), config, folder)


def export_run(config: DiTTraining, setting: Setting) -> None:
    """Write the averaged weights of a run that has not ended as training writes those of one that has.
    ValueError where there is no whole state of this configuration."""
    method, folder = DiTTrainer(), setting.folder
    if not method.files.found_states(folder):
        raise ValueError(
            f"--out: {folder} holds no {method.files.states(folder)[0].name}; needed a run to export"
        )
    state = RunState(method.files, folder, {"config": asdict(config)}, resume=True)
    text = fresh_text_encoder(config.model.text_width, setting.source.vocabulary)
    trainee = DiTTrainee(fresh_dit(config.model), text)
    learner = Learner(
        trainee, method.optimiser(config, trainee, ALONE), Average(trainee, method.average(config))
    )
    step = state.restore(learner)
    logger.info("exporting step %d of %d", step, config.steps)
    averaged = cast(DiTTrainee, learner.average.module)
    export(averaged.dit, TextEncoder(averaged.text, text.spiece_model), config, folder)


def _hidden(name: str, parameter: Tensor) -> bool:
    """True for Muon's: matrices of the DiT's blocks; the text model goes to Adam."""
    return name.startswith("dit.blocks.") and parameter.ndim == 2


def _words(name: str) -> bool:
    """True for the text encoder and for what takes its states in.

    At Adam's usual rate here words fall together in a few hundred steps (docs/log.md).
    """
    return name.startswith(("text.", "dit.text_embedding."))
