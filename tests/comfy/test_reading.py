"""Files are read as ComfyUI's own loaders read them, and films written as its own node writes them."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import refvid_films as films
import torch
from PIL import Image

from refvid import media

pytestmark = pytest.mark.comfy
HEIGHT, WIDTH = 40, 52  # no multiple of 32: ComfyUI widens such pictures
GENERATOR = np.random.default_rng(0)
COLOURS = GENERATOR.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
SMOOTH = films.pictures(1, 160, 208)[0]


def loaded(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs of Load Image: pictures, and masks of what is transparent."""
    import folder_paths

    from nodes import LoadImage

    before = folder_paths.get_input_directory()
    folder_paths.set_input_directory(str(path.parent))
    try:
        return LoadImage().load_image(path.name)
    finally:
        folder_paths.set_input_directory(before)


def film(path: Path) -> torch.Tensor:
    from comfy_api.latest import InputImpl

    return InputImpl.VideoFromFile(str(path)).get_components().images


def lossless() -> dict[str, Image.Image]:
    colour, alpha = Image.fromarray(COLOURS[..., :3].copy()), Image.fromarray(COLOURS)
    palette = colour.quantize(20)
    return {
        "rgb.png": colour, "rgba.png": alpha, "rgb.bmp": colour, "rgb.tif": colour, "palette.png": palette,
        "grey16.png": Image.fromarray(COLOURS[..., 0].astype(np.uint16) * 257 - COLOURS[..., 1]),
        "grey.png": Image.fromarray(COLOURS[..., 0].copy()), "cut palette.png": palette,
    }  # fmt: skip


@pytest.mark.parametrize("name", list(lossless()))
def test_lossless_pictures_are_load_images_pixel_for_pixel(tmp_path, name):
    lossless()[name].save(tmp_path / name, **({"transparency": 3} if "cut" in name else {}))
    pictures, masks = loaded(tmp_path / name)
    found = media.read_picture(tmp_path / name, "x")
    # Core has FFmpeg make floating numbers of 16 bits, of grey and of what is stored blue first, which is not
    # exact.
    within = 1.5 / 255 if "grey" in name or "bmp" in name else 1e-6
    assert (found[..., :3] - pictures[0]).abs().max() <= within
    if found.shape[-1] == 4:
        assert (found[..., 3] - 1 + masks[0]).abs().max() < 1e-6 < masks.max() - masks.min()


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_lossy_pictures_have_load_images_size_turn_and_colours(tmp_path, ending, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(SMOOTH).save(tmp_path / f"x.{ending}", quality=90, exif=exif)
    pictures, _ = loaded(tmp_path / f"x.{ending}")
    found = media.read_picture(tmp_path / f"x.{ending}", "x")
    assert found.shape == pictures[0].shape
    assert (
        found - pictures[0]
    ).abs().mean() <= 1.1 / 255  # core's are darker by one of 255 nearly everywhere


@pytest.mark.parametrize(
    ("codec", "pixels", "ending"),
    [("libx264", "yuv420p", "mp4"), ("libx264", "yuv444p", "mkv"), ("libvpx-vp9", "yuv420p", "webm"), ("prores_ks", "yuv422p10le", "mov"),
     ("ffv1", "yuv420p10le", "mkv"), ("mpeg4", "yuv420p", "avi"), ("libx264rgb", "rgb24", "mp4"), ("ffv1", "gray", "mkv")],
)  # fmt: skip
def test_films_are_load_videos_frames(tmp_path, codec, pixels, ending):
    frames = films.pictures(5, HEIGHT, WIDTH)
    path = films.write(tmp_path / f"x.{ending}", frames, codec, pixels)
    assert (media.read_video(path, "x") - film(path)).abs().max() <= 1 / 255


def test_a_turned_film_stands_as_load_video_has_it(tmp_path):
    path = films.write(tmp_path / "x.mp4", films.pictures(5, HEIGHT, WIDTH), "libx264rgb", "rgb24")
    films.turn(path, (0, 1, -1, 0))
    found = media.read_video(path, "x")
    assert found.shape[1:3] == (WIDTH, HEIGHT) and (found - film(path)).abs().max() <= 1 / 255


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_film_is_written_as_save_video_writes_it(tmp_path, ending):
    from comfy_api.latest import InputImpl
    from comfy_api.latest._util import VideoComponents

    frames = torch.from_numpy(films.pictures(9, 64, 96)).float() / 255
    components = VideoComponents(images=frames, frame_rate=Fraction(8))
    InputImpl.VideoFromComponents(components).save_to(str(tmp_path / f"core.{ending}"), crf=12)
    media.write_video(tmp_path / f"ours.{ending}", frames.movedim(-1, 0) * 2 - 1, 8)
    core, ours = film(tmp_path / f"core.{ending}"), film(tmp_path / f"ours.{ending}")
    # Core's threads decide what it writes, so that no two of its files are the same.
    assert (core - ours).abs().mean() <= 0.5 / 255 and (core - frames).abs().mean() < 2 / 255
    assert (core - ours).mean((0, 1, 2)).abs().max() < 0.1 / 255
    colours = [films.tags(tmp_path / f"{name}.{ending}") for name in ("core", "ours")]
    assert colours[0] == colours[1] == (1, 1, 13, 1)
