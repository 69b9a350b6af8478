"""A folder of prepared clips: stages in turn, results that are kept, options that are remembered, processes
that share the work."""

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from refvid_patience import END
from refvid_stages import Length, LengthOptions, Split, Weighed

from refvid.core.ranks import Ranks
from refvid.data import collection as rooms
from refvid.data import readers, stages
from refvid.data.collection import Collection
from refvid.data.index import Clip, found_clip
from refvid.data.readers import Reading
from refvid.data.stage import Done
from refvid.data.weights import Weights

NONE = Weights({})


@pytest.fixture(autouse=True)
def small_house(monkeypatch):
    """Stages and a layout of the test's own."""
    Length.looked.clear()
    for room in (stages, rooms):
        monkeypatch.setattr(room, "STAGES", (Split(), Length(), Weighed()))
    monkeypatch.setattr(readers, "READERS", {"words": read_words})


def read_words(path: Path) -> Reading:
    """A clip a line of a file."""
    lines = path.read_text("utf-8").splitlines()
    clips = [found_clip(path.with_name(f"{n:02}.mp4"), caption=one) for n, one in enumerate(lines)]
    return Reading(clips, {"length": {"unit": "words"}}, [f"{path.name}: nothing"])


def made(folder: Path, *lines: str, out: str = "data") -> Collection:
    folder.mkdir(exist_ok=True)
    (folder / "words.txt").write_text("\n".join(lines), "utf-8")
    collection = Collection(folder / out, "--out")
    collection.read([("words", folder / "words.txt")])
    return collection


def told(collection: Collection) -> list[tuple[str, str, str]]:
    return [(clip.caption, clip.reason, clip.detail) for clip in collection.clips()]


def test_a_stage_looks_at_each_clip_once_and_concludes_from_all(tmp_path):
    collection = made(tmp_path, "aa", "", "bbbb", "why?")
    done = collection.run("length", {}, NONE)
    assert (done.made, done.kept) == (3, 0)
    assert told(collection) == [
        ("aa", "too short", "of 4"), ("", "", ""), ("bbbb", "", ""), ("why?", "a question", "why?"),
    ]  # fmt: skip
    done = collection.run("length", {}, NONE)
    assert (done.made, done.kept) == (0, 3) and len(Length.looked) == 3


def test_an_option_that_only_concludes_changes_the_index_and_looks_at_nothing_again(tmp_path):
    collection = made(tmp_path, "aa", "bbbb")
    collection.run("length", {}, NONE)
    assert collection.run("length", {"least": 5}, NONE).made == 0
    assert [one[1] for one in told(collection)] == ["too short", "too short"]
    assert collection.options("length") == LengthOptions(5, "words")
    assert collection.run("length", {}, NONE).made == 0  # the option is remembered
    assert [one[1] for one in told(collection)] == ["too short", "too short"]
    for _ in range(2):  # and so it is where another is given
        collection.run("length", {"unit": "words"}, NONE)
        assert collection.options("length") == LengthOptions(5, "words")


def test_an_option_that_is_looked_by_makes_all_anew_and_the_old_results_are_there_still(tmp_path):
    collection = made(tmp_path, "aa", "bbbb")
    assert collection.run("length", {}, NONE).made == 2
    assert collection.run("length", {"unit": "letters"}, NONE).made == 2
    assert collection.run("length", {"unit": "words"}, NONE).made == 0


def test_another_version_of_a_stage_makes_all_anew(tmp_path, monkeypatch):
    collection = made(tmp_path, "aa", "bbbb")
    collection.run("length", {}, NONE)
    monkeypatch.setattr(Length, "version", 2)
    assert collection.run("length", {}, NONE).made == 2


def test_what_a_list_says_now_counts_under_what_was_given_alone(tmp_path, monkeypatch):
    collection = made(tmp_path, "aa", "bbbb")
    collection.run("length", {"least": 1}, NONE)
    monkeypatch.setattr(readers, "READERS", {"words": lambda path: replace(
        read_words(path), settings={"length": {"unit": "lines", "least": 2}})})  # fmt: skip
    collection = made(tmp_path, "aa", "bbbb")
    assert collection.run("length", {}, NONE).made == 2
    assert collection.options("length") == LengthOptions(1, "lines")
    assert len(collection.record["roots"]) == 1
    monkeypatch.setattr(readers, "READERS", {"words": lambda path: replace(read_words(path), settings={})})
    assert made(tmp_path, "aa").options_now("length") == LengthOptions(1, "letters")


