"""Stage `subjects`: masks of whom a clip shows, in a few of its pictures, and which of them are good."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..given_masks import given_masks, mask_state
from ..index import Clip
from ..pictures import pictures_of, spread
from ..prepare import require_masks
from ..run_lengths import GOOD, pack_mask
from ..stage import PlainStage, StageContext
from ..weights import Weights
from .encode import POOL

GIVEN, BIREFNET, DINO, SAM = "given", "birefnet", "grounding_dino", "sam2"
MULTIPLE = 32  # of BiRefNet's sides
HALF = 0.5  # from here on a pixel is the subject's
LONGEST = 256  # pixels of a mask's longer side [choice: mask-size]
# What speaks against a mask: these are all.
NO_SUBJECT, NO_WORDS, NOT_GIVEN = "no subject", "no words for it", "no mask given"
TOO_SMALL, TOO_LARGE, IN_PIECES, CUT_OFF = "too small", "too large", "in pieces", "cut off at two sides"
Finder = Callable[[np.ndarray], np.ndarray | None]  # a picture (H, W, 3) uint8 -> its mask (h, w) in [0, 1]


@dataclass(frozen=True)
class SubjectsOptions:
    """Options of `subjects`. What is good is as for references of VideoMaker's training.

    subject  what GroundingDINO looks for in every clip, as "person. animal."; "": in each its short caption
    box      how sure it has to be of a box: 0.25, as OpenS2V's pipeline
    side     pixels of the square that BiRefNet sees: 1024, and 2048 for its weights of high resolution
    least    smallest share of a picture that a good mask covers [choice: good-masks]
    most     the largest: 60 %
    piece    share of a good mask that is one piece: 90 %
    across   masks that reach from one side to the opposite one are good too: people seen from near
    """

    subject: str = ""
    box: float = 0.25
    side: int = 1024
    least: float = 0.03
    most: float = 0.6
    piece: float = 0.9
    across: bool = False


class Subjects(PlainStage):
    """Masks of subjects in the pictures that references are drawn from. They are those that came with the
    clip, else BiRefNet's, else GroundingDINO's and SAM 2's; these two also where a subject is named."""

    name, version, defaults = "subjects", 1, SubjectsOptions()
    concluding = ("least", "most", "piece", "across")

    def uses(self, options: SubjectsOptions, weights: Weights) -> Sequence[str]:
        """Weights that find subjects; none where none were given, since masks may come with clips.
        ValueError for options that are wrong, and for one of two weights that need each other."""
        _require_options(options)
        named = bool(options.subject) or (
            not weights.has(BIREFNET) and (weights.has(DINO) or weights.has(SAM))
        )
        names = (DINO, SAM) if named else (BIREFNET,) if weights.has(BIREFNET) else ()
        for name in names:
            weights.path(name, self.name)
        return names

    def depends(self, clip: Clip, options: SubjectsOptions) -> Any:
        """All of the clip's pictures, its masks, and the words that name its subject. Rows without pictures
        are not looked at."""
        if not clip.frames:
            return None
        part = [clip.contents or clip.path, clip.start, clip.stop, clip.crop]
        return [*part, mask_state(clip) if clip.mask else options.subject or clip.short_caption]

    def look(self, clip: Clip, context: StageContext) -> dict[str, Any]:
        """Masks of a few pictures, packed, and figures of each. `Refused` for given masks that cannot be
        used. A clip without one has none where there are no weights."""
        width, height = clip.size
        scale = min(1.0, LONGEST / max(width, height))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        frames = spread(clip.frames, POOL)
        by, found = self._masks(clip, frames, context)
        masks = [None if one is None else _small(one, size) for one in found]
        return {
            "by": by,
            "frames": frames,
            "size": list(size),
            "masks": ["" if one is None else pack_mask(one) for one in masks],
            "figures": [None if one is None else figures_of(one) for one in masks],
            "without": _without(by, clip, context.options),
        }

    def require(self, clips: Sequence[Clip], context: StageContext) -> None:
        """ValueError where no clip came with a mask and there is nothing to find any by."""
        require_masks(self.name, clips, context.weights)

    def conclude(
        self, clips: list[Clip], found: Mapping[str, dict[str, Any]], context: StageContext
    ) -> list[Clip]:
        """Rows with their masks, and what speaks against each. No row is refused for having no good one:
        Saber needs none."""
        return [
            replace(clip, subject=_judged(found[clip.id], context.options)) if clip.id in found else clip
            for clip in clips
        ]

    def _masks(
        self, clip: Clip, frames: Sequence[int], context: StageContext
    ) -> tuple[str, Iterable[np.ndarray | None]]:
        """Source of the masks, and masks (h, w) in [0, 1] of any size, one after another."""
        if clip.mask:
            return GIVEN, given_masks(clip, frames)
        if SAM in context.digests:
            by, find = SAM, _by_words(_words(clip, context.options), context)
        elif BIREFNET in context.digests:
            by, find = BIREFNET, _by_birefnet(context)
        else:
            return GIVEN, [None] * len(frames)
        return by, map(find, pictures_of(clip, frames))


