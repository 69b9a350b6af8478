"""Decoding of a film's file by FFmpeg and Pillow: pictures with their times, upright, with the transparency
that was stored."""

import logging
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.error import FFmpegError, InvalidDataError
from av.filter import Graph
from av.sidedata.sidedata import Type
from av.stream import Disposition
from PIL import ImageSequence
from torch import Tensor

from .pictures import Damaged, Unreadable, opened, oriented, require_pixels, values_of

logger = logging.getLogger(__name__)
MOST_FILM_PIXELS = 1_000_000_000  # of a film's pictures together: 12 GB of numbers
# Containers of films. Lists of other files (concat, HLS, DASH, SDP) and devices are not among them: a file
# could name any other.
_CONTAINERS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,obu,ivf,flv,asf,ogg,mxf,nut,yuv4mpegpipe,dv,apng,gif,"
    "wav,mp3,aac,flac"  # those without a picture are opened to be told so
)
OPENING_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
NARROW = 32  # pixels; FFmpeg pads no film that is narrower
WITH_ALPHA = {
    "vp9": "libvpx-vp9",
    "vp8": "libvpx",
}  # decoders that read the second layer of a stream with alpha_mode
_EIGHT_BIT = (
    "rgb24",
    "bgr24",
    "rgba",
    "bgra",
    "argb",
    "abgr",
    "rgb0",
    "bgr0",
    "0rgb",
    "0bgr",
    "gbrp",
    "pal8",
    "gray",
)


class NotAFilm(Unreadable):
    """A file that FFmpeg does not know, or whose contents it cannot find."""


class NoMovingPicture(Unreadable):
    """A file of sound, or of sound and a cover."""


class NoFrame(Unreadable):
    """A film's file without a single picture in it."""


@dataclass
class Decoded:
    """Decoded pictures (H, W, 3 or 4) in [0, 1] in the order they are shown. starts says when each begins, in
    seconds, or None where the file does not say; end, when the last ends. rates are those that the file
    declares, in pictures a second."""

    pictures: list[Tensor] = field(default_factory=list)
    times: list[Fraction | None] = field(default_factory=list)
    end: Fraction | None = None
    rates: tuple[Fraction | None, ...] = ()
    damaged: int = 0

    @property
    def begin(self) -> Fraction:
        return next((one for one in self.times if one is not None), Fraction(0))


Limit = Callable[[int, int, int], None]  # (pictures so far, height, width); raises where they are too many


def decode_animation(path: Path, what: str, limit: Limit) -> Decoded:
    """Decode a GIF, an animated PNG or WebP, or a picture as a film of one. Pillow does it, which knows where
    their pictures stand and what stays. ValueError as `pictures.opened` says."""
    decoded, now = Decoded(), Fraction(0)
    for picture, lasts in animated(path, what, limit):
        decoded.pictures.append(picture)
        decoded.times.append(now)
        now += lasts
    decoded.end = now
    return decoded


def animated(path: Path, what: str, limit: Limit) -> Iterator[tuple[Tensor, Fraction]]:
    """Pictures (H, W, 3 or 4) in [0, 1] of such a file one after another, and the seconds that each lasts.
    Errors as `decode_animation`'s."""
    count = 0
    with opened(path, what) as image:
        hidden = getattr(image, "default_image", False)  # of a PNG: shown by who knows no animations
        for index, frame in enumerate(ImageSequence.Iterator(image)):
            if hidden and index == 0:
                continue
            count += 1
            limit(count, *frame.size)
            values = values_of(frame, path, what)
            yield values, Fraction(frame.info.get("duration") or 100) / 1000  # without one: as browsers do
            if image.format == "MPO":  # the others are the same picture, smaller or from aside
                break


def decode_film(path: Path, what: str, limit: Limit) -> Decoded:
    """Decode the first moving picture of a file that FFmpeg reads. Errors as `opened_film`'s, and where the
    file is cut short. Pictures it had to guess at are counted in `damaged`."""
    with opened_film(path, what) as (container, stream):
        decoded = Decoded(rates=(stream.average_rate, stream.guessed_rate))
        for frame in frames_of(container, stream):
            limit(len(decoded.pictures) + 1, frame.width, frame.height)
            _take(frame, stream, decoded)
        require_whole(container, stream, decoded, path, what)
    return decoded


@contextmanager
def opened_film(path: Path, what: str) -> Iterator[tuple[Any, Any]]:
    """A file that FFmpeg reads, and its first moving picture. ValueError where there is none, and for a file
    that is damaged in a way that FFmpeg notices, in the block too."""
    kind: type[Unreadable] = NotAFilm
    try:
        with av.open(str(path.resolve()), container_options=OPENING_OPTIONS) as container:
            kind = Damaged
            stream = _picture_stream(container, path, what)
            require_pixels(stream.codec_context.width, stream.codec_context.height, path, what)
            yield container, stream
    except FFmpegError as error:
        raise kind(
            f"{what}: {path} is not a video that can be read (MP4, WebM, MOV, GIF …), or is damaged: {error}"
        ) from error


def _picture_stream(container: Any, path: Path, what: str) -> Any:
    cover = Disposition.attached_pic
    films = [one for one in container.streams.video if not one.disposition & cover and one.codec_context]
    if not films:
        kind = (
            Unreadable
            if any(not one.disposition & cover for one in container.streams.video)
            else NoMovingPicture
        )
        raise kind(f"{what}: {path} has no moving picture in it; needed a film")
    return films[0]


