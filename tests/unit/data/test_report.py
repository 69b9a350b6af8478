"""Report of an index: counts, reasons, what methods learn, and how numbers are spread."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from refvid.data.index import A_FILM, A_STILL, HELD_OUT, Clip, write_rows
from refvid.data.misfits import misfits
from refvid.data.report.counts import MOST_BINS, number, report, word_count
from refvid.data.report.text import bars, report_text
from refvid.data.run_lengths import GOOD, pack_mask
from refvid.data.stages.encode import EncodeOptions

ROOT = Path(__file__).resolve().parents[3]


def film(name: str, **known) -> Clip:
    """Four seconds of 25 pictures, 640x360."""
    same = {"path": f"/clips/{name}.mp4"} | {
        "kind": A_FILM,
        "stop": 100,
        "frames": 100,
        "fps": 25.0,
        "width": 640,
        "height": 360,
        "set": "a",
    }
    return Clip(id=name, **{**same, **known})


def small_index() -> list[Clip]:
    """Ten rows that have everything that a report counts."""
    subject = {"frames": [10], "size": [2, 2], "masks": ["121"], "quality": [GOOD]}
    poor = {"frames": [10, 20], "size": [2, 2], "masks": ["", ""], "quality": ["too small", "too small"]}
    return [
        film("one", caption="a red ball", motion=1.0, subject=subject, licence="CC-BY-4.0", repeats=3),
        film("two", caption="a red ball rolls", motion=2.0, pair_of=("one", "three"), identity="ball"),
        film("three", caption="球 rolls", subject=poor, fps=16.0, identity="ball", motion=100.0),
        film("held", caption="a car", split=HELD_OUT, fps=30000 / 1001, variable=True),
        film("mute", crop=(0, 40, 640, 272)),
        film("still", kind=A_STILL, caption="a tree", fps=0.0, frames=1, stop=1, motion=0.0),
        film("edit", set="b", caption="blue", source="one", instruction="make it blue", edit="style"),
        film("lost", set="b", source="cut", instruction="make it red", edit="style", text_area=0.25),
        film("cut", set="b", motion=3.0).refused("static", "0.1 of 0.5"),
        Clip(id="text", path="/clips/text.mp4", set="b").refused("not decodable", "no film"),
        Clip(id="also", path="/clips/also.mp4", set="b").refused("not decodable"),
    ]


TEXT = """\
data      11 clips in 2 sets; 7 train (9 an epoch), 1 held out, 3 not used:
            2 not decodable · 1 static
            (each of them: refvid data check --reasons)
used      7 films, 1 picture; 29.6 s · 1 clip without a caption: not encoded · 25 → 16 fps in 5 clips
          variable → 16 fps in 1 clip
sets      a 6 · b 5 (3 not used)
sizes     640x360 7 · 640x272 1
licences  not stated 7 · CC-BY-4.0 1
learns    saber      clips with captions                      5 · 1 with good masks
                                                                  4 without: Saber draws random masks
          videomaker clips with a good subject frame          1 · too small 1
          slot_id    clips with partners                      3 · other films 3 · same shot 1 · identities 1
          stiv       clips with captions                      5 · 1 of them still: no motion to learn
          sama       films with captions, for pretexts        4
          sama       edits                                    1 · style 1 · licence not stated 1
                                                                  1 more whose source is not used
spread    length     ▂     █                ▂ 3.34 to 6.25 s, half below 4; 8 clips
          rate       ▂              █       ▂ 16 to 30 fps, half below 25; 8 clips
          short side ▁                     █  272 to 360 pixels, half below 360; 9 clips
          motion     █  █ █                 █ 1 to 100 pixels/s, half below 2.5; 4 clips
          text area  █                        25 %; 1 clip
          caption    ▃█▃▃                     1 to 4 words, half below 2; 6 clips
