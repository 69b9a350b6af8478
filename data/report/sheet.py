"""Sheet of an index for eyes: one file of HTML with its numbers, some clips as the model will see them, and
what was refused."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from ...core.files import write_text
from ...drawing.charts import windows_chart
from ...drawing.page import page, tag
from ..index import A_STILL, Clip
from ..misfits import misfits
from ..partners import PARTNER_WINDOW, WITHIN_SHOT, Partners
from ..run_lengths import good_masks
from ..stages.encode import Encode, EncodeOptions
from .cells import (
    badge,
    covered,
    figure,
    moment,
    name_of,
    no_picture,
    numbers,
    part,
    row,
    title,
    window_strip,
    words,
)
from .counts import report
from .header import header
from .strips import ClipView, Pictures, Viewer, fitted_view, subject_view, view_of
from .text import counted_in

SHOWN, OF_A_REASON = 24, 6  # clips that are used, and those that are not, by reason
STRIP, PARTNERS, CUT_OUTS = 6, 4, 4  # that are shown of a clip
MASK_HEIGHT = 120  # height of random masks

RandomMasks = Callable[[str, int, int, int], np.ndarray]


def write_sheet(
    clips: Sequence[Clip],
    path: str | Path,
    options: EncodeOptions = Encode.defaults,
    random_masks: RandomMasks | None = None,
    pictures: Pictures | None = None,
) -> None:
    """Write a sheet of an index, whole or not at all.

    options       of encoding: the rate, the sizes, and which windows
    random_masks  masks (n, h, w) bool for a clip's id, n, height and width, where a clip has none of its own;
                  None: no example is drawn
    pictures      reader of a clip's pictures; None: `pictures_of`

    The same index and options give the same bytes. A clip that cannot be read is a cell that says so.
    ValueError as `report`'s.
    """
    told = report(clips, options.fps, misfits(clips, options))
    known, partners = {clip.id: clip for clip in clips}, Partners(clips, (PARTNER_WINDOW, PARTNER_WINDOW))
    cards = _Cards(known, options, random_masks, Viewer(pictures), partners)
    shown = chosen(clips, SHOWN)
    body = [*header(told), tag("h2", f"{counted_in(len(shown), 'clip')} as the model will see them")]
    body += [cards.clip(clip) for clip in shown]
    if told.refused:
        body.append(tag("h2", "Not used"))
        for reason, count in told.reasons:
            some = [clip for clip in clips if not clip.ok and clip.reason == reason]
            body.append(cards.refused(reason, count, _hashed(some)[:OF_A_REASON]))
    write_text(path, page(f"refvid data: {counted_in(told.clips, 'clip')}", *body))


def chosen(clips: Iterable[Clip], count: int) -> list[Clip]:
    """Clips that are used, `count` of them, spread over the sets; always the same ones of the same index."""
    sets: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        if clip.ok:
            sets[clip.set].append(clip)
    rounds = zip_longest(*(_hashed(sets[name]) for name in sorted(sets)))
    return [clip for one in rounds for clip in one if clip is not None][:count]


def _hashed(clips: Iterable[Clip]) -> list[Clip]:
    """Clips in an order that has nothing to do with their names."""
    return sorted(clips, key=lambda clip: sha256(f"sheet {clip.id}".encode("utf-8", "replace")).digest())


@dataclass(frozen=True)
class _Cards:
    """Cards of clips."""

    known: dict[str, Clip]
    options: EncodeOptions
    random_masks: RandomMasks | None
    viewer: Viewer
    partners: Partners

    def clip(self, clip: Clip) -> Element:
        """A clip that is used: its window, references, partners, words and numbers."""
        view = view_of(clip, self.options, STRIP)
        masks = dict(list(good_masks(clip).items())[:CUT_OUTS])
        seen = self.viewer.look(clip, [*view.places, *masks])
        card = tag("article", title(clip, view.misfit), class_="card clip")
        if clip.source:
            card.append(part("before", self._before(clip, view)))
        rail = [windows_chart(clip.frames, view.windows, list(masks))] if view.windows and clip.fps else []
        name = "after" if clip.source else "whole clip" if view.misfit else "window"
        card.append(part(name, window_strip(clip, seen, view), *rail))
        if not isinstance(seen, str):
            card.append(part("references", self._references(clip, seen, masks, view)))
        if clip.reference:
            given = Clip(id=clip.reference, path=clip.reference, kind=A_STILL)
            card.append(part("reference", row([self._middle(given, name_of(given))])))
        card.extend(self._partners(clip))
        card.append(part("words", *words(clip)))
        card.append(part("numbers", numbers(clip, view, self.options.fps)))
        return card

    def refused(self, reason: str, count: int, clips: Sequence[Clip]) -> Element:
        """Some clips of one reason."""
        card = tag("article", class_="card clip")
        shown = f"{len(clips):,} of them shown" if len(clips) < count else ""
        card.append(
            tag("header", tag("b", reason), badge(f"{count:,}", "other"), tag("span", shown, class_="faint"))
        )
        cells = []
        for clip in clips:
            said = " · ".join(one for one in (name_of(clip), clip.detail) if one)
            cells.append(self._middle(clip, said))
        card.append(tag("div", row(cells), class_="part whole"))
        return card

    def _before(self, clip: Clip, view: ClipView) -> Element:
        source = self.known.get(clip.source)
        if source is None:
            return no_picture(f"{clip.source} is not in the index")
        return window_strip(source, self.viewer.look(source, view.places), view)

    def _references(
        self, clip: Clip, seen: dict[int, np.ndarray], masks: dict[int, np.ndarray], view: ClipView
    ) -> Element:
        """Subjects as they are cut out; or an example of random masks."""
        note: list[Element] = []
        if not masks and self.random_masks is None:
            return tag("p", "no good masks; Saber draws random masks", class_="faint")
        if not masks and self.random_masks is not None:
            some = [place for place in view.places if place in seen][::2]
            height, width = next(iter(seen.values())).shape[:2]
            drawn = self.random_masks(clip.id, len(some), MASK_HEIGHT, round(MASK_HEIGHT * width / height))
            masks = dict(zip(some, drawn, strict=True))
            note = [tag("p", "no good masks; these are drawn at random, as Saber does", class_="faint")]
        cells = [
            figure(subject_view(seen[place], mask, view.size), moment(clip, place), covered(mask))
            for place, mask in masks.items()
            if place in seen
        ]
        return tag("div", row(cells), *note)

    def _partners(self, clip: Clip) -> list[Element]:
        """Other clips of the same identity, of each kind in turn; and whether the shot itself has two
        windows."""
        kinds = self.partners.by_kind(clip)
        shot = [tag("p", "two windows of this shot", class_="faint")] if kinds.pop(WITHIN_SHOT) else []
        rounds = zip_longest(*([(kind, other) for other in others] for kind, others in kinds.items()))
        pairs = [pair for one in rounds for pair in one if pair is not None][:PARTNERS]
        cells = [self._middle(other, f"{kind} · {name_of(other)}") for kind, other in pairs]
        return [part("partners", *([row(cells)] if cells else []), *shot)] if cells or shot else []

    def _middle(self, clip: Clip, caption: str) -> Element:
        """A picture from the middle of a clip, or from its beginning where its length is not known."""
        place = max(0, clip.stop - clip.start) // 2
        seen = self.viewer.look(clip, [place])
        if isinstance(seen, str):
            return tag("figure", no_picture(seen), tag("figcaption", caption, dir="auto"))
        return figure(fitted_view(seen[place]), caption)
