"""Stage `caption`: captions that clips came with are kept, and missing ones are made by a local captioner."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..index import Clip, Refused
from ..pictures import pictures_of, spread
from ..stage import PlainStage, StageContext
from ..weights import KNOWN, Weights

CAPTIONER = "captioner"
NO_CAPTION = "no caption"
SHORT_WORDS = 20  # a caption of so many or fewer is a short one itself
_LETTER = "\u3040-\u30ff\u3400-\u9fff"  # of Japanese and Chinese, which have no spaces: a word each
_WORD = re.compile(rf"[{_LETTER}]|[^\s{_LETTER}]+")


@dataclass(frozen=True)
class CaptionOptions:
    """Options of `caption`.

    pictures  of a clip that the captioner sees, spread evenly [choice: captioned-pictures]
    again     make captions of clips that have some, too, in their place
    """

    pictures: int = 8
    again: bool = False


class Caption(PlainStage):
    """Captioning of clips: a long caption and a short one.

    A caption that came with a clip is kept byte for byte. A short one is made from the long one's words, so
    that chosen names stay; a caption of few words needs none. Without a captioner nothing is made up. Clips
    that have an instruction, or are the source of an edit, need no caption."""

    name = "caption"
    version = 1
    defaults = CaptionOptions()

    def uses(self, options: CaptionOptions, weights: Weights) -> Sequence[str]:
        """The captioner where it was given. ValueError where captions are to be made again without one."""
        if options.pictures < 1:
            raise ValueError(f"caption: pictures is {options.pictures}; needed 1 or more")
        if not weights.has(CAPTIONER) and not options.again:
            return ()
        weights.path(CAPTIONER, self.name)
        return (CAPTIONER,)

    def depends(self, clip: Clip, options: CaptionOptions) -> Any:
        """The pictures where a caption is missing; the caption where a short one is."""
        if clip.caption and not options.again:
            return None if clip.short_caption or is_short(clip.caption) else [clip.caption]
        if clip.instruction and not clip.caption:
            return None
        part = (clip.contents, clip.start, clip.stop, clip.crop, clip.fps)
        return [*part, "" if options.again else clip.short_caption]

    def look(self, clip: Clip, context: StageContext) -> dict[str, Any]:
        """Captions that are missing."""
        if CAPTIONER not in context.digests or clip.id in context.sources:
            return {}
        from ..models.captioner import load_captioner

        captioner = context.weights.load(
            CAPTIONER, self.name, lambda path: load_captioner(path, context.device)
        )
        made, again = {}, context.options.again
        if again or not clip.caption:
            places = spread(clip.frames, context.options.pictures)
            times = [place / clip.fps if clip.fps else 0.0 for place in places]
            made["caption"] = captioner.long(list(pictures_of(clip, places)), times)
            if not made["caption"]:
                raise Refused(NO_CAPTION, "the captioner said nothing")
        long = made.get("caption", clip.caption)
        if again or not clip.short_caption:
            made["short_caption"] = "" if is_short(long) else captioner.short(long)
        return made

    def conclude(
        self, clips: list[Clip], found: Mapping[str, dict[str, Any]], context: StageContext
    ) -> list[Clip]:
        """Captions in their rows. Refuses clips that have none."""

        def told(clip: Clip) -> Clip:
            clip = replace(clip, **found.get(clip.id, {}))
            if clip.caption or clip.instruction or clip.id in context.sources:
                return clip
            return clip.refused(
                NO_CAPTION, f"give captioner = {KNOWN[CAPTIONER]}, or write its words beside it"
            )

        return [told(clip) for clip in clips]


def is_short(caption: str) -> bool:
    """True where a caption has few enough words to be a short one."""
    return len(_WORD.findall(caption)) <= SHORT_WORDS
