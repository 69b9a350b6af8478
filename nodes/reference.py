"""Reference nodes: a picture with its mask as a reference, and references put into a model."""

from comfy_api.latest import io, ui

from ..core.controls import MOST_FOCUS, SEES, Controls, FrameWindow, StepWindow
from ..core.recipes import AUTO_RECIPE, RECIPES
from ..hosts.comfy.pictures import MASK_SENSES, make_references, preview
from ..hosts.comfy.recognition import loaded_file
from ..hosts.comfy.references import apply_references
from ..kernels.paths import ATTENTION_NAMES
from .sockets import (
    FACTOR_STEP,
    LOW_NOISE,
    LOW_NOISE_OUT,
    SHARE_STEP,
    Category,
    Node,
    ReferencesSocket,
)

MOST_REFERENCES = 8


def _controls() -> list:
    """Inputs for when and where a reference acts, and what it sees."""
    return [
        io.Float.Input("start_percent", optional=True, default=0.0, min=0.0, max=1.0, step=SHARE_STEP,
                       tooltip="When the reference begins to act, as a share of all steps: 0 is pure noise. "
                               "Early steps decide what is where, late ones decide detail. Both experts of "
                               "Wan 2.2 count as one schedule."),
        io.Float.Input("end_percent", optional=True, default=1.0, min=0.0, max=1.0, step=SHARE_STEP,
                       tooltip="When the reference stops acting, as a share of all steps: 1 is the end."),
        io.Combo.Input("sees", optional=True, options=list(SEES), default=SEES[0],
                       tooltip="What the reference itself looks at; start with recipe, as the weights were "
                               "trained: mostly all. video: the video alone, so that subjects do not mix. "
                               "itself: nothing else; the video still looks at it. frames: one group of "
                               "frames at a time, and the mean of it."),
        io.Mask.Input("region", optional=True,
                      tooltip="Where in the video the reference may act: white, in the video's size; one "
                              "mask, or one for each frame. Without it everywhere."),
        io.Int.Input("first_frame", optional=True, default=0, min=0, max=100000, advanced=True,
                     tooltip="First frame of the video on which the reference acts. Wan holds frames in "
                             "groups of four: 1-4, 5-8, …"),
        io.Int.Input("last_frame", optional=True, default=-1, min=-1, max=100000, advanced=True,
                     tooltip="Last frame on which the reference acts; -1 is the clip's last."),
        io.Float.Input("fade_in", optional=True, default=0.0, min=0.0, max=1.0, step=SHARE_STEP, advanced=True,
                       tooltip="Share of the steps over which the strength rises from 0 after "
                               "start_percent."),
        io.Float.Input("fade_out", optional=True, default=0.0, min=0.0, max=1.0, step=SHARE_STEP, advanced=True,
                       tooltip="Share of the steps over which the strength falls to 0 before end_percent."),
        io.Boolean.Input("soft_mask", optional=True, default=False, advanced=True,
                         tooltip="Count tokens at the mask's edge by the share that it covers: for hair and "
                                 "half transparent edges."),
        io.Float.Input("focus", optional=True, default=1.0, min=1.0, max=MOST_FOCUS, step=FACTOR_STEP, advanced=True,
                       tooltip="An automatic region: how much more attention the reference gets where the "
                               "video looks at it already. 1 is off; published values are 8 and 16. It acts "
                               "beside strength."),
        io.Float.Input("focus_start", optional=True, default=0.2, min=0.0, max=0.99, step=SHARE_STEP, advanced=True,
                       tooltip="When focus begins, as a share of all steps: early ones, which decide what is "
                               "where, stay as they are."),
    ]  # fmt: skip