def test_results_whose_files_are_gone_are_made_again(tmp_path, monkeypatch, caplog):
    collection = made(tmp_path, "aa", "bbbb")
    collection.run("length", {}, NONE)
    monkeypatch.setattr(
        Length, "standing", lambda self, results, context: {
            key: one for key, one in results.items() if one["length"] == 2
        },
    )  # fmt: skip
    collection.write()
    assert "length: clips have changed since it was run; run it again" in caplog.text
    assert collection.run("length", {}, NONE).made == 1


def test_a_folder_without_its_found_rows_is_to_be_scanned_again(tmp_path):
    collection = made(tmp_path, "aa")
    (collection.folder / "work/found.jsonl").unlink()
    with pytest.raises(ValueError, match=r"found.jsonl is gone; run `refvid data scan --out .*data` again"):
        collection.run("length", {}, NONE)


def test_what_a_kill_left_of_its_files_is_cleared(tmp_path):
    collection = made(tmp_path, "aa")
    left = [collection.folder / f"{room}.index.jsonl-01234567.partial" for room in ("", "work/")]
    for one in left:
        one.write_text("half")
    collection.run("length", {}, NONE)
    assert not any(one.exists() for one in left)


def test_a_new_clip_is_looked_at_alone_and_one_that_is_gone_leaves_the_index(tmp_path):
    collection = made(tmp_path, "aa", "bbbb")
    collection.run("length", {}, NONE)
    collection = made(tmp_path, "aa", "cccc", "dddd")
    assert collection.run("length", {}, NONE).made == 2
    collection = made(tmp_path, "aa")
    collection.run("length", {}, NONE)
    assert [one[0] for one in told(collection)] == ["aa"]


def test_a_stage_before_another_changes_what_the_later_one_is_told(tmp_path, caplog):
    collection = made(tmp_path, "aa bbbb")
    collection.run("length", {}, NONE)
    assert [one[0] for one in told(collection)] == ["aa bbbb"]
    collection.run("split", {}, NONE)
    assert told(collection) == [("aa", "", ""), ("bbbb", "", "")]  # as the later stage has not seen them
    assert "length: clips have changed since it was run; run it again" in caplog.text
    collection.run("length", {}, NONE)
    assert told(collection) == [("aa", "too short", "of 4"), ("bbbb", "", "")]


def test_a_row_that_a_reader_refused_is_looked_at_by_no_stage(tmp_path, monkeypatch):
    clips = [found_clip("/a.mp4", caption="aaaa"), found_clip("/b.mp4", caption="bbbb").refused("broken")]
    monkeypatch.setattr(readers, "READERS", {"words": lambda _: Reading(clips)})
    assert made(tmp_path).run("length", {}, NONE).made == 1


def test_a_refused_row_is_looked_at_by_no_later_stage_and_keeps_its_reason(tmp_path):
    collection = made(tmp_path, "why? no")
    collection.run("split", {}, NONE)
    collection.run("length", {}, NONE)
    assert told(collection) == [("why?", "a question", "why?"), ("no", "too short", "of 2")]
    clip = Clip("a", "/a").refused("first", "one")
    assert clip.refused("second") == clip


def test_roots_are_remembered_and_read_together(tmp_path):
    collection = made(tmp_path, "aa", "bbbb")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/words.txt").write_text("cc", "utf-8")
    reading = collection.read([("words", tmp_path / "more/words.txt")])
    assert len(reading.clips) == 3 and reading.ignored == ["words.txt: nothing"]
    assert len(Collection.opened(tmp_path / "data").read([]).clips) == 3
    with pytest.raises(ValueError, match=r"--out: .*empty was made of no folder; give one to scan"):
        Collection(tmp_path / "empty", "--out").read([])


def test_a_folder_that_is_not_ours_is_refused_and_stays_as_it_is(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "words.txt").write_text("aa")
    with pytest.raises(ValueError, match="holds files and no mark that they are prepared clips"):
        Collection(tmp_path, "--out").read([("words", tmp_path / "words.txt")])
    assert sorted(one.name for one in tmp_path.iterdir()) == ["mine.txt", "words.txt"]
    with pytest.raises(
        ValueError, match=r"--data: .* holds no prepared clips; make them by `refvid data scan"
    ):
        Collection.opened(tmp_path)


