"""Pictures of unusual depth and order, and films that few programs write: found by trying them."""

import logging
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import refvid_films as films
import torch
from PIL import Image

from refvid import media
from refvid.media import film_decoding, sound

HEIGHT, WIDTH = 12, 20
GREY = np.linspace(0, 65535, HEIGHT * WIDTH).round().astype(np.uint16).reshape(HEIGHT, WIDTH)
FRAMES = films.pictures(6)


def tiff(path: Path, data: np.ndarray, bits: int, photometric: int = 1, kind: int = 1) -> Path:
    """A TIFF of one strip of grey, written by hand: data is what is stored."""
    body = data.tobytes()
    tags = [
        (256, 4, WIDTH), (257, 4, HEIGHT), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8),
        (277, 3, 1), (278, 4, HEIGHT), (279, 4, len(body)), (339, 3, kind),
    ]  # fmt: skip
    head = np.array([0x4949, 42], "<u2").tobytes() + np.array([8 + len(body)], "<u4").tobytes()
    rows = b"".join(
        np.array([tag, form], "<u2").tobytes() + np.array([1, value], "<u4").tobytes()
        for tag, form, value in tags
    )
    path.write_bytes(head + body + np.array([len(tags)], "<u2").tobytes() + rows + bytes(4))
    return path


def test_white_may_be_zero(tmp_path):
    found = media.read_mask(tiff(tmp_path / "x.tif", GREY.astype("<u2"), 16, photometric=0), "x")
    assert (found - (1 - torch.from_numpy(GREY / 65535).float())).abs().max() < 1e-6


def test_twelve_bits_are_shares_of_4095(tmp_path):
    values = (GREY >> 4).astype(np.uint16)
    pairs = values.reshape(-1, 2)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1)
    found = media.read_mask(tiff(tmp_path / "x.tif", packed.astype(np.uint8), 12), "x")
    assert (found - torch.from_numpy(values / 4095).float()).abs().max() < 1e-6


def test_one_grey_of_16_bits_may_be_transparent(tmp_path):
    Image.fromarray(np.where(GREY > 30000, 4660, GREY).astype(np.uint16)).save(
        tmp_path / "x.png", transparency=4660
    )
    mask = media.read_mask(tmp_path / "x.png", "x")
    assert torch.equal(mask, torch.from_numpy((GREY <= 30000) & (GREY != 4660)).float())


def test_sixteen_bits_of_grey_in_a_pgm_are_read(tmp_path):
    (tmp_path / "x.pgm").write_bytes(b"P5 %d %d 65535\n" % (WIDTH, HEIGHT) + GREY.astype(">u2").tobytes())
    assert (
        media.read_mask(tmp_path / "x.pgm", "x") - torch.from_numpy(GREY / 65535).float()
    ).abs().max() < 1e-6


@pytest.mark.parametrize("name", ["12:30.png", "a%03d.png", "-dash é.png", "file:x.png"])
def test_a_deep_picture_may_have_any_name(tmp_path, monkeypatch, name):
    values = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
    with av.open(str(tmp_path / "x.png"), "w", format="image2") as file:
        stream = file.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "rgb48be"
        file.mux(
            stream.encode(av.VideoFrame.from_ndarray(values, format="rgb48le").reformat(format="rgb48be"))
        )
        file.mux(stream.encode())
    (tmp_path / "x.png").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    found = media.read_picture(name, "x")
    assert (found - torch.from_numpy(values.astype(np.float32)) / 65535).abs().max() < 1e-6


def test_five_bits_a_colour_are_no_sixteen(tmp_path):
    """BI_RGB of 16 bits a pixel, rows from below."""
    pixel = np.full((HEIGHT, WIDTH), 31 << 10, "<u2")
    head = np.array([40, WIDTH, HEIGHT], "<u4").tobytes() + np.array([1, 16], "<u2").tobytes()
    head += np.array([0, pixel.nbytes, 0, 0, 0, 0], "<u4").tobytes()
    size = 14 + len(head) + pixel.nbytes
    data = b"BM" + np.array([size, 0, 14 + len(head)], "<u4").tobytes() + head + pixel.tobytes()
    (tmp_path / "x.bmp").write_bytes(data)
    assert (media.read_picture(tmp_path / "x.bmp", "x") - torch.tensor([1.0, 0, 0])).abs().max() < 1e-6


def test_a_hidden_picture_is_no_frame(tmp_path):
    hidden, *frames = [Image.fromarray(frame) for frame in FRAMES]
    hidden.save(tmp_path / "x.png", save_all=True, default_image=True, append_images=frames, duration=125)
    film = media.read_film(tmp_path / "x.png", "x", 9)
    assert film.rate == 8 and torch.equal(film.pictures, torch.from_numpy(FRAMES[1:]).float() / 255)


@pytest.mark.parametrize("late", [Fraction(1, 5), Fraction(5)])
def test_a_matroska_that_begins_late_is_whole(tmp_path, late):
    times = [late + Fraction(k, 10) for k in range(6)]
    file = films.write(tmp_path / "x.mkv", FRAMES, "ffv1", "bgra", rate=10, times=times)
    assert torch.equal(media.read_video(file, "x"), torch.from_numpy(FRAMES).float() / 255)


