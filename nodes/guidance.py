"""Guidance: which passes a step has, and how they are weighed."""

from comfy_api.latest import io

from ..core.controls import RENORMS, StepWindow
from ..core.guidance import Guidance, Scale, joint
from ..hosts.comfy.guiders import renorm_guidance, table_guider
from .sockets import CATEGORY, Node


def _conditions() -> list:
    return [
        io.Model.Input(
            "model",
            tooltip="From Apply References (or any other node that gives a Wan model), together with positive.",
        ),
        io.Conditioning.Input("positive", tooltip="From Apply References: prompt and references."),
        io.Conditioning.Input(
            "negative",
            tooltip="Negative prompt. What its pass has of references is said by null_pass of Apply References.",
        ),
    ]


def _scale(name: str, default: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=default, min=0.0, max=100.0, step=0.1, round=0.01, tooltip=tooltip)


def _window() -> list:
    """When the scale acts, in the words of Masked Reference."""

    def share(name: str, default: float, tooltip: str) -> io.Float.Input:
        return io.Float.Input(
            name, optional=True, default=default, min=0.0, max=1.0, step=0.01, advanced=True, tooltip=tooltip
        )

    return [
        share("start_percent", 0.0, "When guidance begins, as a share of the whole schedule; before it the scale is 1, and a step one pass."),
        share("end_percent", 1.0, "When it ends; steps after it are one pass and take less time."),
        share("fade_in", 0.0, "Over what share of the schedule the scale rises from 1 after start_percent."),
        share("fade_out", 0.0, "Over what share of the schedule it falls to 1 before end_percent."),
    ]  # fmt: skip


class RefVidJointGuider(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidJointGuider",
            display_name="Joint Guider (JIT-CFG)",
            category=CATEGORY,
            description="Guidance on prompt and references together, in two passes: the null pass has neither, but for what "
            "null_pass of Apply References leaves there (STIV, arXiv 2412.07730).",
            inputs=[
                *_conditions(),
                _scale("scale", 5.0, "1 is no guidance and one pass; Wan's default is 5; the demo model likes 2."),
                *_window(),
            ],
            outputs=[io.Guider.Output(tooltip="For Denoise Steps or SamplerCustomAdvanced.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, positive, negative, scale, start_percent=0.0, end_percent=1.0, fade_in=0.0, fade_out=0.0
    ) -> io.NodeOutput:
        window = StepWindow(start_percent, end_percent, fade_in, fade_out)
        return io.NodeOutput(table_guider(model, positive, negative, joint(Scale(scale, window))))


class RefVidSeparateGuider(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidSeparateGuider",
            display_name="Separate Guider (SIT-CFG)",
            category=CATEGORY,
            description="Guidance with one scale for the references and another for the prompt, in three passes: half as long again as "
            "Joint Guider (STIV, arXiv 2412.07730).",
            inputs=[
                *_conditions(),
                _scale("image_scale", 1.5, "How strongly references, identities and given frames are followed; 1 leaves the prompt alone to "
                       "guide, in two passes. STIV's best is 1.5."),
                _scale("text_scale", 5.0, "How strongly the prompt is followed. Equal to image_scale it is Joint Guider. STIV's best is 7.5."),
                *_window(),
            ],
            outputs=[io.Guider.Output(tooltip="For Denoise Steps or SamplerCustomAdvanced.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, positive, negative, image_scale, text_scale, start_percent=0.0, end_percent=1.0, fade_in=0.0,
        fade_out=0.0,
    ) -> io.NodeOutput:  # fmt: skip
        window = StepWindow(start_percent, end_percent, fade_in, fade_out)
        guidance = Guidance(Scale(image_scale, window), Scale(text_scale, window))
        return io.NodeOutput(table_guider(model, positive, negative, guidance))


class RefVidRenormGuidance(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidRenormGuidance",
            display_name="Renorm Guidance",
            category=CATEGORY,
            description="Brings what guidance made back to the size of what the model said with the prompt, so that high scales do not "
            "burn colours (CFG-Renorm, STIV, arXiv 2412.07730). With any guider and KSampler.",
            inputs=[
                io.Model.Input("model", tooltip="Any model; what other nodes hooked into its guidance runs first."),
                io.Combo.Input("over", options=list(RENORMS[1:]), default="clip",
                               tooltip="clip: one norm for the whole video, as published. frames: one for each latent frame."),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="For a guider or KSampler.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model, over) -> io.NodeOutput:
        return io.NodeOutput(renorm_guidance(model, over == "frames"))
