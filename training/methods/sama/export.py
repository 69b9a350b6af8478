"""File of a SAMA adapter: modules under the released file's names, and a LoRA of ComfyUI's."""

import json
from dataclasses import asdict
from pathlib import Path

from torch import nn

from ....core.checkpoint import KIND, VERSION, save_model
from ....core.recipes import TRAINED_FOR
from ....core.semantic import EDITING_ADAPTER, EDITING_FORMAT, SemanticModules
from ...engine.lora import lora_state
from .config import SamaTraining

FEATURES_KEY = "refvid.features"  # metadata: what semantic tokens were made of


def export(
    semantics: SemanticModules,
    lora: nn.ModuleDict,
    config: SamaTraining,
    features: str,
    path: Path,
) -> None:
    """Write modules and the LoRA of both attentions (fp16); `features` names the extractor."""
    metadata = {
        KIND: EDITING_ADAPTER,
        VERSION: EDITING_FORMAT,
        TRAINED_FOR: "sama",
        FEATURES_KEY: features,
        "refvid.training": json.dumps(asdict(config)),
    }
    save_model({**semantics.state_dict(), **lora_state(lora)}, path, metadata)
