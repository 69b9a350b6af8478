"""The header of a safetensors file: what it says is checked before anything is read, and what is odd is
named."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from refvid.core import header
from refvid.core.checkpoint import is_finite, read_metadata, read_safetensors, read_shapes, read_some

ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def write(folder: Path, said, data: bytes = b"\0" * 8) -> Path:
    """A file whose header is this text, or this value as JSON."""
    text = said if isinstance(said, bytes) else json.dumps(said).encode()
    path = folder / "odd.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(**other) -> dict:
    return {"w": {**ENTRY, **other}}


REFUSED = {
    "no JSON": (b"{", "header cannot be read"),
    "no UTF-8": (b'{"\xff": 1}', "header cannot be read"),
    "a list": ([1], r"its header is \[1\]; needed an object"),
    "deep": (b'{"w": ' + b"[" * 20000, "nests too deep"),
    "a key twice": (b'{"w": {}, "w": {}}', "w stands in it twice"),
    "an entry of other fields": ({"w": {"dtype": "F32"}}, "w is .* needed dtype, shape, data_offsets"),
    "an entry of more fields": (entry(strides=[1]), "w is .* needed dtype, shape, data_offsets"),
    "an entry that is text": ({"w": "F32"}, "w is 'F32'; needed dtype"),
    "an unknown type": (entry(dtype="F33"), "w has dtype 'F33'; needed one of"),
    "a type that is a list": (entry(dtype=["F32"]), r"w has dtype \['F32'\]"),
    "a negative shape": (entry(shape=[-2]), r"w has shape \[-2\]"),
    "a shape of truth": (entry(shape=[True, 2]), r"w has shape \[True, 2\]"),
    "a shape of fractions": (entry(shape=[2.0]), r"w has shape \[2.0\]"),
    "a shape that is a number": (entry(shape=2), "w has shape 2"),
    "nine sides": (entry(shape=[1] * 8 + [2]), "needed up to 8 whole numbers"),
    "a side beyond any file": (entry(shape=[2**60, 0]), "w has shape"),
    "three offsets": (entry(data_offsets=[0, 8, 8]), r"w has data_offsets \[0, 8, 8\]; needed two"),
    "backward offsets": (entry(data_offsets=[8, 0]), "w has -8 bytes"),
    "another size": (entry(shape=[3]), r"w has 8 bytes; F32 of shape \[3\] needs 12"),
    "more bytes than its shape": (entry(shape=[1]), r"w has 8 bytes; F32 of shape \[1\] needs 4"),
    "beyond the file": (entry(shape=[4], data_offsets=[0, 16]), "its tensors end at byte 16; needed 8"),
    "before its end": (entry(shape=[1], data_offsets=[0, 4]), "its tensors end at byte 4; needed 8"),
    "a hole": (entry(shape=[1], data_offsets=[4, 8]), "w begins at byte 4; needed 0"),
    "two on one place": (
        {"v": {**ENTRY, "shape": [1], "data_offsets": [0, 4]}, "w": {**ENTRY}}, "w begins at byte 0; needed 4",
    ),
    "a name without a letter": ({"": ENTRY}, "a tensor is called ''"),
    "a name of two lines": ({"a\nb": ENTRY}, r"a tensor is called 'a\\nb'"),
    "a name without end": ({"n" * 5000: ENTRY}, r"a tensor is called n+… \(5000 letters\)"),
    "half a letter": (b'{"\\ud800": 1}', r"a tensor is called '\\ud800'"),
    "metadata that is a list": ({"__metadata__": ["a"]}, r"its metadata is \['a'\]; needed text by name"),
    "metadata with half a letter": (b'{"__metadata__": {"a": "\\ud800"}}', "its metadata is .*; needed text"),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, "its metadata is .*; needed text"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_header_says_is_checked(tmp_path, case):
    said, message = REFUSED[case]
    path = write(tmp_path, said)
    for read in (read_safetensors, read_shapes, read_metadata, lambda *one: read_some(*one, str.isalpha)):
        with pytest.raises(ValueError, match=rf"^the input: odd\.safetensors.*{message}"):
            read(path, "the input")


@pytest.mark.parametrize(
    "raw", [b"", b"1234567", struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 3) + b"{}"]
)
def test_a_length_that_the_file_does_not_have_is_refused(tmp_path, raw):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=rf"truncated or not a safetensors file: it has {len(raw)} bytes"):
        read_shapes(path, "the input")


def test_a_file_that_the_system_does_not_open_is_named(tmp_path, monkeypatch):
    def closed(path, *how):
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path, entry())
    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(
        ValueError, match=r"^x: odd\.safetensors cannot be read \(Permission denied\); give a"
    ):
        read_shapes(path, "x")


def test_a_header_is_as_large_as_its_limits_and_no_larger(tmp_path, monkeypatch):
    monkeypatch.setattr(header, "MOST_TENSORS", 3)
    monkeypatch.setattr(header, "MOST_HEADER_BYTES", 400)
    empty = {**ENTRY, "shape": [0], "data_offsets": [0, 0]}
    assert len(read_shapes(write(tmp_path, dict.fromkeys("abc", empty), b""), "x")[0]) == 3
    with pytest.raises(ValueError, match="holds 4 tensors; needed at most 3"):
        read_shapes(write(tmp_path, dict.fromkeys("abcd", empty), b""), "x")
    with pytest.raises(ValueError, match="its header has 401 bytes; needed at most 400"):
        read_shapes(write(tmp_path, b"{}" + b" " * 399, b""), "x")
    monkeypatch.setattr(header, "MOST_PARTS", 9)
    with pytest.raises(ValueError, match="its header has 10 parts"):
        read_shapes(write(tmp_path, b'{"w": [0,0,0,0,0,0,0,0,0]}', b""), "x")


def test_what_a_file_holds_comes_back_with_its_types_and_shapes(tmp_path):
    wanted = {
        name: torch.zeros(2, 3).to(dtype)
        for name, dtype in header.HEADER_DTYPES.items()
        if name not in ("U16", "U32", "U64")
    } | {"number": torch.tensor(2.0), "nothing": torch.zeros(0, 4)}
    save_file(wanted, tmp_path / "one.safetensors", {"said": "this"})
    shapes, metadata = read_shapes(tmp_path / "one.safetensors", "x")
    assert metadata == {"said": "this"} and shapes.keys() == wanted.keys()
    assert all(
        shapes[key].shape == one.shape and shapes[key].dtype == one.dtype for key, one in wanted.items()
    )
    read, _ = read_safetensors(tmp_path / "one.safetensors", "x")
    assert all(
        torch.equal(read[key].view(torch.uint8), one.view(torch.uint8))
        for key, one in wanted.items()
        if one.ndim
    )


@pytest.mark.parametrize("ending", [".safetensors", ".sft", ".SAFETENSORS"])
def test_the_endings_that_comfyui_knows_are_taken(tmp_path, ending):
    save_file({"w": torch.zeros(1)}, tmp_path / f"one{ending}")
    assert read_shapes(tmp_path / f"one{ending}", "x")[0].keys() == {"w"}


@pytest.mark.parametrize(
    "dtype", [dtype for name, dtype in header.HEADER_DTYPES.items() if name.startswith("F8_")], ids=str
)
def test_every_pattern_of_eight_bits_is_judged_as_torch_judges_it(dtype):
    every = torch.arange(256, dtype=torch.uint8)
    for bits in every:
        one = bits[None].view(dtype)
        assert is_finite(one) == bool(one.float().isfinite().all()), int(bits)
    good = every[every.view(dtype).float().isfinite()].view(dtype)
    assert is_finite(good.expand(2, -1))


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64]
)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_value_among_many_is_found(dtype, value):
    tensor = torch.zeros(70, 500, dtype=dtype)
    assert is_finite(tensor)
    for place in ((0, 0), (35, 17), (69, 499)):
        broken = tensor.clone()
        broken[place] = value
        assert not is_finite(broken)


def test_whole_numbers_and_nothing_are_finite():
    assert is_finite(torch.full((4,), 255, dtype=torch.uint8)) and is_finite(torch.zeros(0))
