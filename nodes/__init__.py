"""Nodes: schemas, tooltips and unit conversion; what they do lives in hosts/comfy."""

from comfy_api.latest import ComfyExtension, io

from ..hosts.comfy import opencv, shipped
from .backbone import RefVidLoadBackbone
from .edit import RefVidInstructionEdit, RefVidLoadEditingAdapter
from .frames import RefVidReplaceFrames
from .guidance import RefVidJointGuider, RefVidRenormGuidance, RefVidSeparateGuider
from .identity import (
    RefVidApplyIdentity,
    RefVidBlendIdentities,
    RefVidEncodeIdentity,
    RefVidLoadAdapter,
    RefVidLoadIdentity,
    RefVidSaveIdentity,
)
from .inspection import RefVidInspect
from .long_video import RefVidInbetween, RefVidJoinSegments, RefVidKeyframes
from .motion import RefVidMotionPretext
from .reference import RefVidApplyReferences, RefVidReference
from .reference_adapter import RefVidLoadReferenceAdapter
from .reference_picture import RefVidLoadReference, RefVidSaveReference
from .sampling import RefVidDenoiseSteps
from .score import RefVidScore
from .training_plan import RefVidTrainingPlan


class RefVidExtension(ComfyExtension):
    """The pack's nodes, listed by hand, and the models and samples that it ships."""

    async def on_load(self) -> None:
        opencv.tell_opencv()
        shipped.offer_models()
        shipped.lay_out_samples()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            RefVidLoadBackbone,
            RefVidLoadReference,
            RefVidReference,
            RefVidSaveReference,
            RefVidLoadReferenceAdapter,
            RefVidApplyReferences,
            RefVidJointGuider,
            RefVidSeparateGuider,
            RefVidRenormGuidance,
            RefVidReplaceFrames,
            RefVidKeyframes,
            RefVidInbetween,
            RefVidJoinSegments,
            RefVidMotionPretext,
            RefVidLoadEditingAdapter,
            RefVidInstructionEdit,
            RefVidDenoiseSteps,
            RefVidInspect,
            RefVidScore,
            RefVidLoadAdapter,
            RefVidEncodeIdentity,
            RefVidApplyIdentity,
            RefVidSaveIdentity,
            RefVidLoadIdentity,
            RefVidBlendIdentities,
            RefVidTrainingPlan,
        ]
