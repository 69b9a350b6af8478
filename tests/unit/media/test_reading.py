"""Files at the edges of what is read: key colours, cameras, capitals, covers, names, limits after
re-timing."""

import logging
import os
import struct
import zlib
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
import refvid_films as films
import torch
from av.stream import Disposition
from PIL import Image

from refvid import media
from refvid.media import film_decoding
from refvid.media.timing import constant_rate

FRAMES = films.pictures(6)


def seconds(*milliseconds: int) -> list[Fraction]:
    return [Fraction(one, 1000) for one in milliseconds]


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255)])
def test_a_mask_is_the_luminance_of_its_colours(tmp_path, colour):
    Image.new("RGB", (4, 4), colour).save(tmp_path / "x.png")
    wanted = np.asarray(Image.open(tmp_path / "x.png").convert("L"), np.float32) / 255
    assert abs(float(media.read_mask(tmp_path / "x.png", "x").mean()) - wanted.mean()) < 0.5 / 255 + 1e-6


@pytest.mark.parametrize(("mode", "ground", "subject"), [("RGB", (0, 255, 0), (255, 255, 255)), ("1", 0, 1)])
def test_a_single_colour_may_be_transparent(tmp_path, mode, ground, subject):
    image = Image.new(mode, (8, 8), ground)
    image.paste(subject, (0, 0, 4, 8))
    image.save(tmp_path / "x.png", transparency=ground)
    mask = media.read_mask(tmp_path / "x.png", "x")
    assert media.read_picture(tmp_path / "x.png", "x").shape[-1] == 4
    assert mask[:, :4].min() == 1 and mask[:, 4:].max() == 0


def test_floating_values_below_black_are_refused(tmp_path):
    Image.fromarray(np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)).save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match="floating values from -1 "):
        media.read_mask(tmp_path / "x.tif", "x")


def test_the_other_pictures_of_a_camera_are_no_animation(tmp_path, caplog):
    first, second = Image.fromarray(FRAMES[0]), Image.fromarray(FRAMES[1])
    first.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[second])
    with caplog.at_level(logging.WARNING, "refvid"):
        media.read_picture(tmp_path / "x.jpg", "x")
    assert not caplog.text
    assert (
        media.read_masks(tmp_path / "x.jpg", "x").ndim == 2
        and len(media.read_video(tmp_path / "x.jpg", "x")) == 1
    )


def test_what_pillow_knows_besides_is_refused(tmp_path):
    """Formats that Pillow knows and that are not among FORMATS are refused."""
    for ending in ("ico", "pcx", "tga"):
        Image.fromarray(FRAMES[0]).save(tmp_path / f"x.{ending}")
        with pytest.raises(ValueError, match="is not a picture"):
            media.read_picture(tmp_path / f"x.{ending}", "x")


@pytest.mark.parametrize("ending", ["PNG", "JPG", "avif", "jp2", "ppm"])
def test_a_picture_is_written_by_its_ending_in_either_case(tmp_path, ending):
    file = tmp_path / f"x.{ending}"
    media.write_picture(file, torch.from_numpy(FRAMES[0]) / 255)
    assert (media.read_picture(file, "x") * 255 - torch.from_numpy(FRAMES[0])).abs().mean() < 4


@pytest.mark.parametrize("ending", ["jpeg", "webp", "tif", "tiff", "bmp", "PNG", "avif"])
def test_frames_of_a_folder_may_have_any_pictures_ending(tmp_path, ending):
    for number, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(tmp_path / f"{number}.{ending}")
    assert len(media.read_video(tmp_path, "x")) == 6


def test_what_is_written_is_cut_to_what_can_be_shown(tmp_path):
    media.write_picture(tmp_path / "x.png", torch.tensor([-0.5, 0.5, 1.5]).expand(4, 4, 3))
    assert torch.allclose(media.read_picture(tmp_path / "x.png", "x")[0, 0], torch.tensor([0, 128 / 255, 1]))


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_deep_picture_that_is_cut_short_is_refused(tmp_path, share):
    noise = np.random.default_rng(0).integers(0, 65536, (60, 60, 3), dtype=np.uint16)
    with av.open(str(tmp_path / "x.png"), "w", format="image2") as file:
        stream = file.add_stream("png", rate=1)
        stream.width = stream.height = 60
        stream.pix_fmt = "rgb48be"
        file.mux(
            stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb48le").reformat(format="rgb48be"))
        )
        file.mux(stream.encode())
    whole = (tmp_path / "x.png").read_bytes()
    (tmp_path / "x.png").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"--reference: .*is not a picture that can be read"):
        media.read_picture(tmp_path / "x.png", "--reference")


