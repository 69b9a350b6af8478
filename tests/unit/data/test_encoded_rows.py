"""Rows of encoded clips: what they say after encoding, in which shard they lie, and how they are read back.
No model runs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from refvid.cli import main
from refvid.data import shards
from refvid.data.collection import Collection
from refvid.data.index import A_FILM, HELD_OUT, Clip, Refused, write_index
from refvid.data.prepared import Prepared
from refvid.data.shards import packed_places, write_row
from refvid.data.stage import REFUSAL, StageContext, concluded, keys_of
from refvid.data.stages.encode import ENCODED, ENCODING, Encode, EncodeOptions, windows_of
from refvid.data.weights import Weights

ENCODE, OPTIONS = Encode(), EncodeOptions(fps=10, frames=(5, 9), pixels=64 * 64, windows=1)


def film(name: str, **known) -> Clip:
    facts = {"kind": A_FILM, "stop": 60, "frames": 60, "fps": 10.0, "width": 64, "height": 64,
             "contents": name, "caption": name}  # fmt: skip
    return Clip(name, f"/{name}.mp4", **{**facts, **known})


def settled(folder: Path, clips: list[Clip], buckets: dict[str, list[int]]) -> tuple[dict, StageContext]:
    """Results of clips in these buckets, their rows packed."""
    context = StageContext(OPTIONS, Weights({}), folder)
    results = {}
    for name, key in keys_of(ENCODE, clips, context).items():
        results[key] = {"bucket": buckets[name], "windows": 1, "bytes": 1}
        write_row(folder / ENCODED, key, {"latent": torch.zeros(1)})
    ENCODE.settle(results, clips, context)
    return results, context


def test_clips_of_one_bucket_lie_together_in_the_order_of_the_index(tmp_path):
    clips = [film(name) for name in "abcd"]
    large, small = [64, 64, 9], [64, 64, 5]
    results, context = settled(tmp_path, clips, {"a": large, "b": small, "c": large, "d": small})
    after = concluded(ENCODE, clips, context, results)
    assert after is not None and [clip.row for clip in after] == [2, 0, 3, 1]


def test_a_split_that_a_list_gave_stays(tmp_path):
    clips = [film("a", split=HELD_OUT), film("b")]
    results, context = settled(tmp_path, clips, {"a": [64, 64, 5], "b": [64, 64, 5]})
    after = concluded(ENCODE, clips, context, results)
    assert after is not None and [clip.split for clip in after] == [HELD_OUT, "train"]


def test_a_refusal_stands_without_tensors_and_a_row_that_is_in_no_shard_names_none(tmp_path):
    clips = [film("a"), film("b")]
    context = StageContext(OPTIONS, Weights({}), tmp_path)
    keys = keys_of(ENCODE, clips, context)
    results = {keys["a"]: {REFUSAL: ["too dark", "12"]}, keys["b"]: {"bucket": [64, 64, 5], "windows": 1}}
    assert set(ENCODE.standing(results, context)) == {keys["a"]}
    write_row(tmp_path / ENCODED, keys["b"], {"latent": torch.zeros(1)})  # a kill before it was packed
    after = concluded(ENCODE, clips, context, results)
    assert after is not None and [clip.reason for clip in after] == ["too dark", ""]
    assert [clip.shard for clip in after] == ["", ""]


@pytest.mark.parametrize(
    ("what", "other"), [("fps", 12.0), ("kind", "picture"), ("width", 80), ("frames", 61)]
)
def test_a_clip_before_an_edit_is_like_the_one_after_it(tmp_path, monkeypatch, what, other):
    edit, before = film("edit", source="b"), film("b", **{what: other})
    monkeypatch.setattr("refvid.data.stages.encode.load_frozen_vae", lambda *_: None)
    (tmp_path / "vae").write_text("none")
    context = StageContext(OPTIONS, Weights({"vae": tmp_path / "vae"}), tmp_path, {}, {"b": before})
    with pytest.raises(
        Refused, match="before and after the edit differ: " + ("size" if what == "width" else what)
    ):
        ENCODE.look(edit, context)


def test_shots_of_one_film_have_windows_of_their_own():
    starts = [windows_of(film("a", start=at, stop=at + 60), OPTIONS)[1] for at in range(0, 600, 60)]
    assert len({tuple(one) for one in starts}) > 1


def test_an_index_is_read_back_whatever_letters_captions_hold_and_refused_rows_are_left_out(tmp_path):
    words = "one\u2028two\x85three\x0cfour"
    clips = [film("a", caption=words, shard="s", row=0), replace(film("b"), shard="s", row=1).refused("dark")]
    write_index(clips, tmp_path)
    assert [clip.caption for clip in Prepared(str(tmp_path)).clips] == [words]


def test_what_is_packed_elsewhere_is_named_by_its_index_last(tmp_path, monkeypatch):
    (folder := tmp_path / "clips").mkdir()
    collection = Collection(tmp_path / "data", "--out")
    collection.read([("folder", folder)])
    results, _ = settled(tmp_path / "data", [film("a")], {"a": [64, 64, 5]})
    ((name, row),) = packed_places(tmp_path / "data" / ENCODED).values()
    write_index([film("a", shard=f"{ENCODED}/{name}", row=row)], tmp_path / "data")
    told = []
    monkeypatch.setattr(shards, "copy_to", lambda folder, names, address: told.extend(names))
    main(["data", "pack", "--data", str(tmp_path / "data"), "--to", str(tmp_path / "moved")])
    assert told == [f"{ENCODED}/{name}", ENCODING, "index.jsonl"]
    assert results
