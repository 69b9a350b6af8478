"""Plan of a training on a loaded model, from its sizes alone."""

import comfy.model_management
from comfy.model_patcher import ModelPatcher

from ...core.lora import matched_layers
from ...core.plan import GIB, PlannedClips, TrainingPlan, TrainingShape
from .families import wan


def plan_comfy_training(
    model: ModelPatcher,
    targets: str,
    width: int,
    height: int,
    frames: int,
    references: int,
    card: float,
    **numbers,
) -> TrainingPlan:
    """Plan of a LoRA on a Wan, in bf16, with references of the video's size.

    targets are separated by commas; card is in GiB, 0 for this device; numbers are `TrainingShape`'s.
    ValueError where the model is no Wan, or a setting cannot be."""
    wan.require(model)
    planned = wan.planned_model(model)
    rows = planned.geometry.count(*planned.geometry.latent(1, height, width))
    device = comfy.model_management.get_torch_device()
    total = comfy.model_management.get_total_memory(device) / GIB
    names = [name.strip() for name in targets.split(",") if name.strip()]
    return TrainingPlan(
        TrainingShape(
            model=planned,
            buckets=(PlannedClips(frames, height, width, references * rows),),
            changed=tuple(matched_layers(list(planned.linear), names)),
            card=card or total,
            cuda=card > 0 or device.type != "cpu",
            **numbers,
        )
    )
