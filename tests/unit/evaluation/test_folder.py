"""Scoring a folder of clips: how it is read, what it says, what it refuses, and that the node says the
same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from refvid_clips import SUBJECTS, clip, picture, subject_mask, write_folder

from refvid import cli, media
from refvid.core.references import make_reference
from refvid.evaluation.clip import Figures, ReadClip, Target, score_clip, score_report
from refvid.evaluation.compare import Difference, folder_table, score_folder
from refvid.evaluation.folder import read_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def scored(folder):
    return score_folder(folder, folder / "out")


def changed(folder: Path, target: Path, change) -> Path:
    """A copy of the folder's manifest with a change, beside links to its files."""
    for file in folder.iterdir():
        if file.suffix in (".mp4", ".png"):
            (target / file.name).symlink_to(file)
    rows = json.loads((folder / "manifest.json").read_text())
    (target / "manifest.json").write_text(json.dumps(change(rows)))
    return target


# ---- what it says


def test_own_clips_beat_those_of_others_and_none_with_intervals_off_zero(scored) -> None:
    own, other, none = scored.variants
    assert [own.name, other.name, none.name] == ["own", "other", "none"]
    assert own.retrieval == 1 and own.chance == 1 / len(SUBJECTS)
    assert own.figures["similarity"] > 0.7 > 0.3 > other.figures["similarity"]
    found = {(one.name, one.figure): one for one in scored.differences}
    better = found["own minus other", "similarity"]
    assert better.pairs == len(SUBJECTS) and 0.3 < better.low <= better.mean <= better.high


def test_a_leak_is_seen_against_the_clip_without_the_reference(scored) -> None:
    """Clip 0 lies on its reference's background, the others on grounds of their own; `none` is their
    baseline."""
    leaks = {one.video: one.figures.leak for one in scored.clips}
    assert leaks["own_0.mp4"] > 0.8
    assert max(leaks[f"own_{index}.mp4"] for index in range(1, len(SUBJECTS))) < 0.1


def test_the_report_is_json_without_nan_and_the_sheet_a_picture(folder, scored) -> None:
    said = json.loads((folder / "out" / "score.json").read_text(), parse_constant=pytest.fail)
    assert [one["video"] for one in said["clips"]] == [one.video for one in scored.clips]
    assert said["clips"][0]["figures"]["similarity"] == scored.clips[0].figures.similarity
    sheet = media.read_picture(folder / "out" / "score.png", "sheet")
    assert sheet.shape[0] > len(SUBJECTS) * 128 and sheet.std() > 0.1


def test_the_order_of_the_rows_changes_no_figure(folder, scored, tmp_path) -> None:
    again = score_folder(changed(folder, tmp_path, lambda rows: rows[::-1]), tmp_path / "out")
    for one, before in zip(again.variants, scored.variants, strict=True):
        assert (one.name, one.retrieval) == (before.name, before.retrieval)
        assert one.figures == pytest.approx(before.figures)
    assert {one.video: one.figures for one in again.clips} == {one.video: one.figures for one in scored.clips}


def test_a_row_scored_alone_and_in_a_folder_gives_the_same_figures(folder, scored) -> None:
    """What the node does with a clip, a reference, a subject mask and a baseline."""
    row = next(one for one in read_rows(folder) if one.video.name == "own_1.mp4")
    target = Target(make_reference(media.read_picture(row.reference, "r"), media.read_mask(row.mask, "mask")))
    subject = media.read_video(row.subject_mask, "m").mean(-1)
    alone = score_clip(
        target,
        ReadClip(media.read_video(row.video, "v"), subject),
        ReadClip(media.read_video(row.baseline, "b")),
    )
    assert alone.figures == next(one.figures for one in scored.clips if one.video == "own_1.mp4")


