"""Films that are read: turned, of a variable rate, transparent, cut short, listed, in folders, too long."""

import logging
from fractions import Fraction

import numpy as np
import pytest
import refvid_films as films
import torch
from PIL import Image

from refvid import media
from refvid.media import film_decoding
from refvid.media.timing import constant_rate

FRAMES = films.pictures(6)


def seconds(*milliseconds: int) -> list[Fraction]:
    return [Fraction(one, 1000) for one in milliseconds]


# ---- the clock


@pytest.mark.parametrize("rate", [Fraction(8), Fraction(25), Fraction(30000, 1001), Fraction(1, 2)])
def test_a_constant_rate_stays_with_any_start_and_with_times_in_milliseconds(rate):
    times = [round((3 + k / rate) * 1000) / Fraction(1000) for k in range(40)]
    timed = constant_rate(times, times[-1] + 1 / rate, [rate])
    assert timed.shown == list(range(40)) and timed.rate == rate


def test_a_rate_that_nobody_declares_is_the_mean_in_whole_numbers_where_that_fits():
    assert constant_rate(seconds(0, 130, 250, 380), Fraction(1, 2), []).rate == 8
    assert constant_rate(seconds(0, 400, 800), Fraction(6, 5), []).rate == Fraction(5, 2)


def test_a_variable_rate_keeps_its_length_and_every_picture_at_its_time():
    generator = np.random.default_rng(1)
    steps = generator.choice([40, 80, 200], 50)
    times = seconds(*(int(one) for one in np.cumsum(steps) - steps[0]))
    end = times[-1] + Fraction(1, 5)
    timed = constant_rate(times, end, [Fraction(9), Fraction(25)])
    assert timed.rate == 25 and abs(len(timed.shown) / timed.rate - end) <= Fraction(1, 50)
    for place, shown in enumerate(timed.shown):
        # By hand: the last picture that has begun, a half step of rounding allowed.
        assert times[shown] <= place / timed.rate + Fraction(1, 50)
        assert shown + 1 == len(times) or times[shown + 1] >= place / timed.rate - Fraction(1, 50)
    assert sorted(set(timed.shown)) == list(range(50))


def test_a_clock_of_a_file_is_no_rate_and_the_median_step_decides():
    times = seconds(0, 100, 200, 300, 900)
    assert constant_rate(times, Fraction(1), [Fraction(1000)]).rate == 10


@pytest.mark.parametrize(("times", "end"), [((0, 100, 100), 200), ((0, 200, 100), 300), ((0, 100), 100)])
def test_times_that_do_not_ascend_are_refused(times, end):
    with pytest.raises(ValueError, match="do not ascend"):
        constant_rate(seconds(*times), Fraction(end, 1000), [])


def test_a_film_of_a_variable_rate_is_retimed_and_that_is_said(tmp_path, caplog):
    times = seconds(0, 100, 200, 700, 800, 900)
    file = films.write(tmp_path / "x.mkv", FRAMES, "ffv1", "bgra", rate=10, times=times)
    with caplog.at_level(logging.WARNING, "refvid"):
        film = media.read_film(file, "--video", 100)
    assert film.rate == 10 and "has a variable frame rate; its 6 pictures were re-timed to 10" in caplog.text
    wanted = torch.from_numpy(FRAMES).float()[[0, 1, 2, 2, 2, 2, 2, 3, 4, 5]] / 255
    assert torch.equal(film.pictures, wanted)


# ---- turns


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((0, 1, -1, 0), lambda x: np.rot90(x, -1, (1, 2))),  # a quarter clockwise, as telephones write it
        ((-1, 0, 0, -1), lambda x: np.rot90(x, 2, (1, 2))),
        ((0, -1, 1, 0), lambda x: np.rot90(x, 1, (1, 2))),
        ((-1, 0, 0, 1), lambda x: x[:, :, ::-1]),
        ((0, 1, 1, 0), lambda x: x.transpose(0, 2, 1, 3)),
    ],
)
def test_a_film_stands_as_its_display_matrix_says(tmp_path, matrix, upright):
    plain = media.read_video(films.write(tmp_path / "plain.mp4", FRAMES, "libx264rgb", "rgb24"), "x")
    films.turn(films.write(tmp_path / "x.mp4", FRAMES, "libx264rgb", "rgb24"), matrix)
    found = media.read_video(tmp_path / "x.mp4", "x")
    assert torch.equal(found, torch.from_numpy(upright(plain.numpy()).copy()))


# ---- transparency


CUT = np.concatenate([FRAMES, np.zeros((*FRAMES.shape[:3], 1), np.uint8)], -1)
CUT[:, :, :20, 3] = 255


@pytest.mark.parametrize(
    ("codec", "pixels", "ending"),
    [
        ("libvpx-vp9", "yuva420p", "webm"),
        ("prores_ks", "yuva444p10le", "mov"),
        ("png", "rgba", "mov"),
        ("qtrle", "argb", "mov"),
    ],
)
def test_where_a_mask_is_meant_a_films_transparency_is_it_and_elsewhere_it_is_said(
    tmp_path, caplog, codec, pixels, ending
):
    file = films.write(tmp_path / f"x.{ending}", CUT, codec, pixels)
    masks = media.read_masks(file, "--mask")
    assert masks.shape == FRAMES.shape[:3]
    assert masks[..., :18].min() > 0.95 and masks[..., 22:].max() < 0.05
    with caplog.at_level(logging.WARNING, "refvid"):
        assert media.read_video(file, "--video").shape == FRAMES.shape
    assert "--video: the transparency of" in caplog.text


