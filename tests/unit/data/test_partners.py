"""Tests of partners: whom a clip is paired with, from which windows, and how often within its shot."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from refvid.data.index import A_FILM, A_STILL, Clip
from refvid.data.partners import ACROSS_FILMS, WITHIN_FILM, WITHIN_SHOT, Partners


def clip(number: int, film: str = "", name: str = "", frames: int = 100, **more) -> Clip:
    bits = np.random.default_rng(number).bytes(24).hex()
    known = {"fps": 10.0, "kind": A_FILM, "hash": bits, "identity": name, "frames": frames}
    return Clip(**{"id": f"clip-{number}", "path": f"/films/{film or number}", **known, **more})


def ids(found):
    return {kind: [one.id for one in clips] for kind, clips in found.items() if clips}


def test_partners_are_told_by_kind_and_a_clip_is_its_own_where_it_is_long_enough():
    clips = [
        clip(0, "a", "anna"), clip(1, "a", "anna", frames=50), clip(2, "b", "anna"), clip(3, "c", "bert"),
        clip(4, "d"), clip(5, "e", pair_of=("clip-4",)),
    ]  # fmt: skip
    partners = Partners(clips, (3, 2))
    assert ids(partners.by_kind(clips[0])) == {
        WITHIN_SHOT: ["clip-0"],
        WITHIN_FILM: ["clip-1"],
        ACROSS_FILMS: ["clip-2"],
    }
    assert ids(partners.by_kind(clips[1])) == {
        WITHIN_FILM: ["clip-0"],
        ACROSS_FILMS: ["clip-2"],
    }  # 5 s; needed 3 + 1 + 2
    assert ids(partners.by_kind(clips[3])) == {WITHIN_SHOT: ["clip-3"]}
    assert ids(partners.by_kind(clips[4])) == {WITHIN_SHOT: ["clip-4"], ACROSS_FILMS: ["clip-5"]}
    assert ids(partners.by_kind(clips[5])) == {WITHIN_SHOT: ["clip-5"], ACROSS_FILMS: ["clip-4"]}


def test_other_splits_refused_clips_edits_and_near_duplicates_are_no_partners():
    clips = [clip(one, name="anna") for one in range(6)]
    clips[1] = replace(clips[1], split="held_out")
    clips[2] = clips[2].refused("too dark")
    clips[3] = replace(clips[3], source="clip-0")
    clips[4] = replace(clips[4], hash=clips[0].hash)
    clips[0] = replace(clips[0], pair_of=("clip-1", "clip-2", "clip-3", "clip-4"))
    assert ids(Partners(clips, (1, 1)).by_kind(clips[0])) == {
        WITHIN_SHOT: ["clip-0"],
        ACROSS_FILMS: ["clip-5"],
    }


def test_a_still_and_a_lonely_short_clip_have_none():
    clips = [clip(0, frames=1, fps=0.0, kind=A_STILL), clip(1, frames=29)]
    partners = Partners(clips, (1, 1))
    assert partners.draw(clips[0], torch.Generator()) is None
    assert partners.draw(clips[1], torch.Generator()) is None


def test_a_still_is_paired_by_its_name():
    clips = [clip(0, name="anna", frames=1, fps=0.0, kind=A_STILL), clip(1, name="anna")]
    drawn = Partners(clips, (1, 1)).draw(clips[0], torch.Generator())
    assert drawn and drawn.clip is clips[1] and drawn.windows[0] == (0, 1)


def test_windows_of_one_shot_are_a_second_apart_and_reach_every_place():
    one = clip(0, frames=40)  # 10 + 10 + 15 pictures: five are free
    partners, generator = Partners([one], (1, 1.5)), torch.Generator().manual_seed(0)
    places = Counter()
    for _ in range(2000):
        drawn = partners.draw(one, generator)
        assert drawn and drawn.clip is one and drawn.kind == WITHIN_SHOT
        (low, high), (start, stop) = drawn.windows
        assert high - low == 10 and stop - start == 15 and 0 <= min(low, start) and max(high, stop) <= 40
        assert start - high >= 10 or low - stop >= 10
        places[low, start] += 1
    assert len(places) == 2 * 21  # in each order, two places in ascending order of six


def test_the_share_of_one_shot_is_held_over_the_set():
    clips = [*(clip(one, name="anna") for one in range(8)), clip(8), clip(9)]
    partners = Partners(clips, (1, 1))
    assert partners.share == pytest.approx(0.3)
    assert partners.chance == pytest.approx((0.3 * 10 - 2) / 8)
    generator = torch.Generator().manual_seed(0)
    kinds = Counter(partners.draw(one, generator).kind for _ in range(400) for one in clips)
    assert kinds[WITHIN_SHOT] / sum(kinds.values()) == pytest.approx(0.3, abs=0.02)


def test_a_share_that_cannot_be_held_is_told():
    clips = [clip(0, name="anna"), clip(1, name="anna"), *(clip(2 + one, repeats=2) for one in range(2))]
    partners = Partners(clips, (1, 1))
    assert (partners.chance, partners.share) == (0, 4 / 6)


def test_every_other_partner_is_drawn_alike():
    clips = [clip(one, name="anna") for one in range(4)]
    partners, generator = Partners(clips, (1, 1), most=0), torch.Generator().manual_seed(0)
    drawn = Counter(partners.draw(clips[0], generator).clip.id for _ in range(3000))
    assert set(drawn) == {"clip-1", "clip-2", "clip-3"}
    assert max(drawn.values()) - min(drawn.values()) < 150


def test_what_is_drawn_depends_on_the_generator_alone():
    clips = [clip(one, name="anna") for one in range(9)]
    first, second = Partners(clips, (1, 1)), Partners(clips[::-1], (1, 1))
    for seed in range(30):
        left, right = (torch.Generator().manual_seed(seed) for _ in range(2))
        assert first.draw(clips[0], left) == second.draw(clips[0], right)


@pytest.mark.parametrize(
    "wrong", [{"seconds": (0, 1)}, {"apart": 0.0}, {"most": 1.1}, {"seconds": (1, float("inf"))}]
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="needed lengths above 0, and a share"):
        Partners([], **{"seconds": (1, 1), **wrong})
