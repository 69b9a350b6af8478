"""Streams of sound that a film gets: rates, channels, copied or encoded, beside a picture that begins later
or earlier."""

import logging
from fractions import Fraction
from types import SimpleNamespace

import av
import pytest
import refvid_films as films
import torch

from refvid import media
from refvid.media import sound

VIDEO = torch.from_numpy(films.pictures(10)).movedim(-1, 0).float() / 127.5 - 1
ENCODERS = {"webm": "libvpx-vp9", "avi": "mpeg4"}


def source(folder, codec, ending, **how):
    more = {"codec": ENCODERS.get(ending, "libx264"), "pixels": "yuv420p", **how}
    return films.write(folder / f"x.{ending}", films.pictures(10), sound=(codec, films.chirp()), **more)


def stream_for(rate: int, channels: int) -> dict:
    """Stream of AAC as it is asked to be for sound of this rate and so many channels."""
    asked = {}

    def add_stream(_encoder, **how):
        asked.update(how)
        return SimpleNamespace()

    heard = SimpleNamespace(
        rate=rate, codec_context=SimpleNamespace(layout=SimpleNamespace(nb_channels=channels))
    )
    asked["bit_rate"] = sound._sound_stream(SimpleNamespace(add_stream=add_stream), heard, "aac").bit_rate
    return asked


@pytest.mark.parametrize(("rate", "wanted"), [(44100, 44100), (37800, 44100), (192000, 96000), (5512, 7350)])
def test_sound_keeps_its_rate_or_takes_the_next(rate, wanted):
    assert stream_for(rate, 6) == {"rate": wanted, "layout": "5.1", "bit_rate": 192_000}


def test_channels_that_no_layout_has_are_said(caplog):
    with caplog.at_level(logging.WARNING, "refvid"):
        assert stream_for(48000, 16)["layout"] == "stereo"
    assert "sound of 16 channels is written in 2" in caplog.text


@pytest.mark.parametrize("ending", ["mkv", "webm"])
@pytest.mark.parametrize("late", [Fraction(-1, 4), Fraction(1, 4)])
def test_sound_that_could_be_copied_is_not_where_the_clocks_differ(tmp_path, ending, late):
    frames = {"times": [-min(late, 0) + Fraction(k, 8) for k in range(10)]}
    file = source(tmp_path, "libopus", ending, late=max(late, Fraction(0)), **frames)
    media.write_video(tmp_path / "made.webm", VIDEO, 8, file)
    shift, alike = films.delay(films.heard(tmp_path / "made.webm"), films.heard(file))
    assert abs(shift) <= 48 and alike > 0.98


@pytest.mark.parametrize(("codec", "ending"), [("ac3", "ts"), ("ac3", "mkv"), ("libmp3lame", "avi")])
def test_sound_of_another_family_of_files_is_encoded(tmp_path, codec, ending):
    file = (
        source(tmp_path, codec, ending, codec="mpeg4" if ending == "avi" else "libx264")
        if False
        else films.write(
            tmp_path / f"x.{ending}",
            films.pictures(10),
            "mpeg4" if ending == "avi" else "libx264",
            "yuv420p",
            sound=(codec, films.chirp()),
        )
    )
    media.write_video(tmp_path / "made.mp4", VIDEO, 8, file)
    with av.open(str(tmp_path / "made.mp4")) as film:
        assert film.streams.audio[0].codec.canonical_name == "aac"


@pytest.mark.parametrize("late", [Fraction(-1, 4), Fraction(1, 4)])
def test_encoded_sound_begins_at_time_zero(tmp_path, late):
    frames = {"times": [-min(late, 0) + Fraction(k, 8) for k in range(10)]}
    file = source(tmp_path, "pcm_s16le", "mkv", late=max(late, Fraction(0)), **frames)
    media.write_video(tmp_path / "made.mp4", VIDEO, 8, file)
    with av.open(str(tmp_path / "made.mp4")) as film:
        frame = next(film.decode(audio=0))
        assert abs(frame.pts * frame.time_base) <= Fraction(1024, 44100)


def test_each_sound_of_a_film_is_its_own(tmp_path):
    (tmp_path / "other").mkdir()
    first, other = source(tmp_path, "aac", "mp4"), source(tmp_path / "other", "ac3", "mp4")
    films.copied({first: ["video", "audio"], other: ["audio"]}, tmp_path / "two.mp4")
    media.write_video(tmp_path / "made.mp4", VIDEO, 8, tmp_path / "two.mp4")
    with av.open(str(tmp_path / "made.mp4")) as film:
        assert [one.codec.canonical_name for one in film.streams.audio] == ["aac", "ac3"]


def test_a_hole_in_the_sound_stays_one(tmp_path):
    """Half a second of nothing, which Matroska says by its times alone."""
    samples = films.chirp()
    file = films.write(
        tmp_path / "x.mkv",
        films.pictures(10),
        pixels="yuv420p",
        sound=("pcm_s16le", samples),
        hole=Fraction(1, 2),
    )
    media.write_video(tmp_path / "made.mp4", VIDEO, 8, file)
    with av.open(str(tmp_path / "made.mp4")) as film:
        count = sum(frame.samples for frame in film.decode(audio=0))
    assert abs(count - len(samples) - films.SOUND_RATE / 2) < 2200


def test_one_channel_stays_one(tmp_path):
    media.write_video(tmp_path / "made.webm", VIDEO, 8, source(tmp_path, "aac", "mp4"))
    with av.open(str(tmp_path / "made.webm")) as film:
        assert film.streams.audio[0].codec_context.layout.name == "mono"
