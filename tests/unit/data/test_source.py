"""Sources of clips: found by scheme, and the demo world as one of them."""

from dataclasses import replace

import pytest
import torch
from refvid_world import WORLD
from torch import Generator

from refvid.data import source
from refvid.data.source import open_source, register_source
from refvid.demo import captions, casting, edits, world
from refvid.demo import source as world_source
from refvid.demo.source import open_world


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """What other tests find registered is as it was."""
    monkeypatch.setattr(source, "_SCHEMES", {})


def seeded(seed: int = 3) -> Generator:
    return Generator().manual_seed(seed)


def test_a_source_is_opened_by_the_scheme_of_its_address_with_the_place_behind_it():
    register_source("folder", lambda place: place)  # type: ignore[arg-type,return-value]
    register_source("world", open_world)
    assert open_source("folder:C:/clips") == "C:/clips"
    assert open_source("world:").name == open_source("world:crowded").name == WORLD.name
    assert open_source("world:still").name != WORLD.name
    with pytest.raises(ValueError, match=r"--data: world:here is no level .* still, lively, crowded"):
        open_source("world:here")
    with pytest.raises(ValueError, match=r"--data: clips is at no source known here; .* folder:, world:$"):
        open_source("clips")


def test_no_source_is_known_where_none_is_registered():
    with pytest.raises(ValueError, match=r"--set: world: is at no source known here; .* begins with none"):
        open_source("world:", "--set")


@pytest.mark.parametrize("people", [1, 2])
def test_the_worlds_clips_are_those_of_its_own_functions(people):
    footage, draws = WORLD.footage(4, seeded(), people), seeded()
    cast = casting.sample_cast(4, draws, people == 2)
    said = captions.told_by_chance(4, draws)
    start = torch.tensor([0, 12, 24, 36])
    for found, wanted in (
        (footage.film(24, 3), world.render_cast(cast, 3, 24)),
        (footage.film(24, 3, 24), world.render_cast(cast, world.moments(3, 24), 24)),
        (footage.film(24, 2, 12, start), world.render_cast(cast, world.moments(2, 12, start), 24)),
    ):
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert (footage.subjects, footage.length) == (people, world.WORLD_LENGTH)
    assert footage.captions() == captions.captions(cast)
    assert footage.captions(named=True, stride=4) == captions.captions(cast, said, 4)
    assert footage.names(people - 1) == captions.names(*cast[people - 1], said)
    assert footage.instructions() == captions.instructions(cast)
    assert not footage.film(24, 3)[0].equal(WORLD.footage(4, seeded(4), people).film(24, 3)[0])
    with pytest.raises(ValueError, match="a scene has pictures 0 to"):
        footage.film(24, 2, 12, world.WORLD_LENGTH)


def test_the_same_identity_elsewhere_is_another_scene_of_it():
    footage = WORLD.footage(4, seeded(), 2)
    toys, scenes = casting.sample_cast(4, seeded(), duet=True)[1]
    wanted = world.render(toys, casting.other_scenes(scenes, seeded(5)), 2, 24)
    found = footage.elsewhere(1, 24, 2, seeded(5))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert toys.dynamics.any()
    one = world.render(casting.steady(toys), casting.other_scenes(scenes, seeded(5)), 1, 24)
    assert torch.equal(footage.elsewhere(1, 24, 1, seeded(5))[0], one[0])


def test_the_share_of_subjects_that_move_in_themselves_is_as_asked():
    for asked, least, most in ((0.0, 0, 0), (1.0, 200, 200), (None, 70, 130)):
        toys = WORLD.footage(200, seeded(), moving=asked).cast[0][0]
        assert least <= int(toys.dynamics.ne(0).sum()) <= most


def test_paired_edits_are_the_worlds_and_more_than_two_subjects_are_refused():
    for kind in WORLD.edit_kinds:
        found, wanted = WORLD.edits(kind, 2, seeded(), 3, 24), edits.sample_edits(kind, 2, seeded(), 3, 24)
        assert torch.equal(found.source, wanted.source) and torch.equal(found.target, wanted.target)
        assert torch.equal(found.region, wanted.region.float()) and found.instructions == wanted.instructions
    with pytest.raises(ValueError, match="subjects is 3; crowded clips have at most 2"):
        WORLD.footage(1, seeded(), 3)


def test_levels_have_toys_that_stand_still_or_stand_alone():
    still, lively = open_world("still"), open_world("lively")
    assert (still.most_subjects, lively.most_subjects, WORLD.most_subjects) == (1, 1, 2)
    with pytest.raises(ValueError, match="subjects is 2; lively clips have at most 1"):
        lively.footage(1, seeded(), 2)
    footage = [one.footage(200, seeded()) for one in (still, lively)]
    moving = [int(one.cast[0][0].dynamics.ne(0).sum()) for one in footage]
    assert moving[0] == 0 and 70 < moving[1] < 130
    sources = [one.edits("remove", 8, seeded(), 6, 24).source for one in (still, lively)]
    assert torch.equal(
        sources[0][:, :, 0], edits.sample_edits("remove", 8, seeded(), 6, 24, 0.0).source[:, :, 0]
    )
    assert not torch.equal(*sources)


@pytest.mark.parametrize(
    "changed", ["render_cast", "LONGEST", "vocabulary", "edits", "named", "elsewhere", "instructions", "said"]
)
def test_a_world_of_other_clips_or_words_has_another_name(monkeypatch, changed):
    paint = world.render_cast
    if changed == "render_cast":
        monkeypatch.setattr(world, changed, lambda *asked: (-paint(*asked)[0], paint(*asked)[1]))
    elif changed == "LONGEST":
        monkeypatch.setattr(captions, "LONGEST_CAPTION", "a longer one")
    elif changed == "said":
        monkeypatch.setattr(captions, "instructions", lambda cast: ["do it"] * len(cast[0][1]))
    elif changed == "edits":
        edit = edits.sample_edits
        monkeypatch.setattr(edits, "sample_edits", lambda kind, *asked: _turned(edit(kind, *asked)))
    elif changed == "named":
        say = captions.captions
        monkeypatch.setattr(
            captions, "captions", lambda cast, said=None, stride=None: [
                f"{one} {'' if said is None else 'again'}" for one in say(cast, said, stride)
            ],
        )  # fmt: skip
    elif changed == "elsewhere":
        monkeypatch.setattr(casting, "steady", lambda toys: toys)
        monkeypatch.setattr(casting, "other_scenes", lambda scenes, _: scenes)
    elif changed == "instructions":
        edit = edits.sample_edits
        monkeypatch.setattr(
            edits, "sample_edits", lambda kind, *asked: replace(edit(kind, *asked), instructions=["do it"])
        )
    else:
        monkeypatch.setattr(captions, changed, lambda: ["a"])
    assert world_source._name.__wrapped__("crowded") != WORLD.name
    monkeypatch.undo()
    assert world_source._name.__wrapped__("crowded") == WORLD.name


def _turned(made):
    return replace(made, target=-made.target)
