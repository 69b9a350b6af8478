"""Scan: every frame of every file is decoded, and what the file is goes into its row."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...media.films import frame_files
from ...media.pictures import Damaged, Unreadable, is_image, read_picture
from ...media.timing import constant_rate
from ..index import A_FILM, A_STILL, MOST_DENOMINATOR, Clip, Refused
from ..stage import PlainStage, StageContext
from ..weights import Weights, file_digest

if TYPE_CHECKING:
    from ...media.film_streaming import Survey

# Reasons of refusals: these are all.
MISSING = "no such file"
CLOSED = "may not be read"
EMPTY = "an empty file"
NEITHER = "not a video or picture"
DAMAGED = "cut short or damaged"
SOUND_ONLY = "sound only"
NO_FRAME = "no frame"
CHANGES = "changes its size"
FORM = "a form that is not read"
TOO_SHORT = "shorter than its part"
# First bytes of films' files, and where they stand: one that cannot be opened has lost its end.
_HEADS = (
    (4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (0, b"\x1a\x45\xdf\xa3"), (8, b"AVI "), (0, b"OggS"), (0, b"FLV"),
)  # fmt: skip


@dataclass(frozen=True)
class ScanOptions:
    """Options of scan.

    frames_fps  pictures a second of a folder of frames, or of a film, that says none [choice: frames-rate]
    """

    frames_fps: float = 16.0


class Scan(PlainStage):
    """Scan of files: their true numbers of frames, rates by timestamps, sizes, and what speaks against
    them."""

    name, version, defaults = "scan", 1, ScanOptions()
    basis = True

    def uses(self, options: ScanOptions, weights: Weights) -> Sequence[str]:
        """None of the weights. ValueError for a rate that is none."""
        if not 0 < options.frames_fps < 1000:
            raise ValueError(
                f"scan: frames_fps is {options.frames_fps}; needed more than 0 pictures a second"
            )
        return ()

    def depends(self, clip: Clip, options: ScanOptions) -> Any:
        """State of the clip's file, or of each frame's."""
        return [clip.path, clip.start, clip.stop, clip.fps, [_state(one) for one in _files(Path(clip.path))]]

    def look(self, clip: Clip, context: StageContext) -> dict[str, Any]:
        """Facts of the clip's file. `Refused` for the reasons of this file."""
        path = Path(clip.path)
        _require_there(path)
        try:
            found = _survey(path)
        except Unreadable as error:
            raise Refused(_reason(error, path), _without_name(error, path)) from error
        if found.decoded.damaged:
            raise Refused(
                DAMAGED, f"{found.decoded.damaged} of {len(found.decoded.times)} pictures are damaged"
            )
        if len(found.sizes) > 1:
            raise Refused(CHANGES, ", ".join(f"{width}x{height}" for width, height in sorted(found.sizes)))
        count = len(found.decoded.times)
        if clip.stop > count or clip.start >= (clip.stop or count):
            raise Refused(TOO_SHORT, f"{count} frames; frames {clip.start} to {clip.stop} are asked for")
        return {**_facts(found), **_timing(path, found, clip.fps or context.options.frames_fps), **_part(clip, count),
                "contents": _contents(path)}  # fmt: skip

    def conclude(
        self, clips: list[Clip], found: Mapping[str, dict[str, Any]], context: StageContext
    ) -> list[Clip]:
        """Rows with the facts of their files."""
        return [replace(clip, **found.get(clip.id, {})) for clip in clips]


def _files(path: Path) -> list[Path]:
    return frame_files(path) if path.is_dir() else [path]


def _state(path: Path) -> list[Any]:
    try:
        state = path.stat()
    except OSError:
        return [path.name, None]
    return [path.name, state.st_size, state.st_mtime_ns]


def _require_there(path: Path) -> None:
    """`Refused` before anything is opened."""
    if not path.exists() or not (path.is_dir() or path.is_file()):  # nor a pipe, which would be waited for
        raise Refused(MISSING, path.as_posix())
    files = _files(path)
    if not files:
        raise Refused(NO_FRAME, f"{path.as_posix()} holds no picture")
    for one in files:
        if not os.access(one, os.R_OK):
            raise Refused(CLOSED, one.as_posix(), passing=True)  # rights change, its state does not
        if not one.stat().st_size:
            raise Refused(EMPTY, one.as_posix())


def _survey(path: Path) -> "Survey":
    """Facts of a file or folder; each of its pictures is decoded."""
    from ...media.film_streaming import Survey, survey_film, survey_picture

    if not path.is_dir():
        return (survey_picture if is_image(path) else survey_film)(path, "scan")
    found = Survey()
    for one in frame_files(path):
        values = read_picture(one, "scan")
        found.decoded.times.append(None)
        found.see(values)
    return found


def _reason(error: Unreadable, path: Path) -> str:
    from ...media import film_decoding

    if isinstance(error, film_decoding.NotAFilm):
        return DAMAGED if _is_known(path) else NEITHER
    reasons = {
        film_decoding.NoMovingPicture: SOUND_ONLY,
        film_decoding.NoFrame: NO_FRAME,
        Damaged: DAMAGED,
    }
    return reasons.get(type(error), FORM)


def _without_name(error: Unreadable, path: Path) -> str:
    """Sentence of an error without the file's name, which its row has."""
    return str(error).removeprefix(f"scan: {path} ").replace(f": '{path}'", "")


def _is_known(path: Path) -> bool:
    """True where a file begins as films do."""
    with path.open("rb") as file:
        begin = file.read(16)
    return any(begin[place : place + len(head)] == head for place, head in _HEADS)


def _facts(found: "Survey") -> dict[str, Any]:
    width, height = found.sizes[0]
    return {
        "width": width,
        "height": height,
        "rotation": found.rotation,
        "pixel_aspect": float(found.pixel_aspect),
        "range": found.range,
        "interlaced": found.interlaced,
        "alpha": found.alpha,
        "sound": found.sound,
    }


def _timing(path: Path, found: "Survey", unsaid: float) -> dict[str, Any]:
    """Kind, rate and begin. A variable rate is the mean one, so that the length is right."""
    decoded = found.decoded
    count = len(decoded.times)
    if count == 1 and not path.is_dir() and is_image(path):
        return {"kind": A_STILL, "fps": 0.0, "begin": 0.0, "variable": False}
    said = {"kind": A_FILM, "begin": float(decoded.begin)}
    declared = next(
        (one for one in decoded.rates if one), Fraction(unsaid).limit_denominator(MOST_DENOMINATOR)
    )
    times = [one for one in decoded.times if one is not None]
    if len(times) < count or decoded.end is None:
        return {**said, "fps": float(declared), "variable": False}
    try:
        timed = constant_rate(times, decoded.end, decoded.rates)
    except ValueError:  # AVI keeps no order of H.264's pictures: no picture is found by its time
        return {**said, "fps": float(declared), "variable": True}
    if timed.shown == list(range(count)):
        return {**said, "fps": float(timed.rate), "variable": False}
    mean = (count / (decoded.end - decoded.begin)).limit_denominator(MOST_DENOMINATOR)
    return {**said, "fps": float(mean), "variable": True}


def _part(clip: Clip, count: int) -> dict[str, int]:
    """Frames of the file that the clip is: all, where its row asks for none."""
    stop = clip.stop or count
    return {"start": clip.start, "stop": stop, "frames": stop - clip.start}


def _contents(path: Path) -> str:
    if not path.is_dir():
        return file_digest(path)
    parts = "".join(file_digest(one) for one in frame_files(path))
    return sha256(parts.encode()).hexdigest()[:24]