def test_pictures_whose_order_a_file_does_not_keep_are_taken_as_they_come(tmp_path, caplog):
    frames = films.pictures(12)
    file = films.write(tmp_path / "x.avi", frames, "libx264", "yuv420p")
    with caplog.at_level(logging.WARNING, "refvid"):
        film = media.read_film(file, "x", 99)
    assert len(film.pictures) == 12 and film.rate == films.RATE
    assert (film.pictures.mean((1, 2)) * 255 - torch.from_numpy(frames.mean((1, 2)))).abs().max() < 6


def test_a_film_that_may_lack_its_last_picture_is_said(tmp_path, caplog):
    stream = type("Stream", (), {"frames": 0, "duration": 70, "time_base": Fraction(1, 100)})
    decoded = film_decoding.Decoded(
        [torch.zeros(1)] * 6, [Fraction(k, 10) for k in range(6)], Fraction(6, 10)
    )
    with caplog.at_level(logging.WARNING, "refvid"):
        film_decoding.require_whole(None, stream, decoded, tmp_path / "x", "--video")
    assert "may lack its last picture" in caplog.text


@pytest.mark.parametrize("pixels", ["yuv411p", "yuv410p"])
def test_colours_of_a_quarter_are_not_torn(tmp_path, pixels):
    frames = films.pictures(2, 36, 100)
    found = media.read_video(films.write(tmp_path / "x.mkv", frames, "ffv1", pixels), "x")
    assert (found * 255 - torch.from_numpy(frames)).abs().mean() < 3


def test_a_folder_named_as_a_frame_is_passed_over(tmp_path):
    Image.fromarray(FRAMES[0]).save(tmp_path / "1.png")
    (tmp_path / "2.png").mkdir()
    assert len(media.read_video(tmp_path, "x")) == 1


@pytest.mark.parametrize("ending", ["webp", "jpg", "tif"])
@pytest.mark.parametrize("target", ["x.mp4", "x.gif", "folder"])
def test_an_animation_and_a_picture_have_no_sound_to_lose(tmp_path, ending, target):
    source = tmp_path / f"source.{ending}"
    Image.fromarray(FRAMES[0]).save(source)
    assert not sound.has_sound(source)
    media.write_video(
        tmp_path / target, torch.from_numpy(FRAMES).movedim(-1, 0).float() / 127.5 - 1, 8, source
    )
    assert len(media.read_video(tmp_path / target, "x")) == 6


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
def test_a_deep_tiff_that_lies_on_its_side_is_refused_or_turned(tmp_path, turn):
    """Pillow scrambles it where it is not compressed."""
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(GREY).save(tmp_path / "raw.tif", exif=exif)
    with pytest.raises(ValueError, match="lies on its side"):
        media.read_mask(tmp_path / "raw.tif", "x")
    Image.fromarray(GREY).save(tmp_path / "x.tif", exif=exif, compression="tiff_lzw")
    found = media.read_mask(tmp_path / "x.tif", "x")
    turned = torch.from_numpy(GREY / 65535).float().T
    flips = {5: (), 6: (1,), 7: (0, 1), 8: (0,)}[turn]
    assert (found - turned.flip(flips)).abs().max() < 1e-6


def test_colours_of_16_bits_in_planes_are_refused(tmp_path):
    planes = np.random.default_rng(0).integers(0, 65536, (3, HEIGHT, WIDTH), dtype=np.uint16)
    size = HEIGHT * WIDTH * 2
    extra = 8 + planes.nbytes
    tags = [
        (256, 4, 1, WIDTH), (257, 4, 1, HEIGHT), (258, 3, 3, extra), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 3, extra + 6),
        (277, 3, 1, 3), (278, 4, 1, HEIGHT), (279, 4, 3, extra + 18), (284, 3, 1, 2),
    ]  # fmt: skip
    arrays = np.array([16] * 3, "<u2").tobytes() + np.array([8, 8 + size, 8 + 2 * size], "<u4").tobytes()
    arrays += np.array([size] * 3, "<u4").tobytes()
    rows = b"".join(np.array(one[:2], "<u2").tobytes() + np.array(one[2:], "<u4").tobytes() for one in tags)
    head = np.array([0x4949, 42], "<u2").tobytes() + np.array([extra + len(arrays)], "<u4").tobytes()
    file = (
        head
        + planes.astype("<u2").tobytes()
        + arrays
        + np.array([len(tags)], "<u2").tobytes()
        + rows
        + bytes(4)
    )
    (tmp_path / "x.tif").write_bytes(file)
    with pytest.raises(ValueError, match="in planes"):
        media.read_picture(tmp_path / "x.tif", "x")


@pytest.mark.parametrize("bits", [2, 4])
def test_a_grey_of_few_bits_may_be_transparent(tmp_path, bits):
    values = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 2**bits
    packed = np.zeros((HEIGHT, WIDTH * bits // 8), np.uint8)
    for place in range(8 // bits):
        packed |= (values[:, place :: 8 // bits] << (8 - bits * (place + 1))).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = WIDTH.to_bytes(4, "big") + HEIGHT.to_bytes(4, "big") + bytes([bits, 0, 0, 0, 0])
    parts = ((b"IHDR", head), (b"tRNS", b"\0\1"), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    found = media.read_picture(tmp_path / "x.png", "x")
    assert torch.equal(found[..., 3], torch.from_numpy(values != 1).float())
    assert (found[..., 0] - torch.from_numpy(values / (2**bits - 1)).float()).abs().max() < 1e-6
