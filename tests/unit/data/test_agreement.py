"""Tests of agreement: whom features pair, and what keeps them from it, on hand-made directions."""

import random
import resource
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refvid.data.agreement import (
    LENGTH,
    UNIT,
    Pair,
    Shots,
    agreeing,
    different_pairs,
    joined,
    quantised,
    threshold,
)
from refvid.data.index import Clip
from refvid.data.vision.hashing import NEAR, distance


def hash_of(number: int) -> str:
    """Hashes that differ in about half of their bits from those of other numbers."""
    return np.random.default_rng(number).bytes(24).hex()


def shot(number: int, film: str = "", name: str = "", start: int = 0) -> Clip:
    return Clip(
        id=f"shot-{number:05}", path=f"/films/{film or number}", identity=name, start=start, stop=start + 25,
        hash=hash_of(number),
    )  # fmt: skip


def at(degrees: float) -> np.ndarray:
    """A direction of the plane."""
    turn = np.deg2rad(degrees)
    return quantised(np.array([[np.cos(turn), np.sin(turn)]]))


def pairs_of(clips, angles, percentile: float = 50, **how) -> set[tuple[str, str]]:
    shots = Shots(clips, [at(one) for one in angles])
    found = agreeing(shots, percentile, 1, **how)
    return {(shots.clips[one.first].id, shots.clips[one.second].id) for one in found}


def numbers(pairs: set[tuple[str, str]]) -> set[tuple[int, int]]:
    return {(int(one[5:]), int(two[5:])) for one, two in pairs}


def test_a_feature_is_the_mean_direction_whatever_the_lengths_in_whole_numbers():
    features = np.array([[3.0, 0.0], [0.0, 0.5]])
    assert quantised(features).tolist() == [2828, 2828]  # 4000 / sqrt(2)
    assert quantised(features).dtype == np.int16


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 3)), np.array([[1.0], [-1.0]]), np.ones(3), np.full((1, 2), np.nan)]
)
def test_features_without_a_direction_are_refused(wrong):
    with pytest.raises(ValueError, match="needed"):
        quantised(wrong)


def test_products_of_the_longest_features_are_exact_in_float32():
    most = np.full((1, 32_768), 1.0)
    most[0, ::2] = 1.02
    number = quantised(most).astype(np.int64)
    assert (number**2).sum() < 2**24
    assert LENGTH**2 / UNIT == 16  # a power of two: the scale to millionths is exact


def test_mutual_nearest_shots_of_a_film_agree_and_the_third_does_not():
    clips = [
        shot(0, "a", start=0),
        shot(1, "a", start=25),
        shot(2, "a", start=50),
        shot(3, "b"),
        shot(4, "c"),
    ]
    # 0 and 1 are nearest to one another; 2's nearest is 1, which has a nearer one.
    assert numbers(pairs_of(clips, [0, 4, 10, 90, 180], across=False)) == {(0, 1)}


def test_mutual_nearest_shots_of_two_films_agree_unless_only_films_are_asked():
    clips = [shot(0, "a"), shot(1, "b"), shot(2, "c"), shot(3, "d")]
    assert numbers(pairs_of(clips, [0, 3, 90, 180])) == {(0, 1)}
    assert pairs_of(clips, [0, 3, 90, 180], across=False) == set()


def test_the_nearest_of_each_kind_is_found_apart():
    clips = [shot(0, "a", start=0), shot(1, "a", start=25), shot(2, "b"), shot(3, "c")]
    # In its film 1's nearest is 0, across films 2.
    assert numbers(pairs_of(clips, [0, 10, 12, 180])) == {(0, 1), (1, 2)}


def test_a_pair_below_the_percentile_of_different_sources_does_not_agree():
    clips = [shot(0, "a", start=0), shot(1, "a", start=25), *(shot(2 + one) for one in range(5))]
    angles = [0, 30, 90, 100, 108, 114, 118]
    assert (0, 1) in numbers(pairs_of(clips, angles, 50))
    assert (0, 1) not in numbers(pairs_of(clips, angles, 95))  # others of different films are nearer


def test_near_duplicates_do_not_agree_and_do_not_hide_who_does():
    clips = [shot(0, "a"), shot(1, "b"), shot(2, "c"), shot(3, "d")]
    bits = int(clips[0].hash, 16)
    flipped = sum(1 << (64 * part + 7 * bit) for part in range(3) for bit in range(NEAR))
    copy = replace(clips[1], hash=f"{bits ^ flipped:048x}")
    assert distance(clips[0].hash, copy.hash) == NEAR
    assert numbers(pairs_of([clips[0], copy, *clips[2:]], [0, 0, 5, 180])) == {(0, 2)}
    far = replace(copy, hash=f"{bits ^ flipped ^ 1 << 63:048x}")  # one bit more, in one of the three
    assert distance(clips[0].hash, far.hash) == NEAR + 1
    assert numbers(pairs_of([clips[0], far, *clips[2:]], [0, 0, 5, 180])) == {(0, 1)}