def frames_of(container: Any, stream: Any) -> Iterator[Any]:
    """Decoded frames of a moving picture in the order they are shown, from where the container stands.
    FFmpegError for packets that are damaged."""
    decoder: Any = stream.codec_context
    alpha = WITH_ALPHA.get(stream.codec_context.name)
    if alpha and stream.metadata.get("alpha_mode") == "1":
        decoder = av.CodecContext.create(alpha, "r")
        decoder.extradata = stream.codec_context.extradata
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise InvalidDataError(0, "a packet of it is cut short")
        yield from decoder.decode(packet if packet.size else None)


def _take(frame: Any, stream: Any, decoded: Decoded) -> None:
    decoded.pictures.append(turned(pixels_of(frame), frame))
    note(frame, stream, decoded)


def note(frame: Any, stream: Any, decoded: Decoded) -> None:
    """Note when a frame is shown and until when, and whether it is damaged."""
    time = time_of(frame, stream)
    decoded.times.append(time)
    decoded.damaged += frame.is_corrupt
    if time is not None:
        lasts = frame.duration * (frame.time_base or stream.time_base) if frame.duration else None
        decoded.end = time + (lasts or _step(decoded, stream))


def time_of(frame: Any, stream: Any) -> Fraction | None:
    """Second at which a frame begins to be shown, by the file's clock; None where the file does not say."""
    return None if frame.pts is None else frame.pts * (frame.time_base or stream.time_base)


def _step(decoded: Decoded, stream: Any) -> Fraction:
    """Length of a picture that does not say its own: as long as the one before it."""
    times = [one for one in decoded.times[-2:] if one is not None]
    return times[1] - times[0] if len(times) == 2 else 1 / (stream.average_rate or Fraction(25))


def require_whole(container: Any, stream: Any, decoded: Decoded, path: Path, what: str) -> None:
    """ValueError where a file says that it lasts longer than its pictures do."""
    count = len(decoded.times)
    if not count:
        raise NoFrame(f"{what}: {path} holds no frame")
    says = _declared_seconds(container, stream)
    if says is None or decoded.end is None or 0 < stream.frames <= count:
        return
    found = decoded.end - decoded.begin
    if stream.duration is None:  # Matroska's word is when it ends
        says -= decoded.begin
    if says - found > Fraction(3, 5) * found / count:
        logger.warning("%s: %s may lack its last picture", what, path)
    if says - found > Fraction(3, 2) * found / count:
        raise Damaged(
            f"{what}: {path} is cut short: {count} pictures, {float(found):.2f} of the {float(says):.2f} s that it "
            "says; fetch or write it again"
        )


def _declared_seconds(container: Any, stream: Any) -> Fraction | None:
    """Length of a picture as the file says it: of the stream, or Matroska's own word."""
    if stream.duration:
        return stream.duration * stream.time_base
    text = stream.metadata.get("DURATION")
    if text is None:
        alone = len(container.streams) == 1 and container.duration
        return Fraction(container.duration, av.time_base) if alone else None
    hours, minutes, seconds = text.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)


def pixels_of(frame: Any) -> Tensor:
    """A frame as (H, W, 3 or 4) in [0, 1]. Colours of half size are interpolated, as ComfyUI does; straight
    to 8 bits they would be repeated, which leaves steps at every edge."""
    name = frame.format.name
    alpha = name == "pal8" or any(component.is_alpha for component in frame.format.components)
    if name in _EIGHT_BIT:
        values = frame.to_ndarray(format="rgba" if alpha else "rgb24")
        return torch.from_numpy(values.astype(np.float32)) / 255
    if _is_torn(frame):
        return _whole_numbers(frame, alpha)
    form = "gbrapf32le" if alpha else "gbrpf32le"
    values = _widened(frame).to_ndarray(format=form)[: frame.height, : frame.width]
    return torch.from_numpy(np.ascontiguousarray(values)).clamp_(0, 1)


def _is_torn(frame: Any) -> bool:
    """True where FFmpeg's padding tears a frame: narrow, of odd sides, with colours of a quarter's width, or
    of two fields of odd height."""
    fields = frame.interlaced_frame and frame.height % 4
    return bool(
        frame.width < NARROW or frame.width % 2 or frame.height % 2 or fields or "yuv41" in frame.format.name
    )


def _whole_numbers(frame: Any, alpha: bool) -> Tensor:
    """Frame through 8 bits a channel, colours of half size interpolated first: FFmpeg's padding tears it."""
    form = "rgba" if alpha else "rgb24"
    values = frame.reformat(format="yuva444p" if alpha else "yuv444p").to_ndarray(format=form)
    return torch.from_numpy(values.astype(np.float32)) / 255


def _widened(frame: Any) -> Any:
    """Frame with its right column repeated up to a multiple of 32. FFmpeg's conversion to floating numbers
    reads past the end of other rows, and what it finds there differs from run to run."""
    more = -frame.width % 32
    if not more:
        return frame
    graph, like = Graph(), {"format": frame.format.name, "time_base": Fraction(1, 25)}
    graph.link_nodes(
        graph.add_buffer(width=frame.width, height=frame.height, **like),
        graph.add("pad", f"{frame.width + more}:{frame.height}"),
        graph.add("fillborders", f"right={more}:mode=smear"),
        graph.add("buffersink"),
    ).configure()
    graph.push(frame)
    return graph.pull()


def turned(values: Tensor, frame: Any) -> Tensor:
    """A picture (H, W, C) upright as the display matrix says (ISO 14496-12, in 16.16 fixed point): x' = a x +
    c y, y' = b x + d y."""
    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return values
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))
    across, down = (c, b) if abs(c) > abs(a) else (a, d)
    return oriented(values, abs(c) > abs(a), down < 0, across < 0)
