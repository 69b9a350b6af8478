"""Reference nodes: a picture with its mask as a reference, and references put into a model."""

from comfy_api.latest import io, ui

from ..core.controls import CROP
from ..core.fit import fit_told
from ..core.recipes import AUTO_RECIPE, RECIPES
from ..hosts.comfy.pictures import MOST_REFERENCES, is_placeholder, make_references, preview
from ..hosts.comfy.recognition import loaded_file
from ..hosts.comfy.references import apply_references
from ..hosts.comfy.subject import MASK_SENSES, mask_sense, masks_told, opposite
from ..kernels.paths import ATTENTION_NAMES
from .reference_controls import control_inputs, controls_of, strength_input
from .reference_picture import shown_on_node
from .sockets import (
    LOW_NOISE,
    LOW_NOISE_OUT,
    Category,
    Node,
    ReferencesSocket,
    fit_input,
    hidden_of,
)


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
                              tooltip="The part of the picture that counts. Without a "
                                      "mask the picture's transparency is used, else the whole picture."),
                io.Combo.Input("mask_marks", options=list(MASK_SENSES), default=MASK_SENSES[0],
                               tooltip="What the mask's white part is. auto: the subject; but for the mask "
                                       "that Load Image makes of a cut-out, whose white part is the "
                                       "background."),
                strength_input(),
                *control_inputs(),
                fit_input("How a mask of another size is laid over the picture, and a region over the video."),
            ],
            outputs=[
                ReferencesSocket.Output(display_name="reference", tooltip="For Apply References; several go into "
                                                                    "its slots."),
                io.Image.Output(display_name="preview", tooltip="The masked picture on grey, before it is "
                                                                "fitted to the video."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )  # fmt: skip

    @classmethod
    def execute(cls, image, mask_marks, strength, mask=None, region=None, fit=CROP, **asked) -> io.NodeOutput:
        graph, me = hidden_of(cls)
        marks, against = mask_sense(graph, me, mask_marks, mask)
        references = make_references(image, mask, marks, controls_of(strength, **asked), region, fit)
        shown = preview(references)
        advice = f"Set mask_marks to {opposite(marks)}"
        sizes = None if mask is None or is_placeholder(mask) else (mask.shape[-2:], "image", image.shape[1:3])
        laid = None if sizes is None else fit_told("mask", *sizes, fit)
        inverted = masks_told([one.mask for one in references], advice)
        said = "\n".join([*against, *inverted, *([laid] if laid else [])])
        return io.NodeOutput(references, shown, ui=shown_on_node(cls, shown, said))


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
        graph, me = hidden_of(cls)
        files = [loaded_file(graph, me, name) for name in ("model", "low_noise_model")]
        sides = (positive, negative)
        out = apply_references(
            model, low_noise_model, *sides, vae, latent, given, recipe, null_pass, attention, files
        )
        said = "\n".join(out.lines)
        outputs = (out.model, out.low_noise_model, out.positive, out.negative, out.latent, out.trim)
        return io.NodeOutput(*outputs, ui=ui.PreviewText(said))
