"""Stage cut: shots of real and made films, their crops, what stands still or flashes, films of edits."""

from dataclasses import replace
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import refvid_footage as footage
from refvid_shots import boxed, noisy
from torch import tensor

from refvid.data.index import A_FILM, A_STILL, Clip, found_clip
from refvid.data.journal import Journal
from refvid.data.pairs import with_their_sources
from refvid.data.pictures import cropped
from refvid.data.stage import StageContext, concluded, look_at_all
from refvid.data.stages import cut
from refvid.data.stages.cut import Cut, CutOptions
from refvid.data.vision.shots import watch
from refvid.data.weights import Weights

RATE = Fraction(25)


def film(path, **known) -> Clip:
    """Row of a film as scan would leave it."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        frames = stream.frames
        size = {"width": stream.width, "height": stream.height, "fps": float(stream.average_rate)}
    return found_clip(path, kind=A_FILM, stop=frames, frames=frames, **size, **known)


class Shown:
    """Films of arrays in the place of files: rows of them, and their pictures."""

    def __init__(self, monkeypatch):
        self.films: dict[str, np.ndarray] = {}
        monkeypatch.setattr(cut, "pictures_of", self.pictures_of)

    def row(self, pictures: np.ndarray, name: str = "a", fps: float = 25.0, **known) -> Clip:
        path = f"/films/{name}.mp4"
        self.films[path] = pictures
        height, width = pictures.shape[1:3]
        count = {"stop": len(pictures), "frames": len(pictures)}
        return Clip(id=name, path=path, kind=A_FILM, fps=fps, width=width, height=height, **count, **known)

    def pictures_of(self, clip, wanted=None):
        for place in range(clip.stop - clip.start) if wanted is None else wanted:
            yield cropped(self.films[clip.path][clip.start + place], clip)


@pytest.fixture
def shown(monkeypatch) -> Shown:
    return Shown(monkeypatch)


def after(clips, folder, options=None, weights=None) -> list[Clip]:
    """The rows after the stage."""
    context = StageContext(options or CutOptions(), weights or Weights({}), folder)
    journal = Journal(folder / "cut")
    look_at_all(Cut(), clips, context, journal)
    rows = concluded(Cut(), clips, context, journal.results())
    assert rows is not None
    return rows


def test_bikes_is_cut_at_its_five_cuts_and_each_shot_takes_along_what_is_known(tmp_path):
    known = {"caption": "a street", "licence": "CC0", "identity": "Ann", "repeats": 3, "mask": "/m.mp4"}
    clip = film(footage.bikes(), **known)
    mate = found_clip("/other.mp4", pair_of=(clip.id, "else"), status="refused", reason="not decodable")
    *rows, other = sorted(after([clip, mate], tmp_path), key=lambda row: row.path == mate.path)
    assert [(row.start, row.stop) for row in rows] == [
        (0, 30), (30, 76), (76, 137), (137, 187), (187, 242), (242, 250)
    ]  # fmt: skip
    assert [row.id for row in rows] == [f"{clip.id}-{one:03d}" for one in range(6)]
    assert [row.frames for row in rows] == [30, 46, 61, 50, 55, 8]
    assert [row.reason for row in rows] == [""] * 5 + ["shorter than 1.2 s"]
    assert rows[5].detail == "0.32 s"
    assert {row.crop for row in rows} == {None}
    for row in rows:
        assert {name: getattr(row, name) for name in known} == known
        assert (row.path, row.set) == (clip.path, clip.set)
    assert other.pair_of == (*(row.id for row in rows), "else")


@pytest.mark.parametrize(
    "path", [footage.bigbuckbunny, footage.carphone, lambda: footage.carphone("distorted")]
)
def test_a_real_film_of_one_shot_keeps_its_row(tmp_path, path):
    clip = film(path(), caption="one")
    assert after([clip], tmp_path) == [replace(clip, flash=0.0)]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"longest": 2.0}, "longest is 2 s and shortest 1.2 s; needed a longest of at least"),
        ({"shortest": -1.0}, "shortest -1 s"),
        ({"threshold": 1.0}, "threshold is 1; needed more than 1"),
    ],
)
def test_options_that_cannot_be_are_refused(given, told):
    with pytest.raises(ValueError, match=told):
        CutOptions(**given)


def test_a_film_stays_whole_where_it_says_so(shown, tmp_path):
    pictures = np.concatenate([noisy(40), 255 - noisy(300, seed=1)])
    rows = after([shown.row(pictures)], tmp_path, CutOptions(split=False))
    assert [(row.id, row.start, row.stop, row.ok) for row in rows] == [("a", 0, 340, True)]
    rows = after([shown.row(pictures)], tmp_path / "cut")
    assert [(row.start, row.stop) for row in rows] == [(0, 40), (40, 190), (190, 340)]


def test_a_part_that_a_list_names_is_cut_within_itself(shown, tmp_path):
    pictures = np.concatenate([noisy(50), 255 - noisy(50, seed=1), noisy(50, seed=2)])
    pictures[54:100] = pictures[53]
    part = replace(shown.row(pictures), start=10, stop=140, frames=130)
    rows = after([part], tmp_path)
    assert [(row.start, row.stop, row.frames) for row in rows] == [
        (10, 50, 40),
        (50, 100, 50),
        (100, 140, 40),
    ]
    assert [row.reason for row in rows] == ["", "static", ""]


def test_bars_beside_a_picture_do_not_weaken_a_cut(shown, tmp_path):
    pictures = np.concatenate([noisy(40, (72, 32)) // 4 + 40, noisy(40, (72, 32), seed=1) // 4 + 125])
    assert watch(pictures, RATE, 3.0).cuts == [40]
    wide = boxed(pictures, left=46, right=46)
    assert watch(wide, RATE, 3.0).cuts == []
    rows = after([shown.row(wide)], tmp_path)
    assert [(row.start, row.stop, row.crop) for row in rows] == [
        (0, 40, (46, 0, 32, 72)), (40, 80, (46, 0, 32, 72))
    ]  # fmt: skip


def test_a_still_is_not_looked_at(tmp_path):
    still = found_clip("/a.png", kind=A_STILL, stop=1, frames=1, width=8, height=8)
    assert after([still], tmp_path) == [still]


def test_each_shot_has_the_crop_of_its_own_format_and_a_dark_one_that_of_the_film(shown, tmp_path):
    wide = boxed(noisy(90), top=12, bottom=12)
    dark = np.zeros((40, 96, 128, 3), np.uint8)
    dark[:, 40:56, 50:70] = 255 - noisy(40, (16, 20), seed=4)
    full = noisy(40, (96, 128), seed=2)
    rows = after([shown.row(np.concatenate([wide, dark, full]))], tmp_path)
    assert [(row.start, row.stop, row.crop) for row in rows] == [
        (0, 90, (0, 12, 128, 72)), (90, 130, (0, 12, 128, 72)), (130, 170, None)
    ]  # fmt: skip
    rows = after([shown.row(wide)], tmp_path / "off", CutOptions(borders=False))
    assert [row.crop for row in rows] == [None]


def test_a_crop_that_was_given_stays(shown, tmp_path):
    clip = shown.row(boxed(noisy(40), top=12, bottom=12), crop=(10, 20, 60, 40))
    assert [row.crop for row in after([clip], tmp_path)] == [(10, 20, 60, 40)]


@pytest.mark.parametrize(("moving", "reason"), [(4, "static"), (5, "")])
def test_a_film_that_stands_still_in_nine_pairs_of_ten_is_static(shown, tmp_path, moving, reason):
    pictures = noisy(40)
    pictures[moving:] = pictures[moving - 1]
    row = after([shown.row(pictures)], tmp_path)[0]
    assert row.reason == reason


def test_a_person_who_speaks_before_a_camera_on_its_stand_is_not_static(shown, tmp_path):
    pictures = np.repeat(noisy(1, (96, 128)), 40, axis=0)
    pictures[:, 30:50, 50:70] = noisy(40, (20, 20), seed=1)
    assert after([shown.row(pictures)], tmp_path)[0].ok


def test_a_fast_film_that_shows_each_picture_thrice_is_not_static(shown, tmp_path):
    pictures = np.repeat(noisy(60), 5, axis=0)
    assert watch(pictures, Fraction(120), None).still(0, 300) == 0
    assert after([shown.row(pictures, fps=120.0)], tmp_path)[0].ok


def test_a_strobe_is_refused_and_lightning_is_not(shown, tmp_path):
    strobe = noisy(50)
    strobe[::2] //= 4
    lightning = noisy(50)
    lightning[[10, 14, 30]] //= 4
    rows = after([shown.row(strobe, "strobe"), shown.row(lightning, "lightning")], tmp_path)
    assert [(row.id, row.reason, row.detail) for row in rows] == [
        ("strobe", "flashing", "12 flashes in a second"),
        ("lightning", "", ""),
    ]
    assert [row.flash for row in rows] == [12.0, 3.0]


def test_films_of_an_edit_stay_whole_and_fall_together(shown, tmp_path):
    calm = boxed(noisy(60), top=12, bottom=12)
    two = np.concatenate([noisy(40), 255 - noisy(40, seed=1)])
    still = np.repeat(noisy(1), 40, axis=0)
    rows = [
        shown.row(calm, "a"), shown.row(255 - calm, "b", source="a"),
        shown.row(two, "c"), shown.row(two, "d", source="c"),
        shown.row(calm, "e"), shown.row(still, "f", source="e"),
        shown.row(still, "g"), shown.row(calm, "h", source="g"),
    ]  # fmt: skip
    found = {row.id: row for row in after(rows, tmp_path)}
    assert list(found) == list("abcdefgh")
    assert {row.crop for row in found.values()} == {None}
    reasons = {name: row.reason for name, row in found.items()}
    assert reasons == {
        "a": "", "b": "", "c": "cut inside", "d": "cut inside", "e": "", "f": "static", "g": "static",
        "h": "source refused",
    }  # fmt: skip
    assert found["d"].detail == "a film of an edit, at frame 40"
    assert found["h"].detail == "g: static"


def test_edits_of_edits_fall_with_what_is_refused_above_them():
    rows = [Clip(name, name, source=source) for name, source in ("a ", "ba", "cb", "dc", "e?", "gh", "hg")]
    assert with_their_sources(rows) == rows
    rows[1] = rows[1].refused("static")
    reasons = [(row.reason, row.detail) for row in with_their_sources(rows)]
    assert reasons == [("", ""), ("static", ""), *[("source refused", "b: static")] * 2, *[("", "")] * 3]


class Clips:
    """Features in the place of CLIP's: brightness as an angle."""

    def features(self, pictures):
        angles = [one.mean() / 255 for one in pictures]
        return tensor([[np.cos(one), np.sin(one)] for one in angles])


