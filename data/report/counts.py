"""Report of an index: what is used, why the rest is not, what each method can learn, how scores are spread.
Thresholds of others do not travel; these are the set's own."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..index import A_FILM, A_STILL, HELD_OUT, Clip
from ..partners import PARTNER_WINDOW, Partners
from ..run_lengths import has_good_mask

MOST_BINS = 24
UNSTATED = "not stated"
# A character of Chinese or Japanese is a word; else a word is what stands between spaces.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\s\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
Counts = tuple[tuple[str, int], ...]  # names and numbers, the largest first


@dataclass(frozen=True)
class Histogram:
    """Spread of one number over the clips that have it. Bins lie between edges, the last edge included;
    `used` are those of `counts` that nothing speaks against. Least, median and most are of all."""

    name: str
    unit: str
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    used: tuple[int, ...] = ()
    least: float = 0.0
    median: float = 0.0
    most: float = 0.0

    @property
    def clips(self) -> int:
        """Clips that have the number."""
        return sum(self.counts)


@dataclass(frozen=True)
class Lesson:
    """Lesson of a method: how many clips for training it can learn from, of what kind, and what is to say."""

    method: str
    clips: int
    of: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SetCount:
    """Clips of a set: for training, held out, not used."""

    name: str
    train: int
    held_out: int
    refused: int

    @property
    def clips(self) -> int:
        """All of them."""
        return self.train + self.held_out + self.refused


@dataclass(frozen=True)
class Report:
    """Numbers of an index. All but the sets, reasons, refusals and histograms are of clips that are used.

    epoch     clips for training, as often as they are repeated
    unsaid    clips without words, but for the ones before an edit
    misfits   reasons for which `encode` would refuse clips
    rate      that training wants, pictures a second
    refusals  reason, path and detail of each clip that is not used
    sizes     after the crop
    """

    sets: tuple[SetCount, ...]
    epoch: int
    unsaid: int
    misfits: Counts
    seconds: float
    rate: float
    kinds: Counts
    reasons: Counts
    refusals: tuple[tuple[str, str, str], ...]
    retimed: Counts
    sizes: Counts
    licences: Counts
    lessons: tuple[Lesson, ...]
    histograms: tuple[Histogram, ...]

    @property
    def train(self) -> int:
        """Clips for training."""
        return sum(one.train for one in self.sets)

    @property
    def held_out(self) -> int:
        """Clips that are kept from training."""
        return sum(one.held_out for one in self.sets)

    @property
    def refused(self) -> int:
        """Clips that are not used."""
        return sum(one.refused for one in self.sets)

    @property
    def clips(self) -> int:
        """All rows."""
        return self.train + self.held_out + self.refused


def report(clips: Sequence[Clip], rate: float = 16, misfits: Counts = ()) -> Report:
    """Numbers of an index for training at a rate; `misfits` as `data.misfits` counts them. ValueError for a
    score that is no number."""
    used = [clip for clip in clips if clip.ok]
    refused = [clip for clip in clips if not clip.ok]
    befores = {clip.source for clip in clips}
    refusals = [(clip.reason, with_span(clip, clip.path), clip.detail) for clip in refused]
    reasons = counted(clip.reason for clip in refused)
    order = {reason: place for place, (reason, _) in enumerate(reasons)}
    return Report(
        sets=_sets(clips),
        epoch=sum(clip.repeats for clip in used if not _held_out(clip)),
        unsaid=sum(not clip.caption and not clip.instruction and clip.id not in befores for clip in used),
        misfits=misfits,
        seconds=math.fsum(clip.seconds for clip in used),
        rate=rate,
        kinds=counted(clip.kind for clip in used),
        reasons=reasons,
        refusals=tuple(sorted(refusals, key=lambda one: (order[one[0]], *one))),
        retimed=counted(_rate(clip) for clip in used if _is_retimed(clip, rate)),
        sizes=counted("{}x{}".format(*clip.size) for clip in used if all(clip.size)),
        licences=counted(clip.licence or UNSTATED for clip in used),
        lessons=_lessons(used),
        histograms=tuple(_histogram(clips, *one) for one in _COLUMNS),
    )


def counted(names: Iterable[str]) -> Counts:
    """Names with their numbers, the largest first, then by name."""
    return tuple(sorted(Counter(names).items(), key=lambda one: (-one[1], one[0])))


def with_span(clip: Clip, name: str) -> str:
    """Name of a clip with the pictures of its file that it is."""
    return f"{name} [{clip.start}–{clip.stop - 1}]" if clip.fps and clip.stop > clip.start else name


def word_count(caption: str) -> int:
    """Words of a caption; each character of Chinese or Japanese is one."""
    return len(_WORD.findall(caption))


def number(value: float) -> str:
    """A number for people: three digits that count, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{round(value, 3):.3g}"


def _held_out(clip: Clip) -> bool:
    return clip.split == HELD_OUT


def _rate(clip: Clip) -> str:
    return "variable" if clip.variable else f"{clip.fps:.4g}"


def _is_retimed(clip: Clip, rate: float) -> bool:
    return clip.kind == A_FILM and (clip.variable or not math.isclose(clip.fps, rate, rel_tol=1e-4))