def test_wrong_options_and_missing_weights_are_refused_before_anything_is_looked_at(tmp_path):
    collection = made(tmp_path, "aa")
    with pytest.raises(ValueError, match="length: lest is not known; did you mean least"):
        collection.run("length", {"lest": 4}, NONE)
    with pytest.raises(ValueError, match="length: least is 'four'; needed a whole number"):
        collection.run("length", {"least": "four"}, NONE)
    with pytest.raises(
        ValueError, match="weighed: needs vae = Wan's VAE, one file; name it in the file of --m"
    ):
        collection.run("weighed", {}, NONE)
    with pytest.raises(ValueError, match=r"weighed: vae: there is no .*gone; give Wan's VAE"):
        collection.require(["length", "weighed"], {}, Weights({"vae": tmp_path / "gone"}))
    assert not Length.looked and collection.record["stages"] == {}
    with pytest.raises(ValueError, match="stage: lenght is not known; needed one of split, length"):
        collection.run("lenght", {}, NONE)


def test_other_weights_make_all_anew_and_the_same_under_another_name_do_not(tmp_path):
    collection = made(tmp_path, "aaaa")
    for name, held in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(held)
    looked = []
    for name in "abc":
        collection.remember({"vae": tmp_path / name})
        looked.append(collection.run("weighed", {}, collection.weights()).made)
    assert looked == [1, 0, 1]


def test_a_digest_is_of_every_file_in_a_folder_and_remembered_until_one_changes(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a").write_text("1")
    (folder / "in").mkdir()
    (inner := folder / "in/b").write_text("2")
    weights = Weights({"clip": folder}, tmp_path / "digests.json")
    digests, times = [weights.digest("clip", "cut")], (inner.stat().st_atime_ns, inner.stat().st_mtime_ns)
    for text, later in (("3!", 0), ("4!", 10**9)):  # another size at its time, another time of its size
        inner.write_text(text)
        os.utime(inner, ns=(times[0], times[1] + later))
        digests.append(weights.digest("clip", "cut"))
    *_, second = digests
    assert len(set(digests)) == 3
    monkeypatch.setattr("refvid.data.weights.file_digest", lambda path: 1 / 0)
    assert Weights({"clip": folder}, tmp_path / "digests.json").digest("clip", "cut") == second


def run_as(rank: int, folder: Path, gate) -> None:
    """A process of two. `wait` is a barrier, as torchrun's."""

    class Two(Ranks):
        def wait(self) -> None:
            gate.wait(END)

    Collection(folder / "data").run("length", {}, NONE, Two(rank, 2))


def test_two_processes_give_the_index_of_one_byte_for_byte_and_each_looks_at_half(tmp_path):
    lines = [("abc" * number)[: number % 7 + 1] for number in range(1, 30)]
    one, two = made(tmp_path, *lines, out="one"), made(tmp_path, *lines)
    one.run("length", {}, NONE)
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(2)
    processes = [context.Process(target=run_as, args=(rank, tmp_path, gate)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(END)
        assert process.exitcode == 0
    files = ("index.jsonl", "data.json", "work/length/settled.jsonl")
    assert all((two.folder / name).read_bytes() == (one.folder / name).read_bytes() for name in files)
    assert [one.name for one in (two.folder / "work/length").iterdir()] == ["settled.jsonl"]


def test_ranks_share_out_what_is_left_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(Ranks, "wait", lambda self: None)
    collection = made(tmp_path, *(letter * 4 for letter in "abcdefg"))
    assert collection.run("length", {}, NONE, Ranks(1, 3)) == Done(7, 0)
    assert len(Length.looked) == 2  # of seven: the second and the fifth
    collection.run("length", {}, NONE, Ranks(0, 2))
    assert len(Length.looked) == 2 + 3  # of the five that are left: the first, third and fifth
    assert not (collection.folder / "index.jsonl").exists() or collection.clips()


def killed_at(folder: Path, number: int) -> None:
    """A process that is killed when it has looked at so many clips."""
    look = Length.look

    def stop(self, clip, context):
        if len(Length.looked) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return look(self, clip, context)

    Length.look = stop
    Collection(folder / "data").run("length", {}, NONE)


@pytest.mark.parametrize("number", [0, 1, 4])
def test_a_killed_stage_goes_on_where_it_was_and_makes_nothing_twice(tmp_path, number):
    lines = [letter * 4 for letter in "abcdef"]
    collection = made(tmp_path, *lines)
    process = multiprocessing.get_context("fork").Process(target=killed_at, args=(tmp_path, number))
    process.start()
    process.join(END)
    assert process.exitcode == -signal.SIGKILL
    assert collection.run("length", {}, NONE).made == 6 - number
    whole = made(tmp_path / "whole", *lines)
    whole.run("length", {}, NONE)
    assert [clip.reason for clip in collection.clips()] == [clip.reason for clip in whole.clips()]
