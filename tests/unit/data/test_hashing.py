"""Hashes of films and their copies: real films, a search pair by pair, ten thousand rows."""

import time
from itertools import combinations, pairwise

import cv2
import numpy as np
import refvid_footage as footage
from refvid_shots import frames_of

from refvid.data.pictures import spread
from refvid.data.vision import hashing
from refvid.data.vision.hashing import copies, distance, hash_of


def hash_of_film(pictures) -> str:
    return hash_of([pictures[one] for one in spread(len(pictures), 3)])


def hashed_pictures(path, cuts: list[int]) -> list[np.ndarray]:
    """Of each stretch of a file between two cuts, the three pictures that are hashed."""
    places = [start + one for start, stop in pairwise(cuts) for one in spread(stop - start, 3)]
    return np.split(frames_of(path, *places), len(cuts) - 1)


def test_the_two_carphone_files_are_one_film_and_no_other_shots_are(tmp_path):
    shots = hashed_pictures(footage.bikes(), [0, 30, 76, 137, 187, 242, 250])
    shots += hashed_pictures(footage.bigbuckbunny(), [0, 44, 88, 132])
    pristine, distorted = (frames_of(footage.carphone(one)) for one in ("pristine", "distorted"))
    hashes = [hash_of_film(one) for one in (pristine, distorted, pristine[:60], pristine[60:], *shots)]
    near = {
        pair for pair in combinations(range(len(hashes)), 2) if distance(*(hashes[one] for one in pair)) <= 6
    }
    assert near == {(0, 1)}
    assert distance(hashes[0], hashes[1]) <= 4
    assert min(distance(hashes[one], hashes[two]) for one, two in combinations(range(2, 13), 2)) >= 10


def test_a_hash_outlives_size_light_and_compression(tmp_path):
    shot = footage.shot(20)
    small = np.stack([cv2.resize(one, (80, 48), interpolation=cv2.INTER_AREA) for one in shot])
    path = footage.write(tmp_path / "a.mp4", (shot * 0.7 + 20).astype(np.uint8), options={"crf": "38"})
    for copy in (small, frames_of(path)):
        assert distance(hash_of_film(shot), hash_of_film(copy)) <= 6
    mirrored = shot[:, :, ::-1]
    assert distance(hash_of_film(shot), hash_of_film(mirrored)) > 12


def test_a_hash_of_fewer_pictures_repeats_the_last():
    one, two = footage.shot(28)[[0, 27]]
    assert hash_of([one, two]) == hash_of([one, two, two]) != hash_of([one])


def test_distance_is_the_most_of_three_pictures():
    assert distance("0" * 48, "0" * 48) == 0
    assert distance("0" * 48, "0" * 16 + "0" * 15 + "7" + "f" * 15 + "0") == 60


def near_hashes(count: int, draw: np.random.Generator) -> list[str]:
    """Hashes of which about half are copies of others, by few bits of each picture."""
    words = draw.integers(0, 2**63, (count, 3), dtype=np.uint64)
    for one in range(1, count, 2):
        words[one] = words[draw.integers(0, one)]
        for picture in range(3):
            for bit in draw.choice(64, draw.integers(0, 8), replace=False):
                words[one, picture] ^= np.uint64(1 << int(bit))
    return ["".join(f"{int(word):016x}" for word in row) for row in words]


def test_copies_are_those_of_a_search_pair_by_pair(monkeypatch):
    monkeypatch.setattr(hashing, "_BLOCK", 150)
    hashes = near_hashes(400, np.random.default_rng(2))  # more than two blocks
    films = [str(one % 120) for one in range(400)]
    numbers = [[int(text[at : at + 16], 16) for at in (0, 16, 32)] for text in hashes]
    kept, expected = [], {}
    for one, mine in enumerate(numbers):
        bits = [
            (max((a ^ b).bit_count() for a, b in zip(mine, numbers[other], strict=True)), other)
            for other in kept
            if films[other] != films[one]
        ]
        nearest = min(bits, default=(64, -1))
        if nearest[0] <= 6:
            expected[one] = nearest[1]
        else:
            kept.append(one)
    assert copies(hashes, films) == expected
    assert 90 < len(expected) < 200


def test_a_chain_of_small_changes_ends_and_parts_of_one_film_are_no_copies():
    chain = [f"{(1 << 4 * one) - 1:016x}" * 3 for one in range(4)]  # 4 bits further each
    assert copies(chain, list("abcd")) == {1: 0, 3: 2}
    assert copies(chain, ["a"] * 4) == {}
    assert copies([], []) == {}


def test_ten_thousand_rows_are_searched_in_seconds():
    begin = time.process_time()
    assert (
        len(copies(near_hashes(10_000, np.random.default_rng(0)), [str(one) for one in range(10_000)])) > 2500
    )
    assert copies(["0" * 48] * 10_000, [str(one) for one in range(10_000)]) == dict.fromkeys(
        range(1, 10_000), 0
    )
    assert time.process_time() - begin < 12
