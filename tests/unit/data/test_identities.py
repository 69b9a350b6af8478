"""Tests of the stage `identities`: names, features of subjects and faces, and what is said where it cannot
compare. Features are hand-made, or by a tiny DINOv2 in transformers' format on real films."""

import random
from base64 import b64encode
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import refvid_footage as footage
import torch

from refvid.data.agreement import quantised
from refvid.data.index import A_FILM, REFUSED, Clip
from refvid.data.journal import Journal
from refvid.data.models import faces
from refvid.data.run_lengths import GOOD, pack_mask
from refvid.data.stage import StageContext, look_at_all
from refvid.data.stage import concluded as after_stage
from refvid.data.stages import identities
from refvid.data.stages.identities import (
    Identities,
    IdentityOptions,
    cut_out,
    identity_of,
    remarks,
    squared,
)
from refvid.data.weights import Weights

STAGE = Identities()
NOBODY = IdentityOptions(faces=False)


def clip(number: int, film: str = "", name: str = "", **more) -> Clip:
    bits = np.random.default_rng(number).bytes(24).hex()
    start = 25 * number
    return Clip(
        **{"id": f"clip-{number:02}", "path": f"/films/{film or number}", "identity": name, "hash": bits,
           "start": start, "stop": start + 25, "frames": 25, "fps": 25.0, "kind": A_FILM, **more}
    )  # fmt: skip


def subject(mask: list[list[int]], *frames: int, quality: str = GOOD) -> dict[str, Any]:
    """One mask for some pictures of a clip, as the stage `subjects` writes it."""
    packed, count = pack_mask(np.array(mask, bool)), len(frames)
    return {"frames": list(frames), "size": [len(mask), len(mask[0])], "masks": [packed] * count, "quality": [quality] * count}  # fmt: skip


def seen(degrees: float, kind: str = "subject") -> dict[str, str]:
    turn = np.deg2rad(degrees)
    numbers = quantised(np.array([[np.cos(turn), np.sin(turn)]]))
    return {"shows": kind, "features": b64encode(numbers.astype("<i2").tobytes()).decode()}


def concluded(clips, found, **options):
    how = {"percentile": 95, "least": 1, "across": True, **options}
    context = StageContext(IdentityOptions(**how), Weights({}), Path())
    return STAGE.conclude(clips, found, context)


def crowd():
    """Shots of two films, two that were named and one that was refused."""
    angles = [0, 2, 90, 92, 4, 180, 210, 250, 300, 94]
    films = ["a", "a", "b", "b", "c", "d", "e", "f", "g", "h"]
    names = ["", "", "", "", "anna", "", "", "bert", "", ""]
    clips = [clip(n, film, name) for n, (film, name) in enumerate(zip(films, names, strict=True))]
    clips[9] = clips[9].refused("too dark")
    found = {one.id: seen(angle) for one, angle in zip(clips, angles, strict=True) if one.ok}
    return clips, found


def test_partners_hang_together_and_take_the_name_that_one_was_given():
    rows = {one.id: one for one in concluded(*crowd())}
    assert rows["clip-00"].pair_of == ("clip-01",)
    assert rows["clip-01"].pair_of == ("clip-00", "clip-04")
    assert rows["clip-04"].pair_of == ("clip-01",)
    assert {rows[f"clip-0{one}"].identity for one in (0, 1, 4)} == {"anna"}
    assert rows["clip-02"].pair_of == ("clip-03",) and rows["clip-03"].pair_of == ("clip-02",)
    same = identity_of([clip(3), clip(2)])
    assert rows["clip-02"].identity == rows["clip-03"].identity == same != ""
    assert rows["clip-05"].identity == "" and rows["clip-05"].pair_of == ()
    assert rows["clip-07"].identity == "bert"
    assert rows["clip-09"].status == REFUSED and rows["clip-09"].pair_of == ()


def test_an_identity_is_named_by_its_members_alone():
    members = [clip(1), clip(2)]
    assert identity_of(members) == identity_of(members[::-1]) == "same-752fc4f1"
    assert identity_of([*members, clip(3)]) != identity_of(members)
    assert identity_of([clip(1), clip(2, name="anna")]) == "anna"


def test_the_index_is_the_same_for_any_order_of_rows_and_again():
    clips, found = crowd()
    whole = {one.id: one for one in concluded(clips, found)}
    for seed in range(5):
        shuffled = random.Random(seed).sample(clips, len(clips))
        after = concluded(shuffled, dict(reversed(found.items())))
        assert [one.id for one in after] == [one.id for one in shuffled]
        assert {one.id: one for one in after} == whole
    assert {one.id: one for one in concluded(clips, found)} == whole


