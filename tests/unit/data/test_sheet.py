"""Sheet of an index: its numbers are the report's, its pictures those of the windows, and it holds all it
needs."""

import re
from dataclasses import replace

import numpy as np
import pytest
import refvid_footage as footage
from PIL import Image
from refvid_page import Page

from refvid.cli.data import _random_masks as saber_masks
from refvid.data.index import A_FILM, A_STILL, HELD_OUT, Clip, Refused
from refvid.data.pictures import CHANGED
from refvid.data.report.counts import number, report
from refvid.data.report.sheet import OF_A_REASON, SHOWN, chosen, write_sheet
from refvid.data.report.strips import OUTLINE, REMOVED, fitted_view, subject_view, view_of
from refvid.data.report.text import retimings
from refvid.data.run_lengths import GOOD, pack_mask
from refvid.data.stages.encode import EncodeOptions, windows_of

SMALL = EncodeOptions(frames=(5, 9), pixels=64 * 64, multiple=16, fps=25)
NASTY = "A \"red\" <b>ball</b> & a <script>alert(1)</script> 'ball'; 一只灰色的大兔子 🐰 </figure>\x00\x07"


def clip(name: str, path="/nowhere/film.mp4", **known) -> Clip:
    same = {"kind": A_FILM, "stop": 22, "frames": 22, "fps": 25.0, "width": 160, "height": 96, "set": "a"}
    return Clip(id=name, path=str(path), **{**same, **known})


@pytest.fixture
def film(tmp_path):
    """A real shot of 22 pictures, 160x96."""
    return footage.write(tmp_path / "shot of a car.mp4", footage.shot())


def sheet_of(clips, folder, options=SMALL, masks=saber_masks, pictures=None) -> Page:
    write_sheet(clips, folder / "sheet.html", options, masks, pictures)
    return Page((folder / "sheet.html").read_text("utf-8"))


def of_one_colour(clip: Clip, places):
    """Pictures that say by their brightness which they are."""
    yield from (np.full((96, 160, 3), 10 * place, np.uint8) for place in places)


def by_clip(clip: Clip, places):
    """Pictures that say by their brightness whether their clip is an edit."""
    yield from (np.full((96, 160, 3), 80 if clip.source else 40, np.uint8) for _ in places)


def many() -> list[Clip]:
    """An index without files, with everything that is counted."""
    scores = np.random.default_rng(0).lognormal(size=(60, 4)).tolist()

    def row(k: int) -> Clip:
        motion, sharpness, aesthetic, text = scores[k]
        one = clip(
            f"film {k}", set="abc"[k % 3], split=HELD_OUT if k % 10 == 1 else "train", repeats=1 + k % 2,
            fps=(16.0, 25.0, 30.0)[k % 3], frames=20 + k, stop=20 + k, height=96 + 16 * (k % 4),
            licence=("CC-BY-4.0", "")[k % 2], caption="a ball " * (k % 7), motion=motion, sharpness=sharpness,
            aesthetic=aesthetic, text_area=text / 100, pair_of=(f"film {k ^ 1}",),
        )  # fmt: skip
        if k % 9 == 0:
            one = replace(one, source="film 2", instruction="redder", edit="colour")
        if k % 13 == 1:
            one = replace(one, kind=A_STILL, fps=0.0, frames=1, stop=1)
        reason = {0: "static", 1: "a picture as another"}.get(k % 11 if k % 4 else 0)
        return one.refused(reason, f"like film {k - 1}") if reason else one

    return [row(k) for k in range(60)]