def test_a_picture_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(b"older")

    def half(image, to, *_, **__):
        to.write(b"half")
        raise OSError(28, "full")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="full"):
        media.write_picture(tmp_path / "x.png", torch.zeros(4, 4, 3))
    assert (tmp_path / "x.png").read_bytes() == b"older" and len(list(tmp_path.iterdir())) == 1


def test_the_longest_film_is_counted_after_it_is_retimed(tmp_path):
    file = films.write(tmp_path / "x.mkv", FRAMES, "ffv1", "bgra")
    assert len(media.read_film(file, "x", 6).pictures) == 6
    gap = films.write(
        tmp_path / "gap.mkv", FRAMES, "ffv1", "bgra", rate=10, times=seconds(0, 100, 200, 700, 800, 900)
    )
    with pytest.raises(ValueError, match="has more than 9 frames"):
        media.read_film(gap, "x", 9)


def test_pixels_are_counted_after_a_film_is_retimed(tmp_path, monkeypatch):
    gap = films.write(
        tmp_path / "gap.mkv", FRAMES, "ffv1", "bgra", rate=10, times=seconds(0, 100, 200, 700, 800, 900)
    )
    monkeypatch.setattr(film_decoding, "MOST_FILM_PIXELS", 9 * FRAMES[0].shape[0] * FRAMES[0].shape[1])
    with pytest.raises(ValueError, match="has more than 9 pictures"):
        media.read_video(gap, "x")


def test_pictures_that_the_decoder_guessed_at_are_said(tmp_path, caplog):
    file = films.write(
        tmp_path / "x.avi",
        np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), dtype=np.uint8),
        "mpeg4",
        "yuv420p",
        rate=25,
    )
    data = bytearray(file.read_bytes())
    at = len(data) // 2
    data[at : at + 200] = bytes(200)
    file.write_bytes(data)
    with caplog.at_level(logging.WARNING, "refvid"):
        media.read_video(file, "--video")
    assert "pictures of" in caplog.text and "are damaged" in caplog.text


def test_frames_without_transparency_among_others_are_opaque(tmp_path):
    Image.fromarray(FRAMES[0]).save(tmp_path / "0.png")
    Image.fromarray(np.dstack([FRAMES[1], np.zeros(FRAMES.shape[1:3], np.uint8)])).save(tmp_path / "1.png")
    masks = media.read_masks(tmp_path, "x")
    assert masks[0].min() == 1 and masks[1].max() == 0


def test_a_film_without_times_keeps_the_rate_it_declares(tmp_path):
    file = films.write(tmp_path / "x.h264", FRAMES, "libx264", "yuv420p", format="h264", options={})
    film = media.read_film(file, "x", 9)
    assert len(film.pictures) == 6 and film.rate


def test_a_picture_is_one_mask_and_an_animation_many(tmp_path):
    Image.fromarray(FRAMES[0]).save(tmp_path / "x.png")
    assert media.read_masks(tmp_path / "x.png", "x").shape == FRAMES.shape[1:3]
    first, *others = [Image.fromarray(one) for one in FRAMES]
    first.save(tmp_path / "x.gif", save_all=True, append_images=others)
    assert media.read_masks(tmp_path / "x.gif", "x").shape == FRAMES.shape[:3]
    assert media.read_film(tmp_path / "x.gif", "x", 9).rate == 10  # without a duration: as browsers show it


def test_vp8_has_transparency_too(tmp_path):
    cut = np.concatenate([FRAMES, np.zeros((*FRAMES.shape[:3], 1), np.uint8)], -1)
    cut[:, :, :20, 3] = 255
    with av.open(str(tmp_path / "x.webm"), "w") as film:
        stream = film.add_stream("libvpx", rate=8, options={"auto-alt-ref": "0"})
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuva420p"
        for pixels in cut:
            film.mux(
                stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format="yuva420p"))
            )
        film.mux(stream.encode())
    masks = media.read_masks(tmp_path / "x.webm", "x")
    assert masks[..., :18].min() > 0.95 and masks[..., 22:].max() < 0.05


def test_the_cover_of_a_film_is_not_its_picture(tmp_path):
    film = films.write(tmp_path / "f.mp4", FRAMES, pixels="yuv420p")
    with av.open(str(film)) as source, av.open(str(tmp_path / "x.mp4"), "w") as target:
        cover = target.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        copy = target.add_stream_from_template(source.streams.video[0])
        target.mux(
            cover.encode(
                av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24").reformat(
                    format="yuvj420p"
                )
            )
        )
        target.mux(cover.encode())
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    assert media.read_video(tmp_path / "x.mp4", "x").shape == FRAMES.shape


