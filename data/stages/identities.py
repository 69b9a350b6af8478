"""Stage `identities`: clips that show the same identity, by names, and by features that agree."""

import math
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ...core.recipe import GREY
from ..agreement import Pair, Shots, agreeing, different_pairs, joined, quantised
from ..index import Clip, sort_key
from ..models.faces import Detector, load_detector
from ..pictures import pictures_of, spread
from ..run_lengths import good_masks
from ..stage import PlainStage, StageContext
from ..weights import KNOWN, Weights

FEATURES, FACES = "features", "faces"
SUBJECT, FACE = "subject", "face"
_GREY = round(GREY * 255)
_KEPT = 7 / 8  # of a picture's side that DINOv2's processor leaves: 224 of 256


@dataclass(frozen=True)
class IdentityOptions:
    """Options of `identities`.

    percentile  of the cosines of different sources, which a pair has to reach: training.md §3.3
    least       pairs of different sources that the percentile needs [choice: identity-pairs]
    across      pair shots of different files by features, too: among very many clips some will look alike by
                chance [choice: identity-pairs]. Names pair without it
    faces       look for faces in clips without good subject masks
    pictures    in which faces are looked for, spread over a clip [choice: identity-faces]
    """

    percentile: float = 99.0
    least: int = 50
    across: bool = False
    faces: bool = True
    pictures: int = 4


class Identities(PlainStage):
    """Identities of clips. Features are made of subjects on grey, else of faces; never of whole pictures,
    whose grounds would agree. Without the weights `features` names alone are used."""

    name = "identities"
    version = 1
    defaults = IdentityOptions()
    concluding = ("percentile", "least", "across")

    def uses(self, options: IdentityOptions, weights: Weights) -> Sequence[str]:
        """The features, where they were given, and the face detector. ValueError for options that are wrong,
        and where faces are wanted and no detector is there."""
        require_options(options)
        if not weights.has(FEATURES):
            return ()
        weights.path(FEATURES, self.name)
        if not options.faces:
            return (FEATURES,)
        given = weights.has(FACES)
        try:
            load_detector(weights.path(FACES, self.name) if given else None)
        except ValueError as error:
            raise ValueError(
                f"{self.name}: {error}; or set {self.name}.faces to false: clips without good subject masks then"
                " pair by names alone"
            ) from error
        return (FEATURES, FACES) if given else (FEATURES,)

    def depends(self, clip: Clip, options: IdentityOptions) -> Any:
        """All that is read of it; an edit is not looked at, since it agrees with what it was made of."""
        if clip.source:
            return None
        return [clip.contents or clip.path, clip.start, clip.stop, clip.crop, clip.subject]

    def look(self, clip: Clip, context: StageContext) -> dict[str, Any]:
        """Features as 16-bit numbers in base64, and what they show: subject, face, "" neither."""
        if FEATURES not in context.digests:
            return {}
        kind, pictures = self._pictures(clip, context)
        if not pictures:
            return {"shows": ""}
        model = context.weights.load(FEATURES, self.name, lambda path: _load_features(path, context))
        numbers = quantised(np.asarray(model.features(pictures)))
        return {"shows": kind, FEATURES: b64encode(numbers.astype("<i2").tobytes()).decode()}

    def conclude(
        self, clips: list[Clip], found: Mapping[str, dict[str, Any]], context: StageContext
    ) -> list[Clip]:
        """Clips with partners that agree, and with the identity of all that hang together; names that were
        given stay."""
        options: IdentityOptions = context.options
        rows = sorted((clip for clip in clips if clip.ok and clip.id in found), key=sort_key)
        number = {clip.id: one for one, clip in enumerate(rows)}
        pairs = []
        for shots in _compared(rows, found):
            places = [number[clip.id] for clip in shots.clips]
            agreed = agreeing(shots, options.percentile, options.least, options.across)
            pairs += [Pair(places[one.first], places[one.second], one.similarity) for one in agreed]
        new = {clip.id: clip for clip in _with_pairs(rows, pairs)}
        return [new.get(clip.id, clip) for clip in clips]

    def _pictures(self, clip: Clip, context: StageContext) -> tuple[str, list[np.ndarray]]:
        """Kind of what is shown, and its pictures, square, on grey."""
        masks = good_masks(clip)
        if masks:
            shown = zip(pictures_of(clip, sorted(masks)), sorted(masks), strict=True)
            return SUBJECT, [cut_out(picture, masks[one]) for picture, one in shown]
        if not context.options.faces:
            return "", []
        path = context.weights.path(FACES, self.name) if FACES in context.digests else None
        detect = _detector(path)
        places = spread(clip.frames, context.options.pictures)
        faces = [(picture, detect(picture)) for picture in pictures_of(clip, places)]
        return FACE, [squared(picture, boxes[0]) for picture, boxes in faces if boxes]


