"""Masks of subjects in clips: those that come with them, those of models, and which are good."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from refvid_birefnet import write_birefnet
from refvid_footage import bikes, shot, write
from refvid_grounded import write_box_finder, write_box_masker

from refvid.data.index import A_FILM, A_STILL, Clip, Refused
from refvid.data.journal import Journal
from refvid.data.models import birefnet
from refvid.data.models.birefnet import MaskModel
from refvid.data.models.grounded_sam import BoxFinder, BoxMasker
from refvid.data.pictures import pictures_of, spread
from refvid.data.prepare import stages_for
from refvid.data.run_lengths import good_masks, has_good_mask, unpack_mask
from refvid.data.stage import StageContext, concluded, keys_of, look_at_all
from refvid.data.stages.subjects import Subjects, SubjectsOptions, figures_of, quality_of
from refvid.data.weights import Weights

SUBJECTS, OPTIONS = Subjects(), SubjectsOptions(side=64)
HEIGHT, WIDTH, FRAMES = 96, 160, 22  # of `footage.shot`


def disc(at: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A mask (H, W) uint8 whose subject has moved `at` pixels to the right."""
    down, across = np.mgrid[:height, :width]
    return np.where((down - height / 2) ** 2 + (across - 40 - at) ** 2 < 24**2, 255, 0).astype(np.uint8)


def grey(masks: list[np.ndarray]) -> np.ndarray:
    return np.stack(masks)[..., None].repeat(3, -1)


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Clip:
    """A film of 22 pictures, as scan tells it."""
    path = write(tmp_path_factory.mktemp("films") / "a.mp4", shot())
    return Clip("a", str(path), kind=A_FILM, stop=FRAMES, frames=FRAMES, fps=25.0, width=WIDTH, height=HEIGHT,
                contents="c", caption="A man rides.", short_caption="a man")  # fmt: skip


def with_masks(film: Clip, path: Path, masks: list[np.ndarray], **known) -> Clip:
    return replace(film, mask=str(write(path, grey(masks), "ffv1", "bgr0")), **known)


def looked(
    clip: Clip,
    folder: Path,
    options: SubjectsOptions = OPTIONS,
    weights: Weights | None = None,
    **paths: Path,
) -> Clip:
    """The clip's row after the stage."""
    weights = weights or Weights(paths)
    digests = {name: weights.digest(name, "subjects") for name in SUBJECTS.uses(options, weights)}
    context, journal = StageContext(options, weights, folder, digests), Journal(folder / "work")
    look_at_all(SUBJECTS, [clip], context, journal)
    after = concluded(SUBJECTS, [clip], context, journal.results())
    assert after is not None
    return after[0]


def part(clip: Clip, frames: int) -> Clip:
    """Begin of a clip: models are not as fast as films."""
    return replace(clip, stop=frames, frames=frames)


def masks_in(clip: Clip) -> dict[int, np.ndarray]:
    told = clip.subject
    assert told is not None and len(told["frames"]) == len(told["quality"])
    rows = zip(told["frames"], told["masks"], strict=True)
    return {frame: unpack_mask(text, told["size"]) for frame, text in rows if text}


def test_masks_of_a_film_are_those_of_the_pictures_that_references_are_drawn_from(film, tmp_path):
    clip = with_masks(film, tmp_path / "m.mkv", [disc(3 * one) for one in range(FRAMES)])
    after = looked(clip, tmp_path)
    assert after.ok and after.subject is not None and after.subject["by"] == "given"
    assert after.subject["frames"] == spread(FRAMES, 8) and after.subject["size"] == [HEIGHT, WIDTH]
    for frame, mask in masks_in(after).items():
        assert np.array_equal(mask, disc(3 * frame) > 0)
    assert [*good_masks(after)] == spread(FRAMES, 8) and after.subject["quality"] == [""] * 8


def test_a_part_of_a_film_has_the_masks_of_the_whole_file_or_its_own(film, tmp_path):
    shown = {"start": 5, "stop": 15, "frames": 10}
    whole = with_masks(film, tmp_path / "m.mkv", [disc(3 * one) for one in range(FRAMES)], **shown)
    own = with_masks(film, tmp_path / "o.mkv", [disc(3 * one) for one in range(5, 15)], **shown)
    assert looked(whole, tmp_path / "a").subject == looked(own, tmp_path / "b").subject
    assert np.array_equal(masks_in(looked(own, tmp_path / "b"))[3], disc(3 * 8) > 0)
    fewer = with_masks(film, tmp_path / "f.mkv", [disc(0)] * 9, **shown)
    refused = looked(fewer, tmp_path / "c")
    assert refused.reason == "masks that do not fit" and refused.subject is None
    assert refused.detail.endswith("f.mkv holds 9 masks; the clip has 10 frames, its file 22")


def test_masks_of_another_size_are_scaled_and_cropped_as_the_clip_is(film, tmp_path):
    large = [np.asarray(Image.fromarray(disc(0)).resize((2 * WIDTH, 2 * HEIGHT)))] * FRAMES
    crop = (20, 10, 100, 80)
    after = looked(with_masks(film, tmp_path / "m.mkv", large, crop=crop), tmp_path)
    wanted = disc(0)[10:90, 20:120] > 0
    for mask in masks_in(after).values():
        assert mask.shape == wanted.shape and np.mean(mask != wanted) < 0.01


