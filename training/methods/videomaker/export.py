"""File of a VideoMaker adapter: a plain LoRA of ComfyUI's, which says what it was trained for."""

import json
from dataclasses import asdict
from pathlib import Path

from torch import nn

from ....core.checkpoint import KIND, VERSION, save_model
from ....core.lora import VIDEOMAKER_FORMAT, VIDEOMAKER_KIND
from ....core.recipes import TRAINED_FOR
from ...engine.lora import lora_state
from .config import VideoMakerTraining

SEES_KEY = "refvid.sees"  # metadata: what the reference was trained to read


def export(lora: nn.ModuleDict, config: VideoMakerTraining, path: Path) -> None:
    """Write the LoRA (fp16)."""
    metadata = {
        KIND: VIDEOMAKER_KIND,
        VERSION: VIDEOMAKER_FORMAT,
        TRAINED_FOR: config.recipe,
        SEES_KEY: config.sees,
        "refvid.training": json.dumps(asdict(config)),
    }
    save_model(lora_state(lora), path, metadata)
