"""Films on disk, in the format of their ending: the same numbers give the same bytes."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from heapq import merge
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.error import FFmpegError
from PIL import Image
from torch import Tensor

from ..core.files import MARK, claim, release, replacing
from .outputs import FILM_FRAMES, require_frames, written
from .pictures import save_image, to_bytes
from .sound import has_sound, sound_packets

logger = logging.getLogger(__name__)
BT709 = 1  # FFmpeg's number for the colour space, its primaries and its matrix
SRGB = 13  # and for the transfer curve that core's SaveVideo writes
LIMITED = 1  # and for the range 16…235


@dataclass(frozen=True)
class Container:
    """Container that FFmpeg writes: its format, the encoder of pictures with its options, the kinds of sound
    that it holds, and the encoder for others."""

    format: str
    encoder: str
    options: dict[str, str] = field(hash=False)
    sounds: tuple[str, ...] = ()
    sound_encoder: str = "aac"


# Its code for AVX-512 gives another film for the same pictures now and then (docs/log.md).
_NO_AVX512 = {"x264-params": "asm=AVX2"} if torch.backends.cpu.get_cpu_capability().startswith("AVX") else {}
_H264 = ("libx264", {"crf": "12", **_NO_AVX512})
_VP9 = ("libvpx-vp9", {"crf": "15", "b:v": "0", "cpu-used": "2"})
_ISO = ("aac", "mp3", "ac3", "alac")
_PCM = ("pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_s16be", "pcm_s24be")
CONTAINERS = {
    ".mp4": Container("mp4", *_H264, sounds=_ISO),
    ".mov": Container("mov", *_H264, sounds=(*_ISO, *_PCM)),
    ".mkv": Container("matroska", *_H264, sounds=("flac", "opus", "vorbis")),
    ".webm": Container("webm", *_VP9, sounds=("opus", "vorbis"), sound_encoder="libopus"),
}
_PLAIN = {"fflags": "bitexact"}  # no random numbers and no time of writing in the file
_TICKS = {".gif": 100, ".webp": 1000}  # of an animation's clock in a second


def write_video(
    path: str | Path, video: Tensor, fps: int | Fraction, sound: str | Path | None = None
) -> None:
    """video (3, F, H, W) in [-1, 1], at `fps` pictures a second, as the path's ending says: H.264 (.mp4,
    .mov, .mkv), VP9 (.webm), .gif, .webp, or without one a folder of PNGs. Sides are even for H.264 and VP9.
    BT.709, as ComfyUI's SaveVideo.

    sound: a film whose sound is kept, from its first picture on, where the format holds any. OSError where
    the file cannot be written: what was made is then kept elsewhere, which the error says.
    """
    frames, path = to_bytes(video.permute(1, 2, 3, 0) / 2 + 0.5), Path(path)
    if sound is not None and path.suffix.lower() not in CONTAINERS and has_sound(sound):
        logger.warning("%s holds no sound; that of %s stays there", path, sound)
    written(
        path,
        partial(_writer(path), frames, Fraction(fps), sound),
        "--out",
        lambda kept: _folder(frames, kept.with_suffix("")),
    )


def _writer(path: Path) -> Callable[[np.ndarray, Fraction, Any, Path], object]:
    ending = path.suffix.lower()
    if ending in CONTAINERS:
        return _film
    if ending in _TICKS:
        return _animation
    return lambda frames, rate, sound, folder: _folder(frames, folder)


def _folder(frames: np.ndarray, folder: Path) -> Path:
    """00000.png, 00001.png … in a folder of this pack's, in place of those that were there. -> it."""
    require_frames(folder, "--out")
    if folder.is_dir():
        release(folder, [one.name for one in folder.iterdir() if one.name != MARK])
    claim(folder, FILM_FRAMES, "", "--out")
    for index, frame in enumerate(frames):
        save_image(Image.fromarray(frame), folder / f"{index:05}.png")
    return folder


def _animation(frames: np.ndarray, rate: Fraction, _sound: Any, path: Path) -> None:
    """Each picture from the tick nearest to its time."""
    ticks = _TICKS[path.suffix.lower()]
    begins = [round(index * ticks / rate) for index in range(len(frames) + 1)]
    lasts = [max(1, later - earlier) * 1000 // ticks for earlier, later in pairwise(begins)]
    first, *others = [Image.fromarray(frame) for frame in frames]
    kind, data = path.suffix[1:].upper(), BytesIO()  # as `save_image`
    first.save(data, kind, save_all=True, append_images=others, duration=lasts, loop=0, quality=90)
    with replacing(path) as beside:
        beside.write_bytes(data.getbuffer())


def _film(frames: np.ndarray, rate: Fraction, sound: str | Path | None, path: Path) -> None:
    container = CONTAINERS[path.suffix.lower()]
    try:
        with replacing(path) as beside, ExitStack() as stack:
            film = stack.enter_context(av.open(str(beside), "w", container.format, container_options=_PLAIN))
            stream = _picture_stream(film, container, rate, frames.shape)
            heard = sound_packets(film, container, Path(sound), stack) if sound is not None else []
            for packet in merge(_encoded(stream, frames), *heard, key=_time):
                film.mux(packet)
    except FFmpegError as error:
        raise OSError(str(error)) from error


def _time(packet: Any) -> Fraction:
    return (packet.dts or 0) * packet.time_base


def _picture_stream(film: Any, container: Container, rate: Fraction, shape: tuple[int, ...]) -> Any:
    stream = film.add_stream(container.encoder, rate=rate, options=container.options)
    stream.height, stream.width = shape[1:3]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 1  # their number would decide what is written
    _tag(stream.codec_context)
    return stream


def _tag(target: Any) -> None:
    target.colorspace, target.color_primaries, target.color_trc, target.color_range = (
        BT709,
        BT709,
        SRGB,
        LIMITED,
    )


def _encoded(stream: Any, frames: np.ndarray) -> Iterator[Any]:
    for pixels in frames:
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=BT709
        )
        _tag(frame)
        yield from stream.encode(frame)
    yield from stream.encode()
