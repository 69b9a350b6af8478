"""Stages of a test's own: they count the letters of captions, and split them into words."""

from dataclasses import dataclass, replace
from typing import ClassVar

from refvid.data.index import Refused
from refvid.data.stage import PlainStage


@dataclass(frozen=True)
class LengthOptions:
    least: int = 3
    unit: str = "letters"


class Length(PlainStage):
    """Counts the letters of a caption; short ones are refused, and the longest of all is told."""

    name, version, defaults = "length", 1, LengthOptions()
    concluding = ("least",)
    looked: ClassVar[list[str]] = []

    def depends(self, clip, options):
        return [clip.caption] if clip.caption else None

    def look(self, clip, context):
        self.looked.append(clip.id)
        if "?" in clip.caption:
            raise Refused("a question", clip.caption)
        return {"length": len(clip.caption)}

    def conclude(self, clips, found, context):
        most = max((one["length"] for one in found.values()), default=0)
        return [
            clip.refused("too short", f"of {most}")
            if clip.id in found and found[clip.id]["length"] < context.options.least
            else clip
            for clip in clips
        ]


class Split(PlainStage):
    """Makes a row of each word."""

    name, version, defaults = "split", 1, LengthOptions()

    def depends(self, clip, options):
        return [clip.caption]

    def look(self, clip, context):
        return {"words": clip.caption.split()}

    def conclude(self, clips, found, context):
        return [
            replace(clip, id=f"{clip.id}-{number}", caption=word, start=number)
            for clip in clips
            for number, word in enumerate(found.get(clip.id, {"words": [clip.caption]})["words"])
        ]


class Weighed(Length):
    """Needs weights."""

    name = "weighed"

    def uses(self, options, weights):
        return [weights.path("vae", self.name) and "vae"]
