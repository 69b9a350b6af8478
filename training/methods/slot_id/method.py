"""Slot-ID as the engine trains it: the slot encoder and a LoRA on cross-attention learn; the DiT and the text
stay as they are."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ....backbones.wan.dit import WanDiT
from ....core.lora import CROSS
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
from .batch import MeetingBatch, draw_meeting
from .config import SlotTraining
from .export import export
from .losses import identity_loss
from .rows import Meetings, cached_meetings


class SlotTrainee(nn.Module):
    """Trainee of Slot-ID: the encoder and the LoRA of a frozen DiT."""

    def __init__(self, config: SlotTraining, dit: WanDiT):
        super().__init__()
        self.encoder = config.encoder(config.slots, dit.geometry.patch)
        self.encoder.start()
        self.lora = add_lora(dit, config.rank, (CROSS,))


@dataclass(frozen=True)
class SlotId(Adapter):
    """Method `slot_id`: an adapter on cross-attention."""

    name = "slot_id"
    files = RunFiles("slot_id", ("slot_id.safetensors",), ("slot_id-[0-9]*.png",))  # previews too

    def data(
        self, config: SlotTraining, backbone: Pipeline, setting: Setting, ranks: Ranks
    ) -> list[Meetings]:
        """Clips of every meeting."""
        encoder = ClipEncoder(backbone.vae, backbone.text, setting.source, setting.encoded)
        return [
            cached_meetings(encoder, config.slots, meeting, config.size).to(setting.device)
            for meeting in config.meetings
        ]

    def trainee(self, config: SlotTraining, backbone: Pipeline, data: list[Meetings]) -> SlotTrainee:
        """Slot encoder, and a LoRA that is put on the DiT."""
        return SlotTrainee(config, backbone.dit)

    def optimiser(self, config: SlotTraining, trainee: SlotTrainee, ranks: Ranks) -> Optimiser:
        """Muon for matrices, a gentle rate for what runs once a picture."""
        return Optimiser(trainee, _matrix, config.rate, weight_decay=0.01, gentle=_recurrent)

    def draw(
        self, config: SlotTraining, data: list[Meetings], draws: Draws, turn: int, ranks: Ranks
    ) -> MeetingBatch:
        """A batch of one meeting, of each as often as it has clips."""
        shares = torch.tensor([float(meeting.clips) for meeting in config.meetings])
        met = int(torch.multinomial(shares, 1, generator=draws.own))
        return draw_meeting(data[met], config.meetings[met].batch, config, draws.own)

    def losses(
        self, config: SlotTraining, backbone: Pipeline, trainee: SlotTrainee, batch: MeetingBatch
    ) -> Losses:
        """Loss by `losses.identity_loss`."""
        return Losses({"loss": (1.0, identity_loss(backbone.dit, trainee.encoder, backbone.text, batch))})

    def export(
        self, config: SlotTraining, backbone: Pipeline, data: object, averaged: SlotTrainee, folder: Path
    ) -> None:
        """Write the file by `export.export`."""
        export(averaged.encoder, averaged.lora, config, folder / "slot_id.safetensors")


def _matrix(name: str, parameter: Tensor) -> bool:
    """True for Muon's: matrices between features; tables and the gate go to Adam."""
    table = any(part in name for part in ("queries", "null"))
    return parameter.ndim == 2 and min(parameter.shape) > 1 and not table


def _recurrent(name: str) -> bool:
    """True for parts that run once a picture, on what they made themselves: Muon's rate takes out of the
    slots what they held (docs/log.md)."""
    return name.startswith(("encoder.reader.", "encoder.first_slots."))
