"""Results of bench/gpu_run.py: lines of results.csv, the table of tiles, docs/gpu.md."""

import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

sys.path.append(
    str(Path(__file__).resolve().parents[3] / "bench")
)  # its files find each other there, as scripts do

import rows
from gpu import features, keep, page, scenes, speed, training, tune
from gpu.correct import read_report
from gpu.sheet import Sheet, file_of

from refvid.kernels.tiles import ARCHITECTURES, Tiles, read_table

ROOT = Path(__file__).resolve().parents[3]
MACHINE = {
    "date": "2026-11-28", "device": "NVIDIA Test 1", "threads": 8, "torch": "2.11.0+cu130", "triton": "3.6.0",
    "python": "3.12.3", "driver": "580.1", "cuda": "13.0", "kernels": "abc",
}  # fmt: skip
CASE = "480p, 14B, 4 references, a strength each, forward"
LOOK = SimpleNamespace(dry=False, at=torch.device("cpu"))  # of a device: where its tensors lie


def timed(ratio: float) -> dict:
    made = {"ratio": ratio, "runs": 15, "low": ratio - 0.01, "high": ratio + 0.01}
    times = {"milliseconds": 60.0 * ratio, "other_milliseconds": 60.0}
    return {"ratio": made | times, "peak": [400.0, 410.0], "error": 0.002, "tokens": 34632}


def results(folder: Path, dry: bool = False, **changed) -> Path:
    """A folder as a run leaves it."""
    passed = ["tests.kernels.test_segment_attention::test_every_result", "tests.gpu.test_training::test_loss"]
    tuned = {
        "kernel": "forward", "size": 128, "architecture": 90, "used": [128, 64, 8, 3], "best": [128, 128, 8, 2],
        "gains": {"128 x 128 x 8 x 2": 1.07}, "dropped": {"64 x 128 x 4 x 2": "12 registers spilled"},
    }  # fmt: skip
    cases = {
        "correct": {"the pack alone": {"passed": passed, "failures": [], "skipped": ["x"]}},
        "speed": {
            f"{CASE}: one bias per key / ours": timed(1.31),
            f"{CASE}: FlexAttention / ours": timed(0.91),
            f"{CASE}: dense mask / ours": {"left_out": "OutOfMemoryError: tried to allocate"},
            "480p, 14B, 4 references, a region each, a step: groups / ours": timed(1.01),
        },
        "tiles": {"forward, head size 128": tuned},
        "training": {"480p, 1.3B, LoRA 16: one bias per key / ours": timed(2.5)},
    } | changed
    for part, found in cases.items():
        Sheet(part, MACHINE, dry, found, None, []).write(folder)
    return folder


@pytest.fixture
def tree(tmp_path) -> Path:
    """Files that keeping changes, copied."""
    for name in (keep.TILES, "kernels/tiles.py", keep.RESULTS):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "tree" / name)
    return tmp_path / "tree"


@pytest.fixture(autouse=True)
def no_plots(monkeypatch) -> None:
    """They take a second; the dry run draws them."""
    monkeypatch.setattr(keep, "draw", lambda kept, root: 0)


