"""Streaming of films: one picture in memory at a time, in 8 bits, upright, with square pixels, opaque."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from av.error import FFmpegError
from PIL import Image
from torch import Tensor

from ..core.recipe import GREY
from .film_decoding import (
    Decoded,
    animated,
    frames_of,
    note,
    opened_film,
    pixels_of,
    require_whole,
    time_of,
    turned,
)
from .pictures import opened, require_pixels, to_bytes

FAR = 50  # pictures that are rather decoded in vain than sought
BACK = (0, 1, 5)  # seconds before the picture that is sought, one after another
RANGES = {1: "limited", 2: "full"}
_EXIF_TURNS = {3: 180, 4: 180, 5: 270, 6: 90, 7: 90, 8: 270}
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Clock:
    """Times of a film's pictures by number: as stored, or at a constant rate where none are given."""

    begin: Fraction
    rate: Fraction
    times: Sequence[Fraction] = ()

    def time(self, number: int) -> Fraction:
        """Second of a picture."""
        return self.times[number] if self.times else self.begin + number / self.rate

    def number(self, time: Fraction | None) -> int | None:
        """Number of the picture of a time; None where there is none."""
        if time is None:
            return None
        if not self.times:
            return round((time - self.begin) * self.rate)
        place = bisect_left(self.times, time)
        return place if place < len(self.times) and self.times[place] == time else None


@dataclass
class Survey:
    """Facts of a film or picture that was decoded to its end.

    decoded       its times; no pictures
    sizes         (width, height) as shown: upright, with square pixels; each once
    rotation      degrees clockwise that it was turned to be upright
    pixel_aspect  width of its stored pixels by their height
    range         "full", "limited" or "" of its colours
    alpha         anything of it is transparent
    """

    decoded: Decoded = field(default_factory=Decoded)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    rotation: int = 0
    pixel_aspect: Fraction = Fraction(1)
    range: str = ""
    interlaced: bool = False
    alpha: bool = False
    sound: bool = False

    def see(self, values: Tensor) -> None:
        """Note the size of an upright picture (H, W, 3 or 4), and whether it is transparent anywhere."""
        self.measure(values.shape[1], values.shape[0])
        self.alpha = self.alpha or is_clear(values)

    def measure(self, width: int, height: int) -> None:
        """Note a picture's size."""
        if (width, height) not in self.sizes:
            self.sizes.append((width, height))


def survey_film(path: Path, what: str) -> Survey:
    """Decode every frame of a file that FFmpeg reads. ValueError as `film_decoding.decode_film` says."""
    with opened_film(path, what) as (container, stream):
        decoded = Decoded(rates=(stream.average_rate, stream.guessed_rate))
        found = Survey(decoded, pixel_aspect=_aspect(stream), sound=bool(container.streams.audio))
        for frame in frames_of(container, stream):
            note(frame, stream, decoded)
            width, height = _squared_size(frame.width, frame.height, found.pixel_aspect)
            require_pixels(width, height, path, what)
            found.rotation = -frame.rotation % 360
            found.range = RANGES.get(int(frame.color_range), found.range)
            found.interlaced = found.interlaced or bool(frame.interlaced_frame)
            found.measure(*((height, width) if found.rotation % 180 else (width, height)))
            if not found.alpha and any(component.is_alpha for component in frame.format.components):
                found.alpha = is_clear(pixels_of(frame))
        require_whole(container, stream, decoded, path, what)
    return found


def survey_picture(path: Path, what: str) -> Survey:
    """Decode a picture, or every one of an animation, by Pillow. ValueError as `pictures.opened` says."""
    found, now = Survey(), Fraction(0)
    with opened(path, what) as image:
        found.rotation = _EXIF_TURNS.get(image.getexif().get(_ORIENTATION, 1), 0)
    for values, lasts in animated(path, what, lambda *_: None):
        found.decoded.times.append(now)
        now += lasts
        found.see(values)
    found.decoded.end = now
    return found


