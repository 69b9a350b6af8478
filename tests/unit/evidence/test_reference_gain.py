"""Study of reference gain: equal trainings that differ in their references alone, and what is said of it."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from refvid import cli
from refvid.core.statistics import Estimate
from refvid.data.index import HELD_OUT, TRAIN, Clip, write_rows
from refvid.data.prepared import Prepared
from refvid.evidence.ablations import gain_clips, reference_gain, text_to_video
from refvid.evidence.ablations.gain_clips import SHOTS, SceneClips, ShuffledClips
from refvid.evidence.ablations.reference_gain import (
    BASE,
    OWN,
    SHUFFLED,
    SHUFFLED_TEST,
    UNREFERENCED,
    arms_of,
    film_settings,
    gain_lines,
    study_gain,
    verdicts,
    world_settings,
)
from refvid.evidence.ablations.text_to_video import pretraining_run
from refvid.evidence.runs import Ablation
from refvid.training.engine.models import Models
from refvid.training.methods.saber.batch import draw_row
from refvid.training.methods.saber.held_out import HeldOutClips
from refvid.training.reports.gain import HeldOutLosses

SCENES = ("a", "b", "c")
SHADES = 10  # of clips' pictures: that of picture k of clip n is n * SHADES + k


@pytest.fixture
def clips(tmp_path, monkeypatch) -> SceneClips:
    """Two clips of each of three scenes in both splits; each picture is of one shade."""
    places = [f"/clips/{split}/{scene}/{n}" for split in (TRAIN, HELD_OUT) for scene in SCENES for n in "12"]
    rows = [
        Clip(f"{row:02}", place, shard="s", row=row, bucket=(16, 16, 9), windows=1, caption="a toy")
        for row, place in enumerate(places)
    ]
    write_rows(rows, tmp_path / "index.jsonl")
    (tmp_path / "encoded").mkdir()
    (tmp_path / "encoded" / "encoding.json").write_text("{}")
    monkeypatch.setattr(Prepared, "pool", lambda self, clip: [(one, shade(clip, one)) for one in range(8)])
    monkeypatch.setattr(Prepared, "span", lambda *_: (0, 8))
    monkeypatch.setattr(Prepared, "latent", lambda *_: torch.zeros(16, 3, 2, 2))
    monkeypatch.setattr(Prepared, "text", lambda *_: torch.zeros(3, 8))
    return SceneClips(str(tmp_path))


def shade(clip: Clip, number: int) -> np.ndarray:
    return np.full((16, 16, 3), SHADES * clip.row + number, np.uint8)


def shown(pictures: Tensor, masks: Tensor) -> int:
    """Row of the clip that a reference shows."""
    values = ((pictures[0, 0][masks[0] > 0] + 1) * 127.5).round()
    assert len(values.unique()) == 1
    return int(values[0]) // SHADES


def draws(arm, turns: int = 40) -> list:
    """Row that a training draws of the first clip in every turn."""
    return [draw_row(arm.clips, arm.clips.clips[0], arm.settings, turn, 0) for turn in range(turns)]


def test_split_and_scene_of_a_clip_are_its_folders(clips):
    assert {(one.split, one.contents) for one in clips.clips} == {
        (split, scene) for split in (TRAIN, HELD_OUT) for scene in SCENES
    }


def test_trainings_see_references_of_their_own_of_every_other_scene_or_none(clips):
    arms = arms_of(clips, film_settings(1, augment=False))
    row = clips.clips[0]
    foreign = {one.row for one in clips.clips if one.split == row.split and one.contents != row.contents}
    seen = {
        name: {shown(one.pictures, one.masks) for one in draws(arm) if len(one.pictures)}
        for name, arm in arms.items()
    }
    assert seen == {OWN: {row.row}, SHUFFLED: foreign, UNREFERENCED: set()}


def test_trainings_differ_in_nothing_but_their_references(clips):
    first, second, third = (draws(arm, 8) for arm in arms_of(clips, film_settings(1, augment=False)).values())
    for own, shuffled, none in zip(first, second, third, strict=True):
        for name in ("latent", "noise", "sigma", "words"):
            assert torch.equal(getattr(own, name), getattr(shuffled, name))
            assert torch.equal(getattr(own, name), getattr(none, name))
        assert len(own.pictures) == len(shuffled.pictures)
    names = [arm.clips.name for arm in arms_of(clips, film_settings(1, augment=False)).values()]
    assert names[0] == names[2] != names[1]


def test_a_test_on_shuffled_clips_shows_another_scene_as_their_own(clips):
    arm = arms_of(clips, film_settings(1, augment=False))[SHUFFLED]
    held_out = HeldOutClips(arm.clips, arm.settings, None, None)
    for row, clip in enumerate(held_out.rows):
        found = held_out.shown(row, "own")
        whose = next(one for one in arm.clips.clips if one.row == shown(found.pictures, found.masks))
        assert whose.split == HELD_OUT and whose.contents != clip.contents


def test_clips_are_shown_different_pictures_of_the_same_other_clip(clips):
    first, second = (ShuffledClips(clips.address).pool(clip) for clip in clips.clips[:2])
    assert [int(one.max()) // SHADES for _, one in first] == [int(one.max()) // SHADES for _, one in second]
    assert all(one.max() != other.max() for (_, one), (_, other) in zip(first, second, strict=True))


def test_losses_that_were_kept_in_another_order_of_clips_are_measured_again(clips, tmp_path, monkeypatch):
    ablation = Ablation(Models(*(tmp_path / one for one in "abc")), tmp_path / "runs", 0, 0, 1)
    vars(ablation)["base"] = {}
    measured = []

    def losses_in_order(held_out) -> HeldOutLosses:
        measured.append(held_out.clips)
        rows = torch.tensor([row.row for row in held_out.rows], dtype=torch.float64)
        names, scenes = tuple(held_out.clips), tuple(held_out.scenes)
        return HeldOutLosses(names, scenes, rows[None, :, None].expand(3, -1, 8).clone())

    monkeypatch.setattr(reference_gain, "measure", losses_in_order)
    monkeypatch.setattr(
        reference_gain, "_held_out", lambda _, test, lora: HeldOutClips(test.clips, test.settings, None, None)
    )
    arms = {OWN: arms_of(clips, film_settings(1, augment=False))[OWN]}
    (first,) = study_gain(ablation, "films", arms)[BASE]
    assert study_gain(ablation, "films", arms)[BASE][0].clips == first.clips and len(measured) == 1
    monkeypatch.setattr("refvid.training.methods.saber.held_out._film_by_film", lambda found: found[::-1])
    (second,) = study_gain(ablation, "films", arms)[BASE]
    assert len(measured) == 2 and torch.equal(second.values, first.values.sort(1, descending=True).values)


def test_clips_of_one_scene_cannot_be_shuffled(clips, monkeypatch):
    monkeypatch.setattr(gain_clips.ShuffledClips, "clips", [clips.clips[0]])
    with pytest.raises(ValueError, match="needed two or more"):
        ShuffledClips(clips.address).pool(clips.clips[0])


def test_no_frame_of_a_film_is_both_learned_from_and_held_out_and_some_shots_are_wholly_held_out():
    for one, other in combinations(SHOTS, 2):
        if one.film == other.film and one.split != other.split:
            assert one.stop <= other.first or other.stop <= one.first
    seen, held = ({one.scene for one in SHOTS if one.split == split} for split in (TRAIN, HELD_OUT))
    assert held - seen == {"bikes 5", "bikes 6"}


def test_clips_that_were_made_of_something_else_are_not_taken(tmp_path, monkeypatch):
    films = tmp_path / "films"
    films.mkdir()
    monkeypatch.setattr(gain_clips, "SHOTS", (gain_clips.Shot("bikes", 0, 24, TRAIN, 1, "bikes 1"),))
    with pytest.raises(ValueError, match=r"--films: there is no .*bikes\.mp4"):
        gain_clips.cut_films(films, tmp_path / "clips")
    assert not (tmp_path / "clips").exists()
    (films / "bikes.mp4").write_bytes(b"a film")
    read = lambda _: np.zeros((20, 96, 96, 3), np.uint8)  # noqa: E731
    monkeypatch.setattr(gain_clips, "_square", read)
    with pytest.raises(ValueError, match=r"bikes\.mp4 has 20 frames; needed 24"):
        gain_clips.cut_films(films, tmp_path / "clips")
    assert not list((tmp_path / "clips").rglob("*.png"))
    monkeypatch.setattr(gain_clips, "_square", lambda path: read(path).repeat(2, 0))
    gain_clips.cut_films(films, tmp_path / "clips")
    gain_clips.cut_films(films, tmp_path / "clips")
    (films / "bikes.mp4").write_bytes(b"another film")
    with pytest.raises(ValueError, match="made otherwise"):
        gain_clips.cut_films(films, tmp_path / "clips")


def test_the_study_of_the_world_is_of_its_text_to_video_model(tmp_path, monkeypatch):
    asked = Ablation(Models(*map(tmp_path.joinpath, ("dit", "vae", "text"))), tmp_path / "runs", 0, 2, 1)
    trained, read, studied = [], [], []
    monkeypatch.setattr(
        text_to_video, "pretrained", lambda ablation, steps: trained.append((ablation, steps))
    )
    monkeypatch.setattr(reference_gain, "render_world", lambda *_: None)
    monkeypatch.setattr(reference_gain, "prepared_clips", lambda clips, work, models: read.append(models))

    def study(ablation: Ablation, name: str, arms: dict) -> dict[str, list[HeldOutLosses]]:
        studied.append((ablation, name, [*arms]))
        return {BASE: [losses(0, 0)], OWN: [losses(0.06, 0.02)] * 2}

    monkeypatch.setattr(reference_gain, "study_gain", study)
    lines = reference_gain.ablate_world(asked, 7, 5)
    at = asked.folder / text_to_video.PRETRAINED
    base = Models(at / "dit.safetensors", asked.models.vae, at / "text_encoder.safetensors")
    assert trained == [(asked, 5)] and read == [base]
    of_world = replace(asked, models=base, folder=asked.folder / "world" / "runs")
    assert studied == [(of_world, "world", [OWN])]
    assert lines[0] == "The toy moved as Saber does, 7 steps after 5 of text to video."


def test_a_base_that_knows_no_references_learns_them_from_the_toy_that_is_moved():
    references = world_settings(1).references
    assert references.masks == "subject" and references.augment and references.count == (1.0,)


def losses(own: float, other: float) -> HeldOutLosses:
    """Losses of 24 clips of 6 scenes, with gains that vary a little around those given."""
    draw = torch.Generator().manual_seed(round(1000 * own))
    none = torch.rand(24, 8, generator=draw, dtype=torch.float64) + 0.5
    gains = [mean + 0.01 * torch.randn(24, 1, generator=draw, dtype=torch.float64) for mean in (own, other)]
    names = tuple(map(str, range(24)))
    return HeldOutLosses(
        names, tuple(str(row % 6) for row in range(24)), torch.stack([none, *(none * (1 - g) for g in gains)])
    )


@pytest.mark.parametrize(
    ("own", "other", "told"),
    [(0.06, 0.02, "holds"), (-0.03, -0.01, "does not hold"), (0.021, 0.0205, "not decided")],
)
def test_a_sentence_says_what_its_intervals_decide(own, other, told):
    gained = losses(own, other)
    found = {
        BASE: [losses(0.02, 0.01)], OWN: [gained, gained], SHUFFLED: [losses(0.0225, 0.02)] * 2,
        SHUFFLED_TEST: [losses(0.0, 0.0)] * 2, UNREFERENCED: [losses(0.019, 0.01)] * 2,
    }  # fmt: skip
    said = [line for line in gain_lines(found) if line.startswith("- ")]
    assert len(said) == 6
    compared = [line for line in said if "more than" in line]
    assert all(line.startswith(f"- {told}: ") for line in compared) and len(compared) == 4
    helped = "does not hold" if told == "does not hold" else "holds"
    assert all(line.startswith(f"- {helped}: ") for line in said if line not in compared)


def test_a_study_of_films_says_what_it_needs_before_it_begins(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["ablate", "films_gain", "--out", str(tmp_path / "out")])
    assert "--films" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_every_sentence_is_decided_by_the_estimate_that_it_is_about():
    more, less = Estimate(1, (0.1, 2), (0.1, 2)), Estimate(-1, (-2, -0.1), (-2, -0.1))
    either = Estimate(0.5, (0.1, 2), (-0.1, 2))  # over clips and not over scenes
    gains = {OWN: {"own": more, "other": less, "own - other": either}, BASE: {"own": less}}
    differences = {f"own - {BASE}": less, f"own - {SHUFFLED}": either, f"own - {UNREFERENCED}": more}
    assert verdicts(gains, differences) == [
        "- holds: own references help the training with own ones",
        "- does not hold: another's references help it",
        "- not decided: its own references help it more than another's",
        "- does not hold: own references help it more than before learning",
        f'- not decided: own references help it more than the training "{SHUFFLED}"',
        f'- holds: own references help it more than the training "{UNREFERENCED}"',
    ]


def test_clips_of_films_are_of_their_shots_strides_sizes_and_words(tmp_path, monkeypatch):
    films = tmp_path / "films"
    films.mkdir()
    (films / "bikes.mp4").write_bytes(b"a film")
    shots = (gain_clips.Shot("bikes", 0, 24, TRAIN, 1, "bikes 1"),)
    monkeypatch.setattr(gain_clips, "SHOTS", shots)
    monkeypatch.setattr(gain_clips, "_square", lambda _: np.zeros((40, 96, 96, 3), np.uint8))
    gain_clips.cut_films(films, tmp_path / "clips")
    others = {
        "SHOTS": (gain_clips.Shot("bikes", 2, 24, TRAIN, 1, "bikes 1"),),
        "_APART": 1, "_SIZE": 64, "_FRAMES": 5, "FILM_CAPTION": "a toy",
    }  # fmt: skip
    for name, other in others.items():
        with monkeypatch.context() as patch:
            patch.setattr(gain_clips, name, other)
            with pytest.raises(ValueError, match="made otherwise"):
                gain_clips.cut_films(films, tmp_path / "clips")
    monkeypatch.setattr(gain_clips, "_square", lambda _: pytest.fail("what is whole is cut again"))
    gain_clips.cut_films(films, tmp_path / "clips")


def test_clips_of_the_world_are_as_many_as_asked_for_and_seen_in_one_split_alone(tmp_path, monkeypatch):
    assert {kind.stride for kind in pretraining_run(1).kinds} == {gain_clips._WORLD_APART}
    monkeypatch.setattr(gain_clips, "_SIZE", 16)
    gain_clips.render_world(tmp_path / "few", 2, 1)
    gain_clips.render_world(tmp_path / "more", 2, 2)
    few, more = ([*(tmp_path / name).glob("*/scene-*/toy-*/000.png")] for name in ("few", "more"))
    assert sorted(one.parts[-4] for one in few) == sorted([TRAIN, TRAIN, HELD_OUT])
    assert len({one.read_bytes() for one in more}) == len(more) == 4
    for counts in ((3, 1), (2, 2)):
        with pytest.raises(ValueError, match="made otherwise"):
            gain_clips.render_world(tmp_path / "few", *counts)