def files(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# ---- lines


def test_a_ratio_is_the_median_of_pairs_with_its_quartiles():
    ratio = rows.ratio_of([(0.002, 0.001), (0.006, 0.002), (0.004, 0.001), (0.010, 0.002), (0.006, 0.001)])
    assert ratio == rows.Ratio(4.0, 5, 3.0, 5.0, 6.0, 1.0)
    assert rows.ratio_of([(3.0, 2.0)]) == rows.Ratio(1.5, 1, None, None, 3000.0, 2000.0)


def test_lines_are_added_once_and_old_ones_keep_their_values(tmp_path):
    file = tmp_path / "results.csv"
    shutil.copy(rows.FILE, file)
    old = file.read_text()
    row = rows.row_of("gpu speed", "a, b: c / ours", rows.Ratio(1.25, 15, 1.2, 1.3, 12.5, 10.0), MACHINE)
    assert rows.add_rows([row], file) == 1 and rows.add_rows([row], file) == 0
    text = file.read_text()
    assert text.startswith(old)
    assert text.removeprefix(old) == (
        '2026-11-28,gpu speed,"a, b: c / ours",1.25,15,NVIDIA Test 1,8,2.11.0+cu130,3.12.3,1.20,1.30,12.5,10,3.6.0,580.1\n'
    )
    first = rows.read_rows(file)[0]
    assert (first["ratio"], first["device"], first["low"], first["driver"]) == ("4.28", "x86_64", "", "")


def test_a_file_of_other_columns_is_refused(tmp_path):
    file = tmp_path / "results.csv"
    file.write_text("date,bench\n2026-11-21,removal\n")
    with pytest.raises(ValueError, match=r"has the columns \['date', 'bench'\]; needed date, bench, case"):
        rows.add_rows([], file)


# ---- keeping


def test_what_is_kept_is_in_the_table_the_lines_and_the_page(tmp_path, tree):
    keep.keep(results(tmp_path / "out"), tree)
    table = read_table((tree / keep.TILES).read_text())
    assert table[90][128].forward == Tiles(128, 128, 8, 2)
    table[90][128] = ARCHITECTURES[90][128]
    assert table == ARCHITECTURES, "nothing else has changed"
    new = [row for row in rows.read_rows(tree / keep.RESULTS) if row["device"] == "NVIDIA Test 1"]
    assert [(row["bench"], row["ratio"]) for row in new] == [
        ("gpu speed", "1.31"), ("gpu speed", "0.91"), ("gpu speed", "1.01"), ("gpu training", "2.50"),
    ]  # fmt: skip
    said = (tree / page.PAGE).read_text()
    assert said == page.render(tree)
    assert "No GPU has run anything" not in said
    assert (
        f"| {CASE} | one bias per key | 1.31 | 1.30 to 1.32 | 78.60 | 60.00 | 400 | 410 | 2.0e-03 |" in said
    )
    assert "slower than the other in 1 of 3 cases:" in said and "FlexAttention / ours 0.91" in said
    assert "- left out: dense mask, 1 case: OutOfMemoryError: tried to allocate" in said
    assert "| 128 x 64 x 8 x 3 | 128 x 128 x 8 x 2 | 1.070 | 64 x 128 x 4 x 2: 12 registers spilled |" in said
    before = files(tree)
    keep.keep(tmp_path / "out", tree)
    assert files(tree) == before, "kept twice is kept once"


def test_a_dry_run_is_refused_by_name_and_changes_nothing(tmp_path, tree):
    before = files(tree)
    with pytest.raises(ValueError, match=r"correct\.json, speed\.json.*: of a dry run"):
        keep.keep(results(tmp_path / "out", dry=True), tree)
    assert files(tree) == before


def test_a_broken_or_empty_folder_is_refused_and_changes_nothing(tmp_path, tree):
    before, out = files(tree), results(tmp_path / "out")
    file_of(out, "tiles").write_text("{")
    with pytest.raises(ValueError, match=r"tiles\.json: no JSON"):
        keep.keep(out, tree)
    Sheet("tiles", {**MACHINE, "device": "another"}, False).write(out)
    with pytest.raises(ValueError, match="different devices"):
        keep.keep(out, tree)
    with pytest.raises(ValueError, match=r"holds none of correct\.json"):
        keep.keep(tmp_path / "nowhere", tree)
    assert files(tree) == before


def test_a_gpu_that_the_table_does_not_know_gets_an_entry_of_its_own(tmp_path, tree):
    found = {
        "kernel": "keys",
        "size": 64,
        "architecture": 103,
        "used": [64, 32, 8, 2],
        "best": [64, 64, 4, 2],
    }

    def tuned(**changed) -> str:
        cases = {"keys, head size 64": found | changed}
        return keep.tuned(tree, Sheet("tiles", MACHINE, False, cases, None, []))

    assert tuned(best=found["used"]) == (tree / keep.TILES).read_text(), "nothing was won"
    table = read_table(tuned())
    assert table[103][64].keys == Tiles(64, 64, 4, 2) and table[103][64].forward == table[86][64].forward
    assert table[103][128] == table[86][128]


def test_the_page_in_the_tree_is_what_its_results_say():
    none = "No GPU of ours has run any of it yet" in (ROOT / "README.md").read_text("utf-8")
    assert none == (not page.read_kept(ROOT)), "README.md says otherwise than bench/gpu/kept"
    assert (ROOT / page.PAGE).read_text("utf-8") == page.render(ROOT), (
        "python bench/gpu_run.py --keep makes it anew"
    )


# ---- what no GPU stands behind


def test_a_feature_is_covered_by_tests_that_passed_and_by_none_that_failed(tmp_path):
    feature = features.Feature("training", "correct", "test_training", "nothing")
    name = "tests.gpu.test_training::test_loss"

    def stands(**found) -> bool:
        sheet = Sheet("correct", MACHINE, False, {"alone": found}, None, [])
        return page.covered(feature, [page.Kept("x", {"correct": sheet})])

    assert stands(passed=[name], failures=[])
    assert not stands(passed=[name], failures=[name + "[fp16]"])
    assert not stands(passed=["tests.gpu.test_plain_host::test_loss"], failures=[])
    assert not stands(left_out="no ComfyUI found") and not page.covered(feature, [])


def test_every_feature_names_tests_or_cases_that_exist():
    tests = [
        f"{'.'.join(file.relative_to(ROOT).with_suffix('').parts)}::{name}"
        for file in [*ROOT.glob("tests/kernels/*.py"), *ROOT.glob("tests/gpu/*.py"), ROOT / "tests/comfy/test_gpu.py"]
        for name in re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)
    ]  # fmt: skip
    cases = {
        "correct": tests,
        "speed": [case.name for case in speed.speed(LOOK)],
        "tiles": [case.name for case in tune.tiles(LOOK)],
        "training": [case.name for case in training.training(LOOK)],
    }
    never = r"$^"
    for feature in features.FEATURES:
        found = [name for name in cases[feature.part] if re.search(feature.named, name)]
        assert bool(found) == (feature.named != never), feature.name