def test_a_name_with_a_colon_is_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    films.write(tmp_path / "x.mkv", FRAMES, "ffv1", "bgra").rename(tmp_path / "scene:1.mkv")
    assert media.read_video("scene:1.mkv", "x").shape == FRAMES.shape


def test_a_narrow_film_is_read_alike_each_time(tmp_path):
    _first, *_others = [Image.fromarray(one) for one in FRAMES]
    wide = np.repeat(FRAMES[:, :, :1], 33, 2)
    file = films.write(tmp_path / "x.mkv", wide, "ffv1", "yuv444p")
    found = [media.read_video(file, "x") for _ in range(3)]
    assert torch.equal(found[0], found[1]) and (found[0][:, :, -1] - found[0][:, :, 0]).abs().max() < 1 / 255


def test_a_film_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr(film_decoding, "frames_of", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="at most 1,000 pixels"):
        media.read_video(films.write(tmp_path / "x.mkv", FRAMES, "ffv1", "bgra"), "x")


def test_an_animation_has_a_longest_too(tmp_path, monkeypatch):
    first, *others = [Image.fromarray(one) for one in FRAMES]
    first.save(tmp_path / "x.gif", save_all=True, append_images=others)
    with pytest.raises(ValueError, match="more than 5 frames"):
        media.read_film(tmp_path / "x.gif", "x", 5)


def test_a_burst_of_pictures_keeps_the_length():
    times = seconds(0, 100, 104, 108, 200, 900)
    timed = constant_rate(times, Fraction(1), [Fraction(10)])
    assert sorted(set(timed.shown)) == list(range(6)) or len(timed.shown) == 10
    assert len(timed.shown) == 10


def test_televisions_rate_is_found():
    times = [k * Fraction(1001, 30000) for k in range(1000)]
    assert constant_rate(times, 1000 * Fraction(1001, 30000), []).rate == Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("own", "tag", "alone", "wanted"),
    [
        (45, None, None, 3),
        (None, "01:02:03.5", None, 3723.5),
        (None, None, 2_500_000, 2.5),
        (None, None, None, None),
    ],
)
def test_how_long_a_film_says_that_it_lasts(own, tag, alone, wanted):
    """Its stream's own word, else Matroska's, else the file's where it holds nothing else."""
    stream = SimpleNamespace(
        duration=own, time_base=Fraction(1, 15), metadata={} if tag is None else {"DURATION": tag}
    )
    container = SimpleNamespace(streams=[stream], duration=alone)
    assert film_decoding._declared_seconds(container, stream) == wanted


def test_the_last_picture_lasts_as_long_as_it_says():
    stream = SimpleNamespace(time_base=Fraction(1, 10), average_rate=Fraction(5))
    decoded = film_decoding.Decoded()
    for pts, lasts, end in ((0, 0, 0.2), (3, 0, 0.6), (7, 5, 1.2)):
        frame = av.VideoFrame(8, 8, "rgb24")
        frame.pts, frame.time_base, frame.duration = pts, Fraction(1, 10), lasts
        film_decoding._take(frame, stream, decoded)
        assert decoded.end == Fraction(str(end))


@pytest.mark.parametrize("error", [SyntaxError, struct.error, zlib.error, IndexError, EOFError])
def test_whatever_pillow_raises_for_a_damaged_file_is_a_sentence(tmp_path, monkeypatch, error):
    Image.fromarray(FRAMES[0]).save(tmp_path / "x.png")

    def broken(*_):
        raise error("chunk")

    monkeypatch.setattr(Image.Image, "convert", broken)
    with pytest.raises(ValueError, match=r"--mask: .*x\.png is not a picture that can be read"):
        media.read_mask(tmp_path / "x.png", "--mask")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.mp4")
    for read in (media.read_video, media.read_masks, media.read_picture):
        with pytest.raises(ValueError, match="there is no file"):
            read(tmp_path / "x.mp4", "x")


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 24), (17, 31), (33, 50), (31, 33), (480, 854)])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "yuva444p10le", "gray16le"])
def test_a_film_of_any_size_is_read(tmp_path, height, width, pixels):
    frames = films.pictures(2, height, width)
    file = films.write(tmp_path / "x.mkv", frames, "ffv1", pixels)
    found = media.read_video(file, "x")
    grey = frames @ np.array([0.299, 0.587, 0.114]) if pixels.startswith("gray") else None
    wanted = torch.from_numpy(frames if grey is None else np.repeat(grey[..., None], 3, -1)).float()
    assert found.shape == frames.shape and (found * 255 - wanted).abs().mean() < 2
    assert (found * 255 - wanted).abs().amax((0, 1, 3))[-1] < 8  # the last column too
