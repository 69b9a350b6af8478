"""Masks that come with a clip: a film, an animation, a folder of pictures, or one picture for all of it."""

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..media.films import frame_files
from ..media.pictures import is_image, mask_of, read_picture
from .index import Clip, Refused
from .pictures import cropped

UNREAD, UNFIT = "masks that cannot be read", "masks that do not fit"


def given_masks(clip: Clip, frames: Sequence[int]) -> list[np.ndarray]:
    """Masks (h, w) in [0, 1], float32, of pictures of a clip that ascend, of the part that the clip shows.

    There is one mask for each picture of the clip, or of its whole file, or one for all. Masks of another
    size than the clip's file are scaled to it. `Refused` where they cannot be read, and where there are more
    or fewer.
    """
    try:
        numbers = _numbers(clip, frames)
        found = torch.stack(list(_pictures(Path(clip.mask), clip.id, numbers)))
    except Refused:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise Refused(UNREAD, str(error)) from error
    return [_part(one.numpy(), clip) for one in mask_of(found)]


def mask_state(clip: Clip) -> list[Any]:
    """State of the files of a clip's masks: a name, bytes and time for each."""
    path = Path(clip.mask)
    files = frame_files(path) if path.is_dir() else [path]
    states = [(one.name, one.stat() if one.exists() else None) for one in files]
    return [[name, state and state.st_size, state and state.st_mtime_ns] for name, state in states]


def _numbers(clip: Clip, frames: Sequence[int]) -> list[int]:
    """Numbers of the masks of a clip's pictures."""
    count = _count(clip.mask, _stamp(clip.mask))
    if count == 1:
        return [0] * len(frames)
    if count == clip.frames:
        return list(frames)
    whole = _count(clip.path, _stamp(clip.path))
    if count == whole:
        return [clip.start + one for one in frames]
    raise Refused(
        UNFIT, f"{clip.mask} holds {count} masks; the clip has {clip.frames} frames, its file {whole}"
    )


def _stamp(path: str) -> tuple[int, int]:
    state = os.stat(path)
    return state.st_size, state.st_mtime_ns


@lru_cache(maxsize=16)  # of films of which several shots are looked at, one after another
def _count(path: str, _state: tuple[int, int]) -> int:
    """Pictures of a file in this state, or of a folder."""
    from ..media.film_streaming import survey_film, survey_picture

    if Path(path).is_dir():
        return len(frame_files(Path(path)))
    survey = survey_picture if is_image(Path(path)) else survey_film
    return len(survey(Path(path), path).decoded.times)


def _pictures(path: Path, what: str, numbers: Sequence[int]) -> Iterator[Tensor]:
    """Pictures (H, W, 4) in [0, 1] of the numbers, which do not descend, one in memory at a time."""
    if path.is_dir():
        files = frame_files(path)
        yield from (_with_alpha(read_picture(files[one], what)) for one in numbers)
        return
    every, at, picture = _every(path, what), -1, None
    for number in numbers:
        if number > at:
            picture, at = next(islice(every, number - at - 1, None))(), number
        assert picture is not None
        yield _with_alpha(picture)


def _every(path: Path, what: str) -> Iterator[Any]:
    """Pictures of a file one after another, each as what makes its values."""
    from ..media.film_decoding import animated, frames_of, opened_film, pixels_of, turned

    if is_image(path):
        for values, _ in animated(path, what, lambda *_: None):
            yield lambda values=values: values
        return
    with opened_film(path, what) as (container, stream):
        for frame in frames_of(container, stream):
            yield lambda frame=frame: turned(pixels_of(frame), frame)


def _with_alpha(values: Tensor) -> Tensor:
    return values if values.shape[-1] == 4 else torch.cat([values, torch.ones_like(values[..., :1])], -1)


def _part(mask: np.ndarray, clip: Clip) -> np.ndarray:
    """A mask of the whole file as the clip shows it."""
    import cv2

    if mask.shape != (clip.height, clip.width):
        mask = cv2.resize(mask, (clip.width, clip.height), interpolation=cv2.INTER_LINEAR)
    return cropped(mask, clip)
