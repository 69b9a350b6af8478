"""Headers that say what no tensor can be, a name for each: before the data of a whole file, refused by every
loader."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from refvid_malice import METADATA, Corpus, Malice, packed, unpacked


def instead(header: object) -> Malice:
    """Another header before the same data."""
    return lambda whole, where: packed(where, header, unpacked(whole)[1])


def said(change: Callable[[dict[str, Any]], object]) -> Malice:
    """A header that is changed in place, or what the change gives."""

    def make(whole: Path, where: Path) -> None:
        header, data = unpacked(whole)
        packed(where, change(header) or header, data)

    return make


def first_key(header: dict[str, Any]) -> str:
    """Of a tensor that is no single number."""
    return next(key for key, said in header.items() if key != METADATA and said["shape"])


def entry(**fields: Any) -> Malice:
    """The first tensor with other fields; ... takes one away. A refusal names the tensor."""

    def make(whole: Path, where: Path) -> str:
        header, data = unpacked(whole)
        key = first_key(header)
        header[key] = {k: v for k, v in {**header[key], **fields}.items() if v is not ...}
        packed(where, header, data)
        return key

    return make


def entry_is(value: object) -> Malice:
    def make(whole: Path, where: Path) -> str:
        header, data = unpacked(whole)
        key = first_key(header)
        packed(where, {**header, key: value}, data)
        return key

    return make


def also(name: str, value: object = None, text: str | None = None) -> Malice:
    """One tensor more, of no bytes; `text` is its entry as it stands in the header."""

    def make(whole: Path, where: Path) -> str:
        header, data = unpacked(whole)
        end = len(data)
        given = value or {"dtype": "F32", "shape": [0], "data_offsets": [end, end]}
        told = json.dumps({name: given}) if text is None else "{" + json.dumps(name) + ": " + text + "}"
        packed(where, json.dumps(header)[:-1] + ", " + told[1:], data)
        return "" if name == "" or not name.isprintable() else name[:20]

    return make


def offsets(change: Callable[[int, int, int], object], named: bool = True) -> Malice:
    """data_offsets of the first tensor in place of (begin, end, size of the data). Not named where another
    tensor is found at fault."""

    def make(whole: Path, where: Path) -> str | None:
        header, data = unpacked(whole)
        key = first_key(header)
        header[key]["data_offsets"] = change(*header[key]["data_offsets"], len(data))
        packed(where, header, data)
        return key if named else None

    return make


def many(count: int) -> Malice:
    """So many tensors of no bytes."""

    def make(whole: Path, where: Path) -> None:
        one = '"k%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
        packed(where, "{" + ",".join(one % index for index in range(count)) + "}")

    return make


def hole(whole: Path, where: Path) -> str:
    """A tensor that begins four bytes behind the one before."""
    header, data = unpacked(whole)
    last = max((k for k in header if k != METADATA), key=lambda k: header[k]["data_offsets"][1])
    header[last]["data_offsets"] = [place + 4 for place in header[last]["data_offsets"]]
    packed(where, header, data + bytes(4))
    return last


def overlap(whole: Path, where: Path) -> str:
    """Two tensors in one place."""
    header, data = unpacked(whole)
    first = first_key(header)
    packed(where, {**header, "twin": header[first]}, data)
    return "twin" if first < "twin" else first


def metadata(value: object) -> Malice:
    return said(lambda header: {**header, METADATA: value})


DEEP = 100_000
HEADERS: Corpus = {
    "no JSON": instead("}{"),
    "half of JSON": said(lambda header: json.dumps(header)[:-1]),
    "JSON and more": said(lambda header: json.dumps(header) + "{}"),
    "a list": instead([1, 2]),
    "a list of pairs": said(lambda header: [[key, value] for key, value in header.items()]),
    "a number": instead(7),
    "a number of 10,000 digits": instead("1" * 10_000),
    "null": instead("null"),
    "text": instead('"text"'),
    "true": instead("true"),
    "NaN": instead("NaN"),
    "no text": instead(b"\xff\xfe{\0}\0"),
    "text of UTF-16": said(lambda header: json.dumps(header).encode("utf-16")),
    "a mark before the text": said(lambda header: b"\xef\xbb\xbf" + json.dumps(header).encode()),
    "brackets without end": instead("[" * DEEP),
    "braces without end": instead('{"a":' * DEEP),
    "a tensor of brackets": instead('{"a":' + "[" * DEEP + "]" * DEEP + "}"),
    "a tensor of objects": instead('{"a":' + '{"a":' * DEEP + "1" + "}" * DEEP + "}"),
    "a shape of brackets": also("deep", text='{"dtype":"F32","shape":' + "[" * DEEP + "]" * DEEP + "}"),
    "metadata of brackets": instead('{"__metadata__":{"a":' + "[" * DEEP + "]" * DEEP + "}}"),
    "metadata a little deep": metadata({"a": {"b": {"c": "d"}}}),
    "metadata that is a list": metadata(["pt"]),
    "metadata that is text": metadata("pt"),
    "metadata that is a number": metadata(7),
    "metadata with a number": metadata({"format": 7}),
    "metadata with nothing": metadata({"format": None}),
    "metadata with a list": metadata({"format": ["pt"]}),
    "metadata with true": metadata({"format": True}),
    "metadata of 5 MB": metadata({"format": "x" * 5_000_000}),
    "metadata of 300,000 names": metadata({f"{index}": "" for index in range(300_000)}),
    "a key that stands twice": lambda whole, where: also(first_key(unpacked(whole)[0]))(whole, where),
    "metadata that stands twice": said(lambda header: '{"__metadata__": {}, ' + json.dumps(header)[1:]),
    "a field that stands twice": also("twice", text='{"dtype":"F32","dtype":"F32","shape":[0],"data_offsets":[0,0]}'),
    "20,000 keys": many(20_000),
    "65,000 keys": many(65_000),
    "a million keys": many(1_000_000),
    "a million objects": instead('{"a":[' + "{}," * 1_300_000 + "1]}"),
    "a million commas": instead('{"a":[' + "1," * 1_000_000 + "1]}"),
    "a name without letters": also(""),
    "a name with a NUL": also("a\0b"),
    "a name with a new line": also("a\nb"),
    "a name with colours": also("a\x1b[31mb"),
    "a name that turns its line around": also("a\u202eb"),
    "a name of 300,000 letters": also("n" * 300_000),
    "a name with half a letter": also("a\ud800b"),
    "an entry that is a list": entry_is([1, 2]),
    "an entry that is nothing": entry_is(None),
    "an entry that is text": entry_is("F32"),
    "an entry without a type": entry(dtype=...),
    "an entry without a shape": entry(shape=...),
    "an entry without offsets": entry(data_offsets=...),
    "an entry with more": entry(strides=[1]),
    "an unknown type": entry(dtype="F31"),
    "a type in small letters": entry(dtype="f32"),
    "a type that is a number": entry(dtype=32),
    "a type that is a list": entry(dtype=["F32"]),
    "a type that is nothing": entry(dtype=None),
    "a type of 300,000 letters": entry(dtype="F" * 300_000),
    "a negative side": entry(shape=[-1, -4]),
    "a side that is a float": entry(shape=[1.0]),
    "a side that is true": entry(shape=[True]),
    "a side that is text": entry(shape=["4"]),
    "a side that is nothing": entry(shape=[None]),
    "a side beyond all numbers": also("big", text='{"dtype":"F32","shape":[1e999],"data_offsets":[0,0]}'),
    "a side of 4,000 digits": entry(shape=[10**3_999]),
    "a side of 10,000 digits": instead('{"big":{"dtype":"F32","shape":[%s],"data_offsets":[0,0]}}' % ("9" * 10_000)),
    "sides whose product overflows": entry(shape=[1 << 32, 1 << 32]),
    "sides whose product is 0 in 64 bits": entry(shape=[1 << 40, 1 << 24]),
    "a shape that is a number": entry(shape=4),
    "a shape that is text": entry(shape="44"),
    "a shape that is an object": entry(shape={"0": 4}),
    "a shape that is nothing": entry(shape=None),
    "50 sides": entry(shape=[1] * 50),
    "100,000 sides": entry(shape=[1] * 100_000),
    "a shape of other bytes": entry(shape=[3, 5, 7]),
    "no sides": entry(shape=[]),
    "offsets turned around": offsets(lambda begin, end, size: [end, begin]),
    "offsets outside": offsets(lambda begin, end, size: [size, size + end - begin], named=False),
    "offsets far outside": offsets(lambda begin, end, size: [1 << 62, (1 << 62) + end - begin], named=False),
    "negative offsets": offsets(lambda begin, end, size: [begin - end, 0]),
    "offsets that are floats": offsets(lambda begin, end, size: [float(begin), float(end)]),
    "offsets that are text": offsets(lambda begin, end, size: [str(begin), str(end)]),
    "offsets that are true": offsets(lambda begin, end, size: [False, True]),
    "three offsets": offsets(lambda begin, end, size: [begin, end, end]),
    "one offset": offsets(lambda begin, end, size: [begin]),
    "no list of offsets": offsets(lambda begin, end, size: begin),
    "offsets of all the data": offsets(lambda begin, end, size: [0, size]),
    "a hole": hole,
    "an overlap": overlap,
    "a tensor behind the end": also("behind", {"dtype": "F32", "shape": [1], "data_offsets": [1 << 40, (1 << 40) + 4]}),
    "no tensors": instead({}),
}  # fmt: skip
# Of each group a few, for every run of the tests.
FEW = (
    "a directory", "a link to zeros without end", "a link to a pipe", "a pipe", "empty", "a header of 2^63", "a header of 8 GiB, sparse", "cut in half",
    "trailing data", "a pickle", "a zip with a pickle", "null", "braces without end", "metadata with a number", "a key that stands twice",
    "65,000 keys", "a million objects", "a name of 300,000 letters", "a name with half a letter", "an unknown type", "a negative side",
    "a side of 10,000 digits", "sides whose product overflows", "offsets that are floats", "a hole", "an overlap",
)  # fmt: skip
