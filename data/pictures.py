"""Pictures of a clip of the index: upright, with square pixels, cropped, one after another."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..media.films import frame_files
from ..media.pictures import Unreadable, is_image, read_picture, to_bytes
from .index import MOST_DENOMINATOR, Clip, Refused

CHANGED = "changed since it was scanned"


def pictures_of(clip: Clip, wanted: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    """Pictures (H, W, 3) uint8 of a clip, of `clip.size`; `wanted` counts from the clip's first, may repeat
    and does not descend; None: all. `Refused` where the file does not give them."""
    numbers = range(clip.start, clip.stop) if wanted is None else [clip.start + one for one in wanted]
    given = 0
    try:
        for picture in _whole(clip, numbers):
            given += 1
            yield cropped(picture, clip)
    except (Unreadable, OSError) as error:
        raise Refused(CHANGED, str(error), passing=True) from error
    if given < len(numbers):
        detail = f"{clip.path} gives {given} of the {len(numbers)} pictures that are needed"
        raise Refused(CHANGED, detail, passing=True)


def at_rate(clip: Clip, fps: float | Fraction) -> list[int]:
    """Numbers of the clip's pictures, from its first, that are shown at 0, 1/fps, 2/fps … seconds.

    A place shows the picture that has begun, or the next one where that is nearer and begins within half a
    place [choice: nearest-picture]. Times of a variable rate are those of the file. Places that would end
    after the clip are left out, but for the first. Of a still its one. ValueError for no rate above 0;
    `Refused` as `pictures_of` says.
    """
    rate = Fraction(fps).limit_denominator(MOST_DENOMINATOR)
    if rate <= 0:
        raise ValueError(f"fps is {fps}; needed more than 0 pictures a second")
    if not clip.fps:
        return [0]
    stored = stored_times(clip)[clip.start : clip.stop + 1]
    *times, end = [one - stored[0] for one in stored] or [k / clip.rate for k in range(clip.frames + 1)]
    shown, now = [], 0
    for place in (k / rate for k in range(max(int(end * rate), 1))):
        while now + 1 < len(times) and _is_due(times[now], times[now + 1], place, 1 / (2 * rate)):
            now += 1
        shown.append(now)
    return shown


def _is_due(before: Fraction, after: Fraction, place: Fraction, reach: Fraction) -> bool:
    """True where a place shows the later of two pictures."""
    return after <= place or (after - place <= reach and after - place < place - before)


def stored_times(clip: Clip) -> list[Fraction]:
    """Seconds at which the pictures of a whole file begin, and its end, where its rate is variable. None of a
    constant rate, and none where times do not ascend. `Refused` as `pictures_of` says."""
    if not clip.variable or Path(clip.path).is_dir():
        return []
    try:
        state = Path(clip.path).stat()
        return list(_times(clip.path, (state.st_size, state.st_mtime_ns)))
    except (Unreadable, OSError) as error:
        raise Refused(CHANGED, str(error), passing=True) from error


def cropped(picture: np.ndarray, clip: Clip) -> np.ndarray:
    """Part of a file's whole picture (H, W, C) that the clip shows."""
    if clip.crop is None:
        return picture
    left, top, width, height = clip.crop
    return picture[top : top + height, left : left + width]


def spread(frames: int, count: int) -> list[int]:
    """Places of `count` pictures, spread evenly over `frames`, each once; fewer where there are fewer."""
    count = min(count, frames)
    return [(2 * one + 1) * frames // (2 * count) for one in range(count)]


def _whole(clip: Clip, numbers: Sequence[int]) -> Iterator[np.ndarray]:
    """Pictures of the file before the crop."""
    from ..media.film_streaming import Clock, opaque, stream_film, stream_pictures

    path = Path(clip.path)
    if path.is_dir():
        files = frame_files(path)
        yield from (
            to_bytes(opaque(read_picture(files[one], clip.id))) for one in numbers if one < len(files)
        )
    elif is_image(path):
        yield from stream_pictures(path, clip.id, numbers)
    else:
        times = stored_times(clip)[:-1]
        known = clip.fps and (times or not clip.variable)
        clock = Clock(Fraction(clip.begin), clip.rate, times) if known else None
        yield from stream_film(path, clip.id, numbers, clock)


@lru_cache(maxsize=8)  # of films of which several shots are looked at, one after another
def _times(path: str, _state: tuple[int, int]) -> tuple[Fraction, ...]:
    """Times of a file in this state, and its end."""
    from ..media.film_streaming import survey_film, survey_picture

    survey = survey_picture if is_image(Path(path)) else survey_film
    found = survey(Path(path), path).decoded
    every = [one for one in (*found.times, found.end) if one is not None]
    ascends = len(every) == len(found.times) + 1 and all(a < b for a, b in pairwise(every))
    return tuple(every) if ascends else ()
