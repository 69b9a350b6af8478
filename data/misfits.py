"""Reasons for which clips would not be encoded, told before any is."""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from .buckets import longest, sides_for
from .index import A_FILM, Clip, Refused
from .stages.encode import EncodeOptions


def misfits(clips: Sequence[Clip], options: EncodeOptions) -> tuple[tuple[str, int], ...]:
    """Reasons for which clips would be refused that are used, have words and are not encoded yet, with their
    numbers, the largest first. No file is read: a variable rate counts by its mean."""
    said = [clip for clip in clips if clip.ok and not clip.shard and (clip.caption or clip.instruction)]
    found = Counter(reason for clip in said if (reason := _misfit(clip, options)))
    return tuple(sorted(found.items(), key=lambda one: (-one[1], one[0])))


def _misfit(clip: Clip, options: EncodeOptions) -> str:
    try:
        sides_for(clip, options.pixels, options.multiple)
        if clip.kind == A_FILM:
            longest(max(int(clip.frames / clip.rate * Fraction(options.fps)), 1), options.frames)
    except Refused as refusal:
        return refusal.reason
    return ""