def test_every_number_of_the_head_is_the_reports(tmp_path):
    page, told = sheet_of(many(), tmp_path), report(many(), SMALL.fps)
    assert page.said("h1") == [f"{told.clips} clips in 3 sets"]
    use = (f"{told.train} train", f"{told.held_out} held out", f"{told.refused} not used")
    assert page.said("span")[:3] == [f"{use[0]} ({told.epoch} an epoch)", *use[1:]]
    rows = [[one.name, str(one.train), str(one.held_out), str(one.refused)] for one in told.sets]
    rows += [[one.method, one.of, str(one.clips), " · ".join(one.notes)] for one in told.lessons]
    assert [row for row in page.rows if row[1] not in ("train", "from")] == rows
    named = [word for one in (*told.reasons, *told.sizes, *told.licences) for word in (one[0], str(one[1]))]
    assert page.said("span")[3 : 3 + len(named)] == named
    assert set(retimings(told)) <= set(page.said("p"))


def test_bars_of_histograms_say_the_reports_counts(tmp_path):
    page, told = sheet_of(many(), tmp_path), report(many(), SMALL.fps)
    bars = [
        re.fullmatch(r"(.+) to (.+): (\d+)(?:, (\d+) of them not used)?", one) for one in page.said("title")
    ]
    found = [(one[1], one[2], int(one[3]), int(one[4] or 0)) for one in bars if one]
    wanted = [
        (number(low), number(high), whole, whole - used)
        for one in told.histograms
        for low, high, whole, used in zip(one.edges, one.edges[1:], one.counts, one.used, strict=False)
    ]
    assert found == wanted and len(wanted) > 50


def test_words_of_any_kind_are_shown_as_they_are_and_run_nothing(tmp_path):
    one = clip(
        NASTY, f"/nowhere/{NASTY}.mp4", caption=NASTY, short_caption="兔子 🐇", set=NASTY, licence=NASTY
    )
    page = sheet_of([one, one.refused(NASTY, NASTY)], tmp_path)
    shown = NASTY.replace("\x00", "\ufffd").replace("\x07", "\ufffd")
    assert shown in page.said("p") and shown in page.said("b") and shown in page.said("dd")
    assert "兔子 🐇" in page.said("p")
    assert not {"script", "link", "iframe", "object"} & set(page.tags) and page.tags.count("b") == 2
    assert not any(name.startswith("on") for name in page.given)


def test_names_that_are_no_text_are_shown_with_marks(tmp_path):
    assert "film?.mp4" in sheet_of([clip("a", "/nowhere/film\udcff.mp4", fps=0.0)], tmp_path).said("b")


def test_a_sheet_holds_all_that_it_needs(tmp_path, film):
    page = sheet_of([clip("a", film)], tmp_path)
    assert page.pictures and all(one.startswith("data:image/jpeg;base64,") for one in page.links)
    text = (tmp_path / "sheet.html").read_text("utf-8")
    assert "@import" not in text and "url(" not in text and "http" not in text


def test_the_same_index_in_any_order_gives_the_same_bytes(tmp_path, film):
    clips = [*many(), clip("a", film), clip("b", film, set="b", split=HELD_OUT)]
    write_sheet(clips, tmp_path / "a.html", SMALL, saber_masks)
    write_sheet(clips[::-1], tmp_path / "b.html", SMALL, saber_masks)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_clips_are_chosen_from_every_set_in_turn():
    clips = [clip(str(k), set="large") for k in range(90)] + [clip(f"s{k}", set="small") for k in range(3)]
    clips += [clip("gone", set="refused").refused("static")]
    found = chosen(clips, SHOWN)
    assert [one.set for one in found[:6]] == ["large", "small"] * 3
    assert len(found) == len({one.id for one in found}) == SHOWN and found == chosen(clips[::-1], SHOWN)
    assert [one.id for one in found if one.set == "large"] != [str(k) for k in range(21)]