def _require_options(options: SubjectsOptions) -> None:
    """ValueError for options that no mask could be found or judged by."""
    for name in ("box", "least", "most", "piece"):
        if not 0 <= getattr(options, name) <= 1:
            raise ValueError(f"subjects: {name} is {getattr(options, name)}; needed 0 to 1")
    if options.least > options.most:
        raise ValueError(f"subjects: least is {options.least}, most {options.most}; needed most above least")
    if options.side < MULTIPLE or options.side % MULTIPLE:
        raise ValueError(f"subjects: side is {options.side}; needed a multiple of {MULTIPLE}")


def figures_of(mask: np.ndarray) -> list[Any] | None:
    """Figures of a mask (h, w) bool; None of an empty one. They are its share of the picture, the share of it
    that its largest piece is, and whether that piece touches two opposite sides."""
    import cv2

    area = int(mask.sum())
    if not area:
        return None
    _, _, pieces, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    left, top, width, height, largest = max(pieces[1:].tolist(), key=lambda one: one[cv2.CC_STAT_AREA])
    across = left == 0 and width == mask.shape[1]
    down = top == 0 and height == mask.shape[0]
    return [float(f"{area / mask.size:.6g}"), float(f"{largest / area:.6g}"), across or down]


def quality_of(figures: Sequence[Any], options: SubjectsOptions) -> str:
    """Reason against a mask of these figures; "" of a good one."""
    area, piece, cut = figures
    if area < options.least:
        return TOO_SMALL
    if area > options.most:
        return TOO_LARGE
    if piece < options.piece:
        return IN_PIECES
    return CUT_OFF if cut and not options.across else GOOD


def _without(by: str, clip: Clip, options: SubjectsOptions) -> str:
    """Reason why a picture has no mask."""
    if by == SAM and not _words(clip, options):
        return NO_WORDS
    return NO_SUBJECT if by != GIVEN or clip.mask else NOT_GIVEN


def _judged(found: Mapping[str, Any], options: SubjectsOptions) -> dict[str, Any]:
    quality = [found["without"] if one is None else quality_of(one, options) for one in found["figures"]]
    return {**{name: found[name] for name in ("by", "frames", "size", "masks")}, "quality": quality}


def _words(clip: Clip, options: SubjectsOptions) -> str:
    return options.subject or clip.short_caption


def _by_birefnet(context: StageContext) -> Finder:
    from ..models.birefnet import MaskModel

    side = context.options.side
    return context.weights.load(BIREFNET, Subjects.name, lambda path: MaskModel(path, side, context.device))


def _by_words(words: str, context: StageContext) -> Finder:
    """Finder of what words name, picture by picture; of nothing without words."""
    from ..models.grounded_sam import BoxFinder, BoxMasker

    if not words:
        return lambda _: None
    boxes = context.weights.load(DINO, Subjects.name, lambda path: BoxFinder(path, context.device))
    masks = context.weights.load(SAM, Subjects.name, lambda path: BoxMasker(path, context.device))

    def find(picture: np.ndarray) -> np.ndarray | None:
        box = boxes(picture, words, context.options.box)
        return None if box is None else masks(picture, box)

    return find


def _small(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask in [0, 1] as one (h, w) bool of the size, by the mean of each pixel's area."""
    import cv2

    shrinks = mask.shape[0] >= size[0] and mask.shape[1] >= size[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(mask, size[::-1], interpolation=how) >= HALF
