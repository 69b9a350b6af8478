"""Files of a DiT that was trained whole, as ComfyUI and this package load them."""

import json
from dataclasses import asdict
from pathlib import Path

from ....backbones.wan.dit import WanDiT
from ....backbones.wan.text import TextEncoder
from ....core.checkpoint import save_model
from ....core.recipes import TRAINED_FOR
from ....hosts.plain.pipeline import SETTINGS
from .config import DiTTraining


def export(dit: WanDiT, text: TextEncoder, config: DiTTraining, folder: Path) -> None:
    """Write `dit.safetensors` and `text_encoder.safetensors` (fp16) in a folder."""
    sizes = {"transformer": {"num_heads": config.model.heads, "text_dim": config.model.text_width}}
    metadata = {
        "config": json.dumps(sizes),
        TRAINED_FOR: config.recipe,
        SETTINGS: json.dumps(asdict(config.settings)),
        "refvid.training": json.dumps(asdict(config)),
    }
    save_model(dict(dit.state_dict()), folder / "dit.safetensors", metadata)
    save_model(text.tensors(), folder / "text_encoder.safetensors")