def test_a_window_is_shown_from_its_first_picture_to_its_last(tmp_path, film):
    one = clip("a", film, caption="a car")
    bucket, starts, shown = windows_of(one, SMALL)
    start = starts[len(starts) // 2]
    view = view_of(one, SMALL, 6)
    assert view.places == tuple(shown[start + k] for k in (0, 2, 3, 5, 6, 8)) and bucket.frames == 9
    page = sheet_of([one], tmp_path, pictures=of_one_colour, masks=None)
    assert [round(picture.mean() / 10) for picture, _ in page.pictures] == list(view.places)
    assert [words for _, words in page.pictures] == [f"{place / 25:.2f} s" for place in view.places]
    sides = {picture.shape[1::-1] for picture, _ in page.pictures}
    assert sides == {(bucket.width, bucket.height)}


def test_a_clip_without_a_bucket_is_shown_whole_and_says_why(tmp_path, film):
    page = sheet_of([clip("a", film, start=50, stop=72)], tmp_path, EncodeOptions(), pictures=of_one_colour)
    assert "smaller than its bucket" in page.said("span") and "whole clip" in page.said("h3")
    shown = {round(one.mean() / 10): words for one, words in page.pictures if "%" not in words}
    assert shown == {place: f"{2 + place / 25:.2f} s" for place in (0, 4, 8, 13, 17, 21)}


def test_a_subject_stands_on_grey_with_its_outline():
    picture = np.full((60, 80, 3), 200, np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:60] = True
    shown = subject_view(picture, mask)
    assert (
        (shown[21:39, 31:59] == 200).all()
        and (shown[:18] == REMOVED).all()
        and (shown[:, :28] == REMOVED).all()
    )
    assert (shown[19, 30:60] == OUTLINE).all() and (shown[20:40, 60] == OUTLINE).all()
    coarse = subject_view(picture, mask[::10, ::10])
    assert (coarse[25:35, 35:55] == 200).all() and (coarse[:15] == REMOVED).all()


def test_a_mask_is_cropped_to_the_bucket_as_its_picture_is():
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[:, :20] = 255
    shown = subject_view(picture, picture[..., 0] > 0, (60, 60))
    assert shown.shape == (60, 60, 3)
    assert (shown[:, :9] == fitted_view(picture, (60, 60))[:, :9]).all()
    assert (shown[:, 12:] == REMOVED).all()


def test_masks_of_an_index_are_shown_on_their_own_pictures(tmp_path, film):
    whole = pack_mask(np.ones((2, 2), bool))
    quality = [GOOD, "too large", GOOD]
    subject = {"frames": [3, 6, 12], "size": [2, 2], "masks": [whole] * 3, "quality": quality}
    page = sheet_of([clip("a", film, subject=subject)], tmp_path, pictures=of_one_colour)
    whole = [round(picture.mean() / 10) for picture, words in page.pictures if "100%" in words]
    bucket = windows_of(clip("a"), SMALL)[0]
    assert {picture.shape for picture, _ in page.pictures} == {(bucket.height, bucket.width, 3)}
    assert whole == [3, 12] and not any("drawn at random" in one for one in page.said("p"))


def test_random_masks_are_drawn_where_there_are_none_and_said_to_be(tmp_path, film):
    page = sheet_of([clip("a", film)], tmp_path)
    assert [words for words in page.said("p") if "drawn at random" in words]
    assert len([words for _, words in page.pictures if "%" in words]) == 3
    bare = sheet_of([clip("a", film)], tmp_path, masks=None)
    assert "no good masks; Saber draws random masks" in bare.said("p")


def test_an_edit_is_shown_beside_its_source_with_its_instruction(tmp_path, film):
    source, reference = clip("source", film), tmp_path / "hat.png"
    Image.new("RGB", (40, 30), (250, 0, 0)).save(reference)
    told = {"source": "source", "instruction": "a <red> hat", "edit": "add", "reference": str(reference)}
    page = sheet_of([source, clip("edit", film, **told)], tmp_path)
    heads = page.said("h3")
    assert heads[heads.index("before") : heads.index("before") + 4] == [
        "before",
        "after",
        "references",
        "reference",
    ]
    assert " a <red> hat" in page.said("p", "span") and "add" in page.said("span")
    assert [words for picture, words in page.pictures if tuple(picture[9, 9] // 10) == (25, 0, 0)] == [
        "hat.png"
    ]
    clips = [source.refused("static"), clip("edit", film, **told)]
    told_apart = sheet_of(clips, tmp_path, masks=None, pictures=by_clip)
    assert [int(picture.mean()) for picture, _ in told_apart.pictures[:12]] == [40] * 6 + [80] * 6
    lost = sheet_of([clip("edit", film, **{**told, "source": "gone"})], tmp_path)
    assert "gone is not in the index" in lost.said("div")


def test_partners_stand_beside_with_where_they_come_from(tmp_path, film):
    other = tmp_path / "other.mp4"
    other.write_bytes(film.read_bytes())
    clips = [clip("a", film, stop=11, identity="Ann"), clip("b", film, start=11, pair_of=("a", "nobody"))]
    clips += [clip("c", other, identity="Ann", frames=125, stop=125)]
    page = sheet_of(clips, tmp_path, pictures=by_clip)
    said = [words for _, words in page.pictures if " · " in words and "%" not in words]
    first, second = f"{film.name} [0–10]", f"{film.name} [11–21]"
    elsewhere = [f"other films · {one}" for one in (first, second, *["other.mp4 [0–124]"] * 2)]
    assert sorted(said) == [*sorted(elsewhere), f"other shots · {first}", f"other shots · {second}"]
    assert page.said("p").count("two windows of this shot") == 1


@pytest.mark.parametrize("kind", ["missing", "text", "empty"])
def test_a_film_that_cannot_be_read_is_a_cell_that_says_so(tmp_path, kind):
    path = tmp_path / "film.mp4"
    if kind != "missing":
        path.write_text("no film" if kind == "text" else "")
    page = sheet_of([clip("a", path), clip("b", path).refused("not decodable", "no film")], tmp_path)
    gone = ["the file is not there"] * 2
    wanted = gone if kind == "missing" else [f"cannot be read: {CHANGED}", "no picture can be read"]
    assert page.said("div") == wanted
    assert page.pictures == []


def test_a_film_that_ends_early_is_shown_as_far_as_it_goes(tmp_path, film):
    def broken(clip, places):
        yield from of_one_colour(clip, [place for place in places if place < 10])
        raise Refused("ends early")

    page = sheet_of([clip("a", film)], tmp_path, pictures=broken, masks=None)
    places = view_of(clip("a", film), SMALL, 6).places
    assert len(page.pictures) == sum(place < 10 for place in places) > 0
    assert f"picture {places[-1]} cannot be read" in page.said("div")


def test_refused_clips_stand_under_their_reasons_a_few_of_each(tmp_path, film):
    clips = [clip(str(k), film, start=0).refused("static", f"detail {k}") for k in range(OF_A_REASON + 3)]
    unknown = clip("x", film, stop=0, frames=0).refused("not decodable")
    page = sheet_of([*clips, unknown], tmp_path)
    assert page.said("h2")[-1] == "Not used" and f"{OF_A_REASON} of them shown" in page.said("span")
    assert len([words for _, words in page.pictures if "detail" in words]) == OF_A_REASON
    assert len(page.pictures) == OF_A_REASON + 1


def test_a_sheet_is_written_whole_or_not_at_all(tmp_path, film):
    (tmp_path / "sheet.html").write_text("before")

    def interrupted(clip, places):
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        write_sheet([clip("a", film)], tmp_path / "sheet.html", SMALL, None, interrupted)
    assert (tmp_path / "sheet.html").read_text() == "before"
    with pytest.raises(ValueError, match="motion is nan"):
        write_sheet([replace(clip("a", film), motion=float("nan"))], tmp_path / "sheet.html")
    assert [one.name for one in tmp_path.glob("*.html*")] == ["sheet.html"]
