"""Identity nodes (Slot-ID): who someone is, read from a reference video, kept, blended and applied."""

import numpy as np
import torch
from comfy_api.latest import io

from ..core.adapter import ENCODER
from ..core.controls import IDENTITY_PARTS
from ..core.identity import READ_BY, blend, load_identity, save_identity
from ..drawing.routing import routing_rows
from ..drawing.sheet import draw_sheet
from ..hosts.comfy import listed
from ..hosts.comfy.adapters import encode_comfy_identity, encode_phrase, load_comfy_adapter
from ..hosts.comfy.files import INPUT, model_file, stamp
from ..hosts.comfy.identities import apply_identity
from ..hosts.comfy.outputs import new_file
from ..media.pictures import write_picture
from .file_inputs import lora_refusal, refusal_of
from .input_checks import FileInput
from .sockets import (
    FACTOR_STEP,
    LOW_NOISE,
    LOW_NOISE_OUT,
    SHARE_STEP,
    AdapterSocket,
    Category,
    IdentitySocket,
    Node,
)

ENDING, PICTURE_ENDING = ".safetensors", ".png"
IDENTITY_FOLDER = "identities"
_NEEDED = "a file that Save Identity made"


def _refusal(name: str) -> str | None:
    return refusal_of(listed.path_of, name, "file", _NEEDED)