def test_pairs_that_a_list_gave_stay():
    clips, found = crowd()
    clips[5] = replace(clips[5], pair_of=("clip-08",))
    assert concluded(clips, found)[5].pair_of == ("clip-08",)


def test_subjects_are_not_compared_with_faces():
    clips, found = crowd()
    found["clip-00"] = seen(0, "face")
    rows = concluded(clips, found)
    assert rows[0].pair_of == () and rows[1].pair_of == ("clip-04",)


def test_without_features_names_stay_and_what_is_missing_is_said():
    clips = [clip(0, name="anna"), clip(1, name="anna"), clip(2)]
    assert STAGE.uses(IdentityOptions(), Weights({})) == ()
    context = StageContext(IdentityOptions(), Weights({}), Path())
    found = {one.id: STAGE.look(one, context) for one in clips}
    assert STAGE.conclude(clips, found, context) == clips
    (said,) = remarks(clips, found, IdentityOptions())
    assert said.startswith("3 clips were not compared") and "features = a folder of DINOv2 or SigLIP" in said


def test_too_few_pairs_and_clips_that_show_nothing_are_said():
    clips = [clip(0), clip(1), clip(2), clip(3, hash="")]
    found = {"clip-00": seen(0), "clip-01": seen(0), "clip-02": {"shows": ""}, "clip-03": seen(0)}
    nothing, unhashed, few = remarks(clips, found, IdentityOptions())
    assert nothing.startswith("1 clips were not compared: they have no good subject mask")
    assert unhashed.startswith("1 clips were not compared: they have no hash")
    assert few.startswith("2 clips with a subject were not paired by features: 1 pairs") and few.endswith(
        "50"
    )
    assert STAGE.conclude(clips, found, StageContext(IdentityOptions(), Weights({}), Path())) == clips
    assert remarks(clips[:2], found, IdentityOptions(least=1)) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (IdentityOptions(percentile=0), "percentile is 0; needed above 0"),
        (IdentityOptions(percentile=101), "percentile is 101"),
        (IdentityOptions(least=0), "least is 0; needed 1 or more"),
        (IdentityOptions(pictures=0), "pictures is 0"),
    ],
)
def test_options_out_of_range_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        STAGE.uses(options, Weights({}))


def test_a_missing_detector_is_refused_before_any_work_unless_faces_are_not_wanted(tmp_path, monkeypatch):
    monkeypatch.setattr(faces, "installed_model", lambda: None)
    weights = Weights({"features": tmp_path})
    with pytest.raises(ValueError, match=r"give faces = a face detector.*set identities\.faces to false"):
        STAGE.uses(IdentityOptions(), weights)
    assert STAGE.uses(NOBODY, weights) == ("features",)


def test_an_edit_is_not_looked_at_and_another_mask_is_another_result():
    assert STAGE.depends(clip(0, source="clip-01"), IdentityOptions()) is None
    masked = clip(0, subject=subject([[0, 1]], 0))
    assert STAGE.depends(clip(0), IdentityOptions()) != STAGE.depends(masked, IdentityOptions())


def test_a_subject_is_cut_out_on_grey_in_a_square():
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    mask = np.zeros((2, 3), bool)
    mask[0, 1:] = True  # of 4 x 6 pixels rows 0 and 1, columns 2 to 5
    shown = cut_out(picture, mask)
    assert shown.shape == (5, 5, 3)  # 4 / (7 / 8), rounded up
    assert (shown[1:3, :4] == picture[:2, 2:]).all() and (shown[[0, 3, 4]] == 127).all()
    mask[1, 1] = True
    below = cut_out(picture, mask)[2:4]  # of the 4 x 4 box around the two
    assert (below[:, :2] == picture[2:, 2:4]).all() and (below[:, 2:] == 127).all()


def test_a_tall_box_keeps_its_shape_in_the_square():
    picture = np.full((8, 8, 3), 9, np.uint8)
    shown = squared(picture, (2, 0, 2, 6))
    assert (
        shown.shape == (7, 7, 3) and (shown[:6, 2:4] == 9).all() and (shown[:, [0, 1, 4, 5, 6]] == 127).all()
    )


