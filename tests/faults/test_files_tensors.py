"""Files with whole headers whose tensors, names, sizes or metadata are wrong are refused by every loader
without ComfyUI, by name."""

import json

import pytest
from refvid_malice import METADATA, Corpus, unpacked
from refvid_malice_metadata import kinds, record, telling, transformer
from refvid_malice_sizes import sizes
from refvid_malice_tensors import broken_names, broken_tensors, other_kinds
from refvid_refused import SIZES, complaints
from refvid_soak import amount

READERS = (
    "--dit", "modules of --dit", "--vae", "--vae of Wan 2.2", "--text-encoder", "--lora", "--adapter", "--adapter of edit", "--identity",
)  # fmt: skip
# Every so many of the ways to break a tensor, about 27 for each; a VAE has 150 or 200 of them.
STEPS = amount(301, 2), amount(301, 7)
SOME = amount(3, 1)  # and of the others


def of_metadata(files, name: str) -> Corpus:
    """Kinds of faults in what a file says of itself."""

    def said(kind: str, key: str) -> dict:
        return json.loads(unpacked(files[kind])[0][METADATA][key])

    no_kind = {"of no kind": telling("refvid.kind", None)}
    return {
        "--dit": lambda: transformer("num_heads") | transformer("text_dim"),
        "settings of --dit": lambda: record("refvid.settings", said("dit", "refvid.settings")),
        "--adapter": lambda: (
            record(
                "refvid.config",
                said("adapter", "refvid.config"),
                ("channels", "context"),
                ("epsilon", "gate"),
            )
            | kinds("slot_id", "2")
            | no_kind
        ),
        "--adapter of edit": lambda: kinds("sama", "1"),
        "--identity": lambda: (
            kinds("identity", "1") | no_kind | {"of no adapter": telling("refvid.adapter", None)}
        ),
    }[name]()


@pytest.mark.parametrize("name", READERS)
def test_a_tensor_that_is_missing_or_wrong_is_named(files, readers, tmp_path, name):
    reader = readers[name]
    corpus = broken_tensors(files[reader.kind])
    assert (
        complaints(
            corpus, [*corpus][:: STEPS[reader.kind.startswith("vae")]], files[reader.kind], reader, tmp_path
        )
        == []
    )


@pytest.mark.parametrize("name", READERS)
def test_what_is_more_than_a_file_of_its_kind_or_of_another_is_refused(files, readers, tmp_path, name):
    reader = readers[name]
    corpus = broken_names(files[reader.kind]) | other_kinds(files, reader.kind)
    assert complaints(corpus, [*corpus][::SOME], files[reader.kind], reader, tmp_path) == []


@pytest.mark.parametrize("name", READERS)
def test_sizes_without_end_are_refused_before_anything_is_read(files, readers, tmp_path, name):
    reader = readers[name]
    corpus = sizes(reader.kind, SIZES.text_width if reader.kind == "text" else SIZES.width)
    assert complaints(corpus, [*corpus][::SOME], files[reader.kind], reader, tmp_path) == []


@pytest.mark.parametrize(
    "name", ["--dit", "settings of --dit", "--adapter", "--adapter of edit", "--identity"]
)
def test_metadata_of_any_type_sign_and_size_is_refused_by_field(files, readers, tmp_path, name):
    reader, corpus = readers[name], of_metadata(files, name)
    assert complaints(corpus, [*corpus][:: amount(9, 1)], files[reader.kind], reader, tmp_path) == []
