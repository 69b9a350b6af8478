"""Whole tensors under metadata that no loader may take: records with fields of any type, sign and size, kinds
and versions of others."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refvid_malice import METADATA, Corpus, Malice, packed, unpacked

DEEP = "[" * 100_000 + "]" * 100_000
# What a field of a number may be instead, as JSON.
VALUES = {
    "text": '"7"', "nothing": "null", "a list": "[7]", "an object": '{"a": 7}', "true": "true", "negative": "-700", "1e9": "1000000000",
    "1e400": "1e400", "-1e400": "-1e400", "inf": "Infinity", "NaN": "NaN", "a float": "7.5", "2^63": str(1 << 63),
    "4,000 digits": "9" * 4_000, "10,000 digits": "9" * 10_000, "text of 100,000 letters": '"' + "n" * 100_000 + '"',
    "many brackets": DEEP,
}  # fmt: skip
# What a record may be instead.
RECORDS = {
    "no JSON": "}{", "empty": "", "a list": "[]", "a number": "7", "nothing": "null", "text": '"text"', "true": "true",
    "brackets without end": "[" * 100_000, "brackets": DEEP, "objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "two MB of text": '{"a": "' + "n" * (2 << 20) + '"}', "two MB of spaces": " " * (2 << 20), "a million commas": "[" + "1," * 1_000_000 + "1]",
    "half": '{"width": ', "half a letter": '{"\ud800": 1}', "a new line": '{"a\\nb": 1}',
}  # fmt: skip


def telling(key: str, text: str | None, says: str | None = None) -> Malice:
    """A file whose metadata says this under a key, None takes it away; a refusal names the key."""

    def make(whole: Path, where: Path) -> str:
        header, data = unpacked(whole)
        told = {k: v for k, v in {**header.get(METADATA, {}), key: text}.items() if v is not None}
        packed(where, {METADATA: told, **{k: v for k, v in header.items() if k != METADATA}}, data)
        return key if says is None else says

    return make


def record(
    key: str, fields: Mapping[str, Any], needed: tuple[str, ...] = (), floats: tuple[str, ...] = ()
) -> Corpus:
    """Ways in which a record can be no record of these fields, of which some are needed and some may be no
    whole numbers."""
    corpus = {
        f"{key} that is {name}": telling(key, text, "" if name == "a million commas" else None)
        for name, text in RECORDS.items()
    }
    for field in fields:
        for name, value in VALUES.items():
            if name == "a float" and field in floats:
                continue
            others = "".join(f", {json.dumps(k)}: {json.dumps(v)}" for k, v in fields.items() if k != field)
            text = "{" + f"{json.dumps(field)}: {value}{others}" + "}"
            # JSON that cannot be read at all names no field.
            corpus[f"{key} with {field} of {name}"] = telling(
                key, text, field if name not in ("10,000 digits", "many brackets") else key
            )
        if field in needed:
            less = {k: v for k, v in fields.items() if k != field}
            corpus[f"{key} without {field}"] = telling(key, json.dumps(less), field)
    corpus[f"{key} with more"] = telling(key, json.dumps({**fields, "sprinkles": 1}), "sprinkles")
    corpus[f"{key} with much more"] = telling(
        key, json.dumps({**fields, **{f"f{index}": 1 for index in range(20_000)}})
    )
    return corpus


def transformer(field: str) -> Corpus:
    """A DiT's `config`, as core reads it, with a number that is none."""
    corpus = {
        f"config with {field} of {name}": telling(
            "config", f'{{"transformer": {{{json.dumps(field)}: {value}}}}}', "config"
        )
        for name, value in VALUES.items()
    }
    for name in (
        "no JSON",
        "empty",
        "a list",
        "a number",
        "nothing",
        "text",
        "true",
        "brackets without end",
        "brackets",
        "objects",
        "half",
    ):
        corpus[f"config that is {name}"] = telling("config", RECORDS[name])
    for name, value in {"a list": "[]", "nothing": "null", "text": '"x"', "a number": "7"}.items():
        corpus[f"config with a transformer that is {name}"] = telling("config", f'{{"transformer": {value}}}')
    return corpus


def kinds(kind: str, version: str) -> Corpus:
    """Files of another kind or version than these."""
    others = [
        one for one in ("identity", "slot_id", "sama", "videomaker", "", "7", "x" * 100_000) if one != kind
    ]
    corpus = {f"of kind {one[:10]!r}": telling("refvid.kind", one, "") for one in others}
    corpus |= {
        f"of version {one!r}": telling("refvid.version", one, "version")
        for one in ("", "0", "3", "1.0", "-1", "two", "9" * 10)
        if one != version
    }
    return {**corpus, "of no version": telling("refvid.version", None, "version")}
