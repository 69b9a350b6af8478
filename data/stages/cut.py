"""Cut: films into shots, black borders away, and what stands still or flashes refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

from ..index import A_FILM, Clip
from ..pairs import clips_of_edits, with_their_sources
from ..pictures import pictures_of, spread
from ..stage import PlainStage, StageContext
from ..vision.borders import Crop, dark_outside, lit_pixels, picture_box
from ..vision.shots import Watched, stretches, watch
from ..weights import Weights

LOOKS = 16  # pictures of a stretch that borders are looked for in
STILL_SHARE = 0.9  # of pairs of pictures (training.md 3.2)
MOST_FLASHES = 3  # in a second: WCAG 2.2, success criterion 2.3.1


@dataclass(frozen=True)
class CutOptions:
    """Options of the stage.

    split      films are cut into shots and long shots divided; false: clips are cut already
    threshold  of a cut: its change in relation to the mean change around it (PySceneDetect: 3)
    shortest   seconds of a clip (training.md 3.2: 1.2)
    longest    seconds of a clip; longer shots are divided evenly (VideoX-Fun and NeMo Curator: 10)
    borders    black borders are cropped
    alike      least cosine of CLIP's features of a clip's first and last picture, where weights `clip` are
               given (VideoX-Fun: 0.8)
    """

    split: bool = True
    threshold: float = 3.0
    shortest: float = 1.2
    longest: float = 10.0
    borders: bool = True
    alike: float = 0.8

    def __post_init__(self):
        if self.threshold <= 1:
            raise ValueError(f"cut: threshold is {self.threshold:g}; needed more than 1, as 3")
        if self.shortest < 0 or self.longest < 2 * self.shortest or self.longest <= 0:
            raise ValueError(
                f"cut: longest is {self.longest:g} s and shortest {self.shortest:g} s; needed a longest of at least "
                "twice the shortest, so that no part of a divided shot is too short"
            )


class Cut(PlainStage):
    """Stage `cut`. A film of several shots is replaced by a row for each; a film of one keeps its row.

    What is known of a film goes on to its shots: captions, set, licence, identity, masks. Both films of an
    edit stay whole and uncropped, so that their pictures go on matching; a cut in one refuses it. Stills are
    not looked at.
    """

    name, version, defaults = "cut", 1, CutOptions()
    concluding = ("shortest", "alike")

    def uses(self, options: CutOptions, weights: Weights) -> Sequence[str]:
        """CLIP where it was given. ValueError where PySceneDetect is not installed."""
        if options.split and find_spec("scenedetect") is None:
            raise ValueError("cut: PySceneDetect is not installed; run `pip install scenedetect`")
        return ("clip",) if weights.has("clip") else ()

    def depends(self, clip: Clip, options: CutOptions) -> Any:
        """The pictures that the clip shows; None for a still."""
        return pictures_key(clip) if clip.kind == A_FILM else None

    def look(self, clip: Clip, context: StageContext) -> dict[str, Any]:
        """Facts of the film as a whole, of each of its parts, and where it is cut."""
        options: CutOptions = context.options
        around = _lit(clip) if options.borders and clip.crop is None else None
        crop = None if around is None else picture_box(around)
        seen = watch(
            pictures_of(_cropped(clip, crop)), clip.rate, options.threshold if options.split else None
        )
        whole = _facts(_cropped(clip, None), clip.start, seen, context)
        parts = [(0, clip.frames)]
        if options.split:
            parts = list(stretches(seen.cuts, clip.frames, options.longest * clip.fps))
        if len(parts) == 1:
            return {"whole": whole, "cuts": seen.cuts, "parts": [{**whole, "crop": crop or clip.crop}]}
        rows = [replace(clip, start=clip.start + one, stop=clip.start + end) for one, end in parts]
        found = [
            _facts(_cropped(row, _crop_of(row, crop, options)), clip.start, seen, context) for row in rows
        ]
        return {"whole": whole, "cuts": seen.cuts, "parts": found}

    def conclude(
        self, clips: list[Clip], found: Mapping[str, dict[str, Any]], context: StageContext
    ) -> list[Clip]:
        """Rows of parts in the place of their films."""
        edits = clips_of_edits(clips)
        options: CutOptions = context.options
        cut = {
            clip.id: _whole(clip, found[clip.id], options)
            if clip.id in edits
            else _parts(clip, found[clip.id], options)
            for clip in clips
            if clip.id in found
        }
        rows = [row for clip in clips for row in cut.get(clip.id, [clip])]
        names = {name: tuple(row.id for row in parts) for name, parts in cut.items() if len(parts) > 1}
        return with_their_sources([_renamed(row, names) for row in rows])


def pictures_key(clip: Clip) -> list[Any]:
    """All that the pictures of a clip depend on, as JSON."""
    file = [clip.contents or clip.path, clip.rotation, clip.pixel_aspect, clip.range, clip.fps]
    return [*file, clip.start, clip.stop, clip.width, clip.height, clip.crop]


def _lit(clip: Clip) -> Any:
    return lit_pixels(pictures_of(clip, spread(clip.stop - clip.start, LOOKS)))


def _cropped(clip: Clip, crop: Crop | None) -> Clip:
    """The clip with a crop that was found; one that was given stays."""
    return clip if crop is None else replace(clip, crop=crop)


def _crop_of(row: Clip, film: Crop | None, options: CutOptions) -> Crop | None:
    """Crop of one shot: its own, since films mix formats. The film's, where the shot is too dark to tell and
    nothing stands outside."""
    lit = _lit(row) if options.borders and row.crop is None else None
    own = None if lit is None else picture_box(lit)
    if own is None and film is not None and (lit is None or dark_outside(lit, film)):
        return film
    return own


def _facts(part: Clip, begin: int, seen: Watched, context: StageContext) -> dict[str, Any]:
    start, stop = part.start - begin, part.stop - begin
    return {
        "start": part.start,
        "stop": part.stop,
        "crop": part.crop,
        "still": seen.still(start, stop),
        "flash": seen.flashes(start, stop, part.fps),
        "alike": _alike(part, context),
    }


def _alike(part: Clip, context: StageContext) -> float | None:
    """Cosine of CLIP's features of the first and the last picture; None without CLIP."""
    if not context.weights.has("clip"):
        return None
    model = context.weights.load("clip", "cut", _loader(context.device))
    first, last = model.features(list(pictures_of(part, [0, part.stop - part.start - 1])))
    return round(float(first @ last), 4)  # coarser than what torch's threads change


