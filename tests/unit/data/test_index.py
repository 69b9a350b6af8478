"""The index and the journal of results as files: what is written, read back, cut short and refused."""

import json
from fractions import Fraction

import pytest

from refvid.core.ranks import ALONE
from refvid.data.index import Clip, found_clip, read_index, write_index
from refvid.data.journal import Journal


def test_a_line_that_a_kill_has_cut_is_left_out_and_the_next_result_stands_alone(tmp_path):
    journal = Journal(tmp_path)
    journal.add(0, "a", {"one": 1})
    journal.add(1, "b", {"two": "ü"})
    with (tmp_path / "rank-0.jsonl").open("a") as file:
        file.write('["c",{"thr')
    with (tmp_path / "rank-1.jsonl").open("ab") as file:
        file.write('["e",{"ü'.encode()[:-1])  # in a letter
    assert journal.results() == {"a": {"one": 1}, "b": {"two": "ü"}}
    journal.add(0, "d", [4])
    assert (tmp_path / "rank-0.jsonl").read_text().splitlines()[1:] == ['["d",[4]]']
    journal.settle()
    assert journal.results() == {"a": {"one": 1}, "b": {"two": "ü"}, "d": [4]}
    assert [one.name for one in tmp_path.iterdir()] == ["settled.jsonl"]


def test_the_index_is_sorted_says_every_column_and_reads_back_the_same(tmp_path):
    clips = [
        Clip("b", "/z/b.mp4", caption="中文 🎬", crop=(0, 2, 4, 6), subject={"frames": [0]}),
        Clip("a", "/z/b.mp4", start=-1, pair_of=("b", "c"), bucket=(16, 16, 5)),
        Clip("c", "/a.mp4").refused("gone"),
    ]
    write_index(clips, tmp_path)
    assert read_index(tmp_path) == [clips[2], clips[1], clips[0]]
    lines = (tmp_path / "index.jsonl").read_text("utf-8").splitlines()
    assert "中文 🎬" in lines[2] and list(json.loads(lines[0])) == list(Clip.__dataclass_fields__)
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(tmp_path / "index.parquet").to_pylist()
    assert [row["id"] for row in table] == ["c", "a", "b"] and table[2]["crop"] == [0, 2, 4, 6]
    assert json.loads(table[2]["subject"]) == {"frames": [0]}


def test_parts_of_a_film_follow_one_another_whatever_their_ids_are(tmp_path):
    parts = [Clip(name, "/a.mp4", start=start) for name, start in (("b", 0), ("c", 9), ("a", 30))]
    write_index(reversed(parts), tmp_path)
    assert read_index(tmp_path) == parts


def test_what_was_looked_at_again_counts_and_settling_clears_what_a_kill_left(tmp_path):
    journal = Journal(tmp_path)
    journal.add(0, "a", {"one": 1})
    journal.settle()
    (left := tmp_path / ".settled.jsonl-01234567.partial").write_text("half")
    for rank in (0, 1):
        journal.add(rank, "a", {"one": 2})
        assert journal.results() == {"a": {"one": 2}}
        journal.settle()
        assert journal.results() == {"a": {"one": 2}} and not left.exists()


@pytest.mark.parametrize("text", ["{", "3", '["a"]', "\xff"])
def test_a_damaged_line_of_results_is_named(tmp_path, text):
    Journal(tmp_path).add(0, "a", {"one": 1})
    with (tmp_path / "rank-0.jsonl").open("a", encoding="latin-1") as file:
        file.write(f"{text}\n")
    with pytest.raises(ValueError, match=r"rank-0.jsonl, line 2 is damaged \(.*delete the line"):
        Journal(tmp_path).results()


def test_a_rate_is_an_exact_fraction_and_a_stills_is_0():
    film = Clip("a", "/a.mp4", frames=300, fps=29.97003)
    assert film.rate == Fraction(30000, 1001) and abs(film.seconds - 10.01) < 1e-6
    assert Clip("b", "/b.png", frames=1).rate == Clip("b", "/b.png", frames=1).seconds == 0


def test_ids_of_one_name_in_two_folders_differ():
    assert (
        found_clip("/a/x.mp4").id.startswith("x-") and found_clip("/a/x.mp4").id != found_clip("/b/x.mp4").id
    )


def test_a_line_that_is_no_row_is_named(tmp_path):
    path = tmp_path / "index.jsonl"
    for text, says in (
        ("{", "line 1 is no row"),
        ('{"id":"a","path":"b","colour":1}', "no column is called colour"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=says):
            read_index(tmp_path)
    with pytest.raises(ValueError, match="there is no index"):
        read_index(tmp_path / "none")


def test_alone_is_first_and_waits_for_nobody():
    assert ALONE.first and ALONE.owns(3)
    ALONE.wait()
