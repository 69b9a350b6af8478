"""VideoMaker as the engine trains it: a LoRA on self-attention of a frozen DiT."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from ....core.lora import SELF
from ....core.ranks import Ranks
from ....hosts.plain.pipeline import Pipeline
from ...engine.adapter import Adapter
from ...engine.encode import ClipEncoder
from ...engine.loop import Losses
from ...engine.lora import add_lora
from ...engine.method import Setting
from ...engine.noise import Draws
from ...engine.optimise import Optimiser
from ...engine.state import RunFiles
from .batch import PhotographedBatch, draw_photographed
from .config import VideoMakerTraining
from .export import export
from .losses import videomaker_losses
from .rows import Photographed, cached_photographed


@dataclass(frozen=True)
class VideoMaker(Adapter):
    """Method `videomaker`: an adapter on self-attention."""

    name = "videomaker"
    files = RunFiles("videomaker", ("videomaker.safetensors",))
    dynamic = None  # of symbols torch cannot make sees = "frames" (docs/log.md)

    def data(
        self, config: VideoMakerTraining, backbone: Pipeline, setting: Setting, ranks: Ranks
    ) -> Photographed:
        """Clips with their photographs."""
        encoder = ClipEncoder(backbone.vae, backbone.text, setting.source, setting.encoded)
        return cached_photographed(encoder, config.clips).to(setting.device)

    def trainee(self, config: VideoMakerTraining, backbone: Pipeline, data: Photographed) -> nn.ModuleDict:
        """LoRA that is put on the DiT."""
        return add_lora(backbone.dit, config.rank, (SELF,))

    def optimiser(self, config: VideoMakerTraining, trainee: nn.ModuleDict, ranks: Ranks) -> Optimiser:
        """Muon for what begins at zero, Adam for the other factors."""
        return Optimiser(trainee, _up, config.rate, adam_share=0.1, weight_decay=0.01)

    def draw(
        self, config: VideoMakerTraining, data: Photographed, draws: Draws, turn: int, ranks: Ranks
    ) -> PhotographedBatch:
        """Batch by `batch.draw_photographed`."""
        return draw_photographed(data, config, draws.own)

    def losses(
        self, config: VideoMakerTraining, backbone: Pipeline, trainee: nn.ModuleDict, batch: PhotographedBatch
    ) -> Losses:
        """Losses by `losses.videomaker_losses`."""
        video, recognition = videomaker_losses(backbone.dit, backbone.text, config)(batch)
        return Losses({"video": (1.0, video), "recognition": (config.recognition_weight, recognition)})

    def export(
        self, config: VideoMakerTraining, backbone: Pipeline, data: object, averaged: nn.ModuleDict,
        folder: Path,
    ) -> None:  # fmt: skip
        """Write the file by `export.export`."""
        export(averaged, config, folder / "videomaker.safetensors")


def _up(name: str, parameter: Tensor) -> bool:
    """True for Muon's: B of each change, which begins at zero."""
    return parameter.ndim == 2 and ".up." in name
