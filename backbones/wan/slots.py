"""Sizes of Slot-ID's encoder for each Wan: its latents and the width of its cross-attention."""

from dataclasses import replace

from ...core.slots import SlotsConfig
from .geometry import WAN_2_1, WAN_2_2


def slots_1_3b() -> SlotsConfig:
    """Sizes for Wan 2.1 1.3B."""
    return SlotsConfig(channels=WAN_2_1.channels, context=1536)


def slots_14b() -> SlotsConfig:
    """Sizes for Wan 2.1 and 2.2 14B."""
    return replace(slots_1_3b(), context=5120)


def slots_5b() -> SlotsConfig:
    """Sizes for Wan 2.2 TI2V-5B."""
    return replace(slots_1_3b(), channels=WAN_2_2.channels, context=3072)