def save_dinov2(folder: Path) -> Path:
    """A small DINOv2 of 16 numbers, in transformers' format."""
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    sizes = Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=28, patch_size=14
    )
    Dinov2Model(sizes).save_pretrained(folder)
    return folder


def bikes(count: int = 6) -> list[Clip]:
    """Shots of `bikes` at its cuts, a box of each masked."""
    cuts = [0, 30, 76, 137, 187, 242, 250][: count + 1]
    box = subject([[0, 1, 1, 0], [0, 0, 0, 0]], 2, 5)
    path = footage.bikes().as_posix()
    return [
        clip(one, path=path, start=start, stop=stop, frames=stop - start, width=640, height=272, subject=box)
        for one, (start, stop) in enumerate(pairwise(cuts))
    ]


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory) -> Path:
    return save_dinov2(tmp_path_factory.mktemp("dinov2"))


def looked_at(folder: Path, clips, options=NOBODY, **paths):
    weights = Weights({"features": folder, **paths})
    digests = {one: weights.digest(one, "identities") for one in STAGE.uses(options, weights)}
    context = StageContext(options, weights, Path(), digests)
    return {one.id: STAGE.look(one, context) for one in clips}


def test_real_shots_have_features_of_their_subject_and_never_of_the_whole_picture(dinov2):
    clips = bikes(2)
    found = looked_at(dinov2, clips)
    assert [one["shows"] for one in found.values()] == ["subject", "subject"]
    assert found["clip-00"] != found["clip-01"] and len(found["clip-00"]["features"]) == 44  # 32 bytes
    other = replace(clips[0], subject=subject([[1, 0, 0, 0], [0, 0, 0, 0]], 2, 5))
    assert looked_at(dinov2, [other])["clip-00"]["features"] != found["clip-00"]["features"]
    bare = [replace(one, subject=None) for one in clips]
    bare[0] = replace(bare[0], subject=subject([[0, 1]], 2, quality="too large"))
    assert looked_at(dinov2, bare) == {one.id: {"shows": ""} for one in bare}


def test_features_are_the_same_with_any_number_of_threads(dinov2):
    before = torch.get_num_threads()
    try:
        found = []
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(looked_at(dinov2, bikes(1)))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


def test_the_largest_face_is_cropped_where_no_mask_is_and_none_is_said(dinov2, monkeypatch):
    boxes: list[tuple[int, int, int, int]] = []
    monkeypatch.setattr(identities, "_detector", lambda path: lambda picture: boxes)
    monkeypatch.setattr(identities, "load_detector", lambda path: None)
    bare = [replace(one, subject=None) for one in bikes(1)]
    assert looked_at(dinov2, bare, IdentityOptions()) == {"clip-00": {"shows": ""}}
    boxes += [(300, 40, 90, 90), (0, 0, 30, 30)]
    found = looked_at(dinov2, bare, IdentityOptions())["clip-00"]
    boxes.pop()
    assert looked_at(dinov2, bare, IdentityOptions())["clip-00"] == found and found["shows"] == "face"
    boxes[0] = (0, 0, 30, 30)
    assert looked_at(dinov2, bare, IdentityOptions())["clip-00"] != found


def test_the_index_of_real_shots_follows_from_results_that_were_kept_in_any_order(dinov2, tmp_path):
    cars = [
        clip(6 + one, path=footage.carphone().as_posix(), start=30 * one, stop=30 * one + 30, frames=30, fps=30.0,
             subject=subject([[0, 1]], 3))
        for one in range(4)
    ]  # fmt: skip
    clips = [*bikes(), *cars]
    options = IdentityOptions(percentile=50, least=24, faces=False)
    weights = Weights({"features": dinov2})
    digests = {"features": weights.digest("features", "identities")}
    context = StageContext(options, weights, tmp_path, digests)
    indexes = []
    for number, order in enumerate((clips, clips[::-1])):
        journal = Journal(tmp_path / str(number))
        assert look_at_all(STAGE, order, context, journal).made == 10
        assert look_at_all(STAGE, order, context, journal).made == 0
        journal.settle()
        indexes.append({one.id: one for one in after_stage(STAGE, order, context, journal.results()) or ()})
    assert indexes[0] == indexes[1]
    paired = {one.id for one in indexes[0].values() if one.pair_of}
    assert paired and {one.id for one in indexes[0].values() if one.identity} == paired
    sizes = [len(one) for one in (tmp_path / "0" / "settled.jsonl").read_text().splitlines()]
    assert max(sizes) < 150  # bytes: 16 numbers of 2 bytes in base64, and names
