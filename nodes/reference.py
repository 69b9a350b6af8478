"""Reference pictures, and putting them in front of a model."""

from comfy_api.latest import io

from ..core.controls import SEES, Controls, FrameWindow, StepWindow
from ..core.recipes import AUTO_RECIPE, RECIPES
from ..hosts.comfy.pictures import MASK_SENSES, make_references, preview
from ..hosts.comfy.references import apply_references
from ..kernels.paths import ATTENTION_NAMES
from .sockets import CATEGORY, Node, ReferencesSocket

MOST_REFERENCES = 8


class RefVidReference(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidReference",
            display_name="Masked Reference",
            category=CATEGORY,
            description="A picture of who or what the video should show, and the mask of the part that counts. "
            "A batch of K pictures makes K references with the same settings.",
            inputs=[
                io.Image.Input("image", tooltip="One picture, or a batch: each becomes a reference of its own. Any size."),
                io.Mask.Input("mask", optional=True,
                              tooltip="Which part of the picture is the subject; same size as the picture. Without it the "
                              "picture's alpha channel is used, else the whole picture."),
                io.Combo.Input("mask_marks", options=list(MASK_SENSES), default=MASK_SENSES[0],
                               tooltip="What the mask's white part is. Load Image gives the transparent part of a cut-out: "
                               "choose background for it. A painted or detected mask marks the subject."),
                io.Float.Input("strength", default=1.0, min=0.0, max=10.0, step=0.05,
                               tooltip="How much attention this reference gets: 1 leaves it untouched, 0 removes it. Works at cfg 1."),
                io.Float.Input("start_percent", optional=True, default=0.0, min=0.0, max=1.0, step=0.01,
                               tooltip="When it begins to act, as a share of the whole schedule: 0 is pure noise. Early steps "
                               "decide what is where, late ones detail. Both experts of Wan 2.2 count as one schedule."),
                io.Float.Input("end_percent", optional=True, default=1.0, min=0.0, max=1.0, step=0.01, tooltip="When it stops acting."),
                io.Combo.Input("sees", optional=True, options=list(SEES), default=SEES[0],
                               tooltip="What the reference itself reads. all: the video and the other references. video: not the "
                               "others, and they do not read it, so that subjects do not mix. itself: nothing else; the video still "
                               "reads it. frames: itself and the video's frames one by one, the mean of it."),
                io.Mask.Input("region", optional=True,
                              tooltip="Where in the video it may act: white, in the video's size; one mask, or one for each frame. "
                              "Without it everywhere."),
                io.Int.Input("first_frame", optional=True, default=0, min=0, max=100000, advanced=True,
                             tooltip="First frame of the video that it acts on. Wan thinks in groups of four frames: 1-4, 5-8, …"),
                io.Int.Input("last_frame", optional=True, default=-1, min=-1, max=100000, advanced=True,
                             tooltip="Last frame that it acts on; -1 is the clip's last."),
                io.Float.Input("fade_in", optional=True, default=0.0, min=0.0, max=1.0, step=0.01, advanced=True,
                               tooltip="Over what share of the schedule its strength rises from 0 after start_percent."),
                io.Float.Input("fade_out", optional=True, default=0.0, min=0.0, max=1.0, step=0.01, advanced=True,
                               tooltip="Over what share of the schedule its strength falls to 0 before end_percent."),
                io.Boolean.Input("soft_mask", optional=True, default=False, advanced=True,
                                 tooltip="Count the tokens at the mask's edge by the share that it covers (alpha mattes)."),
            ],
            outputs=[
                ReferencesSocket.Output(display_name="reference", tooltip="For Apply References; chain several into its slots."),
                io.Image.Output(display_name="preview", tooltip="The masked picture on grey, before it is fitted to the video."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, image, mask_marks, strength, start_percent=0.0, end_percent=1.0, sees=SEES[0], first_frame=0, last_frame=-1,
        fade_in=0.0, fade_out=0.0, soft_mask=False, mask=None, region=None,
    ) -> io.NodeOutput:  # fmt: skip
        steps = StepWindow(start_percent, end_percent, fade_in, fade_out)
        frames = FrameWindow(first_frame, None if last_frame < 0 else last_frame)
        controls = Controls(strength, steps, frames, sees, soft_mask)
        references = make_references(image, mask, mask_marks, controls, region)
        return io.NodeOutput(references, preview(references))


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
            category=CATEGORY,
            description="Encodes references and puts them in front of the model: background tokens are removed, the rest "
            "share every self-attention with the video. Use the model and the conditioning it gives back together.",
            inputs=[
                io.Model.Input("model", tooltip="Wan 2.1/2.2: T2V, I2V, Fun-InP, VACE or TI2V; from any loader."),
                io.Model.Input("low_noise_model", optional=True, tooltip="Wan 2.2's second expert, patched alike."),
                io.Conditioning.Input("positive", tooltip="The prompt."),
                io.Conditioning.Input("negative", tooltip="The negative prompt."),
                io.Vae.Input("vae", tooltip="The VAE of the model's family."),
                io.Latent.Input("latent", tooltip="The empty video latent; its size is the canvas of the references."),
                io.Autogrow.Input("references", template=slots, tooltip="Up to eight references in all."),
                io.Combo.Input("recipe", options=[AUTO_RECIPE, *RECIPES], default=AUTO_RECIPE,
                               tooltip="How references enter. auto reads it from the model's file. saber: masked references "
                               "after the video. phantom: Phantom weights. bernini: Bernini-R weights. videomaker: weights "
                               "trained as VideoMaker."),
                io.Combo.Input("null_pass", options=["recipe", "keep", "drop", "zero"], default="recipe", advanced=True,
                               tooltip="What the pass without the prompt has of the references: all, none, or zero latents; with KSampler and "
                               "with our guiders. recipe: as the weights were trained; a table on the help page has it."),
                io.Combo.Input("attention", optional=True, options=list(ATTENTION_NAMES), default=ATTENTION_NAMES[0], advanced=True,
                               tooltip="auto takes the fastest way that is exact: on a GPU the ways are timed once, before the first "
                               "step, and the log says which won. deterministic: a fixed order, nothing is timed. triton: this pack's "
                               "kernel, on NVIDIA GPUs. eager checks the others in plain torch, slowly."),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="Patched; unchanged where no reference acts."),
                io.Model.Output(display_name="low_noise_model", tooltip="The second expert, patched; empty where none came in."),
                io.Conditioning.Output(display_name="positive", tooltip="The prompt with the references."),
                io.Conditioning.Output(display_name="negative", tooltip="With or without the references, as null_pass says."),
            ],
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
        out = apply_references(
            model, low_noise_model, positive, negative, vae, latent, given, recipe, null_pass, attention
        )
        return io.NodeOutput(out.model, out.low_noise_model, out.positive, out.negative)
