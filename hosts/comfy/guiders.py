"""Guiders that build their own passes from the references in the conditioning."""

import comfy.samplers
from comfy.model_patcher import ModelPatcher

from .conditioning import Conditioning, strip


def joint_guider(
    model: ModelPatcher, positive: Conditioning, negative: Conditioning, scale: float
) -> comfy.samplers.CFGGuider:
    """JIT-CFG, `core.guidance.joint`: its null pass has neither the prompt nor the references.

    Two passes whose weights add up to one are what ComfyUI's own guider computes, with every hook that other packs
    put there; what each pass carries is all that is ours.
    """
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, strip(negative))
    guider.set_cfg(scale)
    return guider