def test_the_first_cases_are_those_of_most_value_and_none_is_there_twice():
    names = [case.name for case in speed.speed(LOOK)]
    assert len(set(names)) == len(names)
    assert names[0] == f"{CASE}: one bias per key / ours"
    assert all("14B, 4 references" in name and "480p" in name for name in names[:16])
    last = next(k for k, name in enumerate(names) if "720p" in name)
    assert all("720p" in name for name in names[last:])
    for wanted in (
        "1 reference,",
        "8 references",
        "forward and backward",
        "a step: removal",
        "block-causal",
        "cuDNN",
    ):
        assert any(wanted in name for name in names), wanted


def test_a_report_of_pytest_is_read_by_outcome():
    text = """<testsuites><testsuite>
      <testcase classname="tests.gpu.test_a" name="test_one[2]"/>
      <testcase classname="tests.gpu.test_a" name="test_two"><failure message="x">y</failure></testcase>
      <testcase classname="tests.gpu.test_a" name="test_three"><skipped message="x"/></testcase>
      <testcase classname="" name="tests.gpu.test_b"><error message="collection">z</error></testcase>
    </testsuite></testsuites>"""
    assert read_report(text) == {
        "passed": ["tests.gpu.test_a::test_one[2]"],
        "failures": ["tests.gpu.test_a::test_two", "::tests.gpu.test_b"],
        "skipped": ["tests.gpu.test_a::test_three"],
    }


# ---- scenes and candidates


@pytest.mark.parametrize("kind", scenes.KINDS)
def test_groups_say_what_a_scenes_segments_say(kind):
    scene = scenes.KINDS[kind](LOOK, (3, 4, 8), 3)
    assert torch.equal(scenes.groups_of(scene.segments).dense(), scene.segments.dense()[0])
    if scene.kept is not None:
        seen = scene.segments.dense()[0].any(0)
        assert torch.equal(seen.nonzero()[:, 0], scene.kept) and not seen.all()
    assert scene.rows()[-1] == scene.video - 1 and len(scene.rows()) >= 40


def test_tiles_are_taken_from_a_gain_of_two_percent_over_all_shapes():
    used, one, other = Tiles(64, 64, 4, 1), Tiles(64, 64, 8, 1), Tiles(32, 64, 8, 1)
    assert tune.gain([1.0, 2.0], [2.0, 4.0]) == pytest.approx(2.0)
    assert tune.gain([1.0, 4.0], [2.0, 2.0]) == pytest.approx(1.0), "twice as fast and half as fast is even"
    assert tune.best({used: [1.0, 1.0], one: [0.95, 1.0], other: [0.9, 1.2]}, used) == one
    assert tune.best({used: [1.0, 1.0], one: [0.97, 1.0]}, used) == used
