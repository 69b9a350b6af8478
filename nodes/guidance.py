"""Guidance nodes: which passes a step has, and how they are weighed."""

from comfy_api.latest import io

from ..core.controls import RENORMS, SCALE_SOURCES, StepWindow
from ..core.guidance import Guidance, Scale, joint
from ..hosts.comfy.guiders import published_scales, renorm_guidance, table_guider
from .sockets import FACTOR_STEP, SHARE_STEP, Category, Node


def _conditions() -> list:
    return [
        io.Model.Input(
            "model",
            tooltip="From Apply References, or any other node that gives a Wan model, together with "
            "positive.",
        ),
        io.Conditioning.Input("positive", tooltip="From Apply References: prompt and references."),
        io.Conditioning.Input(
            "negative",
            tooltip="Negative prompt. null_pass of Apply References says what its pass has of the "
            "references.",
        ),
    ]


def _scale(name: str, default: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=default, min=0.0, max=100.0, step=FACTOR_STEP, tooltip=tooltip)


def _window() -> list:
    """Inputs for when the scale acts, in the words of Masked Reference."""

    def share(name: str, default: float, tooltip: str) -> io.Float.Input:
        return io.Float.Input(
            name,
            optional=True,
            default=default,
            min=0.0,
            max=1.0,
            step=SHARE_STEP,
            advanced=True,
            tooltip=tooltip,
        )

    return [
        share("start_percent", 0.0, "When guidance begins, as a share of all steps. Before it the scale is "
                                    "1, and a step one pass."),
        share("end_percent", 1.0, "When guidance ends. Steps after it are one pass and take less time."),
        share("fade_in", 0.0, "Share of the steps over which the scale rises from 1 after start_percent."),
        share("fade_out", 0.0, "Share of the steps over which the scale falls to 1 before end_percent."),
    ]  # fmt: skip


class RefVidJointGuider(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidJointGuider",
            display_name="Joint Guider (JIT-CFG)",
            category=Category.GUIDANCE,
            search_aliases=[
                "stiv", "jit-cfg", "jit cfg", "cfg", "cfg guider", "guidance", "classifier-free guidance",
                "image text guidance",
            ],
            description="Makes the model follow prompt and references more strongly, with one number for "
                        "both. Each step has a pass with both and a null pass without (STIV, arXiv "
                        "2412.07730).",
            inputs=[
                *_conditions(),
                _scale("scale", 5.0, "How strongly prompt and references are followed. Start with 5 for Wan, "
                                     "2 for the demo model; lower it if colours turn harsh. 1 is no "
                                     "guidance, one pass."),
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
            category=Category.GUIDANCE,
            search_aliases=[
                "stiv", "sit-cfg", "sit cfg", "cfg", "dual cfg", "cfg guider", "guidance",
                "classifier-free guidance", "image guidance", "reference guidance",
            ],
            description="Makes the model follow references and prompt with one number each. It has three "
                        "passes a step, so it takes half as long again as Joint Guider (STIV, arXiv "
                        "2412.07730).",
            inputs=[
                *_conditions(),
                _scale("image_scale", 1.5, "How strongly references, identities and given frames are "
                                           "followed. Start with 1.5, STIV's best. 1 leaves guidance to the "
                                           "prompt, in two passes."),
                _scale("text_scale", 5.0, "How strongly the prompt is followed. Start with 5 for Wan; STIV's "
                                          "best is 7.5. Equal to image_scale it is Joint Guider."),
                *_window(),
                io.Combo.Input("scales", optional=True, options=list(SCALE_SOURCES), default=SCALE_SOURCES[0],
                               tooltip="given: the two scales above. auto: those that the weights of the "
                                       "recipe were published with, such as 5 and 7.5 for phantom; where "
                                       "none are known, those above, and the log says so."),
            ],
            outputs=[io.Guider.Output(tooltip="For Denoise Steps or SamplerCustomAdvanced.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, positive, negative, image_scale, text_scale, start_percent=0.0, end_percent=1.0,
        fade_in=0.0, fade_out=0.0, scales=SCALE_SOURCES[0],
    ) -> io.NodeOutput:  # fmt: skip
        window, given = StepWindow(start_percent, end_percent, fade_in, fade_out), (image_scale, text_scale)
        image, text = published_scales(positive, given) if scales == "auto" else given
        guidance = Guidance(Scale(image, window), Scale(text, window))
        return io.NodeOutput(table_guider(model, positive, negative, guidance))


class RefVidRenormGuidance(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidRenormGuidance",
            display_name="Renorm Guidance",
            category=Category.GUIDANCE,
            search_aliases=[
                "stiv", "cfg renorm", "cfg-renorm", "cfg rescale", "rescale", "rescale cfg", "guidance",
                "guidance rescale", "burned colours", "saturation",
            ],
            description="Made to keep high guidance scales from burning colours, which is not measured here: "
                        "brings the guided answer back to the size it has with the prompt alone (CFG-Renorm, "
                        "STIV, arXiv 2412.07730). For any guider and KSampler.",
            inputs=[
                io.Model.Input("model", tooltip="Any model. What other nodes hooked into its guidance runs "
                                                "first."),
                io.Combo.Input("over", options=list(RENORMS[1:]), default="clip",
                               tooltip="clip: one size for the whole video, as published; start with it. "
                                       "frames: one for each latent frame."),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="For a guider or KSampler.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model, over) -> io.NodeOutput:
        return io.NodeOutput(renorm_guidance(model, over == "frames"))
