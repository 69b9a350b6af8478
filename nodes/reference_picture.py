"""References as pictures: loaded as people have them, kept as files, and drawn on the node."""

from typing import Any

import torch
from comfy_api.latest import io, ui

from ..core.references import make_reference
from ..hosts.comfy import listed
from ..hosts.comfy.files import INPUT, stamp
from ..hosts.comfy.outputs import new_file
from ..hosts.comfy.pictures import preview, thumbnails
from ..hosts.comfy.subject import SUBJECTS, subject_of
from ..media.pictures import read_picture
from ..media.reference_files import REFERENCE_ENDING, read_controls, write_reference
from .file_inputs import refusal_of
from .input_checks import FileInput
from .reference_controls import control_inputs, controls_of, strength_input
from .sockets import Category, Node, ReferencesSocket

REFERENCES_FOLDER = "references"
_REGION_LOST = "The region is not kept: it belongs to a video. Link it to Load Reference."
_NEEDED = "a picture, or a reference that Save Reference wrote"


def _refusal(name: str) -> str | None:
    return refusal_of(listed.path_of, name, "image", _NEEDED)


class RefVidLoadReference(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidLoadReference",
            display_name="Load Reference",
            category=Category.REFERENCES,
            search_aliases=["reference image", "character reference", "subject", "face", "load image", "cut-out", "mask"],
            description="Loads a picture of who or what the video should show, as you have it: painted in the "
                        "Mask Editor, a cut-out, whole, or cut out by ComfyUI's background removal. Or a "
                        "reference that Save Reference wrote.",
            inputs=[
                FileInput("image", _refusal, options=[*listed.pictures(), *listed.saved(REFERENCES_FOLDER, REFERENCE_ENDING)],
                          upload=io.UploadType.image,
                          tooltip="A picture in ComfyUI's input folder: upload, paste or drop one. Right "
                                  "click the node to paint the subject in the Mask Editor. Saved references "
                                  "are listed too."),
                io.Combo.Input("subject", options=list(SUBJECTS), default=SUBJECTS[0],
                               tooltip="Which part of the picture counts. auto: what was painted in the Mask "
                                       "Editor; else what is not transparent; else what bg_removal_model cuts "
                                       "out; else all of it."),
                strength_input(),
                *control_inputs(),
                io.Custom("BACKGROUND_REMOVAL").Input("bg_removal_model", optional=True,
                               tooltip="From Load Background Removal Model, for pictures without a mask."),
            ],
            outputs=[
                ReferencesSocket.Output(display_name="reference", tooltip="For Apply References. Controls that "
                                        "stand at their default are as a saved reference has them."),
                io.Image.Output(display_name="preview", tooltip="The masked picture on grey, before it is "
                                                                "fitted to the video."),
                io.Image.Output(display_name="image", tooltip="The whole picture."),
                io.Mask.Output(display_name="mask", tooltip="The subject, in white."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, image, subject, strength, region=None, bg_removal_model=None, **asked) -> io.NodeOutput:
        path = listed.path_of(image, "image", _NEEDED)
        picture, saved = read_picture(path, "image"), read_controls(path, "image")
        taken = subject_of(picture, subject, image, saved is not None, bg_removal_model)
        own = controls_of(strength, **asked)
        controls = own.over(saved)
        reference = make_reference(picture, taken.mask, controls, region, "image")
        shown = preview([reference])
        said = taken.said if controls == own else f"{taken.said}\ncontrols as saved"
        return io.NodeOutput(
            [reference],
            shown,
            reference.picture[None],
            reference.mask[None],
            ui=shown_on_node(cls, shown, said),
        )

    @classmethod
    def fingerprint_inputs(cls, image, **_):
        """A file that was written anew is read anew."""
        return stamp(INPUT, image)


class RefVidSaveReference(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidSaveReference",
            display_name="Save Reference",
            category=Category.REFERENCES,
            search_aliases=["reference file", "export reference", "save image", "character"],
            description="Writes masked references as pictures, with the mask in their transparency and the "
                        "controls in their text, to use again and to share. Load Reference lists them.",
            is_output_node=True,
            inputs=[
                ReferencesSocket.Input("reference", tooltip="From Masked Reference or Load Reference. Each of "
                                                            "several becomes a file."),
                io.String.Input("filename_prefix", default=f"{REFERENCES_FOLDER}/reference",
                                tooltip="Folder and name below ComfyUI's output folder; a number is added. "
                                        f"Load Reference lists what lies in {REFERENCES_FOLDER}."),
            ],
            outputs=[ReferencesSocket.Output(display_name="reference", tooltip="The same references.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, reference, filename_prefix) -> io.NodeOutput:
        files = []
        for one in reference:
            files.append(new_file(filename_prefix, REFERENCE_ENDING, "filename_prefix"))
            write_reference(files[-1], one)
        left = any(one.region is not None for one in reference)
        images = [listed.as_history(file) for file in files]
        return io.NodeOutput(reference, ui={"images": images, "text": (_REGION_LOST if left else "",)})


def shown_on_node(node: type[Node], pictures: torch.Tensor, said: str) -> dict[str, Any]:
    """Output of a node that shows pictures (K, H, W, 3), made small, and a text where there is something to
    say."""
    return {**ui.PreviewImage(thumbnails(pictures), cls=node).as_dict(), "text": (said,)}
