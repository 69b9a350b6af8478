"""Functions that tests ask of the host without ComfyUI, by one name each, wherever it lies."""

import refvid_tiny as tiny
from refvid_plain_cases import Host, drawn
from refvid_riders import (
    Condition,
    FramesRider,
    PeopleRider,
    Person,
    ReferencesRider,
    SourceRider,
    condition,
    encode_frames,
    encode_identity,
    encode_pictures,
    encode_references,
    grey_padding,
    guided_velocity,
    rider,
    said,
    tail,
    velocity,
    with_riders,
)
from torch import Tensor

from refvid.core.frames import GivenFrames
from refvid.hosts.plain import edit_film as plain_instruction
from refvid.hosts.plain import pipeline
from refvid.hosts.plain.edit_film import edit_film
from refvid.hosts.plain.pipeline import Request, Settings, generate, load_pipeline

__all__ = [
    "Condition",
    "FramesRider",
    "GivenFrames",
    "PeopleRider",
    "Person",
    "ReferencesRider",
    "Request",
    "Settings",
    "SourceRider",
    "command_of_editing",
    "command_of_generating",
    "condition",
    "edit_film",
    "encode_frames",
    "encode_identity",
    "encode_pictures",
    "encode_references",
    "generate",
    "grey_padding",
    "guided_velocity",
    "load_pipeline",
    "pipeline",
    "rider",
    "said",
    "tail",
    "texts",
    "velocity",
    "with_riders",
]

# Where the commands look up what they run.
command_of_generating, command_of_editing = (pipeline, "generate"), (plain_instruction, "edit_film")


def texts(host: Host) -> dict[str, Tensor]:
    """States of a prompt and of a negative one, of two lengths."""
    return {
        name: host.put(drawn(1, length, tiny.TEXT_WIDTH, seed=length))
        for name, length in (("positive", 6), ("negative", 4))
    }