def test_clip_finds_a_cut_that_was_missed(shown, tmp_path, monkeypatch):
    slow = noisy(60)
    fade = np.linspace(1, 0, 60)[:, None, None, None] ** 2
    dissolved = (fade * 250 + (1 - fade) * slow / 8).astype(np.uint8)
    weights = Weights({"clip": tmp_path})
    monkeypatch.setattr(weights, "load", lambda name, stage, load: Clips())
    monkeypatch.setattr(cut, "_loader", lambda device: None)
    assert Cut().uses(CutOptions(), weights) == ("clip",)
    rows = after([shown.row(slow, "slow"), shown.row(dissolved, "dissolved")], tmp_path, weights=weights)
    assert [row.reason for row in rows] == ["", "cut inside"]
    assert "agree by 0." in rows[1].detail
    assert after([shown.row(dissolved)], tmp_path / "without")[0].ok


def test_a_folder_that_is_no_clip_is_named(shown, tmp_path):
    (tmp_path / "clip").mkdir()
    context = StageContext(CutOptions(), Weights({"clip": tmp_path / "clip"}), tmp_path)
    with pytest.raises(ValueError, match=r"^clip: .*config\.json"):
        Cut().look(shown.row(noisy(40)), context)


def test_without_pyscenedetect_the_stage_says_what_to_install(monkeypatch):
    monkeypatch.setattr(cut, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install scenedetect"):
        Cut().uses(CutOptions(), Weights({}))
    assert Cut().uses(CutOptions(split=False), Weights({})) == ()


def test_results_are_the_same_in_one_thread_of_opencv_or_four(tmp_path):
    found, before = [], cv2.getNumThreads()
    context = StageContext(CutOptions(), Weights({}), tmp_path)
    try:
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            found.append(Cut().look(replace(film(footage.carphone()), stop=40, frames=40), context))
    finally:
        cv2.setNumThreads(before)
    assert found[0] == found[1]
