"""Shards: what is packed, what survives a kill, what is read of them and where from."""

import json

import fsspec
import pytest
import torch
from safetensors.torch import load_file

from refvid.data import shards
from refvid.data.shards import Shard, copy_to, pack_rows, packed_places, read_text, row_file, write_row


def encoded(folder, *keys: str) -> dict[str, dict[str, torch.Tensor]]:
    """Rows of a few tensors, written as `encode` does."""
    made = {}
    for key in keys:
        draws = torch.Generator().manual_seed(sum(key.encode()))
        made[key] = {
            "latent": torch.randn(3, 16, 2, 4, 5, generator=draws).half(),
            "text": torch.randn(7, 8, generator=draws),
            "pool": torch.arange(4),
            "pool.0": torch.randint(0, 255, (31,), generator=draws, dtype=torch.uint8),
        }
        write_row(folder, key, made[key])
    return made


def test_what_is_packed_is_read_back_whole_and_by_entries(tmp_path):
    made = encoded(tmp_path, "a", "b", "c")
    pack_rows(tmp_path, ["b", "c", "a"])
    where = packed_places(tmp_path)
    assert {key: row for key, (_, row) in where.items()} == {"b": 0, "c": 1, "a": 2}
    for key, tensors in made.items():
        name, row = where[key]
        shard = Shard(str(tmp_path / name))
        assert sorted(shard.names(row)) == sorted(tensors)
        for what, value in tensors.items():
            read = shard.read(row, what)
            assert read.dtype == value.dtype and torch.equal(read, value)
        assert torch.equal(shard.read(row, "latent", 2), tensors["latent"][2])
    assert not row_file(tmp_path, "a").exists()


def test_one_clip_that_two_rows_show_is_packed_once_and_rows_past_nine_are_their_own(tmp_path):
    keys = [f"{number:02}" for number in range(12)]
    made = encoded(tmp_path, *keys)
    write_row(tmp_path, "11", {"other": torch.ones(1)})
    pack_rows(tmp_path, ["00", *keys])
    places = packed_places(tmp_path)
    assert [row for _, row in places.values()] == list(range(12))
    shard = Shard(str(tmp_path / places["00"][0]))
    assert sorted(shard.names(1)) == sorted(made["01"]) and shard.names(11) == ["other"]


def test_clips_that_come_later_are_packed_beside_those_that_stay_where_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MOST_ROWS", 2)
    encoded(tmp_path, "a", "b", "c")
    pack_rows(tmp_path, ["a", "b", "c"])
    before, files = (
        packed_places(tmp_path),
        {one: one.read_bytes() for one in tmp_path.rglob("*.safetensors")},
    )
    assert sorted(before.values()) == [
        ("shards/shard-000000.safetensors", 0), ("shards/shard-000000.safetensors", 1),
        ("shards/shard-000001.safetensors", 0),
    ]  # fmt: skip
    encoded(tmp_path, "0")
    pack_rows(tmp_path, ["0", "a", "b", "c"])
    assert packed_places(tmp_path) == {**before, "0": ("shards/shard-000002.safetensors", 0)}
    assert all(one.read_bytes() == held for one, held in files.items())


def test_a_shard_ends_before_it_has_too_many_bytes(tmp_path, monkeypatch):
    encoded(tmp_path, "a", "b", "c")
    monkeypatch.setattr(shards, "MOST_BYTES", 3 * row_file(tmp_path, "a").stat().st_size - 1)
    pack_rows(tmp_path, ["a", "b", "c"])
    assert [name[-18:] for name, _ in sorted(packed_places(tmp_path).values())] == [
        "000000.safetensors", "000000.safetensors", "000001.safetensors",
    ]  # fmt: skip


def test_a_kill_while_packing_loses_nothing_and_the_next_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MOST_ROWS", 1)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        encoded(folder, "a", "b")
    pack_rows(whole, ["a", "b"])
    write = shards.write_text

    def stop(path, text):
        if "000001" in str(path):
            raise KeyboardInterrupt  # the shard is written, its list is not
        write(path, text)

    monkeypatch.setattr(shards, "write_text", stop)
    with pytest.raises(KeyboardInterrupt):
        pack_rows(killed, ["a", "b"])
    assert packed_places(killed) == {"a": ("shards/shard-000000.safetensors", 0)}
    monkeypatch.setattr(shards, "write_text", write)
    pack_rows(killed, ["a", "b"])
    assert {one.name: load_file(one).keys() for one in killed.rglob("*.safetensors")} == {
        one.name: load_file(one).keys() for one in whole.rglob("*.safetensors")
    }
    assert packed_places(killed) == packed_places(whole) and not list((killed / "rows").iterdir())