def test_shots_that_share_frames_do_not_agree():
    clips = [shot(0, "a", start=0), shot(1, "a", start=24), shot(2, "b"), shot(3, "c")]
    assert (0, 1) not in numbers(pairs_of(clips, [0, 1, 90, 180]))


def test_two_names_never_agree_and_one_name_may():
    clips = [shot(0, "a", "anna"), shot(1, "b", "bert"), shot(2, "c", "anna"), shot(3, "d")]
    assert numbers(pairs_of(clips, [0, 1, 5, 180])) == {(0, 2)}


def test_a_component_keeps_one_name_and_the_weaker_pair_goes():
    pairs = [Pair(0, 1, 900_000), Pair(1, 2, 950_000)]
    assert joined(["anna", "", "bert"], pairs) == ([0, 1, 1], [pairs[1]])
    assert joined(["anna", "", ""], pairs) == ([0, 0, 0], pairs[::-1])


def test_the_percentile_is_a_rank_among_different_sources_alone():
    clips = [shot(0, "a", start=0), shot(1, "a", start=25), shot(2, "b", "anna"), shot(3, "c", "anna")]
    shots = Shots(clips, [at(one) for one in (0, 0, 60, -60)])
    # Different sources: 0 and 1 with 2 and 3, four pairs of 60 degrees. One film has 0 degrees, one name 120.
    assert different_pairs(clips) == 4
    assert threshold(shots, 1, 4) == threshold(shots, 99, 4) == pytest.approx(UNIT / 2, abs=200)
    assert threshold(shots, 99, 5) is None
    assert agreeing(shots, 99, 5) == []


def test_the_percentile_takes_the_smallest_value_that_so_many_do_not_exceed():
    clips = [shot(one) for one in range(15)]  # 105 pairs
    vectors = np.random.default_rng(1).standard_normal((15, 1, 6))
    shots = Shots(clips, [quantised(one) for one in vectors])
    products = shots.features.astype(np.int64) @ shots.features.astype(np.int64).T
    values = np.sort(np.rint(products / 16)[np.triu_indices(15, 1)])
    for percentile, rank in ((99, 104), (50, 53), (100, 105), (0.5, 1)):
        assert threshold(shots, percentile, 50) == values[rank - 1]


SOURCES = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["", "", "anna", "bert"]), st.integers(0, 359)),
    min_size=2, max_size=12,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(SOURCES, st.integers(0, 2**32))
def test_pairs_are_as_the_rules_say_in_any_order(sources, seed):
    clips = [shot(n, f"{film}", name, start=30 * n) for n, (film, name, _) in enumerate(sources)]
    angles = [angle for _, _, angle in sources]
    found = pairs_of(clips, angles, 60)
    order = list(range(len(clips)))
    random.Random(seed).shuffle(order)
    assert pairs_of([clips[one] for one in order], [angles[one] for one in order], 60) == found
    assert different_pairs(clips) == sum(_differ(*two) for two in _twos(clips))
    for film in (True, False):
        partners = [one for pair in found for one in pair if _one_film(clips, pair) == film]
        assert len(partners) == len(set(partners))  # one partner of each kind
    for one, two in found:
        first, second = clips[int(one[5:])], clips[int(two[5:])]
        assert not (first.identity and second.identity and first.identity != second.identity)


def _twos(clips):
    return [(one, two) for n, one in enumerate(clips) for two in clips[:n]]


def _differ(one: Clip, two: Clip) -> bool:
    if one.identity and one.identity == two.identity:
        return False
    return one.path != two.path or bool(one.identity and two.identity)


def _one_film(clips, pair) -> bool:
    return clips[int(pair[0][5:])].path == clips[int(pair[1][5:])].path


@pytest.mark.parametrize("block", [1, 3, 256])
def test_of_shots_that_are_equally_near_the_first_is_the_partner(monkeypatch, block):
    monkeypatch.setattr("refvid.data.agreement._BLOCK", block)
    assert numbers(pairs_of([shot(one) for one in range(5)], [7] * 5)) == {(0, 1)}


def test_blocks_of_other_sizes_give_the_same_pairs(monkeypatch):
    clips = [shot(one, f"{one // 3}", start=25 * (one % 3)) for one in range(90)]
    vectors = np.random.default_rng(2).standard_normal((90, 1, 8))
    shots = Shots(clips, [quantised(one) for one in vectors])
    whole = agreeing(shots, 90, 50)
    monkeypatch.setattr("refvid.data.agreement._BLOCK", 7)
    assert whole and agreeing(shots, 90, 50) == whole


def test_ten_thousand_shots_take_seconds_and_little_memory():
    rng = np.random.default_rng(0)
    clips = [shot(one, f"{one // 3}", start=25 * (one % 3)) for one in range(10_000)]
    features = [quantised(one[None]) for one in rng.standard_normal((10_000, 64))]
    shots = Shots(clips, features)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    pairs = agreeing(shots, 99, 50)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / (
        2**20 if sys.platform == "darwin" else 1024
    )
    assert time.process_time() - start < 20 and grown < 500
    inside = [one for one in pairs if shots.films[one.first] == shots.films[one.second]]
    assert 50 < len(inside) < 200  # of 10,000 pairs within films one in a hundred passes by chance