def require_options(options: IdentityOptions) -> None:
    """ValueError for numbers that are out of range."""
    if not 0 < options.percentile <= 100:
        raise ValueError(f"identities.percentile is {options.percentile}; needed above 0, at most 100")
    for name in ("least", "pictures"):
        if getattr(options, name) < 1:
            raise ValueError(f"identities.{name} is {getattr(options, name)}; needed 1 or more")


def remarks(
    clips: Sequence[Clip], found: Mapping[str, dict[str, Any]], options: IdentityOptions
) -> list[str]:
    """Sentences on what kept clips from being compared, for people. `clips` as before the stage, `found` its
    results by id, without refusals."""
    rows = [clip for clip in clips if clip.ok and clip.id in found]
    bare = sum(not found[clip.id] for clip in rows)
    if bare:
        return [
            f"{bare:,} clips were not compared: pairs of other shots and other files need features ="
            f" {KNOWN[FEATURES]}; names, and windows of the same shot, pair without"
        ]
    said = []
    unseen = sum(not found[clip.id]["shows"] for clip in rows)
    if unseen:
        said.append(
            f"{unseen:,} clips were not compared: they have no good subject mask, and no face was found; a whole"
            " picture is never compared, since its ground would agree"
        )
    unhashed = sum(bool(found[clip.id]["shows"]) and not clip.hash for clip in rows)
    if unhashed:
        said.append(
            f"{unhashed:,} clips were not compared: they have no hash against near-duplicates; run score"
        )
    for kind in (SUBJECT, FACE):
        those = [clip for clip in rows if found[clip.id]["shows"] == kind and clip.hash]
        pairs = different_pairs(those)
        if len(those) > 1 and pairs < options.least:
            said.append(
                f"{len(those):,} clips with a {kind} were not paired by features: {pairs:,} pairs of different"
                f" sources, and the percentile needs {options.least:,}"
            )
    return said


def cut_out(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Subject of a picture (H, W, 3) where a mask (h, w) is True, on grey, in the square around its box."""
    high, wide = picture.shape[:2]
    mask = mask[np.arange(high) * mask.shape[0] // high][:, np.arange(wide) * mask.shape[1] // wide]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
    return squared(np.where(mask[..., None], picture, np.uint8(_GREY)), box)


def squared(picture: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """Box (left, top, width, height) of a picture in the middle of a grey square, so large that no model's
    own crop cuts it."""
    left, top, wide, high = box
    side = math.ceil(max(wide, high) / _KEPT)
    out = np.full((side, side, 3), _GREY, np.uint8)
    x, y = (side - wide) // 2, (side - high) // 2
    out[y : y + high, x : x + wide] = picture[top : top + high, left : left + wide]
    return out


def _compared(rows: Sequence[Clip], found: Mapping[str, dict[str, Any]]) -> Iterator[Shots]:
    """Shots that can be compared with one another: subjects, then faces."""
    for kind in (SUBJECT, FACE):
        those = [clip for clip in rows if found[clip.id].get("shows") == kind and clip.hash]
        if those:
            yield Shots(those, [_numbers(found[clip.id][FEATURES]) for clip in those])


def _with_pairs(rows: Sequence[Clip], pairs: Sequence[Pair]) -> list[Clip]:
    component, kept = joined([clip.identity for clip in rows], pairs)
    members: dict[int, list[Clip]] = defaultdict(list)
    partners: dict[int, set[str]] = defaultdict(set)
    for clip, root in zip(rows, component, strict=True):
        members[root].append(clip)
    for pair in kept:
        partners[pair.first].add(rows[pair.second].id)
        partners[pair.second].add(rows[pair.first].id)
    names = {root: identity_of(those) for root, those in members.items() if len(those) > 1}
    return [
        replace(
            clip,
            pair_of=tuple(sorted({*clip.pair_of, *partners[one]})),
            identity=clip.identity or names.get(component[one], ""),
        )
        for one, clip in enumerate(rows)
    ]


def identity_of(members: Sequence[Clip]) -> str:
    """Identity of clips that hang together: the name that any of them was given, else one of their ids'
    digest."""
    given = {clip.identity for clip in members if clip.identity}
    ids = "\n".join(sorted(clip.id for clip in members))
    return min(given) if given else f"same-{sha256(ids.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def _numbers(text: str) -> np.ndarray:
    return np.frombuffer(b64decode(text), "<i2")


@cache
def _detector(path: Path | None) -> Detector:
    return load_detector(path)


def _load_features(path: Path, context: StageContext) -> Any:
    from ..models.features import load_features

    return load_features(path, context.device)