class RefVidReference(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidReference",
            display_name="Masked Reference",
            category=Category.REFERENCES,
            search_aliases=[
                "saber", "subject", "subject image", "reference", "reference image", "reference to video",
                "subject to video", "r2v", "s2v", "ip-adapter", "ipadapter", "consistent character",
                "character", "mask", "masked", "cut out",
            ],
            description="Turns a picture of who or what the video should show into a reference; a mask says "
                        "which part counts. A batch of K pictures makes K references with the same settings.",
            inputs=[
                io.Image.Input("image", tooltip="One picture of any size, or a batch: each picture becomes a "
                                                "reference of its own."),
                io.Mask.Input("mask", optional=True,
                              tooltip="The part of the picture that counts, in the picture's size. Without a "
                                      "mask the picture's transparency is used, else the whole picture."),
                io.Combo.Input("mask_marks", options=list(MASK_SENSES), default=MASK_SENSES[0],
                               tooltip="What the mask's white part is. subject: a painted or detected mask. "
                                       "background: the mask that Load Image makes of a cut-out."),
                io.Float.Input("strength", default=1.0, min=0.0, max=10.0, step=FACTOR_STEP,
                               tooltip="How much attention the reference gets. Start with 1; raise it "
                                       "towards 2 where the video follows the picture too little. 0 removes "
                                       "it. Works at cfg 1."),
                *_controls(),
            ],
            outputs=[
                ReferencesSocket.Output(display_name="reference", tooltip="For Apply References; several go into "
                                                                    "its slots."),
                io.Image.Output(display_name="preview", tooltip="The masked picture on grey, before it is "
                                                                "fitted to the video."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, image, mask_marks, strength, start_percent=0.0, end_percent=1.0, sees=SEES[0], first_frame=0,
        last_frame=-1, fade_in=0.0, fade_out=0.0, soft_mask=False, mask=None, region=None, focus=1.0,
        focus_start=0.2,
    ) -> io.NodeOutput:  # fmt: skip
        steps = StepWindow(start_percent, end_percent, fade_in, fade_out)
        frames = FrameWindow(first_frame, None if last_frame < 0 else last_frame)
        controls = Controls(strength, steps, frames, sees, soft_mask, focus, focus_start)
        references = make_references(image, mask, mask_marks, controls, region)
        return io.NodeOutput(references, preview(references))


def _outputs() -> list:
    """Outputs of a node that puts references onto a model."""
    return [
        io.Model.Output(display_name="model", tooltip="Patched; unchanged where no reference acts."),
        io.Model.Output(display_name="low_noise_model", tooltip=LOW_NOISE_OUT),
        io.Conditioning.Output(display_name="positive", tooltip="The prompt with the references."),
        io.Conditioning.Output(display_name="negative", tooltip="With or without the references, as "
                                                                "null_pass says."),
        io.Latent.Output(display_name="latent", tooltip="The latent to sample. Recipe vace: with a "
                                                        "frame more in front for each reference; "
                                                        "else as it came."),
        io.Int.Output(display_name="trim_latent", tooltip="Latent frames to cut off after sampling, "
                                                          "with TrimVideoLatent. 0 but for vace."),
    ]  # fmt: skip


class RefVidApplyReferences(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        slots = io.Autogrow.TemplatePrefix(
            input=ReferencesSocket.Input("reference", tooltip="From Masked Reference."),
            prefix="reference_", min=1, max=MOST_REFERENCES,
        )  # fmt: skip
        return io.Schema(
            node_id="RefVidApplyReferences",
            display_name="Apply References",
            category=Category.REFERENCES,
            search_aliases=[
                "saber", "videomaker", "phantom", "vace", "bernini", "skyreels", "refalign", "kaleido",
                "concat-id", "stand-in", "subject", "subject to video", "s2v", "reference image",
                "reference to video", "r2v", "ip-adapter", "ipadapter", "consistent character", "character",
                "wan",
            ],
            description="Puts references into a model, so that the video can look at them in every layer. "
                        "Their background is removed. Use the model and the conditioning that it gives back "
                        "together.",
            inputs=[
                io.Model.Input("model", tooltip="Wan 2.1 or 2.2 from any loader: T2V, I2V, Fun-InP, VACE or "
                                                "TI2V."),
                io.Model.Input("low_noise_model", optional=True, tooltip=LOW_NOISE),
                io.Conditioning.Input("positive", tooltip="The prompt."),
                io.Conditioning.Input("negative", tooltip="The negative prompt."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                io.Latent.Input("latent", tooltip="The empty video latent. References are fitted to its "
                                                  "size."),
                io.Autogrow.Input("references", template=slots, tooltip="Up to eight references in all."),
                io.Combo.Input("recipe", options=[AUTO_RECIPE, *RECIPES], default=AUTO_RECIPE,
                               tooltip="How references enter the model, as its weights were trained. Start "
                                       "with auto, which reads it from the file or its name. saber: masked "
                                       "references. videomaker: weights trained as VideoMaker. The others: "
                                       "public weights of these names."),
                io.Combo.Input("null_pass", options=["recipe", "keep", "drop", "zero"], default="recipe",
                               advanced=True,
                               tooltip="What the pass without the prompt has of the references: keep all, "
                                       "drop them, or zero: empty pictures in their places. Start with "
                                       "recipe, as the weights were trained; the help page has a table."),
                io.Combo.Input("attention", optional=True, options=list(ATTENTION_NAMES), default=ATTENTION_NAMES[0],
                               advanced=True,
                               tooltip="Start with auto: the fastest way that is exact, timed once on a GPU "
                                       "before the first step. deterministic: a fixed order, nothing is "
                                       "timed. triton: this pack's kernel, on NVIDIA GPUs. eager: plain "
                                       "torch, slow, to check the others."),
            ],
            outputs=_outputs(),
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        vae,
        latent,
        references,
        recipe,
        null_pass,
        attention=ATTENTION_NAMES[0],
        low_noise_model=None,
    ) -> io.NodeOutput:
        given = [one for name in sorted(references) for one in references[name] or ()]
        graph, me = (cls.hidden.prompt, cls.hidden.unique_id) if cls.hidden else (None, None)
        files = [loaded_file(graph, me, name) for name in ("model", "low_noise_model")]
        sides = (positive, negative)
        out = apply_references(
            model, low_noise_model, *sides, vae, latent, given, recipe, null_pass, attention, files
        )
        said = "\n".join(out.lines)
        outputs = (out.model, out.low_noise_model, out.positive, out.negative, out.latent, out.trim)
        return io.NodeOutput(*outputs, ui=ui.PreviewText(said))
