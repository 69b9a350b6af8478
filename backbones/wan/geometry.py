"""Wan's numbers (arXiv 2503.20314), by the latents that a model makes."""

from dataclasses import replace

from ...core.geometry import Geometry

WAN_2_1 = Geometry(patch=2, stride=8, group=4, channels=16, clock=1000, head_split=(1, 1, 1))
WAN_2_2 = replace(WAN_2_1, stride=16, channels=48)  # of TI2V-5B's VAE; Wan 2.2's other models have 2.1's
WAN = {one.channels: one for one in (WAN_2_1, WAN_2_2)}
GROUP = WAN_2_1.group  # of every Wan: what a film's length is checked by before its model is known
CONTEXT_LENGTH = 512  # text tokens: prompts are padded to so many
HEAD_SIZE = 128  # of every published model; a file with another one says so in its metadata


def geometry_of(channels: int, what: str = "model") -> Geometry:
    """The numbers of a Wan whose latents have so many channels. ValueError for another number."""
    if channels not in WAN:
        raise ValueError(
            f"{what} has latents of {channels} channels; needed {' or '.join(map(str, WAN))}, a Wan's"
        )
    return WAN[channels]
