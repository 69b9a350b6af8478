"""A film's sound beside new pictures: as it is where the file holds it, else encoded, from the first picture
on."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.error import BlockingIOError, EOFError
from av.filter import Graph

from .film_decoding import OPENING_OPTIONS
from .pictures import is_image

if TYPE_CHECKING:
    from .film_writing import Container

logger = logging.getLogger(__name__)
_FAMILIES = (("mov", "mp4"), ("matroska", "webm"))  # formats that count time alike
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}  # by number of channels
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
RATES = {"aac": AAC_RATES, "libopus": (48000,)}
BIT_RATE = 192_000


def sound_packets(film: Any, container: "Container", source: Path, stack: ExitStack) -> list[Iterator[Any]]:
    """Streams of sound in `film`, which is being written, one for each of `source`, and their packets. Time 0
    is the first picture of `source`. `stack` keeps the source open. What nobody can decode is left out, and
    that is said."""
    if not has_sound(source):
        return []
    with av.open(str(source.resolve()), container_options=OPENING_OPTIONS) as looked_at:
        begins, count = _first_picture(looked_at), len(looked_at.streams.audio)
    packets = []
    for index in range(count):
        heard = stack.enter_context(av.open(str(source.resolve()), container_options=OPENING_OPTIONS))
        stream = heard.streams.audio[index]
        if stream.codec_context is None:
            logger.warning(
                "%s: sound %d is of a kind that FFmpeg cannot read, and is left out", source, index + 1
            )
        elif (
            begins == 0
            and _alike(heard.format.name, container.format)
            and stream.codec.canonical_name in container.sounds
        ):
            packets.append(_copied(heard, stream, film.add_stream_from_template(stream)))
        else:
            packets.append(
                _encoded(heard, stream, _sound_stream(film, stream, container.sound_encoder), begins)
            )
    return packets


def has_sound(source: str | Path) -> bool:
    """True where a film has any sound; an animation of Pillow's has none."""
    if is_image(Path(source)):
        return False
    with av.open(str(Path(source).resolve()), container_options=OPENING_OPTIONS) as film:
        return bool(film.streams.audio)


def _first_picture(film: Any) -> Fraction:
    frame = next(film.decode(video=0))
    return Fraction(0) if frame.pts is None else frame.pts * frame.time_base


def _alike(source: str, target: str) -> bool:
    return any(target in family and set(source.split(",")) & set(family) for family in _FAMILIES)


def _copied(heard: Any, stream: Any, target: Any) -> Iterator[Any]:
    for packet in heard.demux(stream):
        if packet.dts is not None:
            packet.stream = target
            yield packet


def _sound_stream(film: Any, stream: Any, encoder: str) -> Any:
    """Stream at the source's rate, or the next that the encoder has; in its channels, or two."""
    rate = min(RATES[encoder], key=lambda one: (one < stream.rate, abs(one - stream.rate)))
    channels = stream.codec_context.layout.nb_channels
    if channels not in LAYOUTS:
        logger.warning("sound of %d channels is written in 2", channels)
    target = film.add_stream(encoder, rate=rate, layout=LAYOUTS.get(channels, "stereo"))
    target.bit_rate = BIT_RATE
    return target


def _encoded(heard: Any, stream: Any, target: Any, begins: Fraction) -> Iterator[Any]:
    """Decoded, cut or filled with silence so that it begins at time 0, and encoded."""
    graph = None
    for frame in heard.decode(stream):
        graph = graph or _graph(frame, target)  # which is alive as long as it is named
        if frame.pts is not None:
            frame.pts -= round(begins / frame.time_base)
        graph.push(frame)
        yield from _drained(graph, target)
    if graph is not None:
        graph.push(None)
        yield from _drained(graph, target)
    yield from target.encode()


def _graph(frame: Any, target: Any) -> Graph:
    """Resampler of frames like this one, which may differ from its stream's word, to those of an encoder."""
    graph = Graph()
    like = {
        "sample_rate": frame.sample_rate,
        "format": frame.format,
        "layout": frame.layout,
        "time_base": frame.time_base,
    }
    source, sink = graph.add_abuffer(**like), graph.add("abuffersink")
    timed = graph.add("aresample", f"async=1:first_pts=0:osr={target.rate}")
    graph.link_nodes(
        source, timed, graph.add("aformat", f"channel_layouts={target.layout.name}"), sink
    ).configure()
    return graph


def _drained(graph: Graph, target: Any) -> Iterator[Any]:
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        yield from target.encode(frame)
