"""Verdict of `make golden` on two records: what is equal, what moved by how much, what is allowed."""

import json
import math
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

sys.path.append(
    str(Path(__file__).resolve().parents[2] / "golden")
)  # its files find each other there, as scripts do

import refvid_golden_table as table
from refvid_client import node
from refvid_golden_compare import FAILED, Compared, Difference, Moved, compare, read_moved, read_record
from refvid_golden_fit import known, shorter
from refvid_golden_record import Enough, Record, latents, numbers

ROOT = Path(__file__).resolve().parents[3]
pytest.importorskip("tomllib")  # which reads moved.toml

VALUES = torch.tensor([4.0, -2.0, 0.0, 1.0])


@pytest.fixture
def records(tmp_path):
    """Compares {"x": old} with {"x": new}, or whole records."""

    def compared(old, new, failed_old=None, failed_new=None) -> Compared:
        pair = []
        for side, tensors, failed in (("old", old, failed_old), ("new", new, failed_new)):
            tensors = tensors if isinstance(tensors, dict) else {"x": tensors}
            pair.append(tmp_path / f"{side}.safetensors")
            save_file(tensors, pair[-1], {FAILED: json.dumps(failed or {})})
        return compare("part", *pair)

    return compared


def one_bit(tensor: torch.Tensor, index: int = 0) -> torch.Tensor:
    """Tensor with the last bit of one value turned."""
    bits = {torch.float32: torch.int32, torch.bfloat16: torch.int16}[tensor.dtype]
    turned = tensor.clone()
    turned.view(bits)[index] ^= 1
    return turned


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_bits_are_equal_and_one_bit_is_not(records, dtype):
    values = VALUES.to(dtype)
    same, turned = records(values, values.clone()), records(values, one_bit(values, 1))
    assert (same.both, same.equal, same.differences) == (1, 1, ())
    (found,) = turned.differences
    assert turned.equal == 0 and found.name == "part/x"
    assert found.share == pytest.approx(2 * torch.finfo(dtype).eps / 4)  # a step at 2, of the largest, 4


def test_zero_and_minus_zero_differ_by_nothing_but_their_bits(records):
    found = records(torch.zeros(2), -torch.zeros(2))
    assert found.equal == 0 and found.differences[0].share == 0


def test_what_is_not_a_number_equals_itself_and_nothing_else(records):
    holed = torch.tensor([math.nan, 1.0, math.inf])
    assert records(holed, holed.clone()).equal == 1
    assert records(holed, torch.tensor([0.0, 1.0, math.inf])).differences[0].share == math.inf
    assert records(holed, torch.tensor([math.nan, 1.0, -math.inf])).differences[0].share == math.inf
    off = records(holed, torch.tensor([math.nan, 1.5, math.inf]))
    assert off.differences[0].share == 0.5


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (VALUES.view(torch.int32), "is torch.int32, was torch.float32"),
        (VALUES[:3].clone(), "has shape (3,), had (4,)"),
        (VALUES.double(), "is torch.float64, was torch.float32"),
    ],
)
def test_another_shape_or_type_cannot_be_measured(records, other, says):
    (found,) = records(VALUES, other).differences
    assert (found.share, found.says) == (math.inf, says)


def test_pictures_are_measured_by_white(records):
    dark = torch.full((2, 2, 3), 10, dtype=torch.uint8)
    (found,) = records(dark, dark + 1).differences
    assert found.share == pytest.approx(1 / 255)


def test_what_is_missing_or_failed_is_named_with_its_side(records):
    found = records(
        {"a": VALUES, "b": VALUES + 1}, {"a": VALUES.clone(), "c": VALUES + 1}, {"d": "boom"}, {"d": "bang"}
    )
    assert (found.both, found.equal, found.missing) == (1, 1, 2)
    assert {(one.name, one.says, one.share) for one in found.differences} == {
        ("part/b", "only in the old", math.inf), ("part/c", "only in the new", math.inf),
        ("part/d", "failed in the old: boom", math.inf), ("part/d", "failed in the new: bang", math.inf),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "bound", "allows"),
    [
        ("part/x", 0.1, True), ("part/*", 0.1, True), ("*", math.inf, True),
        ("part/x", 0.09, False), ("part/y", 1.0, False), ("x", 1.0, False),
    ],
)  # fmt: skip
def test_a_table_allows_what_it_names_up_to_its_bound(names, bound, allows):
    found = Difference("part/x", 0.1, "1 of 4 values")
    assert (found.allowed_by([Moved("other", 1.0, "no"), Moved(names, bound, "yes")]) is not None) == allows


def test_what_is_missing_is_allowed_by_inf_alone():
    found = Difference("part/x", math.inf, "only in the old")
    assert found.allowed_by([Moved("*", 1e9, "no")]) is None
    assert found.allowed_by([Moved("*", math.inf, "yes")]) is not None