"""


def test_the_text_of_a_small_index_is_this():
    assert report_text(report(small_index())) == TEXT


def test_clips_that_encode_would_refuse_are_told_before_it_runs():
    index = [
        film("good", caption="a"),
        film("small", width=64, height=36, caption="a"),
        film("mute", width=8),
    ]
    index += [film("short", frames=10, caption="a"), film("done", frames=10, caption="a", shard="s")]
    counts = misfits(index, EncodeOptions(pixels=640 * 360, frames=(33, 81)))
    assert counts == (("shorter than 33 pictures", 1), ("smaller than its bucket", 1))
    said = report_text(report(index, misfits=counts))
    assert (
        "1 clip shorter than 33 pictures: not encoded · 1 clip smaller than its bucket: not encoded" in said
    )


def test_films_before_an_edit_need_no_caption():
    told = report([film("before"), film("after", source="before", instruction="make it blue")])
    assert told.unsaid == 0 and "without a caption" not in report_text(told)


def test_reasons_are_listed_with_paths_and_details_when_asked_for():
    text = report_text(report(small_index()), reasons=True)
    assert "--reasons" not in text
    assert text.endswith(
        "reasons   2 not decodable\n            /clips/also.mp4\n            /clips/text.mp4: no film\n"
        "          1 static\n            /clips/cut.mp4 [0–99]: 0.1 of 0.5\n"
    )


def test_a_rate_that_training_wants_is_not_retimed():
    clips = [film("a"), film("b", fps=24.0), film("c", fps=23.9999), film("d", fps=24000 / 1001)]
    assert report(clips, 24).retimed == (("23.98", 1), ("25", 1))
    assert report([film("still", kind=A_STILL, fps=0.0, frames=1)]).retimed == ()


def test_partners_are_counted_by_kind_within_their_split():
    ann = {"identity": "Ann", "caption": "Ann"}
    clips = [film("a", **ann), film("b", **ann, frames=125, stop=125), film("c", **ann, split=HELD_OUT)]
    clips += [film("d", path="/clips/a.mp4", start=100, stop=200, **ann), film("e")]
    (lesson,) = [one for one in report(clips).lessons if one.method == "slot_id"]
    assert lesson.clips == 3
    assert lesson.notes == ("other films 3", "other shots 2", "same shot 1", "identities 1")


def test_ten_thousand_clips_of_one_person_are_counted_in_seconds():
    clips = [film(str(k), identity="Ann", path=f"/clips/{k % 100}.mp4") for k in range(10_000)]
    begin = time.process_time()
    (lesson,) = [one for one in report(clips).lessons if one.method == "slot_id"]
    assert lesson.clips == 10_000 and time.process_time() - begin < 10


def test_partners_and_sources_that_are_not_used_teach_nothing():
    gone = film("gone").refused("static")
    clips = [gone, film("a", pair_of=("gone", "nobody")), film("b", source="gone", instruction="redder")]
    lessons = {(one.method, one.of): one for one in report(clips).lessons}
    assert lessons["slot_id", "clips with partners"].clips == 0
    assert lessons["sama", "edits"].clips == 0
    assert lessons["sama", "edits"].notes == ("1 more whose source is not used",)


def test_what_is_held_out_teaches_nothing():
    taught = report(
        [
            film(
                "a",
                caption="a dog",
                subject={"frames": [], "masks": [], "quality": []},
                pair_of=("a",),
                split=HELD_OUT,
            )
        ]
    )
    assert [one.clips for one in taught.lessons] == [0] * 6
    assert (taught.train, taught.held_out, taught.epoch) == (0, 1, 0)


@pytest.mark.parametrize(
    ("caption", "words"),
    [("", 0), (" a  red\nball. ", 3), ("一辆白色货车", 6), ("大兔子 in the 森林 🐰", 8), ("it's", 1)],
)
def test_words_are_between_spaces_and_are_characters_of_chinese(caption, words):
    assert word_count(caption) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (0.5, "0.5"), (1234.5, "1,234"), (29.97, "30"), (5.28, "5.28"), (1e-9, "0"), (12, "12")],
)
def test_numbers_have_three_digits_that_count(value, words):
    assert number(value) == words


def spread_over(**columns):
    """Histogram of the one column that is given, over a clip for each of its values."""
    ((column, values),) = columns.items()
    found = report([film(str(k), **{column: value}) for k, value in enumerate(values)])
    return {one.name: one for one in found.histograms}[{"caption": "caption"}.get(column, column)]


def test_bins_of_one_ratio_hold_powers_of_it():
    found = spread_over(motion=[1.0, *(1.5 * 2**k for k in range(MOST_BINS)), 2.0**MOST_BINS])
    assert found.edges == pytest.approx([2.0**k for k in range(MOST_BINS + 1)])
    assert found.counts == (2, *[1] * (MOST_BINS - 2), 2)
    assert (found.least, found.median, found.most) == (1, pytest.approx(1.125 * 2**12), 2.0**MOST_BINS)


def test_what_does_not_move_is_in_the_first_bin():
    found = spread_over(motion=[0.0, 0.0, 1.0, 8.0])
    assert found.counts[0] == 3 and found.counts[-1] == 1 and found.least == 0 and found.edges[0] == 1
    assert spread_over(motion=[0.0, 0.0]).counts == (2,)


def test_bins_of_whole_numbers_hold_as_many_each():
    found = spread_over(caption=["word " * k for k in range(1, 49)])
    assert found.counts == (2,) * 24 and found.edges == tuple(range(1, 50, 2))
    assert spread_over(caption=["word " * k for k in range(1, 50)]).counts == (*[3] * 16, 1)
    assert spread_over(caption=["a", "a b", "a b c"]).counts == (1, 1, 1)


def test_bins_of_one_width_are_even():
    found = spread_over(aesthetic=[float(k) for k in range(25)])
    assert found.counts == (*[1] * 23, 2) and bars(found) == "▄" * 23 + "█"


def test_clips_that_are_not_used_are_told_apart_in_a_histogram():
    found = report([film("a", motion=1.0), film("b", motion=1.0).refused("static"), film("c", motion=2.0)])
    (motion,) = [one for one in found.histograms if one.name == "motion"]
    assert (motion.counts[0], motion.used[0], motion.clips, sum(motion.used)) == (2, 1, 3, 2)


def test_a_score_that_is_no_number_is_refused_by_name():
    with pytest.raises(ValueError, match="index: a: sharpness is nan; needed a number"):
        report([film("a", sharpness=float("nan"))])


def test_an_empty_index_is_told_in_a_few_lines():
    assert report_text(report([])).startswith(
        "data      0 clips in 0 sets; 0 train, 0 held out, 0 not used\n"
    )


def test_long_lists_are_cut_and_counted():
    text = report_text(report([film(str(k), set=f"s{k:02}") for k in range(11)]))
    assert "s07 1 · 3 others" in text and "s08" not in text
    assert max(map(len, text.splitlines())) <= 110


def many(count: int) -> list[Clip]:
    """Rows as a prepared set has them: words, scores, and masks of eight pictures for every third."""
    draw = np.random.default_rng(0)
    ball = np.hypot(*np.mgrid[-72:72, -128:128]) < 60
    subject = {
        "frames": list(range(8)),
        "size": [144, 256],
        "masks": [pack_mask(ball)] * 8,
        "quality": [GOOD] * 8,
    }

    def row(k: int) -> Clip:
        scores = {name: float(draw.lognormal()) for name in ("motion", "sharpness", "flash", "aesthetic")}
        clip = film(
            f"film {k}", set="abcd"[k % 4], caption="a red ball rolls over the grass " * 10, **scores,
            short_caption="a red ball", identity=f"ball {k // 4}", pair_of=(f"film {k ^ 1}",),
            hash=f"{k * 7919 % 65536:04x}" * 12, text_area=0.01, subject=subject if k % 3 == 0 else None,
            split=HELD_OUT if k % 10 == 1 else "train", licence="CC-BY-4.0",
        )  # fmt: skip
        return clip.refused(f"reason {k % 7}", "more of it") if k % 10 == 0 else clip

    return [row(k) for k in range(count)]


ROWS = """
import json, sys, time
from pathlib import Path
from refvid.data.index import read_index
from refvid.data.report.counts import report
from refvid.data.run_lengths import GOOD, pack_mask
from refvid.data.report.text import report_text

folder = Path(sys.argv[1])
clips = read_index(folder)
text = report_text(report(clips), reasons=True)
heavy = [name for name in ("torch", "cv2", "transformers", "scenedetect") if name in sys.modules]
from refvid.data.report.sheet import write_sheet
write_sheet(clips, folder / "sheet.html")
# Of this program: ru_maxrss would begin with what started it.
(line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM")]
peak = int(line.split()[1]) / 1024
print(json.dumps([time.process_time(), peak, heavy, text.splitlines()[0]]))
"""


def test_ten_thousand_rows_are_told_in_seconds_and_without_heavy_libraries(tmp_path):
    pytest.importorskip("resource", reason="memory of a process is read as Unix tells it")
    write_rows(many(10_000), tmp_path / "index.jsonl")
    told = subprocess.run(
        [sys.executable, "-c", ROWS, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seconds, megabytes, heavy, line = json.loads(told.stdout)
    assert line == "data      10,000 clips in 4 sets; 8,000 train, 1,000 held out, 1,000 not used:"
    assert heavy == [] and seconds < 10 and megabytes < 500, (seconds, megabytes)
    assert (tmp_path / "sheet.html").read_text("utf-8").count("the file is not there") >= 24
