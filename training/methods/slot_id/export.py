"""File of a Slot-ID adapter: the encoder and its LoRA."""

from pathlib import Path

from torch import nn

from ....core.adapter import save_adapter
from ...engine.lora import lora_state
from .config import SlotTraining


def export(encoder: nn.Module, lora: nn.ModuleDict, config: SlotTraining, path: Path) -> None:
    """Write the encoder and the LoRA (fp16), as `core.adapter` reads them."""
    save_adapter(config.slots, encoder.state_dict(), lora_state(lora), path)
