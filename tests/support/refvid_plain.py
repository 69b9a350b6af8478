"""What tests ask of the host without ComfyUI, by one name each, wherever it lies."""

import refvid_tiny as tiny
from refvid_cases import Host, drawn
from torch import Tensor

from refvid.core.frames import Given
from refvid.hosts import pipeline, plain_instruction
from refvid.hosts.pipeline import Request, Settings, generate, load_backbone
from refvid.hosts.plain import Condition, encode_frames, grey_padding, guided_velocity, velocity
from refvid.hosts.plain_edit import Edit
from refvid.hosts.plain_identity import People, Person, encode_identity
from refvid.hosts.plain_instruction import edit_film
from refvid.hosts.plain_references import EncodedReferences, encode_pictures, encode_references, tail

__all__ = [
    "Condition",
    "Edit",
    "EncodedReferences",
    "Given",
    "People",
    "Person",
    "Request",
    "Settings",
    "command_of_editing",
    "command_of_generating",
    "edit_film",
    "encode_frames",
    "encode_identity",
    "encode_pictures",
    "encode_references",
    "generate",
    "grey_padding",
    "guided_velocity",
    "load_backbone",
    "pipeline",
    "tail",
    "texts",
    "velocity",
]

# Where the commands look up what they run.
command_of_generating, command_of_editing = (pipeline, "generate"), (plain_instruction, "edit_film")


def texts(host: Host) -> dict[str, Tensor]:
    """States of a prompt and of a negative one, of two lengths."""
    return {
        name: host.put(drawn(1, length, tiny.TEXT_WIDTH, seed=length))
        for name, length in (("positive", 6), ("negative", 4))
    }