def _sets(clips: Sequence[Clip]) -> tuple[SetCount, ...]:
    found = Counter((clip.set, _held_out(clip) if clip.ok else None) for clip in clips)
    names = sorted({name for name, _ in found})
    return tuple(SetCount(name, *(found[name, part] for part in (False, True, None))) for name in names)


def _lessons(used: Sequence[Clip]) -> tuple[Lesson, ...]:
    """Lessons of clips that are used; only those for training teach."""
    known = {clip.id: clip for clip in used}
    train = [clip for clip in used if not _held_out(clip)]
    said = [clip for clip in train if clip.caption]
    masked = [clip for clip in said if has_good_mask(clip)]
    poor = [clip for clip in said if clip.subject and not has_good_mask(clip)]
    why = counted(Counter(clip.subject["quality"]).most_common(1)[0][0] for clip in poor if clip.subject)
    bare = len(said) - len(masked)
    masks = [f"{len(masked):,} with good masks"] if masked else []
    masks += [f"{bare:,} without: Saber draws random masks"] if bare else []
    partners = Partners(used, (PARTNER_WINDOW, PARTNER_WINDOW))
    pairs = [partners.kinds(clip) for clip in train if not clip.source]
    people = len({clip.identity for clip in train if clip.identity})
    named = (f"identities {people:,}",) if people else ()
    films = sum(clip.kind == A_FILM for clip in said)
    stills = (f"{len(said) - films:,} of them still: no motion to learn",) if films < len(said) else ()
    asked = [clip for clip in train if clip.source and clip.instruction]
    edits = [clip for clip in asked if clip.source in known]
    lost = (f"{len(asked) - len(edits):,} more whose source is not used",) if len(edits) < len(asked) else ()
    licences = counted(f"licence {clip.licence or UNSTATED}" for clip in edits)
    return (
        Lesson("saber", len(said), "clips with captions", tuple(masks)),
        Lesson("videomaker", len(masked), "clips with a good subject frame", _told(why)),
        Lesson("slot_id", sum(map(bool, pairs)), "clips with partners", (*_told(counted(kind for kinds in pairs for kind in kinds)), *named)),
        Lesson("stiv", len(said), "clips with captions", stills),
        Lesson("sama", films, "films with captions, for pretexts"),
        Lesson("sama", len(edits), "edits", (*_told(counted(clip.edit or "kind not stated" for clip in edits)), *_told(licences), *lost)),
    )  # fmt: skip


def _told(counts: Counts) -> tuple[str, ...]:
    return tuple(f"{name} {count:,}" for name, count in counts)


_Value = Callable[[Clip], float | None]
_EVEN, _RATIO, _WHOLE = "even", "ratio", "whole"  # bins of one width, of one ratio, of whole numbers
_COLUMNS: tuple[tuple[str, str, str, _Value], ...] = (
    ("length", "s", _RATIO, lambda clip: clip.seconds or None),
    ("rate", "fps", _EVEN, lambda clip: clip.fps or None),
    ("short side", "pixels", _WHOLE, lambda clip: min(clip.size) or None),
    ("motion", "pixels/s", _RATIO, lambda clip: clip.motion if clip.kind != A_STILL else None),
    ("sharpness", "", _RATIO, lambda clip: clip.sharpness),
    ("aesthetic", "", _EVEN, lambda clip: clip.aesthetic),
    ("text area", "%", _EVEN, lambda clip: None if clip.text_area is None else 100 * clip.text_area),
    ("caption", "words", _WHOLE, lambda clip: word_count(clip.caption) or None),
)


def _histogram(clips: Sequence[Clip], name: str, unit: str, bins: str, value: _Value) -> Histogram:
    found = [(value(clip), clip) for clip in clips]
    pairs = [(one, clip) for one, clip in found if one is not None]
    for one, clip in pairs:
        if not math.isfinite(one):
            raise ValueError(f"index: {clip.id}: {name} is {one}; needed a number")
    values = np.array([one for one, _ in pairs], dtype=np.float64)
    if not len(values):
        return Histogram(name, unit)
    edges = _edges(values, bins)
    used = values[[clip.ok for _, clip in pairs]]
    spread = (np.histogram(np.clip(some, edges[0], edges[-1]), edges)[0] for some in (values, used))
    counts, kept = (tuple(map(int, some)) for some in spread)
    middle = (float(one) for one in (values.min(), np.median(values), values.max()))
    return Histogram(name, unit, tuple(map(float, edges)), counts, kept, *middle)


def _edges(values: np.ndarray, bins: str) -> np.ndarray:
    """Edges of bins, at most 24. With one ratio, what is not above 0 falls into the first."""
    low, high = values.min(), values.max()
    if low == high:
        return np.array([low, high])
    if bins == _WHOLE:
        step = math.ceil((high - low + 1) / MOST_BINS)
        return low + step * np.arange((high - low) // step + 2)
    above = values[values > 0]
    if bins == _RATIO and len(above) and above.min() < high:
        return np.geomspace(above.min(), high, MOST_BINS + 1)
    return np.linspace(low, high, MOST_BINS + 1)