def test_a_folder_a_transparent_picture_and_an_animation_are_masks_too(film, tmp_path):
    folder, every = tmp_path / "masks", [disc(3 * one) for one in range(FRAMES)]
    folder.mkdir()
    for number, mask in enumerate(every):
        Image.fromarray(mask).save(folder / f"{number}.png")  # 10 comes after 9
    rows = masks_in(looked(replace(film, mask=str(folder)), tmp_path / "a"))
    assert all(np.array_equal(mask, every[frame] > 0) for frame, mask in rows.items()) and len(rows) == 8
    clear = np.dstack([np.full((HEIGHT, WIDTH, 3), 90, np.uint8), disc(9)])
    Image.fromarray(clear).save(tmp_path / "one.png")
    one = masks_in(looked(replace(film, mask=str(tmp_path / "one.png")), tmp_path / "b"))
    assert len(one) == 8 and all(np.array_equal(mask, disc(9) > 0) for mask in one.values())
    first, *rest = [Image.fromarray(mask) for mask in every]
    first.save(tmp_path / "all.gif", save_all=True, append_images=rest, duration=40)
    moving = masks_in(looked(replace(film, mask=str(tmp_path / "all.gif")), tmp_path / "c"))
    assert all(np.array_equal(moving[frame], mask) for frame, mask in rows.items())


def test_masks_that_cannot_be_read_refuse_their_clip_by_name(film, tmp_path):
    (tmp_path / "no.mp4").write_text("no film")
    for name in ("no.mp4", "none.png"):
        refused = looked(replace(film, mask=str(tmp_path / name)), tmp_path)
        assert refused.reason == "masks that cannot be read" and name in refused.detail


def square(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((100, 100), bool)
    mask[top : top + height, left : left + width] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "quality"),
    [
        (square(10, 10, 17, 17), "too small"),  # 2.9 %
        (square(10, 10, 20, 15), ""),  # 3 %
        (square(10, 10, 75, 80), ""),  # 60 %
        (square(10, 10, 75, 81), "too large"),
        (square(10, 10, 30, 30) | square(60, 60, 10, 10), ""),  # 90 %
        (square(10, 10, 30, 30) | square(60, 60, 11, 10), "in pieces"),
        (square(10, 10, 20, 20) | square(30, 30, 20, 20), ""),  # by a corner one piece
        (square(0, 30, 40, 30), ""),  # one side
        (square(0, 0, 40, 30), ""),  # two sides that meet
        (square(0, 30, 100, 30), "cut off at two sides"),
        (square(30, 0, 30, 100), "cut off at two sides"),
        (square(30, 0, 30, 99) | square(95, 99, 2, 1), ""),  # what touches is no part of the piece
    ],
)
def test_masks_are_good_by_area_pieces_and_sides(mask, quality):
    figures = figures_of(mask)
    assert figures is not None and quality_of(figures, SubjectsOptions()) == quality
    near = quality_of(figures, SubjectsOptions(across=True))
    assert near == ("" if quality == "cut off at two sides" else quality)


def test_a_clip_without_a_good_mask_stays_and_says_why(film, tmp_path):
    clip = with_masks(film, tmp_path / "m.mkv", [np.zeros_like(disc(0))] * 11 + [disc(0)] * 11)
    after = looked(clip, tmp_path)
    assert after.ok and after.subject is not None
    assert after.subject["quality"] == ["no subject"] * 4 + [""] * 4
    strict = replace(OPTIONS, least=0.5)
    context = StageContext(OPTIONS, Weights({}), tmp_path)
    key = keys_of(SUBJECTS, [clip], context)
    assert keys_of(SUBJECTS, [clip], replace(context, options=strict)) == key  # nothing is looked at again
    poor = looked(clip, tmp_path, strict)
    assert poor.ok and not has_good_mask(poor) and has_good_mask(after) and not good_masks(poor)
    assert poor.subject is not None and poor.subject["quality"][4:] == ["too small"] * 4


def test_birefnets_masks_are_its_numbers_from_a_half_on_and_it_is_loaded_once(film, tmp_path, monkeypatch):
    clip = part(film, 3)
    path, loads = write_birefnet(tmp_path / "b.safetensors"), []
    model = MaskModel(path, 64)
    monkeypatch.setattr(birefnet, "load_birefnet", lambda one: loads.append(one) or model.model)
    after = looked(clip, tmp_path, birefnet=path)
    assert loads == [path] and after.subject is not None and after.subject["by"] == "birefnet"
    found, places = masks_in(after), [0, 1, 2]
    assert [*found] == places
    for frame, picture in zip(places, pictures_of(clip, places), strict=True):
        wanted = cv2.resize(model(picture), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR) >= 0.5
        assert np.array_equal(found[frame], wanted) and 0 < wanted.mean() < 1


