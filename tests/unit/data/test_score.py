"""Stage score: motion and sharpness in closed form, copies, the ends of a set's range."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import refvid_footage as footage
from refvid_shots import frames_of

from refvid.data.index import A_FILM, A_STILL, Clip
from refvid.data.stage import StageContext
from refvid.data.stages import score
from refvid.data.stages.score import Score, ScoreOptions
from refvid.data.vision.measures import sharpness_of
from refvid.data.weights import Weights


def looked_at(pictures: np.ndarray, folder, monkeypatch, fps: float = 24.0, **known) -> dict:
    """Result for a film of an array."""
    monkeypatch.setattr(score, "pictures_of", lambda clip, wanted: (pictures[one] for one in wanted))
    height, width = pictures.shape[1:3]
    count = {"stop": len(pictures), "frames": len(pictures)}
    clip = Clip("a", "/a.mp4", kind=A_FILM, fps=fps, width=width, height=height, **count)
    return Score().look(replace(clip, **known), StageContext(ScoreOptions(), Weights({}), folder))


def rows_of(count: int, kind: str = A_FILM, **known) -> list[Clip]:
    """Rows of different pictures; motion, sharpness and size rise along them."""
    draw = np.random.default_rng(0)
    digits = [draw.bytes(24).hex() for _ in range(count)]
    return [
        replace(
            Clip(f"{kind}{one}", f"/{kind}{one:05d}.mp4", kind=kind, width=640, height=360, fps=25.0, frames=50),
            hash=digits[one], sharpness=float(one), motion=None if kind == A_STILL else float(count - one), **known,
        )
        for one in range(count)
    ]  # fmt: skip


def concluded(rows: list[Clip], folder, options=None) -> list[Clip]:
    """The rows after the stage, as if their scores were its results."""
    names = ("motion", "sharpness", "hash", "aesthetic", "text_area")
    found = {row.id: {name: getattr(row, name) for name in names} for row in rows if row.hash}
    return Score().conclude(rows, found, StageContext(options or ScoreOptions(), Weights({}), folder))


def moved(step: int, frames: int, scale: int = 1) -> np.ndarray:
    """A photograph that is shifted to the right by `step` pixels a picture, enlarged."""
    photo = frames_of(footage.bikes())[200]
    window = [photo[:144, 380 - step * one :][:, :256] for one in range(frames)]
    return np.stack([one.repeat(scale, 0).repeat(scale, 1) for one in window])


@pytest.mark.parametrize(
    ("step", "fps", "scale"), [(1, 24.0, 1), (1, 8.0, 1), (1, 24.0, 2), (2, 12.0, 1), (3, 2.0, 1)]
)
def test_motion_is_in_pixels_of_256_a_second_whatever_the_size_and_rate(
    tmp_path, monkeypatch, step, fps, scale
):
    found = looked_at(moved(step, 49, scale), tmp_path, monkeypatch, fps)
    assert found["motion"] / (step * fps) == pytest.approx(0.82, rel=0.05)  # flat ground shows no motion


def test_motion_of_a_small_film_and_of_one_of_three_pictures(tmp_path, monkeypatch):
    small, large = (moved(1, 49, scale)[:, :, : 128 * scale] for scale in (1, 2))
    motion = [looked_at(one, tmp_path, monkeypatch)["motion"] for one in (small, large)]
    assert 1 < motion[0] / motion[1] < 1.5  # the flow's window is half as wide on the large one
    short = looked_at(moved(1, 3), tmp_path, monkeypatch)
    assert short["motion"] is None
    assert short["sharpness"] == pytest.approx(sharpness_of(moved(1, 1)[0]), rel=1e-5)


def test_what_does_not_move_has_no_motion_and_a_still_has_none_to_tell(tmp_path, monkeypatch):
    assert looked_at(moved(0, 30), tmp_path, monkeypatch)["motion"] < 0.01
    still = looked_at(moved(0, 1), tmp_path, monkeypatch, kind=A_STILL, fps=0.0)
    assert still["motion"] is None
    assert still["hash"] == still["hash"][:16] * 3
    assert still["sharpness"] > 0


def test_sharpness_of_a_film_is_that_of_its_middle_picture_in_order(tmp_path, monkeypatch):
    pictures = moved(1, 49)
    expected = np.median([sharpness_of(one) for one in pictures[::6][:8]])
    assert looked_at(pictures, tmp_path, monkeypatch)["sharpness"] == pytest.approx(expected, rel=1e-5)
    blurred = np.stack([cv2.blur(one, (5, 5)) for one in pictures])
    assert looked_at(blurred, tmp_path, monkeypatch)["sharpness"] < expected / 4


def test_of_copies_the_best_is_kept_and_named(tmp_path):
    row = rows_of(1)[0]
    orders = [
        [{"width": 1280}, {"frames": 99, "caption": "a"}],
        [{"frames": 51}, {"caption": "a"}],
        [{"caption": "a"}, {"sharpness": 9.0}],
        [{"sharpness": 9.0}, {}],
        [{"path": "/a"}, {"path": "/b"}],
    ]
    for better, worse in orders:
        kept = replace(row, id="kept", path=better.pop("path", "/z"), **better)
        other = replace(row, id="other", path=worse.pop("path", "/y"), **worse)
        for rows in ([kept, other], [other, kept]):
            found = {one.id: one for one in concluded(rows, tmp_path)}
            assert found["kept"].ok
            assert (found["other"].reason, found["other"].detail) == ("same picture as another", "kept")


def test_only_what_could_be_mistaken_is_held_against_one_another(tmp_path):
    row = rows_of(1)[0]
    film, part = replace(row, id="film"), replace(row, id="part", start=50, stop=100)
    still = replace(row, id="still", path="/still.png", kind=A_STILL)
    source = replace(row, id="source", path="/source.mp4")
    edits = [replace(row, id=f"edit{one}", path=f"/edit{one}.mp4", source="source") for one in range(2)]
    refused = replace(row, id="refused", path="/refused.mp4", width=4000).refused("static")
    unseen = replace(row, id="unseen", path="/unseen.mp4", hash="")
    rows = [film, part, still, source, *edits, refused, unseen]
    assert concluded(rows, tmp_path) == rows


def test_percentiles_are_of_the_set_and_films_and_stills_apart(tmp_path):
    films, stills = rows_of(200), rows_of(300, A_STILL)
    films[50] = films[50].refused("static")
    films += [
        replace(rows_of(1)[0], id="more", path="/more.mp4", hash="ab" * 24, sharpness=50.5, motion=100.5)
    ]
    rows = concluded(films + stills, tmp_path, ScoreOptions(least_clips=200))
    reasons = {
        reason: {row.id for row in rows if row.reason == reason} for reason in {row.reason for row in rows}
    }
    last, first = {f"{A_FILM}{one}" for one in range(196, 200)}, {f"{A_FILM}{one}" for one in range(4)}
    assert reasons["too little motion"] == last
    assert reasons["too much motion"] == first  # those that are blurred too say the first that speaks
    assert reasons["static"] == {f"{A_FILM}50"}
    assert set(reasons) == {"", "static", "too little motion", "too much motion", "blurred"}
    assert reasons["blurred"] == {f"{A_STILL}{one}" for one in range(6)}


def test_fewer_than_two_hundred_lose_nothing(tmp_path):
    rows = rows_of(199)
    assert concluded(rows, tmp_path) == rows
    more = [*rows, rows_of(200)[199].refused("static")]
    assert concluded(more, tmp_path) == more
    assert len([one for one in concluded(rows_of(200), tmp_path) if not one.ok]) == 8
    assert len([one for one in concluded(rows, tmp_path, ScoreOptions(least_clips=50)) if not one.ok]) == 8


def test_text_and_what_is_least_pleasing_are_refused_where_scorers_say_so(tmp_path):
    rows = [replace(one, text_area=0.02, aesthetic=float(index)) for index, one in enumerate(rows_of(20))]
    rows[3] = replace(rows[3], text_area=0.021)
    found = concluded(rows, tmp_path)
    assert [row.id for row in found if not row.ok] == [f"{A_FILM}3"]
    assert (found[3].reason, found[3].detail) == ("text in the picture", "covers 2.1% of the middle picture")
    options = ScoreOptions(0, 100, 0, least_aesthetic=10, most_text=1.0, least_clips=1)
    found = concluded(rows, tmp_path, options)
    assert [(row.id, row.reason) for row in found if not row.ok] == [
        (f"{A_FILM}{one}", "low aesthetic score") for one in range(2)
    ]


def test_an_edit_falls_with_its_source(tmp_path):
    rows = [
        *rows_of(20),
        replace(rows_of(1)[0], id="edit", path="/edit.mp4", source=f"{A_FILM}19", motion=10.0),
    ]
    found = concluded(
        rows, tmp_path, ScoreOptions(least_motion=3, most_motion=100, least_sharpness=0, least_clips=20)
    )
    reasons = {row.id: row.reason for row in found if not row.ok}
    assert reasons == {f"{A_FILM}19": "too little motion", "edit": "source refused"}


def test_scorers_that_were_given_are_asked(tmp_path, monkeypatch):
    asked = {}

    def load(name, stage, _):
        return lambda pictures: asked.setdefault(name, pictures) and [0.25] * len(pictures)

    weights = Weights({"aesthetic": tmp_path, "text_detector": tmp_path})
    monkeypatch.setattr(weights, "load", load)
    monkeypatch.setattr(score, "_loader", lambda name, device: None)
    monkeypatch.setattr(score, "pictures_of", lambda clip, wanted: (footage.shot(28)[one] for one in wanted))
    assert Score().uses(ScoreOptions(), weights) == ("aesthetic", "text_detector")
    clip = Clip("a", "/a.mp4", kind=A_FILM, fps=25.0, frames=28, stop=28, width=160, height=96)
    found = Score().look(clip, StageContext(ScoreOptions(), weights, tmp_path))
    assert (found["aesthetic"], found["text_area"]) == (0.25, 0.25)
    assert np.array_equal(asked["aesthetic"], footage.shot(28)[[4, 14, 23]])
    assert np.array_equal(asked["text_detector"], footage.shot(28)[[14]])


def test_scorers_that_are_none_are_named(tmp_path, monkeypatch):
    for name, told in (("aesthetic", "aesthetic.safetensors"), ("text_detector", "ONNX")):
        monkeypatch.setattr(
            score, "pictures_of", lambda clip, wanted: (footage.shot(28)[one] for one in wanted)
        )
        context = StageContext(ScoreOptions(), Weights({name: tmp_path}), tmp_path)
        clip = Clip("a", "/a.mp4", kind=A_FILM, fps=25.0, frames=28, stop=28, width=160, height=96)
        with pytest.raises(ValueError, match=told):
            Score().look(clip, context)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"least_motion": -1.0}, "least_motion is -1; needed a percentile"),
        ({"least_motion": 60.0, "most_motion": 50.0}, "needed the first below the second"),
        ({"most_text": 2.0}, "most_text is 2; needed a share"),
    ],
)
def test_options_that_cannot_be_are_refused(given, told):
    with pytest.raises(ValueError, match=told):
        ScoreOptions(**given)


def test_a_percentile_of_a_scorer_that_was_not_given_is_refused():
    with pytest.raises(ValueError, match="score: needs aesthetic = a folder of the CLIP"):
        Score().uses(ScoreOptions(least_aesthetic=2.0), Weights({}))
    assert Score().uses(ScoreOptions(), Weights({})) == ()


def test_results_are_the_same_in_one_thread_of_opencv_or_four(tmp_path, monkeypatch):
    pictures, found, before = frames_of(footage.carphone())[:48], [], cv2.getNumThreads()
    try:
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            found.append(looked_at(pictures, tmp_path, monkeypatch))
    finally:
        cv2.setNumThreads(before)
    assert found[0] == found[1]
