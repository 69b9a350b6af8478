"""SAMA as the engine trains it: its modules, and a LoRA on both attentions of a frozen DiT."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ....backbones.wan.dit import WanDiT
from ....core.editing import PREFIX
from ....core.lora import CROSS, SELF
from ....core.ranks import Ranks
from ....core.semantic import SemanticConfig, SemanticModules
from ....hosts.plain.pipeline import Pipeline
from ...engine.adapter import Adapter
from ...engine.encode import ClipEncoder
from ...engine.loop import Losses
from ...engine.lora import add_lora
from ...engine.method import Setting
from ...engine.noise import Draws
from ...engine.optimise import Optimiser
from ...engine.state import RunFiles
from .batch import PairBatch, draw_pairs
from .config import SamaTraining
from .export import export
from .losses import sama_losses
from .rows import EditPairs, cached_pairs
from .targets import Extractor, HandMade

HAND_MADE = HandMade()


class SamaTrainee(nn.Module):
    """Trainee of SAMA: its modules, for semantic tokens of so many features, and the LoRA on both attentions
    of a frozen DiT."""

    def __init__(self, config: SamaTraining, dit: WanDiT, features: int):
        super().__init__()
        self.semantics = SemanticModules(SemanticConfig(dit.width, features, config.hidden))
        self.semantics.start()
        self.lora = add_lora(dit, config.rank, (SELF, CROSS))


@dataclass(frozen=True)
class Lessons:
    """Pairs of both stages, pretexts where there are steps for them; token ids (P,) of the prompts'
    prefix."""

    pretexts: EditPairs | None
    edits: EditPairs
    prefix: Tensor

    def of(self, config: SamaTraining, step: int) -> EditPairs:
        """Pairs that a step sees."""
        if self.pretexts is not None and step < config.motion_steps:
            return self.pretexts
        return self.edits


@dataclass(frozen=True)
class Sama(Adapter):
    """Method `sama`; semantic tokens are the extractor's features."""

    extractor: Extractor = HAND_MADE
    name = "sama"
    files = RunFiles("sama", ("sama.safetensors",))

    def made_by(self, config: SamaTraining, setting: Setting, ranks: Ranks) -> dict[str, Any]:
        """Things that a run depends on, as `Adapter`. ValueError where the source has no paired edits."""
        if not setting.source.edit_kinds:
            raise ValueError(f"--data: {setting.source.name} has no paired edits; needed a source with them")
        return super().made_by(config, setting, ranks)

    def besides(self) -> dict[str, Any]:
        """Name of the extractor, whose features the run learns."""
        return {"features": self.extractor.name}

    def data(self, config: SamaTraining, backbone: Pipeline, setting: Setting, ranks: Ranks) -> Lessons:
        """Pairs, with the extractor's features."""
        encoder = ClipEncoder(backbone.vae, backbone.text, setting.source, setting.encoded)
        prefix = backbone.text.tokenize([PREFIX])[0].to(setting.device)
        pretexts = None
        if config.motion_steps:
            pretexts = cached_pairs(encoder, self.extractor, config.pretexts).to(setting.device)
        edits = cached_pairs(encoder, self.extractor, config.edits).to(setting.device)
        return Lessons(pretexts, edits, prefix)

    def trainee(self, config: SamaTraining, backbone: Pipeline, data: Lessons) -> SamaTrainee:
        """Modules of SAMA, and a LoRA that is put on the DiT."""
        return SamaTrainee(config, backbone.dit, data.edits.semantic.shape[2])

    def optimiser(self, config: SamaTraining, trainee: SamaTrainee, ranks: Ranks) -> Optimiser:
        """Muon for matrices, Adam for the rest."""
        return Optimiser(trainee, _matrix, config.rate, adam_share=0.3, weight_decay=0.01)

    def steps(self, config: SamaTraining) -> int:
        """Steps of both stages."""
        return config.motion_steps + config.steps

    def draw(self, config: SamaTraining, data: Lessons, draws: Draws, turn: int, ranks: Ranks) -> PairBatch:
        """Batch by `batch.draw_pairs`, of the step's stage."""
        return draw_pairs(data.of(config, turn), config, data.prefix, draws.own)

    def losses(
        self, config: SamaTraining, backbone: Pipeline, trainee: SamaTrainee, batch: PairBatch
    ) -> Losses:
        """Losses by `losses.sama_losses`."""
        video, semantic = sama_losses(backbone.dit, trainee.semantics, backbone.text, config.recipe, batch)
        return Losses({"video": (1.0, video), "semantic": (config.semantic_weight, semantic)})

    def export(
        self, config: SamaTraining, backbone: Pipeline, data: Lessons, averaged: SamaTrainee, folder: Path
    ) -> None:
        """Write the file by `export.export`."""
        path = folder / "sama.safetensors"
        export(averaged.semantics, averaged.lora, config, self.extractor.name, path)


def _matrix(name: str, parameter: Tensor) -> bool:
    """Muon's: matrices between features; the table of types and the head, which begin at zero, go to Adam."""
    return parameter.ndim == 2 and not any(part in name for part in ("embedding", "proj"))
