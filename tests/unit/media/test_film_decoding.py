"""Films as they are decoded: colours of half size are interpolated, ranges and colour spaces kept."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import Colorspace

from refvid import media

SIDE = 64
SPACES = {"BT.601": Colorspace.ITU601, "BT.709": Colorspace.ITU709}
RAMP = np.empty((SIDE, SIDE, 3), np.uint8)  # as bright everywhere, from green to red or so
RAMP[..., 0] = np.linspace(40, 200, SIDE)
RAMP[..., 1] = np.linspace(160, 60, SIDE)
RAMP[..., 2] = 90


def written(path: Path, codec: str, pixels: str, space: str = "BT.601", picture: np.ndarray = RAMP) -> Path:
    """A film of two frames of one picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, pixels
        stream.codec_context.colorspace = {"BT.601": 5, "BT.709": 1}[space]
        if pixels.startswith("yuvj"):
            stream.codec_context.color_range = 2
        for _ in range(2):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pixels, dst_colorspace=SPACES[space])))
        container.mux(stream.encode())
    return path


HALVED = [("ffv1", pixels, space) for pixels in ("yuv420p", "yuv422p", "yuv420p10le") for space in SPACES]


@pytest.mark.parametrize(("codec", "pixels", "space"), [*HALVED, ("mjpeg", "yuvj420p", "BT.601")])
def test_colours_of_half_size_are_interpolated_and_are_the_right_ones(tmp_path, codec, pixels, space):
    found = media.read_video(written(tmp_path / "film.mkv", codec, pixels, space), "film")[0] * 255
    assert (found - torch.from_numpy(RAMP).float()).abs().max() < 6
    steps = found[:, 4:-3, 0].mean(0).diff()
    # Where a colour is repeated, all of the ramp lies in every second step.
    assert (steps[::2].mean() - steps[1::2].mean()).abs() < 1.5 < steps.mean()


@pytest.mark.parametrize(("codec", "pixels"), [("ffv1", "yuv444p"), ("ffv1", "bgra"), ("gif", "rgb8")])
def test_whole_colours_are_decoded_as_they_are(tmp_path, codec, pixels):
    path = written(tmp_path / ("film.gif" if codec == "gif" else "film.mkv"), codec, pixels)
    with av.open(str(path)) as container:
        wanted = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    found = media.read_video(path, "film")
    # Floating numbers, as core: FFmpeg rounds both ways differently, by 1.5 of 255.
    assert (found - torch.from_numpy(wanted).float() / 255).abs().max() <= (
        0 if codec == "gif" or pixels == "bgra" else 2 / 255
    )
