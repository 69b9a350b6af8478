"""Films of every kind, made by FFmpeg: pictures, times, sound, transparency and turns that tests know."""

import struct
from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

RATE = 8
SECONDS = 1.25
SOUND_RATE = 44100


def chirp(seconds: float = SECONDS, rate: int = SOUND_RATE) -> np.ndarray:
    """A sweep from 200 to 2000 Hz that swells: every moment of it sounds different. Mono, float32."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (200 * time + 1800 / (2 * seconds) * time**2)
    return (0.6 * np.sin(phase) * (0.3 + 0.7 * time / seconds)).astype(np.float32)


def pictures(count: int, height: int = 32, width: int = 48, seed: int = 0) -> np.ndarray:
    """Smooth pictures (F, H, W, 3) of 8 bits whose brightness tells which one it is."""
    generator = np.random.default_rng(seed)
    colours = generator.uniform(60, 180, (count, 1, 1, 3))
    slope = (
        np.linspace(-20, 20, width)[None, None, :, None] + np.linspace(-20, 20, height)[None, :, None, None]
    )
    return (colours + slope).round().clip(0, 255).astype(np.uint8)


def write(
    path: Path,
    frames: np.ndarray,
    codec: str = "libx264",
    pixels: str = "yuv444p",
    rate: int = RATE,
    times: Sequence[Fraction] | None = None,
    sound: tuple[str, np.ndarray] | None = None,
    late: Fraction = Fraction(0),
    hole: Fraction = Fraction(0),
    **how: Any,
) -> Path:
    """frames (F, H, W, 3 or 4) as a film; `times` of a variable rate, in seconds; `sound`: an encoder and
    mono samples, `late` seconds after the picture, with a `hole` of so many seconds in its middle; how: of
    the container (format, options)."""
    with av.open(str(path), "w", **how) as film:
        stream = film.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        packets = []
        if sound is not None:
            packets = _sound(film, *sound, late, hole)
        form = "rgba" if frames.shape[-1] == 4 else "rgb24"
        for index, pixel in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixel, format=form).reformat(format=pixels)
            if times is not None:
                frame.pts, frame.time_base = round(times[index] * 1000), Fraction(1, 1000)
            packets += stream.encode(frame)
        packets += stream.encode()
        for packet in sorted(packets, key=lambda one: (one.dts or 0) * one.time_base):
            film.mux(packet)
    return path


def _sound(film: Any, codec: str, samples: np.ndarray, late: Fraction, hole: Fraction) -> list[Any]:
    rate, layout = (48000 if codec == "libopus" else SOUND_RATE), "stereo" if codec == "vorbis" else "mono"
    stream = film.add_stream(codec, rate=rate, layout=layout, options={"strict": "experimental"})
    stream.bit_rate = 128_000
    packets, step = [], stream.codec_context.frame_size or 1024
    for begin in range(0, len(samples), step):
        part = np.ascontiguousarray(samples[None, begin : begin + step])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = (
            SOUND_RATE,
            begin + round((late + (hole if begin > len(samples) / 2 else 0)) * SOUND_RATE),
            Fraction(1, SOUND_RATE),
        )
        packets += stream.encode(frame)
    return packets + stream.encode()


def heard(path: Path, rate: int = SOUND_RATE) -> np.ndarray:
    """A film's sound from its first picture on, mono at `rate`: samples before it are left out, a gap is
    silence."""
    with av.open(str(path)) as film:
        first = next(film.decode(video=0))
        begins = first.pts * first.time_base
    with av.open(str(path)) as film:
        stream = film.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
        found, place = [], None
        for decoded in film.decode(stream):
            if place is None:
                place = round((decoded.pts * decoded.time_base - begins) * rate)
            found += [one.to_ndarray()[0] for one in resampler.resample(decoded)]
        found += [one.to_ndarray()[0] for one in resampler.resample(None)]
    samples = np.concatenate(found)
    return samples[-place:] if place < 0 else np.concatenate([np.zeros(place, np.float32), samples])


def delay(found: np.ndarray, wanted: np.ndarray) -> tuple[int, float]:
    """Delay in samples by which `found` comes after `wanted`, and how alike the two are there: 1 is the same
    but for a factor."""
    size = 1 << (len(found) + len(wanted)).bit_length()
    product = np.fft.irfft(np.fft.rfft(found, size) * np.fft.rfft(wanted, size).conj(), size)
    shift = int(product.argmax())
    shift = shift - size if shift > size // 2 else shift
    alike = product.max() / (np.linalg.norm(found) * np.linalg.norm(wanted))
    return shift, float(alike)


def only_sound(film: Path, path: Path) -> None:
    """The sound of a film as a file of its own."""
    copied({film: ["audio"]}, path)


def doubled_sound(film: Path, path: Path) -> None:
    """A film whose sound is there twice."""
    copied({film: ["video", "audio", "audio"]}, path)


def copied(films: dict[Path, list[str]], path: Path) -> None:
    """A film of other films' first streams of these kinds."""
    wanted = [(film, kind) for film, kinds in films.items() for kind in kinds]
    with av.open(str(path), "w") as target, ExitStack() as stack:
        sources = [stack.enter_context(av.open(str(film))) for film, _ in wanted]
        streams = [one.streams.get({kind: 0})[0] for one, (_, kind) in zip(sources, wanted, strict=True)]
        written = [target.add_stream_from_template(stream) for stream in streams]
        for source, stream, copy in zip(sources, streams, written, strict=True):
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.stream = copy
                    target.mux(packet)


def turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Give an MP4 this display matrix a, b, c, d, in its track's header, where FFmpeg wrote 1, 0, 0, 1."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    assert struct.unpack_from(">9i", data, at) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (one << 16 for one in matrix)
    struct.pack_into(">9i", data, at, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def tags(path: Path) -> tuple[int, int, int, int]:
    """Colours as a film declares them: space, primaries, transfer curve, range."""
    with av.open(str(path)) as film:
        said = film.streams.video[0].codec_context
        return tuple(map(int, (said.colorspace, said.color_primaries, said.color_trc, said.color_range)))
