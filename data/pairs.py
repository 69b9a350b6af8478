"""Pairs of an edit in the index: clips before and after it stand or fall together."""

from collections.abc import Mapping, Sequence

from .index import Clip


def clips_of_edits(clips: Sequence[Clip]) -> frozenset[str]:
    """Ids of the clips that are the source or the target of an edit."""
    return frozenset(one for clip in clips if clip.source for one in (clip.id, clip.source))


def with_their_sources(clips: Sequence[Clip]) -> list[Clip]:
    """Rows in the same order; an edit of a refused source is refused too. A source does not fall with one of
    its edits."""
    rows = {clip.id: clip for clip in clips}
    return [_judged(clip, rows) for clip in clips]


def _judged(clip: Clip, rows: Mapping[str, Clip]) -> Clip:
    above, seen = clip, {clip.id}
    while above.ok and above.source in rows and above.source not in seen:
        above = rows[above.source]
        seen.add(above.id)
    return clip if above.ok else clip.refused("source refused", f"{above.id}: {above.reason}")