def test_a_film_without_transparency_is_a_mask_by_its_luminance(tmp_path):
    white = np.zeros_like(FRAMES)
    white[:, :, :20] = 255
    masks = media.read_masks(films.write(tmp_path / "x.mkv", white, "ffv1", "bgra"), "--mask")
    assert torch.equal(masks, torch.from_numpy(white[..., 0]).float() / 255)


# ---- folders


def test_a_folders_frames_come_in_the_order_of_their_numbers(tmp_path):
    for number, frame in zip((1, 2, 3, 10, 11, 100), FRAMES, strict=True):
        Image.fromarray(frame).save(tmp_path / f"frame {number}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    Image.fromarray(FRAMES[0]).save(tmp_path / ".hidden.png")
    assert torch.equal(media.read_video(tmp_path, "x"), torch.from_numpy(FRAMES).float() / 255)


def test_a_folder_of_cut_outs_is_a_mask_by_transparency(tmp_path):
    for number, frame in enumerate(CUT):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    assert torch.equal(media.read_masks(tmp_path, "x"), torch.from_numpy(CUT[..., 3]).float() / 255)


def test_frames_of_two_sizes_and_a_folder_without_one_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no frame"):
        media.read_video(tmp_path, "x")
    for side in (8, 16):
        Image.new("RGB", (side, 8)).save(tmp_path / f"{side}.png")
    with pytest.raises(ValueError, match="have sizes 8x8, 16x8; one size is needed"):
        media.read_video(tmp_path, "x")


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_an_animation_is_a_film(tmp_path, ending):
    first, *others = [Image.fromarray(frame // 64 * 64) for frame in FRAMES]
    file = tmp_path / f"x.{ending}"
    first.save(file, save_all=True, append_images=others, duration=120, lossless=True)
    film = media.read_film(file, "x", 10)
    assert film.rate == Fraction(25, 3) or film.rate == 8
    assert torch.equal(film.pictures, torch.from_numpy(FRAMES // 64 * 64).float() / 255)


# ---- what is refused


WRITERS = {
    "mp4": ("libx264", "yuv420p", {"options": {"movflags": "faststart"}}),
    "mov": ("prores_ks", "yuv422p10le", {"options": {"movflags": "faststart"}}),
    "mkv": ("libx264", "yuv420p", {}),
    "webm": ("libvpx-vp9", "yuv420p", {}),
    "avi": ("mpeg4", "yuv420p", {}),
    "fragments.mp4": ("libx264", "yuv420p", {"options": {"movflags": "frag_keyframe+empty_moov"}}),
    "gif": ("gif", "rgb8", {}),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("share", [0.5, 0.68, 0.9])
def test_a_film_that_is_cut_short_is_refused_by_name(tmp_path, kind, share):
    codec, pixels, how = WRITERS[kind]
    noise = np.random.default_rng(0).integers(0, 256, (25, 64, 64, 3), dtype=np.uint8)
    file = films.write(tmp_path / f"x.{kind}", noise, codec, pixels, rate=25, **how)
    assert len(media.read_video(file, "x")) == 25
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"--video: .* (is cut short|is damaged|or is damaged)"):
        media.read_video(file, "--video")


def test_a_list_of_other_files_is_not_followed(tmp_path):
    films.write(tmp_path / "secret.mp4", FRAMES, pixels="yuv420p")
    segment = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n"
    lists = {
        "x.ffconcat": "ffconcat version 1.0\nfile secret.mp4\n",
        "x.mp4": "ffconcat version 1.0\nfile secret.mp4\n",
        "x.m3u8": segment,
        "y.mp4": segment,
        "x.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match="is not a video that can be read"):
            media.read_video(tmp_path / name, "x")


def test_sound_alone_is_no_film(tmp_path):
    film = films.write(tmp_path / "both.mp4", FRAMES, pixels="yuv420p", sound=("aac", films.chirp(0.5)))
    films.only_sound(film, tmp_path / "x.mp4")
    for read in (media.read_video, media.read_masks):
        with pytest.raises(ValueError, match=r"--video: .* has no moving picture in it"):
            read(tmp_path / "x.mp4", "--video")


def test_more_pixels_than_memory_holds_are_refused_while_they_come(tmp_path, monkeypatch):
    monkeypatch.setattr(film_decoding, "MOST_FILM_PIXELS", 3 * FRAMES[0].shape[0] * FRAMES[0].shape[1])
    file = films.write(tmp_path / "x.mkv", FRAMES, "ffv1", "bgra")
    for number, frame in enumerate(FRAMES):
        (tmp_path / "folder").mkdir(exist_ok=True)
        Image.fromarray(frame).save(tmp_path / "folder" / f"{number}.png")
    for path in (file, tmp_path / "folder"):
        with pytest.raises(ValueError, match="has more than 3 pictures of 48x32"):
            media.read_video(path, "x")


def test_a_file_without_a_frame_and_no_file_are_refused(tmp_path):
    with pytest.raises(ValueError, match="--from: there is no file"):
        media.read_video(tmp_path / "none.mp4", "--from")
    with pytest.raises(ValueError, match="--from: there is no file"):
        media.read_film(tmp_path, "--from", 9)