def stream_film(path: Path, what: str, wanted: Sequence[int], clock: Clock | None) -> Iterator[np.ndarray]:
    """Pictures (H, W, 3) uint8 of a film by their numbers, which may repeat but not descend.

    A clock lets those far apart be sought by the keyframes before them; without one all are decoded. Pixels
    that are not square are made so in width, by Lanczos' filter [choice: square-pixels]. ValueError as
    `film_decoding.opened_film` says. Pictures that the film lacks are left out.
    """
    for run in _runs(wanted):
        times = Counter(run)
        for number, frame, aspect in _numbered(path, what, run[0], clock):
            if number is None:
                break
            if number in times:
                picture = _shown(frame, aspect)
                yield from (picture for _ in range(times[number]))
            if number >= run[-1]:
                break


def stream_pictures(path: Path, what: str, wanted: Sequence[int]) -> Iterator[np.ndarray]:
    """Pictures (H, W, 3) uint8 of an animation, or a picture's one, as `stream_film`."""
    times = Counter(wanted)
    for number, (values, _) in enumerate(animated(path, what, lambda *_: None)):
        if number in times:
            picture = to_bytes(opaque(values))
            yield from (picture for _ in range(times[number]))
        if number >= max(times, default=-1):
            return


def opaque(values: Tensor) -> Tensor:
    """A picture (H, W, 3 or 4) in [0, 1] over grey, (H, W, 3) [choice: alpha-on-grey]."""
    if values.shape[-1] == 3:
        return values
    alpha = values[..., 3:]
    return values[..., :3] * alpha + GREY * (1 - alpha)


def is_clear(values: Tensor) -> bool:
    """True where a picture (H, W, 3 or 4) is transparent anywhere."""
    return values.shape[-1] == 4 and bool((values[..., 3] < 1).any())


def _runs(wanted: Sequence[int]) -> Iterator[list[int]]:
    """Numbers that are decoded in one go."""
    run: list[int] = []
    for number in wanted:
        if run and number - run[-1] > FAR:
            yield run
            run = []
        run.append(number)
    if run:
        yield run


def _numbered(
    path: Path, what: str, first: int, clock: Clock | None
) -> Iterator[tuple[int | None, Any, Fraction]]:
    """Frames with their numbers and pixel aspect, from a keyframe at or before `first` on, or from the film's
    begin."""
    if clock is not None and first > FAR:
        with opened_film(path, what) as (container, stream):
            for back in BACK:
                found = _sought(container, stream, clock, first, back)
                if found is not None:
                    yield from ((clock.number(time_of(one, stream)), one, _aspect(stream)) for one in found)
                    return
    with opened_film(path, what) as (container, stream):
        for number, frame in enumerate(frames_of(container, stream)):
            yield number, frame, _aspect(stream)


def _sought(container: Any, stream: Any, clock: Clock, first: int, back: int) -> Iterator[Any] | None:
    """Frames from a keyframe on; None where that comes too late, or where its number is not known. Frames
    before it may lean on what was not decoded."""
    frames = frames_of(container, stream)
    try:
        container.seek(int((clock.time(first) - back) / stream.time_base), stream=stream)
        key = next((one for one in frames if one.key_frame), None)
    except FFmpegError:
        return None
    number = None if key is None else clock.number(time_of(key, stream))
    return chain([key], frames) if number is not None and number <= first else None


def _shown(frame: Any, aspect: Fraction) -> np.ndarray:
    values = to_bytes(opaque(pixels_of(frame)))
    size = _squared_size(frame.width, frame.height, aspect)
    if aspect != 1:
        values = np.array(Image.fromarray(values).resize(size, Image.Resampling.LANCZOS))
    return turned(torch.from_numpy(values), frame).numpy()


def _aspect(stream: Any) -> Fraction:
    return stream.sample_aspect_ratio or Fraction(1)


def _squared_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    return max(round(width * aspect), 1), height
