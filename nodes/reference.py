"""Reference pictures, and putting them in front of a model."""

from comfy_api.latest import io

from ..core.recipes import AUTO, RECIPES
from ..hosts.comfy.apply import apply_references
from ..hosts.comfy.pictures import MASK_SENSES, make_references, preview
from .sockets import CATEGORY, References

MOST_REFERENCES = 8


class RefVidReference(io.ComfyNode):
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
            ],
            outputs=[
                References.Output(display_name="reference", tooltip="For Apply References; chain several into its slots."),
                io.Image.Output(display_name="preview", tooltip="The masked picture on grey, before it is fitted to the video."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, image, mask_marks, strength, mask=None) -> io.NodeOutput:
        references = make_references(image, mask, mask_marks, strength)
        return io.NodeOutput(references, preview(references))


class RefVidApplyReferences(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        slots = io.Autogrow.TemplatePrefix(
            input=References.Input("reference", tooltip="From Masked Reference."),
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
                io.Combo.Input("recipe", options=[AUTO, *RECIPES], default=AUTO,
                               tooltip="How references enter. auto reads it from the model's file. saber: masked references "
                               "after the video. phantom: Phantom weights. bernini: Bernini-R weights."),
                io.Combo.Input("null_pass", options=["recipe", "keep", "drop"], default="recipe", advanced=True,
                               tooltip="Whether the negative conditioning keeps the references, for KSampler. The Joint "
                               "Guider builds its own passes and ignores this."),
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
        cls, model, positive, negative, vae, latent, references, recipe, null_pass, low_noise_model=None
    ) -> io.NodeOutput:
        given = [one for name in sorted(references) for one in references[name] or ()]
        out = apply_references(
            model, low_noise_model, positive, negative, vae, latent, given, recipe, null_pass
        )
        return io.NodeOutput(out.model, out.low_noise_model, out.positive, out.negative)
