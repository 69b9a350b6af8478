"""A film's sound beside new pictures: it begins when it did, lasts as long, and is what it was, in whatever
it was stored."""

import logging
from fractions import Fraction

import av
import pytest
import refvid_films as films
import torch

from refvid import media

PICTURES = films.pictures(10)
VIDEO = torch.from_numpy(PICTURES).movedim(-1, 0).float() / 127.5 - 1
CHIRP = films.chirp()
VIDEO_OF = {"webm": "libvpx-vp9", "wmv": "wmv2", "avi": "mpeg4", "mpg": "mpeg2video"}
# An encoder of sound, and a container that holds it.
STORED = [
    ("aac", "mp4"), ("aac", "mkv"), ("aac", "ts"), ("alac", "mov"), ("flac", "mkv"), ("ac3", "mp4"), ("ac3", "ts"),
    ("mp2", "mpg"), ("mp2", "ts"), ("mp2", "avi"), ("libmp3lame", "mp4"), ("libmp3lame", "avi"), ("libopus", "webm"),
    ("vorbis", "mkv"), ("pcm_u8", "avi"), ("pcm_s16le", "mov"), ("pcm_s24le", "mov"), ("pcm_s32le", "mkv"),
    ("pcm_f32le", "mov"), ("wmav2", "wmv"), ("adpcm_ms", "avi"), ("adpcm_ima_wav", "avi"),
]  # fmt: skip


def source(folder, codec: str, ending: str, **how):
    rate = 25 if ending == "mpg" else films.RATE
    more = {"codec": VIDEO_OF.get(ending, "libx264"), "pixels": "yuv420p", "rate": rate, **how}
    more |= {"format": "mpeg"} if ending == "mpg" else {}
    return films.write(folder / f"x.{ending}", PICTURES, sound=(codec, CHIRP), **more)


def written(file, ending: str):
    made = file.with_name(f"made.{ending}")
    media.write_video(made, VIDEO, films.RATE, file)
    return made


def kind_of(file) -> str:
    with av.open(str(file)) as film:
        (stream,) = film.streams.audio
        return stream.codec.canonical_name


@pytest.mark.parametrize(("codec", "ending"), STORED)
@pytest.mark.parametrize("target", ["mp4", "webm"])
def test_sound_begins_lasts_and_sounds_as_it_did(tmp_path, codec, ending, target):
    file = source(tmp_path, codec, ending)
    before, after = films.heard(file), films.heard(written(file, target))
    shift, alike = films.delay(after, before)
    assert abs(shift) <= 48 and alike > 0.98  # a millisecond; codecs of few bits answer each other
    assert films.delay(after, CHIRP)[1] > 0.95  # what was said before anything was stored
    assert 0 <= len(after) - len(before) + 48 <= 1024 + 96  # up to a frame of AAC is filled with silence


@pytest.mark.parametrize(
    ("codec", "ending", "target", "kept"),
    [
        ("aac", "mp4", "mp4", "aac"), ("alac", "mov", "mp4", "alac"), ("ac3", "mp4", "mov", "ac3"), ("libmp3lame", "mp4", "mp4", "mp3"),
        ("pcm_s24le", "mov", "mov", "pcm_s24le"), ("libopus", "webm", "webm", "opus"), ("vorbis", "mkv", "webm", "vorbis"),
        ("pcm_s24le", "mov", "mp4", "aac"), ("flac", "mkv", "mp4", "aac"), ("aac", "ts", "mp4", "aac"), ("aac", "mp4", "webm", "opus"),
    ],
)  # fmt: skip
def test_sound_that_a_file_holds_is_copied_and_other_sound_encoded(tmp_path, codec, ending, target, kept):
    file = source(tmp_path, codec, ending)
    made = written(file, target)
    assert kind_of(made) == kept
    if kept not in ("aac", "opus") or (ending, target) in (("mp4", "mp4"), ("webm", "webm")):
        packets = [[bytes(packet) for packet in _packets(one)] for one in (file, made)]
        assert packets[0] == packets[1]


def _packets(file):
    with av.open(str(file)) as film:
        return [packet for packet in film.demux(film.streams.audio[0]) if packet.size]


@pytest.mark.parametrize("late", [Fraction(-1, 4), Fraction(1, 4)])
@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_that_begins_with_another_picture_still_does(tmp_path, codec, late):
    """Sound a quarter of a second before and behind the picture."""
    frames = {"times": [-min(late, 0) + Fraction(k, films.RATE) for k in range(len(PICTURES))]}
    file = source(tmp_path, codec, "mkv", late=max(late, Fraction(0)), **frames)
    before, after = films.heard(file), films.heard(written(file, "mp4"))
    shift, alike = films.delay(after, before)
    assert abs(shift) <= 48 and alike > 0.98
    assert abs(films.delay(before, CHIRP)[0] - late * films.SOUND_RATE) < 60 or late < 0
    assert abs(len(before) - len(CHIRP) - late * films.SOUND_RATE) < 1200


def test_every_sound_of_a_film_is_kept(tmp_path):
    first, second = source(tmp_path, "aac", "mp4"), tmp_path / "two.mp4"
    films.doubled_sound(first, second)
    with av.open(str(written(second, "mp4"))) as film:
        assert len(film.streams.audio) == 2


@pytest.mark.parametrize("ending", ["gif", "webp", ""])
def test_what_holds_no_sound_says_so(tmp_path, caplog, ending):
    file = source(tmp_path, "aac", "mp4")
    with caplog.at_level(logging.WARNING, "refvid"):
        media.write_video(tmp_path / f"made{'.' * bool(ending)}{ending}", VIDEO, films.RATE, file)
    assert "holds no sound" in caplog.text
    caplog.clear()
    silent = films.write(tmp_path / "silent.mp4", PICTURES, pixels="yuv420p")
    media.write_video(tmp_path / f"made{'.' * bool(ending)}{ending}", VIDEO, films.RATE, silent)
    assert not caplog.text
