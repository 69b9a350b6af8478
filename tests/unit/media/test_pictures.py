"""Pictures and masks of every depth, palette, turn and kind of transparency, and what is refused before it is
decoded."""

import logging
import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from refvid import media

HEIGHT, WIDTH = 12, 20
RANDOM = np.random.default_rng(0)
COLOURS = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
RAMP16 = np.linspace(0, 65535, HEIGHT * WIDTH).round().astype(np.uint16).reshape(HEIGHT, WIDTH)
ELLIPSE = (((np.mgrid[:HEIGHT, :WIDTH].T - [6, 10]) / [4, 6]) ** 2).sum(-1).T < 1


def close(found: torch.Tensor, wanted: np.ndarray, within: float = 1e-6) -> bool:
    return (
        tuple(found.shape) == wanted.shape and float((found - torch.from_numpy(wanted)).abs().max()) <= within
    )


def deep(path: Path, codec: str, pixels: str, values: np.ndarray) -> Path:
    """A picture of 16 bits a channel."""
    form = {3: "rgb48le", 4: "rgba64le"}[values.shape[-1]]
    with av.open(str(path), "w", format="image2") as file:
        stream = file.add_stream(codec, rate=1)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        frame = av.VideoFrame.from_ndarray(values, format=form)
        file.mux(stream.encode(frame.reformat(format=pixels)))
        file.mux(stream.encode())
    return path


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_a_picture_stands_as_its_exif_says(tmp_path, turn, ending):
    image = Image.fromarray(np.repeat(np.repeat(COLOURS // 128 * 200, 8, 0), 8, 1))
    exif = Image.Exif()
    exif[0x0112] = turn
    image.save(tmp_path / f"x.{ending}", exif=exif, quality=100)
    with Image.open(tmp_path / f"x.{ending}") as stored:
        wanted = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"), np.float32) / 255
    assert close(media.read_picture(tmp_path / f"x.{ending}", "x"), wanted)
    assert wanted.shape[:2] == ((160, 96) if turn > 4 else (96, 160))


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_of_grey_are_shares_of_65535(tmp_path, ending):
    Image.fromarray(RAMP16).save(tmp_path / f"x.{ending}")
    wanted = RAMP16.astype(np.float32) / 65535
    assert close(media.read_picture(tmp_path / f"x.{ending}", "x"), np.repeat(wanted[..., None], 3, -1))
    assert close(media.read_mask(tmp_path / f"x.{ending}", "x"), wanted)


@pytest.mark.parametrize(("codec", "ending"), [("png", "png"), ("tiff", "tif")])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_of_colour_keep_all_of_them(tmp_path, codec, ending, channels):
    values = RANDOM.integers(0, 65536, (HEIGHT, WIDTH, channels), dtype=np.uint16)
    pixels = ("rgba64" if channels == 4 else "rgb48") + ("be" if codec == "png" else "le")
    file = deep(tmp_path / f"x.{ending}", codec, pixels, values)
    assert close(media.read_picture(file, "x"), values.astype(np.float32) / 65535)


def test_of_sixteen_bits_that_cannot_be_decoded_the_upper_eight_are_told(tmp_path, monkeypatch, caplog):
    values = RANDOM.integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
    file = deep(tmp_path / "x.png", "png", "rgb48be", values)
    monkeypatch.setattr("refvid.media.pictures._decoded", lambda *_: None)
    found = media.read_picture(file, "--reference")
    assert "--reference: of the 16 bits" in caplog.text and "upper 8" in caplog.text
    assert (found - torch.from_numpy(values / 65535).float()).abs().max() <= 1 / 255


def test_floating_values_are_what_they_are_and_others_are_refused(tmp_path):
    ramp = np.linspace(0, 1, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    for name, values in (
        ("fits", ramp),
        ("over", ramp * 255),
        ("nan", np.where(ramp > 0.5, np.float32("nan"), ramp)),
    ):
        Image.fromarray(values).save(tmp_path / f"{name}.tif")
    assert close(media.read_mask(tmp_path / "fits.tif", "x"), ramp)
    for name in ("over", "nan"):
        with pytest.raises(
            ValueError, match=rf"--mask: .*{name}\.tif holds floating values from .* needed 0 "
        ):
            media.read_mask(tmp_path / f"{name}.tif", "--mask")


def test_whole_numbers_of_32_bits_have_no_known_white(tmp_path):
    Image.fromarray(RAMP16.astype(np.int32)).save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match="32-bit integers"):
        media.read_picture(tmp_path / "x.tif", "x")


def palette(mode: str) -> Image.Image:
    """The ellipse in a picture whose transparency is not a channel."""
    if mode == "LA":
        return Image.merge(
            "LA", [Image.fromarray(COLOURS[..., 0]), Image.fromarray(ELLIPSE.astype(np.uint8) * 255)]
        )
    image = Image.fromarray(np.where(ELLIPSE, 1 + COLOURS[..., 0] % 3, 0).astype(np.uint8), "L")
    if mode == "P":
        image = image.copy()
        image.putpalette([90, 90, 90, 255, 0, 0, 0, 255, 0, 0, 0, 255], "RGB")
    return image


@pytest.mark.parametrize("mode", ["P", "L", "LA"])
def test_of_a_mask_with_transparency_the_opaque_part_is_the_subject(tmp_path, mode):
    more = {} if mode == "LA" else {"transparency": 0}
    palette(mode).save(tmp_path / "x.png", **more)
    assert close(media.read_mask(tmp_path / "x.png", "x"), ELLIPSE.astype(np.float32))
    picture = media.read_picture(tmp_path / "x.png", "x")
    assert close(picture[..., 3], ELLIPSE.astype(np.float32))
    if mode == "P":
        assert picture[6, 10, :3].sum() == 1  # one of the three pure colours


def test_a_mask_whose_transparency_says_nothing_is_read_by_its_colours(tmp_path):
    opaque = np.dstack([np.repeat(ELLIPSE[..., None] * 255, 3, -1), np.full(ELLIPSE.shape, 255)]).astype(
        np.uint8
    )
    Image.fromarray(opaque).save(tmp_path / "x.png")
    assert close(media.read_mask(tmp_path / "x.png", "x"), ELLIPSE.astype(np.float32))


def test_colours_of_print_are_converted(tmp_path):
    """Cyan takes red away, and nothing else."""
    cmyk = Image.new("CMYK", (WIDTH, HEIGHT), (255, 0, 0, 0))
    for ending in ("jpg", "tif"):
        cmyk.save(tmp_path / f"x.{ending}", quality=100)
        found = media.read_picture(tmp_path / f"x.{ending}", "x")
        assert (found.mean((0, 1)) - torch.tensor([0.0, 1.0, 1.0])).abs().max() < 0.02


@pytest.mark.parametrize("ending", ["png", "gif", "webp"])
def test_of_an_animation_the_first_picture_is_used_and_that_is_said(tmp_path, caplog, ending):
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue", "green")]
    frames[0].save(tmp_path / f"x.{ending}", save_all=True, append_images=frames[1:], lossless=True)
    with caplog.at_level(logging.WARNING, "refvid"):
        found = media.read_picture(tmp_path / f"x.{ending}", "--reference")
    assert (found[..., :3] - torch.tensor([1.0, 0, 0])).abs().max() < 0.01
    assert "--reference" in caplog.text and "holds 3 pictures; the first is used" in caplog.text


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif", "bmp", "gif"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95])
def test_a_picture_that_is_cut_short_is_refused_by_name(tmp_path, ending, share):
    noise = RANDOM.integers(0, 256, (100, 160, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"x.{ending}")
    whole = (tmp_path / f"x.{ending}").read_bytes()
    (tmp_path / f"x.{ending}").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=rf"--reference: .*x\.{ending} is not a picture that can be read"):
        media.read_picture(tmp_path / f"x.{ending}", "--reference")


def bomb(path: Path, side: int) -> None:
    """A grey PNG that says it is side x side, and ends there: whatever is decoded of it fails otherwise."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_picture_that_would_take_gigabytes_is_refused_before_it_is_decoded(tmp_path, monkeypatch, side):
    bomb(tmp_path / "x.png", side)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was decoded"))
    for read in (media.read_picture, media.read_mask, media.read_video, media.read_masks):
        with pytest.raises(ValueError, match=r"--mask: .*(at most 89,478,485 pixels|too large a picture)"):
            read(tmp_path / "x.png", "--mask")


def test_what_is_no_picture_is_refused_by_name(tmp_path):
    (tmp_path / "x.png").write_text("words")
    (tmp_path / "page.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    for name in ("x.png", "page.png"):
        with pytest.raises(ValueError, match="is not a picture"):
            media.read_picture(tmp_path / name, "x")
    with pytest.raises(ValueError, match="x: there is no file"):
        media.read_picture(tmp_path / "none.png", "x")
    with pytest.raises(ValueError, match="is a folder; needed a picture"):
        media.read_picture(tmp_path, "x")


@pytest.mark.parametrize("ending", ["png", "webp", "tif", "bmp"])
def test_what_is_written_is_read_again(tmp_path, ending):
    values = torch.from_numpy(COLOURS).float() / 255
    media.write_picture(tmp_path / f"x.{ending}", values)
    found = media.read_picture(tmp_path / f"x.{ending}", "x")
    assert (found - values).abs().max() <= (1 if ending == "webp" else 0)
    assert [file.name for file in tmp_path.iterdir()] == [f"x.{ending}"]