def _loader(device: str) -> Any:
    from ..models.features import load_features

    return partial(load_features, device=device, what="clip")


def _whole(clip: Clip, seen: Mapping[str, Any], options: CutOptions) -> list[Clip]:
    """Row of a film of an edit."""
    row = _judged(replace(clip, flash=float(seen["whole"]["flash"])), seen["whole"], options)
    places = ", ".join(str(clip.start + one) for one in seen["cuts"])
    return [row.refused("cut inside", f"a film of an edit, at frame {places}") if places else row]


def _parts(clip: Clip, seen: Mapping[str, Any], options: CutOptions) -> list[Clip]:
    """Rows of the parts of a film."""
    facts = seen["parts"]
    names = [clip.id] if len(facts) == 1 else [f"{clip.id}-{one:03d}" for one in range(len(facts))]
    return [_judged(_row(clip, name, one), one, options) for name, one in zip(names, facts, strict=True)]


def _row(clip: Clip, name: str, fact: Mapping[str, Any]) -> Clip:
    crop = None if fact["crop"] is None else tuple(fact["crop"])
    frames = fact["stop"] - fact["start"]
    place = {"start": fact["start"], "stop": fact["stop"], "frames": frames}
    return replace(clip, id=name, crop=crop, flash=float(fact["flash"]), **place)


def _judged(row: Clip, fact: Mapping[str, Any], options: CutOptions) -> Clip:
    """A row, refused where something speaks against it."""
    if row.seconds < options.shortest:
        return row.refused(f"shorter than {options.shortest:g} s", f"{row.seconds:.2f} s")
    if fact["still"] >= STILL_SHARE:
        return row.refused("static", f"{fact['still']:.0%} of its pictures do not change")
    if fact["flash"] > MOST_FLASHES:
        return row.refused("flashing", f"{fact['flash']} flashes in a second")
    if fact["alike"] is not None and fact["alike"] < options.alike:
        return row.refused("cut inside", f"CLIP: first and last picture agree by {fact['alike']:.2f}")
    return row


def _renamed(row: Clip, names: Mapping[str, tuple[str, ...]]) -> Clip:
    """A row whose mates are the parts of the films that they were."""
    mates = tuple(new for old in row.pair_of for new in names.get(old, (old,)))
    return replace(row, pair_of=mates) if mates != row.pair_of else row