def test_the_mask_that_is_given_wins_over_the_colours() -> None:
    reference = Target(make_reference(picture(0), subject_mask(0)[0]))
    looked_for = ReadClip(clip(0, 1))
    given = ReadClip(clip(0, 1), 1 - subject_mask(0))  # the wrong half, on purpose
    assert looked_for.similarity(reference) > 0.7
    assert given.similarity(reference) < 0.2


def test_what_could_not_be_measured_is_said_not_made_up() -> None:
    whole = Target(make_reference(picture(0)))
    one = score_clip(whole, ReadClip(clip(0, 1)[:1]))
    assert one.figures.leak is None and one.figures.dynamic_degree is None
    said = score_report(one)
    assert "leak            not measured: the reference's mask is full" in said
    assert "dynamic_degree  not measured: the clip has one frame" in said
    assert all(name in said for name in Figures.names())


# ---- how it is read


def test_without_a_manifest_names_pair_clips_references_and_masks(tmp_path) -> None:
    media.write_video(tmp_path / "toy.mp4", clip(0, 1).movedim(-1, 0) * 2 - 1, 8)
    media.write_picture(tmp_path / "toy.png", picture(0))
    media.write_picture(tmp_path / "toy_mask.png", subject_mask(0)[0, ..., None].expand(-1, -1, 3))
    for number, frame in enumerate(clip(1, 1)):
        media.write_picture(tmp_path / "steps" / f"{number:03}.png", frame)
    media.write_picture(tmp_path / "steps.png", picture(1))
    steps, toy = read_rows(tmp_path)
    assert (toy.video.name, toy.reference.name, toy.mask.name) == ("toy.mp4", "toy.png", "toy_mask.png")
    assert (steps.video.name, steps.mask) == ("steps", None)
    assert torch.allclose(media.read_video(tmp_path / "steps", "x"), clip(1, 1), atol=1 / 255)
    assert score_folder(tmp_path, tmp_path / "out").variants[0].clips == 2


def test_a_video_is_read_back_as_it_was_written(tmp_path) -> None:
    media.write_video(tmp_path / "x.mp4", clip(0, 1).movedim(-1, 0) * 2 - 1, 8)
    read = media.read_video(tmp_path / "x.mp4", "x")
    assert read.shape == clip(0, 1).shape
    assert (read - clip(0, 1)).abs().mean() < 0.03


def without(rows: list[dict], key: str) -> list[dict]:
    return [{k: v for k, v in row.items() if k != key} for row in rows]


def first(**more):
    return lambda rows: [{**rows[0], **more}, *rows[1:]]


