"""Nodes for editing a video by an instruction (SAMA)."""

from comfy_api.latest import io

from ..backbones.wan.geometry import GROUP
from ..core.controls import CROP
from ..core.editing import LONGEST_EDIT, Windows
from ..core.recipes import AUTO_RECIPE, EDITING
from ..core.semantic import EMBEDDING
from ..hosts.comfy import listed
from ..hosts.comfy.files import model_file, stamp
from ..hosts.comfy.source.edit import instruction_edit
from ..hosts.comfy.source.modules import load_editing_adapter
from .file_inputs import lora_refusal
from .input_checks import FileInput
from .sockets import FACTOR_STEP, Category, Node, ReferencesSocket, fit_input


class RefVidLoadEditingAdapter(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidLoadEditingAdapter",
            display_name="Load Editing Adapter",
            category=Category.LOADERS,
            search_aliases=["sama", "edit video", "video editing", "instruction", "lora", "v2v"],
            description="Teaches a Wan model to edit videos: adds SAMA's extra parts and the LoRA that was "
                        "trained with them. A whole SAMA model needs no adapter: Load Wan Backbone finds "
                        "the parts in its file. Nobody has run SAMA-14B here yet.",
            inputs=[
                io.Model.Input("model", tooltip="The text-to-video Wan that the adapter was trained for, "
                                                "from any loader."),
                FileInput("adapter", lora_refusal, options=listed.loras(EMBEDDING),
                          tooltip="A file with SAMA's parts (.safetensors) in models/loras. Of a whole "
                                       "SAMA model only these parts are read."),
                io.Float.Input("strength", default=1.0, min=0.0, max=2.0, step=FACTOR_STEP, advanced=True,
                               tooltip="Strength of the LoRA. Start with 1, as in training. The extra parts "
                                       "do not depend on it."),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="For Instruction Edit.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model, adapter, strength) -> io.NodeOutput:
        path = model_file("loras", adapter, "adapter")
        return io.NodeOutput(load_editing_adapter(model, path, strength))

    @classmethod
    def fingerprint_inputs(cls, adapter, **_):
        """A file that was written anew is read anew."""
        return stamp("loras", adapter)


class RefVidInstructionEdit(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidInstructionEdit",
            display_name="Instruction Edit (SAMA)",
            category=Category.EDITING,
            search_aliases=["sama", "edit video", "video editing", "instruction", "video to video", "v2v"],
            description="Changes a video as an instruction says. The model sees the source video beside the "
                        "new one, which has its length and about its size (SAMA, arXiv 2603.19228).",
            inputs=[
                io.Model.Input("model", tooltip="SAMA-14B through Load Wan Backbone, or a text-to-video Wan "
                                                "with an editing adapter."),
                io.Clip.Input("clip", tooltip="The model's text encoder."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                io.Image.Input("source", tooltip="The video to change: 2 to 961 frames of any size. The "
                                                 "result is as large, in steps of 16 pixels (TI2V-5B: 32)."),
                io.String.Input("instruction", multiline=True, default="",
                                tooltip="What to change, such as 'make the car red'. It is put into the form "
                                        "that the model was trained with; the negative prompt is that form "
                                        "without words."),
                ReferencesSocket.Input("references", optional=True,
                                 tooltip="Pictures of what is to appear, from Masked Reference. The released "
                                         "weights never saw one."),
                io.Int.Input("window", default=Windows.length, min=1 + GROUP, max=LONGEST_EDIT, step=GROUP,
                             advanced=True,
                             tooltip="A video longer than this many frames is made in overlapping windows. "
                                     "Lower it if memory runs out. Context windows that are on the model "
                                     "already stay."),
                io.Int.Input("overlap", default=Windows.overlap, min=GROUP, max=LONGEST_EDIT - 1, step=GROUP,
                             advanced=True,
                             tooltip="Frames that neighbouring windows share. More of them hide the seams "
                                     "better and take longer."),
                io.Combo.Input("recipe", options=[AUTO_RECIPE, *EDITING], default=AUTO_RECIPE, advanced=True,
                               tooltip="auto: sama where the model has SAMA's parts, else what its file "
                                       "says. in_context: the source video alone, without those parts."),
                fit_input("How the source is fitted to that size."),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="For a guider or KSampler. Use it with "
                                                              "positive and negative of this node."),
                io.Conditioning.Output(display_name="positive", tooltip="The instruction with the source "
                                                                        "video."),
                io.Conditioning.Output(display_name="negative", tooltip="No instruction, with the source "
                                                                        "video: every pass keeps it."),
                io.Latent.Output(display_name="latent", tooltip="Empty, in the source's size, padded to 4k + "
                                                                "1 frames."),
                io.Int.Output(display_name="frames", tooltip="Number of frames of the source. Cut the "
                                                             "decoded result to it with Get Image from "
                                                             "Batch."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, clip, vae, source, instruction, window, overlap, recipe, references=None, fit=CROP
    ) -> io.NodeOutput:
        windows = Windows(GROUP, window, overlap)
        out = instruction_edit(model, clip, vae, source, instruction, references or [], windows, recipe, fit)
        return io.NodeOutput(out.model, out.positive, out.negative, out.latent, out.frames)