def test_words_name_the_subject_and_a_picture_without_a_box_has_no_mask(film, tmp_path):
    clip = part(film, 2)
    given = {"grounding_dino": write_box_finder(tmp_path / "d"), "sam2": write_box_masker(tmp_path / "s")}
    boxes, masks = BoxFinder(given["grounding_dino"]), BoxMasker(given["sam2"])
    weights = Weights(given)  # loaded once
    some = replace(OPTIONS, box=0.0)
    after = looked(clip, tmp_path / "a", some, weights)
    assert after.subject is not None and after.subject["by"] == "sam2"
    for picture, frame in zip(pictures_of(clip), range(2), strict=True):
        box = boxes(picture, "a man", 0.0)
        assert box is not None
        wanted = masks(picture, box) >= 0.5
        assert np.mean(masks_in(after).get(frame, np.zeros_like(wanted)) != wanted) < 0.01
    none = looked(clip, tmp_path / "b", replace(OPTIONS, box=1.0), weights)
    assert none.ok and none.subject is not None
    assert none.subject["masks"] == [""] * 2 and none.subject["quality"] == ["no subject"] * 2
    silent = looked(replace(clip, short_caption=""), tmp_path / "c", some, weights)
    assert silent.subject is not None and silent.subject["quality"] == ["no words for it"] * 2
    named = looked(replace(clip, short_caption=""), tmp_path / "d", replace(some, subject="a man"), weights)
    assert named.subject == after.subject


def test_the_models_that_are_used_follow_from_what_was_given():
    def used(options: SubjectsOptions = OPTIONS, *names: str) -> tuple[str, ...]:
        here = Path(__file__)
        return tuple(SUBJECTS.uses(options, Weights(dict.fromkeys(names, here))))

    assert used() == ()
    assert used(OPTIONS, "birefnet") == used(OPTIONS, "birefnet", "grounding_dino", "sam2") == ("birefnet",)
    assert used(OPTIONS, "grounding_dino", "sam2") == ("grounding_dino", "sam2")
    named = replace(OPTIONS, subject="person")
    assert used(named, "birefnet", "grounding_dino", "sam2") == ("grounding_dino", "sam2")
    with pytest.raises(ValueError, match="subjects: needs grounding_dino = a folder of GroundingDINO"):
        used(named, "birefnet")
    with pytest.raises(ValueError, match="subjects: needs sam2 = a folder"):
        used(OPTIONS, "grounding_dino")
    for wrong in ({"box": 1.5}, {"least": -0.1}, {"least": 0.7}, {"side": 1000}, {"piece": 2.0}):
        with pytest.raises(ValueError, match=f"subjects: {next(iter(wrong))} is"):
            used(replace(OPTIONS, **wrong))


def test_without_weights_only_clips_with_masks_have_any_and_with_neither_the_command_is_refused(
    film, tmp_path
):
    bare = looked(film, tmp_path)
    assert bare.ok and bare.subject is not None and bare.subject["quality"] == ["no mask given"] * 8
    context = StageContext(OPTIONS, Weights({}), tmp_path)
    with pytest.raises(
        ValueError, match=r"subjects: no clip has a mask; needs birefnet = .*; or grounding_dino"
    ):
        SUBJECTS.require([film, replace(film, mask="m.png").refused("static")], context)
    SUBJECTS.require([film, replace(film, mask="m.png")], context)
    with pytest.raises(ValueError, match="prepare: videomaker: no clip has a mask"):
        stages_for("videomaker", [film], Weights({}), ["subjects", "encode"])
    assert stages_for("saber", [film], Weights({}), ["subjects", "encode"]) == ["encode"]


def test_a_still_has_one_mask_and_a_large_picture_a_small_one(tmp_path):
    (picture,) = pictures_of(Clip("b", str(bikes()), kind=A_FILM, stop=30, frames=30, fps=25.0), [3])
    Image.fromarray(picture).save(tmp_path / "still.png")
    Image.fromarray(disc(0, 272, 640)).save(tmp_path / "mask.png")
    still = Clip("s", str(tmp_path / "still.png"), kind=A_STILL, stop=1, frames=1, width=640, height=272,
                 mask=str(tmp_path / "mask.png"), contents="s")  # fmt: skip
    after = looked(still, tmp_path)
    assert after.subject is not None and after.subject["frames"] == [0]
    assert after.subject["size"] == [109, 256] and len(after.subject["masks"][0]) < 200


def test_masks_that_change_are_looked_at_again(film, tmp_path):
    Image.fromarray(disc(0)).save(tmp_path / "m.png")
    clip = replace(film, mask=str(tmp_path / "m.png"))
    before = SUBJECTS.depends(clip, OPTIONS)
    Image.fromarray(disc(30)).save(tmp_path / "m.png")
    assert SUBJECTS.depends(clip, OPTIONS) != before == [*before]
    with pytest.raises(Refused, match="masks that cannot be read"):
        SUBJECTS.look(
            replace(clip, mask=str(tmp_path / "gone.png")), StageContext(OPTIONS, Weights({}), tmp_path)
        )