class RefVidLoadAdapter(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidLoadAdapter",
            display_name="Load Slot-ID Adapter",
            category=Category.LOADERS,
            search_aliases=["slot-id", "slot id", "slotid", "identity adapter", "identity", "lora"],
            description="Loads an encoder that reads who is in a video, and the LoRA with which Wan "
                        "understands what was read. Apply Identity puts the LoRA on the model by itself.",
            inputs=[
                FileInput("adapter", lora_refusal, options=listed.loras(ENCODER),
                          tooltip="A Slot-ID adapter (.safetensors) in models/loras, trained for the "
                                       "model you use."),
            ],
            outputs=[AdapterSocket.Output(display_name="adapter", tooltip="For Encode Slot Identity and Apply "
                                                                    "Identity.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, adapter) -> io.NodeOutput:
        return io.NodeOutput(load_comfy_adapter(model_file("loras", adapter, "adapter")))

    @classmethod
    def fingerprint_inputs(cls, adapter):
        """A file that was written anew is read anew."""
        return stamp("loras", adapter)


class RefVidEncodeIdentity(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidEncodeIdentity",
            display_name="Encode Slot Identity",
            category=Category.IDENTITY,
            search_aliases=[
                "slot-id", "slot id", "slotid", "face", "character", "identity", "consistent character",
                "id encoder", "face id", "person", "reference video",
            ],
            description="Reads who is in a short video, as a few tokens. The sharpest, most frontal picture "
                        "and all pictures in their order are read. Clips of the demo model then move "
                        "as the video does more often than with one picture.",
            inputs=[
                io.Image.Input("clip", tooltip="A video of one subject, 2 frames or more; a second or two is "
                                               "plenty."),
                io.Mask.Input("mask", optional=True,
                              tooltip="Where the subject is, in white: one mask a frame, or one for all. "
                                      "From SAM, BiRefNet or the face mask of MediaPipe. Without it whole "
                                      "pictures count."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                AdapterSocket.Input("adapter", tooltip="From Load Slot-ID Adapter."),
                io.Int.Input("anchor_frame", optional=True, default=-1, min=-1, max=100000, advanced=True,
                             tooltip="The frame that shows the subject best. Start with -1, which looks for "
                                     "a sharp and symmetric one."),
            ],
            outputs=[
                IdentitySocket.Output(display_name="identity", tooltip="For Apply Identity, Save Identity and "
                                                                 "Blend Identities."),
                io.Image.Output(display_name="routing", tooltip="What each of the identity's tokens looked "
                                                                "at, over the frames."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, clip, vae, adapter, mask=None, anchor_frame=-1) -> io.NodeOutput:
        anchor = None if anchor_frame < 0 else anchor_frame
        identity, video, encoded = encode_comfy_identity(adapter, vae, clip, mask, anchor)
        rows = routing_rows(video, encoded, adapter.adapter.geometry.group)
        sheet = np.asarray(draw_sheet(*rows, scale=1), dtype=np.float32)
        return io.NodeOutput(identity, torch.from_numpy(sheet / 255)[None])


class RefVidApplyIdentity(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidApplyIdentity",
            display_name="Apply Identity",
            category=Category.IDENTITY,
            search_aliases=[
                "slot-id", "slot id", "slotid", "face", "character", "identity", "consistent character",
                "face id", "person", "ip-adapter", "ipadapter",
            ],
            description="Lets the model read an identity beside the prompt. Use the model and the "
                        "conditioning that it gives back together. For several people chain one node each; "
                        "tell them apart by phrase or region.",
            inputs=[
                io.Model.Input("model", tooltip="The Wan model that the adapter was trained for, from any "
                                                "loader, with any other LoRA."),
                io.Model.Input("low_noise_model", optional=True, tooltip=LOW_NOISE),
                io.Conditioning.Input("positive", tooltip="The prompt."),
                io.Conditioning.Input("negative", tooltip="The negative prompt. It gets tokens that the "
                                                          "adapter learned to stand for nobody."),
                AdapterSocket.Input("adapter", tooltip="From Load Slot-ID Adapter: the one that read the "
                                                 "identity."),
                IdentitySocket.Input("identity", tooltip="From Encode Slot Identity, Load Identity or Blend "
                                                   "Identities."),
                io.Float.Input("strength", default=1.0, min=0.0, max=10.0, step=FACTOR_STEP,
                               tooltip="How much attention the identity gets. Start with 1; raise it towards "
                                       "2 where the likeness is weak. 0 changes nothing at all."),
                io.Combo.Input("parts", options=list(IDENTITY_PARTS), default=IDENTITY_PARTS[0], advanced=True,
                               tooltip="Which tokens to use; start with both. slots: what was read over "
                                       "time. anchor: what was read from the best picture."),
                io.String.Input("phrase", optional=True, default="",
                                tooltip="The words by which the prompt names this person, such as: the woman "
                                        "in red. Needs clip."),
                io.Clip.Input("clip", optional=True, tooltip="The text encoder, for the phrase."),
                io.Mask.Input("region", optional=True,
                              tooltip="Where in the video this person is, in white: one mask, or one for "
                                      "each frame. Needs latent."),
                io.Latent.Input("latent", optional=True, tooltip="The empty video latent, for the region."),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="Patched; unchanged at strength 0."),
                io.Model.Output(display_name="low_noise_model", tooltip=LOW_NOISE_OUT),
                io.Conditioning.Output(display_name="positive", tooltip="The prompt with the identity."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with nobody."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, positive, negative, adapter, identity, strength, parts, phrase="", clip=None, region=None,
        latent=None, low_noise_model=None,
    ) -> io.NodeOutput:  # fmt: skip
        models = [model] if low_noise_model is None else [model, low_noise_model]
        spoken = encode_phrase(clip, phrase)
        models, positive, negative = apply_identity(
            models, positive, negative, adapter, identity, strength, parts, spoken, region, latent
        )
        return io.NodeOutput(models[0], models[1] if len(models) > 1 else None, positive, negative)


class RefVidSaveIdentity(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidSaveIdentity",
            display_name="Save Identity",
            category=Category.IDENTITY,
            search_aliases=["slot-id", "slot id", "character", "face", "person", "export identity"],
            description="Writes an identity as a small file with its picture, to use again and to share.",
            is_output_node=True,
            inputs=[
                IdentitySocket.Input("identity", tooltip="From Encode Slot Identity or Blend Identities."),
                io.String.Input("filename_prefix", default=f"{IDENTITY_FOLDER}/person",
                                tooltip="Folder and name below ComfyUI's output folder; a number is added. "
                                        f"Load Identity lists what lies in {IDENTITY_FOLDER}."),
            ],
            outputs=[IdentitySocket.Output(display_name="identity", tooltip="The same identity.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, identity, filename_prefix) -> io.NodeOutput:
        file = new_file(filename_prefix, ENDING, "filename_prefix")
        picture = file.with_suffix(PICTURE_ENDING)
        write_picture(picture, identity.preview)
        try:
            save_identity(identity, file)
        except BaseException:
            picture.unlink(missing_ok=True)  # both or neither
            raise
        shown = {"images": [listed.as_history(picture)], "identities": [listed.as_history(file)]}
        return io.NodeOutput(identity, ui=shown)


class RefVidLoadIdentity(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidLoadIdentity",
            display_name="Load Identity",
            category=Category.IDENTITY,
            search_aliases=["slot-id", "slot id", "character", "face", "person", "import identity"],
            description="Loads an identity from its file, with the picture that was kept in it.",
            inputs=[
                FileInput("file", _refusal,
                          options=[*listed.saved(IDENTITY_FOLDER, ENDING, READ_BY), *listed.inputs(IDENTITY_FOLDER, ENDING, READ_BY)],
                          tooltip=f"An identity file (.safetensors): of the folder {IDENTITY_FOLDER} in ComfyUI's "
                                  "output folder, where Save Identity puts them, or of the input folder."),
            ],
            outputs=[
                IdentitySocket.Output(display_name="identity", tooltip="For Apply Identity and Blend Identities."),
                io.Image.Output(display_name="preview", tooltip="The picture that shows the subject best."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, file) -> io.NodeOutput:
        identity = load_identity(listed.path_of(file, "file", _NEEDED), "file")
        return io.NodeOutput(identity, identity.preview[None])

    @classmethod
    def fingerprint_inputs(cls, file):
        """A file that was written anew is read anew."""
        return stamp(INPUT, file)


class RefVidBlendIdentities(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidBlendIdentities",
            display_name="Blend Identities",
            category=Category.IDENTITY,
            search_aliases=[
                "slot-id", "slot id", "mix", "merge", "morph", "interpolate", "face", "character", "person",
            ],
            description="Makes someone between two people, both read with the same adapter.",
            inputs=[
                IdentitySocket.Input("first", tooltip="The identity of one person."),
                IdentitySocket.Input("second", tooltip="The identity of another person, read with the same "
                                                 "adapter."),
                io.Float.Input("share", default=0.5, min=0.0, max=1.0, step=SHARE_STEP,
                               tooltip="Share of the second person: 0 is the first alone, 1 the second. "
                                       "Start with 0.5."),
            ],
            outputs=[IdentitySocket.Output(display_name="identity", tooltip="For Apply Identity and Save "
                                                                      "Identity.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, first, second, share) -> io.NodeOutput:
        return io.NodeOutput(blend([first, second], [1 - share, share]))