def test_a_clip_of_a_deleted_shard_is_packed_again_and_the_other_shards_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MOST_ROWS", 1)
    made = encoded(tmp_path, "a", "b")
    pack_rows(tmp_path, ["a", "b"])
    (tmp_path / "shards/shard-000000.safetensors").unlink()
    assert packed_places(tmp_path) == {"b": ("shards/shard-000001.safetensors", 0)}
    encoded(tmp_path, "a")
    pack_rows(tmp_path, ["a", "b"])
    for key, (name, row) in packed_places(tmp_path).items():
        assert torch.equal(Shard(str(tmp_path / name)).read(row, "text"), made[key]["text"])
    assert packed_places(tmp_path)["b"] == ("shards/shard-000001.safetensors", 0)


@pytest.mark.parametrize("left", ["list", "shard"])
def test_half_of_a_shard_that_was_there_says_nothing_of_the_one_in_its_place(tmp_path, monkeypatch, left):
    made = encoded(tmp_path, "a", "b")
    pack_rows(tmp_path, ["a", "b"])
    (tmp_path / f"shards/shard-000000.{'safetensors' if left == 'list' else 'json'}").unlink()
    encoded(tmp_path, "a", "b")

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shards, "write_text" if left == "list" else "write_tensors", stop)
        with pytest.raises(KeyboardInterrupt):
            pack_rows(tmp_path, ["b", "a"])
    assert packed_places(tmp_path) == {}
    pack_rows(tmp_path, ["b", "a"])
    for key, (name, row) in packed_places(tmp_path).items():
        assert torch.equal(Shard(str(tmp_path / name)).read(row, "text"), made[key]["text"])


def test_what_a_kill_left_of_a_file_is_cleared(tmp_path):
    encoded(tmp_path, "a")
    left = [tmp_path / "rows/.b.safetensors-01234567.partial", tmp_path / "shards/.s-89abcdef.partial"]
    for one in left:
        one.parent.mkdir(exist_ok=True)
        one.write_text("half")
    pack_rows(tmp_path, ["a"])
    assert not any(one.exists() for one in left)


def test_only_the_bytes_of_what_is_asked_for_are_fetched_from_storage(tmp_path, monkeypatch):
    made = encoded(tmp_path, "a", "b")
    pack_rows(tmp_path, ["a", "b"])
    name, _ = packed_places(tmp_path)["a"]
    copy_to(tmp_path, [name], "memory://bucket/set")
    shard, fetched = Shard(f"memory://bucket/set/{name}"), []
    storage = fsspec.filesystem("memory")
    cat = type(storage).cat_file

    def note(self, path, start=None, end=None, **how):
        fetched.append((start, end))
        return cat(self, path, start, end, **how)

    monkeypatch.setattr(type(storage), "cat_file", note)
    assert torch.equal(shard.read(1, "latent", 1), made["b"]["latent"][1])
    header, first = fetched[:2], fetched[2]
    assert header[0] == (0, 8) and first[1] - first[0] == 16 * 2 * 4 * 5 * 2
    shard.read(0, "text")
    assert len(fetched) == 4  # the header is read once


def test_what_cannot_be_read_is_named(tmp_path):
    encoded(tmp_path, "a")
    pack_rows(tmp_path, ["a"])
    path = tmp_path / "shards/shard-000000.safetensors"
    with pytest.raises(ValueError, match="has no semantic of row 0"):
        Shard(str(path)).read(0, "semantic")
    for entry in (3, -1):
        with pytest.raises(ValueError, match=f"latent of row 0 has 3 entries; there is none {entry}"):
            Shard(str(path)).read(0, "latent", entry)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"shard: .*000000\.safetensors"):
        Shard(str(path)).read(0, "text")
    path.write_bytes((10).to_bytes(8, "little") + b" " * 9)  # its header's last byte is missing
    with pytest.raises(ValueError, match="is cut short: 17 bytes"):
        Shard(str(path)).read(0, "text")
    path.write_bytes(b"\xff" * 20)
    with pytest.raises(ValueError, match="is cut short: 20 bytes"):
        Shard(str(path)).read(0, "text")
    with pytest.raises(ValueError, match=r"gone\.safetensors cannot be read"):
        Shard(str(tmp_path / "gone.safetensors")).read(0, "text")
    with pytest.raises(ValueError, match="cannot be read"):
        read_text(str(tmp_path / "no.jsonl"))
    assert json.loads(read_text(str(tmp_path / "shards/shard-000000.json"))) == ["a"]
