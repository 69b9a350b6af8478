"""File of a SAMA adapter: modules under the released file's names, and a LoRA of ComfyUI's."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast

from torch import nn

from ....core.checkpoint import KIND, VERSION, save_model
from ....core.recipes import TRAINED_FOR
from ....core.semantic import EDITING_ADAPTER, EDITING_FORMAT, SemanticModules
from ...engine.lora import lora_state
from .config import SamaTraining

FEATURES_KEY = "refvid.features"  # metadata: what semantic tokens were made of


def export(
    semantics: SemanticModules,
    lora: Mapping[str, nn.Module],
    config: SamaTraining,
    features: str,
    path: Path,
) -> None:
    """Write modules and the LoRA of each attention (fp16); `features` names the extractor."""
    state = dict(semantics.state_dict())
    for attention, layers in lora.items():
        state |= lora_state(cast(nn.ModuleDict, layers), attention)
    metadata = {
        KIND: EDITING_ADAPTER,
        VERSION: EDITING_FORMAT,
        TRAINED_FOR: "sama",
        FEATURES_KEY: features,
        "refvid.training": json.dumps(asdict(config)),
    }
    save_model(state, path, metadata)
