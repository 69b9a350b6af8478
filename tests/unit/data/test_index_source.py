"""Prepared clips as a source to learn from: what the demo world gives is given of real films too."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from refvid_footage import bikes
from refvid_world import WORLD
from torch import Generator

from refvid.data.fitting import fitted
from refvid.data.index import A_FILM, Clip, write_index
from refvid.data.index_source import NAMELESS, IndexedFootage, IndexSource, open_index
from refvid.data.pictures import pictures_of
from refvid.data.run_lengths import pack_mask

CUTS = (0, 30, 76, 137, 187)


def shot(number: int, **known) -> Clip:
    """A shot of `bikes`."""
    start, stop = CUTS[number], (*CUTS, 242)[number + 1]
    facts = {
        "kind": A_FILM, "start": start, "stop": stop, "frames": stop - start, "fps": 25.0, "width": 640,
        "height": 272, "contents": "b", "caption": f"shot {number} of a street", "short_caption": f"shot {number}",
    }  # fmt: skip
    return Clip(f"bikes-{number}", str(bikes()), **{**facts, **known})


def source(folder, *clips: Clip) -> IndexSource:
    write_index(clips, folder)
    return open_index(str(folder))


def seeded(seed: int = 3) -> Generator:
    return Generator().manual_seed(seed)


def test_it_gives_what_the_world_gives_in_the_same_shapes(tmp_path):
    clips = source(tmp_path, *(shot(one) for one in range(5)))
    for one in (clips, WORLD):
        footage = one.footage(2, seeded())
        start = torch.tensor([0, 1])
        for video, masks in (
            footage.film(24, 3),
            footage.film(24, 3, 2, start),
            footage.elsewhere(0, 24, 3, seeded()),
        ):
            assert video.shape == (2, 3, 3, 24, 24) and masks.shape == (2, 1, 3, 24, 24)
            assert video.dtype == masks.dtype == torch.float32 and -1 <= video.min() and video.max() <= 1
        assert footage.subjects == 1 and footage.length > 10
        assert (
            len(footage.captions())
            == len(footage.captions(named=True, stride=4))
            == len(footage.names(0))
            == 2
        )
        again = one.footage(2, seeded()).film(24, 3)[0]
        assert torch.equal(again, footage.film(24, 3)[0])
        assert not torch.equal(again, one.footage(2, seeded(4)).film(24, 3)[0])
        assert one.most_subjects >= 1 and set(footage.captions()[0].split()) <= set(one.vocabulary)


def test_a_film_is_the_clips_own_pictures_at_the_sources_rate(tmp_path):
    clip = shot(2)
    footage = source(tmp_path, clip).footage(1, seeded())
    every = [fitted(one, 32, 32) for one in pictures_of(clip)]
    # 16 pictures a second of 25: at k / 16 seconds the picture 25 k / 16, the nearest.
    assert footage.length == 39
    for stride, start, wanted in ((1, 0, [0, 2, 3]), (4, 3, [5, 11, 17]), (None, 0, [0, 30, 59])):
        video, _ = footage.film(32, 3, stride, start)
        pictures = ((video[0].movedim(0, -1) + 1) * 127.5).round().numpy().astype(np.uint8)
        assert [np.array_equal(one, every[place]) for one, place in zip(pictures, wanted, strict=True)] == [
            True
        ] * 3
    with pytest.raises(ValueError, match="pictures 0 to 40 of a clip that has 0 to 38"):
        footage.film(32, 3, 20)


def test_masks_are_those_of_the_nearest_picture_that_has_a_good_one(tmp_path):
    left, right = np.zeros((34, 80), bool), np.zeros((34, 80), bool)
    left[:, :40], right[:, 40:] = True, True
    told = {
        "size": [34, 80], "by": "given", "frames": [0, 20, 45], "masks": [pack_mask(left), pack_mask(right)] * 2,
        "quality": ["", "", "small"],
    }  # fmt: skip
    told["masks"] = told["masks"][:3]
    clips = source(tmp_path, shot(1, subject=told))
    _, masks = clips.footage(1, seeded()).film(32, 3)  # pictures 0, 22 or 23 and 45
    assert masks[0, 0, 0, :, :15].min() == 1 and masks[0, 0, 0, :, 17:].max() == 0
    for frame in (1, 2):
        assert masks[0, 0, frame, :, :15].max() == 0 and masks[0, 0, frame, :, 17:].min() == 1
    bare = source(tmp_path / "bare", shot(1))
    assert bare.footage(1, seeded()).film(32, 3)[1].max() == 0


def test_another_clip_of_the_same_identity_is_its_partner(tmp_path):
    clips = [
        shot(2, identity="Anna", pair_of=("bikes-4",)),
        shot(4, identity="Anna", pair_of=("bikes-2",), contents="c"),
    ]
    clips = [replace(one, hash=f"{number:x}" * 48) for number, one in enumerate(clips, 3)]
    found = source(tmp_path, *clips)
    footage = found.footage(6, seeded())
    video, _ = footage.elsewhere(0, 24, 2, seeded())
    own = {clip.id: [fitted(one, 24, 24) for one in pictures_of(clip)] for clip in clips}
    others = 0
    for clip, film in zip(footage.clips, video, strict=True):
        first = ((film[:, 0].movedim(0, -1) + 1) * 127.5).round().numpy().astype(np.uint8)
        home = [name for name, pictures in own.items() if any(np.array_equal(first, one) for one in pictures)]
        assert len(home) == 1
        others += home != [clip.id]
    assert others >= 3  # at most three in ten pairs are of one shot
    assert footage.names(0) == ["Anna"] * 6
    whole = [(0, clip.frames) for clip in footage.clips]
    wider = IndexedFootage(found, footage.clips, tuple((start, stop // 2) for start, stop in whole))
    again = footage.elsewhere(0, 24, 2, seeded())[0]
    assert torch.equal(wider.elsewhere(0, 24, 2, seeded())[0], again)  # windows are the partners'


def test_a_clip_without_a_partner_shows_itself_and_has_no_name(tmp_path):
    clip = shot(0)
    footage = source(tmp_path, clip).footage(1, seeded())
    assert torch.equal(footage.elsewhere(0, 24, 3, seeded())[0], footage.film(24, 3)[0])
    assert footage.names(0) == [NAMELESS]


def test_edits_are_pairs_of_a_kind_with_their_region(tmp_path):
    before = shot(1, caption="", short_caption="")
    after = shot(
        3,
        stop=233,
        frames=46,
        source=before.id,
        instruction="another street",
        edit="replace",
        caption="",
    )
    after = replace(after, id="edit")
    found = source(tmp_path, before, after)
    assert found.edit_kinds == ["replace"]
    pair = found.edits("replace", 2, seeded(), 3, 24)
    assert pair.instructions == ["another street"] * 2 and pair.region.min() == 1
    first = fitted(next(iter(pictures_of(before))), 24, 24)
    assert np.array_equal(((pair.source[0, :, 0].movedim(0, -1) + 1) * 127.5).round().numpy(), first)
    assert not torch.equal(pair.source, pair.target)
    with pytest.raises(ValueError, match=r"there is no edit of kind 'style'; needed one of \['replace'\]"):
        found.edits("style", 1, seeded(), 3, 24)
    with pytest.raises(ValueError, match="there is no clip with a caption, only edits"):
        found.footage(1, seeded())


def test_refused_held_out_and_wordless_clips_are_not_shown(tmp_path):
    clips = [shot(0), shot(1).refused("static"), shot(2, split="held_out"), shot(3, caption="")]
    found = source(tmp_path, *clips)
    assert {clip.id for clip in found.footage(20, seeded()).clips} == {"bikes-0"}
    with pytest.raises(ValueError, match="has no clip with a caption; see `refvid data check`"):
        source(tmp_path / "none", *clips[1:])
    with pytest.raises(ValueError, match="subjects is 2; the clips of an index have 1"):
        found.footage(1, seeded(), subjects=2)


def test_short_captions_name_no_subject_and_the_texts_are_all_that_is_said(tmp_path):
    found = source(tmp_path, shot(0, short_caption="a lane"), shot(1, short_caption="", identity="Anna"))
    footage = found.footage(8, seeded())
    said = {clip.id: [short, long] for clip, short, long in
            zip(footage.clips, footage.captions(), footage.captions(named=True), strict=True)}  # fmt: skip
    own = "shot 1 of a street"
    assert said == {"bikes-0": ["a lane", "shot 0 of a street"], "bikes-1": [own, own]}
    assert {"a lane", "shot 0 of a street", own, "Anna", NAMELESS} <= set(found.longest)


def test_its_name_is_of_what_can_be_read(tmp_path):
    clip = shot(0)
    name = source(tmp_path / "0", clip).name
    assert source(tmp_path / "1", replace(clip, motion=3.0, shard="a", row=1)).name == name
    for number, known in enumerate(
        ({"contents": "x"}, {"stop": 29}, {"caption": "other"}, {"crop": (0, 0, 2, 2)}, {"identity": "A"}), 2
    ):
        assert source(tmp_path / str(number), replace(clip, **known)).name != name


def test_clips_are_as_long_as_is_asked_for(tmp_path):
    found = source(
        tmp_path, *(shot(one) for one in range(5))
    )  # 19, 29, 39, 32 and 35 pictures at 16 a second
    for length in (33, 35):
        assert {clip.id for clip in found.footage(30, seeded(), length=length).clips} == {
            "bikes-2",
            "bikes-4",
        }
    with pytest.raises(ValueError, match="index: no clip has 97 pictures at 16 a second, the longest has 39"):
        found.footage(1, seeded(), length=97)
    with pytest.raises(ValueError, match="length is 98; scenes of the demo world have 97"):
        WORLD.footage(1, seeded(), length=98)
