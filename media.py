"""Pictures, masks and videos on disk, for use without ComfyUI."""

import math
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

VIDEOS = (".mp4", ".webm", ".mov", ".mkv", ".gif")


def read_picture(path: str | Path, what: str) -> Tensor:
    """-> (H, W, 3), or (H, W, 4) where the file has transparency, in [0, 1]. `what` names the input in an error."""
    picture = _open(path, what)
    has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    return _values(picture.convert("RGBA" if has_alpha else "RGB"))


def read_mask(path: str | Path, what: str) -> Tensor:
    """-> (H, W) in [0, 1]: white is the subject. A file with transparency gives its alpha."""
    picture = _open(path, what)
    return _values(picture.getchannel("A") if "A" in picture.getbands() else picture.convert("L"))


def write_picture(path: str | Path, picture: Tensor) -> None:
    """picture (H, W, 3 or 4) in [0, 1]."""
    from PIL import Image

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_bytes(picture).numpy()).save(path)


def write_video(
    path: str | Path, video: Tensor, fps: int | Fraction, sound: str | Path | None = None
) -> None:
    """video (3, F, H, W) in [-1, 1], even sides -> H.264 in an MP4, with the sound of another film, packet by packet, if it has any."""
    import av

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container, ExitStack() as stack:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = video.shape[3], video.shape[2], "yuv420p"
        heard = None if sound is None else stack.enter_context(av.open(str(sound)))
        copied = [
            (one, container.add_stream_from_template(one))
            for one in (heard.streams.audio[:1] if heard else ())
        ]
        for frame in _bytes(video.permute(1, 2, 3, 0) / 2 + 0.5).numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
        for source, target in copied:
            for packet in heard.demux(source) if heard else ():
                if packet.dts is not None:
                    packet.stream = target
                    container.mux(packet)


@dataclass(frozen=True)
class Film:
    """Pictures (F, H, W, 3) in [0, 1], and how many there are a second."""

    pictures: Tensor
    rate: Fraction


def read_film(path: str | Path, what: str, longest: int) -> Film:
    """A video file of no more than `longest` pictures; decoding stops where it has more. ValueError as `read_video` says, and for those."""
    if not Path(path).is_file():
        raise ValueError(f"{what}: there is no file {path}")
    frames, rate = _decoded(path, what, longest)
    if not frames or not rate:
        raise ValueError(f"{what}: {path} holds no frame, or does not say how many there are a second")
    return Film(torch.from_numpy(np.stack(frames)).float() / 255, rate)


def read_video(path: str | Path, what: str) -> Tensor:
    """-> (F, H, W, 3) in [0, 1]: every frame of a file that FFmpeg reads, or a folder's PNGs in the order of names.

    `what` names the input in an error: ValueError where there is no such file, no video in it, or no frame.
    """
    if not Path(path).exists():
        raise ValueError(f"{what}: there is no file {path}")
    frames = _numbered(Path(path), what) if Path(path).is_dir() else _decoded(path, what)[0]
    if not frames:
        raise ValueError(f"{what}: {path} holds no frame")
    return torch.from_numpy(np.stack(frames)).float() / 255


def read_masks(path: str | Path, what: str) -> Tensor:
    """-> (F, H, W) in [0, 1], white is the subject: a mask for each frame from a video or a folder of PNGs, or (H, W) from a
    picture."""
    if Path(path).is_dir() or Path(path).suffix.lower() in VIDEOS:
        return read_video(path, what).mean(-1)
    return read_mask(path, what)


def _decoded(
    path: str | Path, what: str, longest: float = math.inf
) -> tuple[list[np.ndarray], Fraction | None]:
    """Frames, and how many there are a second."""
    import av

    frames = []
    try:
        with av.open(str(path)) as container:
            rate = container.streams.video[0].average_rate
            for frame in container.decode(video=0):
                frames.append(_pixels(frame))
                if len(frames) > longest:
                    raise ValueError(
                        f"{what}: {path} has more than {longest} frames, the most that is edited at a time; cut it into parts"
                    )
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(
            f"{what}: {path} is not a video that can be read (MP4, WebM, GIF …): {error}"
        ) from error
    return frames, rate


def _pixels(frame) -> np.ndarray:
    """A decoded frame as bytes (H, W, 3). Colours of half size are interpolated first, as ComfyUI does; straight to RGB they would be repeated,
    which leaves steps at every edge."""
    form = frame.format
    if form.chroma_width(frame.width) < frame.width or form.chroma_height(frame.height) < frame.height:
        frame = frame.reformat(format="yuv444p")
    return frame.to_ndarray(format="rgb24")


def _numbered(folder: Path, what: str) -> list[np.ndarray]:
    frames = [np.asarray(_open(file, what).convert("RGB")) for file in sorted(folder.glob("*.png"))]
    sizes = {frame.shape[1::-1] for frame in frames}
    if len(sizes) > 1:
        raise ValueError(f"{what}: the frames in {folder} have sizes {sorted(sizes)}; one size is needed")
    return frames


def _open(path: str | Path, what: str):
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(path)
    except FileNotFoundError as error:
        raise ValueError(f"{what}: there is no file {path}") from error
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{what}: {path} is not a picture that can be read (PNG, JPEG or WebP)") from error


def _values(picture) -> Tensor:
    return torch.from_numpy(np.asarray(picture, dtype=np.float32)) / 255


def _bytes(values: Tensor) -> Tensor:
    return (values.clamp(0, 1) * 255).round().to(torch.uint8).contiguous()
