"""Given frames on the command line: `--given FILE@AT` of `refvid generate`."""

import argparse
from typing import TYPE_CHECKING

from ..core.controls import CLOCKS

if TYPE_CHECKING:
    from ..core.frames import Placed


def add_frames(command: argparse.ArgumentParser) -> None:
    """Add `--given` and `--clock`."""
    group = command.add_argument_group("frames", "pictures that the video is to have")
    group.add_argument(
        "--given",
        action="append",
        default=[],
        metavar="FILE@AT",
        help="a.png@0: the video begins with this picture; b.png@-1: it ends with that one; c.mp4@0-4: it "
        "goes on from a clip's first "
        "five frames; repeat for more",
    )
    group.add_argument(
        "--clock",
        choices=CLOCKS,
        help=f"timestep of given frames: that of clean ones, or the video's; default {CLOCKS[0]}",
    )


def read_frames(options: argparse.Namespace) -> "Placed | None":
    """Given frames, or None. ValueError names the option that is wrong."""
    from .. import media
    from ..core.frames import Placed, read_places

    pictures, indices = [], []
    for text in options.given:
        file, sign, at = text.rpartition("@")
        if not sign:
            raise ValueError(f"--given {text}: needed FILE@AT, such as first.png@0")
        places = read_places(at)
        shown = media.read_video(file, "--given")[: len(places)]
        if len(shown) < len(places):
            raise ValueError(f"--given {text}: {len(shown)} pictures for {len(places)} frames")
        pictures += shown
        indices += places
    if not pictures:
        return None
    return Placed(pictures, indices, options.clock or CLOCKS[0], options.fit)