@pytest.mark.parametrize("spoil", [lambda data: b"", lambda data: data[:-4], lambda data: b"no" + data])
def test_a_broken_record_is_refused_by_name(tmp_path, spoil):
    path = tmp_path / "record.safetensors"
    save_file({"x": VALUES}, path, {FAILED: "{}"})
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=r"record .*record\.safetensors cannot be read"):
        read_record(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('names = "a"\nbound = 1.0', "needed names"),
        ('names = "a"\nbound = 1\nreason = "r"', "a number with a point"),
        ('names = "a"\nbound = nan\nreason = "r"', "a bound of 0 or more"),
        ('names = "a"\nbound = 1.0\nreason = " "', "and a reason"),
        ('names = "a"\nbound = 1.0\nreason = "r"\nuntil = "x"', "needed names"),
    ],
)
def test_a_table_without_a_bound_and_a_reason_is_refused(tmp_path, text, says):
    path = tmp_path / "moved.toml"
    path.write_text(f"[[moved]]\n{text}\n", "utf-8")
    with pytest.raises(ValueError, match=says):
        read_moved(path)


def test_the_tables_of_this_tree_can_be_read():
    assert all(one.reason for one in read_moved(ROOT / "tests" / "golden" / "moved.toml"))


def test_what_is_printed_names_what_is_refused_what_is_allowed_and_what_nothing_needs():
    differences = (Difference("p/a", 0.25, "1 of 4 values"), Difference("p/b", 1e-7, "2 of 4 values"))
    moved = [Moved("p/b", 1e-6, "batched"), Moved("p/c", 1.0, "long gone")]
    said = "\n".join(table.lines([Compared("p", 3, 1, 0, differences)], moved, {"p": (1.0, 2.0)}))
    assert "NOT ALLOWED  p/a: 1 of 4 values, 0.25" in said
    assert "allowed      1 of p/b, up to 1e-07 (batched)" in said
    assert "nothing needs p/c (long gone)" in said
    assert "NOT ALLOWED  p/b" not in said


def test_what_failed_for_one_reason_is_one_line():
    failed = tuple(Difference(f"p/{name}", math.inf, "failed in the old: boom") for name in "abc")
    said = "\n".join(table.lines([Compared("p", 3, 3, 0, failed)], [], {"p": (1.0, 2.0)}))
    assert said.count("boom") == 1 and "NOT ALLOWED  p/a and 2 more: failed in the old: boom" in said


# ---- what is recorded


class OtherVAE(torch.nn.Module):
    """Found by its name, wherever it lies."""

    def decode(self, latent, chunk=1):
        return latent + chunk


@pytest.fixture
def vae(monkeypatch):
    module = types.ModuleType("refvid.somewhere.else")
    module.OtherVAE = OtherVAE
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return OtherVAE()


def test_latents_are_kept_as_they_come_and_decoded_all_the_same(vae):
    record, before = Record(), OtherVAE.decode
    with latents(record, "clip"):
        out = vae.decode(VALUES, chunk=2)
        vae.decode(VALUES.bfloat16())
    assert torch.equal(out, VALUES + 2) and OtherVAE.decode is before
    assert torch.equal(record.tensors["clip/latent.0"], VALUES)
    assert record.tensors["clip/latent.1"].dtype == torch.bfloat16


def test_work_ends_where_one_latent_is_enough_and_none_is_an_error(vae):
    record, done = Record(), []
    with latents(record, "clip", enough=True):
        vae.decode(VALUES)
        done.append("decoded")
    assert done == [] and list(record.tensors) == ["clip/latent.0"]
    assert not issubclass(Enough, Exception)  # no handler of a command takes it for an error
    with pytest.raises(ValueError, match="no latent was decoded"), latents(record, "other"):
        pass


def test_what_raises_is_written_down_and_no_name_is_taken_twice():
    record = Record()
    with record.case("bad"):
        raise ValueError("boom")
    record.keep("a", VALUES)
    with record.case("twice"):
        record.keep("a", VALUES)
    assert record.failed == {"bad": "ValueError: boom", "twice": "ValueError: two tensors of one name: a"}


def test_figures_beside_a_file_are_left_out():
    assert numbers(["similarity: 0.50 with it, -1e-3 without", "clip /tmp/x1.mp4 (3.2 s)"]).tolist() == [
        0.5,
        -1e-3,
    ]


def test_a_shorter_graph_has_its_two_ranges_meet_where_they_met():
    steps = {"steps": 20, "start_at_step": 0, "end_at_step": 10}
    graph = {
        "high": node("RefVidDenoiseSteps", **steps),
        "low": node("RefVidDenoiseSteps", **steps | {"start_at_step": 10, "end_at_step": 10000}),
        "keys": node("RefVidKeyframes", keys=9, stride=12),
    }
    found = {name: one["inputs"] for name, one in shorter(graph).items()}
    assert found["high"] == {"steps": 4, "start_at_step": 0, "end_at_step": 2}
    assert found["low"] == {"steps": 4, "start_at_step": 2, "end_at_step": 10000}
    assert found["keys"] == {"keys": 3, "stride": 12}
    assert graph["high"]["inputs"]["steps"] == 20
    graph["high"]["inputs"] |= {"steps": 3, "end_at_step": 1}
    assert shorter(graph)["high"]["inputs"] == graph["high"]["inputs"]


def test_what_needs_a_node_that_a_server_lacks_is_left_out():
    graph = {
        "old": node("Old"), "new": node("New"), "run": node("Old", model=["new", 0]),
        "save": node("Save", samples=["run", 0]), "other": node("Save", samples=["old", 0]),
    }  # fmt: skip
    assert known(graph, {"Old", "Save"}).keys() == {"old", "other"}