WRONG = {
    "no list": (lambda rows: {}, r"manifest.json holds dict \{\}; needed a list of rows"),
    "no rows": (lambda rows: [], "needed a list of rows, one or more"),
    "row is text": (lambda rows: ["a.mp4"], 'row 1 is str "a.mp4"; needed'),
    "no video": (lambda rows: without(rows, "video"), 'row 1 has no "video"'),
    "no reference": (lambda rows: without(rows, "reference"), 'row 1 has no "reference"'),
    "unknown key": (first(refrence="a.png"), "row 1: unknown key refrence; known are video, reference"),
    "absent file": (first(reference="gone.png"), 'row 1: "reference" names .*gone.png, which does not exist'),
    "seed is text": (first(seed="7"), '"seed" is str "7"; needed a number'),
    "same twice": (lambda rows: [rows[0], rows[0]], "same variant, reference, seed and prompt"),
    "two masks": (
        lambda rows: [rows[0], {**rows[0], "seed": 99, "mask": "ref_1_mask.png"}],
        "has the mask ref_1_mask.png here and ref_0_mask.png in an earlier row",
    ),
    "reference is a video": (first(reference="own_0.mp4"), "is not a picture that can be read"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_bad_manifest_is_refused_by_row_and_key(folder, tmp_path, case) -> None:
    change, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        score_folder(changed(folder, tmp_path, change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_lacks_something_says_what(tmp_path) -> None:
    with pytest.raises(ValueError, match="is not a folder"):
        read_rows(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"holds neither manifest.json nor a clip"):
        read_rows(tmp_path)
    media.write_video(tmp_path / "toy.mp4", clip(0, 1).movedim(-1, 0) * 2 - 1, 8)
    with pytest.raises(ValueError, match=r"no reference picture for toy.mp4: .* needs a NAME.png"):
        read_rows(tmp_path)
    (tmp_path / "toy.mp4").write_text("no video")
    media.write_picture(tmp_path / "toy.png", picture(0))
    with pytest.raises(ValueError, match=r"toy\.mp4 is not a video that can be read"):
        score_folder(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("video", "mask", "message"),
    [
        (torch.zeros(3, 16, 16), None, r"clip has shape \(3, 16, 16\); needed \(frames"),
        (torch.zeros(2, 4, 16, 3), None, "clip is 16x4 pixels; needed 8x8"),
        (torch.full((2, 16, 16, 3), torch.nan), None, "clip holds NaN"),
        (torch.zeros(2, 16, 16, 3), torch.ones(3, 16, 16), "subject mask has 3 frames, clip 2"),
        (torch.zeros(2, 16, 16, 3), torch.zeros(1, 16, 16), "subject mask has no pixels"),
    ],
)
def test_a_bad_clip_or_mask_is_refused_by_name(video, mask, message) -> None:
    with pytest.raises(ValueError, match=message):
        ReadClip(video, mask)


# ---- the command


def test_the_command_prints_a_table_and_writes_both_files(folder, tmp_path, capsys) -> None:
    cli.main(["score", str(folder), "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert all(word in said for word in ("own", "none", "other", "retrieval", "dynamic_degree"))
    assert "own minus other, similarity: +0." in said
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"score.json", "score.png"}


@pytest.mark.parametrize("pairs", [1, 4, 5, 60])
def test_a_handful_of_pairs_has_no_interval(scored, pairs) -> None:
    one = Difference("similarity", "saber minus none", pairs, 0.25, 0.125, 0.5)
    line = folder_table(replace(scored, differences=[one])).splitlines()[4]
    told = (
        f"[+0.125, +0.500] ({pairs} pairs, 95 %)"
        if pairs > 4
        else f"({pairs} pairs: too few for an interval)"
    )
    assert line == f"saber minus none, similarity: +0.250 {told}"


def test_clips_without_a_reference_are_what_others_are_held_against(folder, tmp_path) -> None:
    def named(rows):
        return [{**row, "variant": row["variant"].replace("own", "saber")} for row in rows]

    report = score_folder(changed(folder, tmp_path, named), tmp_path / "out")
    assert [one.name for one in report.variants] == ["other", "saber", "none"]
    assert {one.name for one in report.differences} == {"other minus saber", "other minus none"}


def test_a_folder_and_a_model_together_are_refused(folder, capsys) -> None:
    with pytest.raises(SystemExit):
        cli.main(["score", str(folder), "--toys", "3"])
    assert "--toys: makes clips in the demo world" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["score.png", "score.json"])
def test_a_report_never_takes_the_place_of_what_is_scored(tmp_path, name):
    """NAME.mp4 goes with NAME.png: clips named score, reported into their own folder, lost their
    reference."""
    media.write_picture(tmp_path / "toy.png", picture(0))
    media.write_video(tmp_path / "toy.mp4", clip(0, 1).movedim(-1, 0) * 2 - 1, 8)
    out = tmp_path / "report" / "out"
    out.mkdir(parents=True)
    (out / name).symlink_to(tmp_path / "toy.png")
    before = (tmp_path / "toy.png").read_bytes()
    with pytest.raises(
        ValueError, match=rf"--out: .*{name} would take the place of .*toy\.png, which is read"
    ):
        score_folder(tmp_path, out)
    assert (tmp_path / "toy.png").read_bytes() == before and len(list(out.iterdir())) == 1
