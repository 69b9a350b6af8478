"""A streamed safetensors file is safetensors' own, and a model that is converted is never held whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import refvid_published as published
import refvid_rss as rss
import torch
from safetensors.torch import load_file, save_file

from refvid.backbones.wan.files import DiTConfig
from refvid.convert.writing import stream_tensors

METADATA = {"format": "pt"}
STATE = {
    "b": torch.arange(7, dtype=torch.float16),
    "a": torch.randn(3, 5),
    "c.scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 4, dtype=torch.bfloat16),
    "ä": torch.randn(2, 3, 4, dtype=torch.bfloat16).transpose(0, 2),
}


def streamed(path: Path, state: dict, read=None, told=None) -> None:
    shapes = {key: torch.empty(one.shape, dtype=one.dtype, device="meta") for key, one in state.items()}
    stream_tensors(path, shapes, read or state.__getitem__, METADATA, told or (lambda done, of: None))


def test_a_streamed_file_is_the_one_that_safetensors_writes(tmp_path):
    for state in (STATE, {"one": torch.randn(4)}, {key: STATE[key] for key in ("a", "c.scalar")}):
        streamed(tmp_path / "ours.safetensors", state)
        found = load_file(tmp_path / "ours.safetensors")
        assert found.keys() == state.keys()
        assert all(torch.equal(found[key], value) for key, value in state.items())
    save_file(state, tmp_path / "theirs.safetensors", METADATA)
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


def test_each_tensor_begins_at_a_multiple_of_its_numbers_size(tmp_path):
    streamed(tmp_path / "it.safetensors", STATE)
    raw = (tmp_path / "it.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    assert (8 + length) % 8 == 0
    for key, value in STATE.items():
        assert header[key]["data_offsets"][0] % value.element_size() == 0


@pytest.mark.parametrize("wrong", [torch.zeros(3, 4), torch.zeros(3, 5, dtype=torch.float16)])
def test_a_tensor_of_another_shape_or_type_leaves_what_was_there(wrong, tmp_path):
    path = tmp_path / "it.safetensors"
    path.write_text("before")
    with pytest.raises(ValueError, match=r"^a is"):
        streamed(path, STATE, read=lambda key: wrong if key == "a" else STATE[key])
    assert path.read_text() == "before" and [*tmp_path.iterdir()] == [path]


def test_progress_is_told_tensor_by_tensor(tmp_path):
    told = []
    streamed(tmp_path / "it.safetensors", STATE, told=lambda *said: told.append(said))
    assert told == [(at, 5) for at in range(1, 6)]


MEASURED = """
import sys, threading, time
sys.path[:0] = [{support!r}]
from pathlib import Path
from refvid_folder import import_folder
import_folder("refvid", Path({root!r}))
from refvid.convert.conversion import convert, plan_conversion
def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) << 10
planned = plan_conversion([Path({source!r})], "kaleido", {dtype!r})
before, peak, done = anonymous(), [0], []
def watch():
    while not done:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.005)
watcher = threading.Thread(target=watch)
watcher.start()
convert(planned, Path({out!r}), lambda *said: None, lambda *said: None)
done.append(True)
watcher.join()
print(planned.size, peak[0] - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read as Linux tells it")
@pytest.mark.parametrize(("source", "dtype"), [("shards", "keep"), ("sat.pt", "keep"), ("shards", "fp32")])
def test_a_model_of_a_gib_takes_the_memory_of_its_largest_tensor(source, dtype, tmp_path):
    config = DiTConfig(1536, 8960, 12, 12, 16, 16, 4096)
    rss.write_random_dit(tmp_path / "whole.safetensors", config)
    state = load_file(tmp_path / "whole.safetensors")
    if source == "shards":
        published.save_shards(tmp_path / source, state, [f"model-{at:05d}.safetensors" for at in range(3)])
    else:
        torch.save({"module": published.sat_state(state, config.layers)}, tmp_path / source)
    largest = 4 * max(one.numel() for one in state.values())
    del state
    code = MEASURED.format(
        support=str(rss.ROOT / "tests" / "support"),
        root=str(rss.ROOT),
        source=str(tmp_path / source),
        out=str(tmp_path / "out.safetensors"),
        dtype=dtype,
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    size, peak = map(int, ran.stdout.split())
    assert size > 1 << 30 and peak < 3 * largest + (32 << 20)
