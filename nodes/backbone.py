"""The node that loads a Wan backbone: DiT, text encoder and VAE in one place."""

import folder_paths
from comfy_api.latest import io, ui

from ..hosts.comfy.backbone import DIT_DTYPES, load_backbone
from ..hosts.comfy.files import stamp
from .sockets import Category, Node


class RefVidLoadBackbone(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def file(name: str, folder: str, tooltip: str) -> io.Combo.Input:
            return io.Combo.Input(name, options=folder_paths.get_filename_list(folder), tooltip=tooltip)

        return io.Schema(
            node_id="RefVidLoadBackbone",
            display_name="Load Wan Backbone",
            category=Category.LOADERS,
            search_aliases=[
                "wan 2.1", "wan 2.2", "wan loader", "load wan model", "load checkpoint",
                "load diffusion model", "unet loader", "text encoder", "t2v", "text to video",
            ],
            description="Loads a Wan 2.1 or 2.2 video model, its text encoder and its VAE, and sets the flow "
                        "shift. Models from any other loader (GGUF, checkpoints, LoRA) fit at the same "
                        "places.",
            inputs=[
                file("diffusion_model", "diffusion_models",
                     "The video model (.safetensors) in models/diffusion_models: T2V, I2V, Fun-InP, VACE or "
                     "TI2V."),
                file("text_encoder", "text_encoders", "UMT5 of any size (.safetensors) in "
                                                      "models/text_encoders."),
                file("vae", "vae", "Wan 2.1 VAE in models/vae; Wan 2.2 VAE for TI2V-5B."),
                io.Combo.Input("weight_dtype", options=list(DIT_DTYPES), default="default", advanced=True,
                               tooltip="Type that the model's weights are kept in. Start with default, as in "
                                       "the file; fp8 saves memory."),
                io.Float.Input("shift", default=5.0, min=0.01, max=100.0, step=0.01,
                               tooltip="Flow shift: a larger one spends more steps at high noise, where the "
                                       "layout is decided. Start with 5, Wan's own; 3 for 480p "
                                       "image-to-video and for the demo model."),
            ],
            outputs=[
                io.Model.Output(tooltip="The video model, with the shift set."),
                io.Clip.Output(tooltip="The text encoder, for CLIP Text Encode."),
                io.Vae.Output(tooltip="The VAE, for references and for decoding."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, diffusion_model, text_encoder, vae, weight_dtype, shift) -> io.NodeOutput:
        backbone = load_backbone(diffusion_model, text_encoder, vae, weight_dtype, shift)
        return io.NodeOutput(
            backbone.model, backbone.clip, backbone.vae, ui=ui.PreviewText(backbone.description)
        )

    @classmethod
    def fingerprint_inputs(cls, diffusion_model, text_encoder, vae, **_):
        """A file that was written anew is read anew."""
        return [
            stamp("diffusion_models", diffusion_model), stamp("text_encoders", text_encoder),
            stamp("vae", vae),
        ]  # fmt: skip
