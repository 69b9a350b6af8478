"""Pictures of clips: streamed, upright, square, opaque; sought late in a film; at a wanted rate."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import refvid_footage as footage
import torch

from refvid import media
from refvid.data.index import A_FILM, Clip, Refused, found_clip
from refvid.data.pictures import CHANGED, at_rate, cropped, pictures_of, spread, stored_times
from refvid.data.stage import StageContext
from refvid.data.stages.scan import Scan
from refvid.data.weights import Weights
from refvid.media import film_streaming

SCAN = Scan()


def scanned(path: Path) -> Clip:
    clip = found_clip(path)
    return replace(clip, **SCAN.look(clip, StageContext(SCAN.defaults, Weights({}), path.parent)))


def part(clip: Clip, start: int, stop: int) -> Clip:
    return replace(clip, start=start, stop=stop, frames=stop - start)


@pytest.fixture
def decoded(monkeypatch):
    """Frames that FFmpeg gave, counted."""
    real, seen = film_streaming.frames_of, []

    def counted(*given, **named):
        for frame in real(*given, **named):
            seen.append(frame.pts)
            yield frame

    monkeypatch.setattr(film_streaming, "frames_of", counted)
    return seen


FILMS = {
    "bikes": lambda folder: footage.bikes(),
    "bigbuckbunny": lambda folder: footage.bigbuckbunny(),
    "carphone": lambda folder: footage.carphone(),
    "vtest.avi": lambda folder: footage.opencv_sample("vtest.avi", folder),
    "tree.avi": lambda folder: footage.opencv_sample("tree.avi", folder),
    "Megamind.avi": lambda folder: footage.opencv_sample("Megamind.avi", folder),
    "Megamind_bugy.avi": lambda folder: footage.opencv_sample("Megamind_bugy.avi", folder),
}


@pytest.mark.parametrize("name", FILMS)
def test_pictures_late_in_a_film_are_those_that_decoding_from_its_start_gives(tmp_path, name):
    clip = scanned(FILMS[name](tmp_path))
    places = [*range(52, min(clip.frames, 240), 83), clip.frames - 1]
    from_start = film_streaming.stream_film(Path(clip.path), "x", places, None)
    whole = dict(zip(places, from_start, strict=True))
    for place in places:
        shot = part(clip, place, min(place + 2, clip.frames))
        found = list(pictures_of(shot))
        assert len(found) == shot.frames and np.array_equal(found[0], whole[place])


CODECS = [
    ("x.mp4", "libx264", {"g": "24", "bf": "3", "x264-params": "open-gop=1"}, False),
    ("x.mp4", "libx264", {"g": "12", "bf": "2"}, True),
    ("x.mkv", "libx264", {"g": "12", "bf": "2"}, False),
    ("x.ts", "libx264", {"g": "12", "bf": "2"}, False),
    ("x.ts", "mpeg2video", {"g": "12", "bf": "2"}, False),
    ("x.avi", "mpeg4", {"g": "12"}, False),
    ("x.ts", "mpeg4", {"g": "12"}, False),
    ("y.ts", "libx264", {"g": "60", "bf": "2", "x264-params": "open-gop=1"}, False),
    ("x.webm", "libvpx-vp9", {"g": "20", "cpu-used": "8", "lag-in-frames": "8"}, False),
]


@pytest.mark.parametrize(("name", "codec", "options", "uneven"), CODECS)
def test_every_picture_of_a_film_is_found_where_it_is_sought(tmp_path, decoded, name, codec, options, uneven):
    pictures = np.concatenate([footage.shot(28)[:, ::2, ::2]] * 5)
    times = footage.variable_times(len(pictures)) if uneven else None
    file = footage.write(tmp_path / name, pictures, codec, options=options, times=times)
    clip = scanned(file)
    assert clip.variable == uneven and clip.frames == 140
    whole = list(pictures_of(clip))
    for place in range(51, 140, 17):
        (found,) = pictures_of(part(clip, place, place + 1))
        assert np.array_equal(found, whole[place])
    decoded.clear()
    list(pictures_of(part(clip, 130, 140)))
    assert len(decoded) < 60


def test_a_shot_late_in_a_film_is_not_decoded_from_its_start(decoded):
    clip = scanned(footage.bikes())
    decoded.clear()
    assert len(list(pictures_of(part(clip, 187, 242)))) == 55
    assert len(decoded) <= 56
    decoded.clear()
    list(pictures_of(clip, [0, 140, 245]))
    assert len(decoded) <= 1 + 4 + 4 + 40  # from keyframes at 0, 137 and 242, and those that came too late


def test_a_film_whose_times_are_in_disorder_is_counted(tmp_path):
    clip = scanned(footage.opencv_sample("Megamind_bugy.avi", tmp_path))
    assert clip.variable and stored_times(clip) == []
    assert at_rate(clip, 30) == list(range(270))


def test_pictures_are_those_that_films_are_read_as(tmp_path):
    file = footage.interlaced(tmp_path / "x.mp4")
    read = (media.read_video(file, "x") * 255).round().to(torch.uint8).numpy()
    assert np.array_equal(np.stack(list(pictures_of(scanned(file)))), read)


def nearness(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found.astype(int) - wanted).mean())


def test_pictures_are_upright(tmp_path):
    clip = scanned(footage.rotated(tmp_path / "x.mp4"))
    assert clip.size == (160, 96)
    for found, wanted in zip(pictures_of(clip), footage.shot(), strict=True):
        assert found.shape == (96, 160, 3) and nearness(found, wanted) < 4


def test_pixels_are_made_square_in_width(tmp_path):
    clip = scanned(footage.anamorphic(tmp_path / "x.mp4"))
    found = np.stack(list(pictures_of(clip)))
    assert clip.size == (240, 96) and found.shape == (22, 96, 240, 3)
    assert nearness(found[:, :, 1::3], footage.shot()[:, :, ::2]) < 8  # 1.5 places of 2
    phone = scanned(footage.carphone())
    assert phone.size == (193, 144) and next(pictures_of(phone)).shape == (144, 193, 3)


@pytest.mark.parametrize(("make", "name"), [(footage.alpha_webm, "x.webm"), (footage.alpha_mov, "x.mov")])
def test_grey_is_where_a_film_is_transparent(tmp_path, make, name):
    (found,) = pictures_of(scanned(make(tmp_path / name)), [4])
    assert np.abs(found[:12].astype(int) - 127).max() <= 2
    assert nearness(found[20:76, 44:116], footage.shot()[4, 20:76, 44:116]) < 8


def test_grey_is_where_a_still_is_transparent(tmp_path):
    clip = scanned(footage.still_with_alpha(tmp_path / "x.png"))
    (found,) = pictures_of(clip)
    assert (found[:16] == 127).all() and np.array_equal(
        found[16:80, 40:120], footage.shot(1)[0, 16:80, 40:120]
    )
    assert at_rate(clip, 16) == [0]


def test_black_is_black_in_both_ranges(tmp_path):
    full, limited = (
        np.stack(list(pictures_of(scanned(make(tmp_path / f"{make.__name__}.mp4")))))
        for make in (footage.full_range, footage.limited_range)
    )
    assert nearness(full, limited) < 2 and abs(float(full.mean()) - float(limited.mean())) < 0.5


def test_a_folder_of_frames_is_in_the_order_of_its_numbers(tmp_path):
    clip = scanned(footage.frames_folder(tmp_path / "frames", 12))
    assert np.array_equal(np.stack(list(pictures_of(clip))), footage.shot(12))
    assert np.array_equal(np.stack(list(pictures_of(part(clip, 9, 12), [0, 2]))), footage.shot(12)[[9, 11]])


def test_pictures_come_one_by_one_and_as_often_as_they_are_wanted(decoded):
    clip = scanned(footage.bikes())
    decoded.clear()
    pictures = pictures_of(clip, [0, 0, 2, 2, 2])
    first = next(pictures)
    assert len(decoded) == 1
    others = list(pictures)
    assert [np.array_equal(first, one) for one in others] == [True, False, False, False]
    assert len(others) == 4 and len(decoded) == 3


def test_a_crop_is_taken_from_the_whole_picture():
    clip = replace(scanned(footage.bikes()), crop=(10, 20, 300, 200))
    (whole,) = pictures_of(replace(clip, crop=None), [3])
    (found,) = pictures_of(clip, [3])
    assert found.shape == (200, 300, 3) and np.array_equal(found, whole[20:220, 10:310])
    assert np.array_equal(cropped(whole, clip), found)


@pytest.mark.parametrize("harm", ["cut", "gone", "shorter"])
def test_a_file_that_has_changed_is_refused_when_it_is_read(tmp_path, harm):
    file = footage.plain(tmp_path / "x.mp4")
    clip = scanned(file)
    if harm == "cut":
        file.write_bytes(file.read_bytes()[:3000])
    elif harm == "gone":
        file.unlink()
    else:
        footage.plain(file, 9)
    with pytest.raises(Refused) as refusal:
        list(pictures_of(clip))
    assert refusal.value.reason == CHANGED and "x.mp4" in refusal.value.detail


def film(frames: int, fps: float) -> Clip:
    return Clip("x", "x.mp4", kind=A_FILM, stop=frames, frames=frames, fps=fps)


RATES = [
    (10, 25.0, 16, [0, 2, 3, 5, 6, 8]),  # 0, 1.56, 3.12, 4.69, 6.25 and 7.81 of 25 a second
    (12, 48.0, 16, [0, 3, 6, 9]),
    (12, 48.0, 24, [0, 2, 4, 6, 8, 10]),
    (9, 24.0, 16, [0, 1, 3, 4, 6, 7]),  # the earlier of two: 1.5, 4.5, 7.5
    (12, 64.0, 16, [0, 4, 8]),
    (5, 10.0, 20, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
    (7, 30000 / 1001, 30000 / 1001, [0, 1, 2, 3, 4, 5, 6]),
    (8, 30000 / 1001, Fraction(15000, 1001), [0, 2, 4, 6]),
    (1, 30.0, 16, [0]),
]


@pytest.mark.parametrize(("frames", "own", "wanted", "places"), RATES)
def test_a_clip_at_a_rate_shows_the_nearest_picture(frames, own, wanted, places):
    assert at_rate(film(frames, own), wanted) == places


def test_a_variable_rate_is_read_by_the_times_of_the_file(tmp_path):
    clip = scanned(footage.variable_rate(tmp_path / "x.mp4"))
    # Pictures begin at 0, 1, 2, 5, 6, 8, 9, 14, 15, 16, 17 … of 30; places are 3 apart.
    assert at_rate(clip, 10)[:6] == [0, 2, 4, 6, 6, 8]
    assert at_rate(part(clip, 3, 9), 10) == [0, 2, 3]  # 5, 6, 8, 9, 14 and 15, until 16
    assert [round(one * 30) for one in stored_times(clip)[:7]] == [0, 1, 2, 5, 6, 8, 9]


def test_no_rate_is_refused():
    with pytest.raises(ValueError, match="fps is 0; needed more than 0"):
        at_rate(film(3, 25.0), 0)


def test_places_are_spread_evenly():
    assert spread(10, 2) == [2, 7] and spread(3, 8) == [0, 1, 2]
