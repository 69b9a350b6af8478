"""Files that are no whole safetensors files are refused by every loader without ComfyUI, by name, in little
time and memory."""

import pytest
from refvid_malice import BYTES, PLACES
from refvid_malice_headers import FEW, HEADERS
from refvid_refused import complaints
from refvid_soak import amount

EVERY = {**PLACES, **BYTES, **HEADERS}
NAMES = amount([*FEW], [*EVERY])
READERS = [
    "--dit", "modules of --dit", "--vae", "--vae of Wan 2.2", "--text-encoder", "--lora", "--adapter", "--adapter of edit", "--identity", "settings of --dit",
    "inspect", "read_safetensors", "read_shapes", "read_some", "require_values", "header_of",
]  # fmt: skip


def test_every_reader_is_tried(readers):
    assert [*readers] == READERS


@pytest.mark.parametrize("name", READERS)
def test_a_whole_file_is_taken(files, readers, name):
    if name != "inspect":  # without references there is nothing to draw
        readers[name].read(files[readers[name].kind])


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_whole_file_is_refused(files, readers, tmp_path, name):
    assert complaints(EVERY, NAMES, files[readers[name].kind], readers[name], tmp_path) == []


def test_a_million_keys_cost_nothing(files, readers, tmp_path):
    assert complaints(EVERY, ["a million keys"], files["dit"], readers["--dit"], tmp_path) == []
