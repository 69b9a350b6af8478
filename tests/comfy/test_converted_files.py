"""Files that `refvid convert` makes, in core's own loader: each format runs as the original does."""

import json

import pytest
import refvid_in_process as run
import refvid_published as published
import refvid_tiny as tiny
import torch

from refvid import cli
from refvid.hosts.comfy import files

pytestmark = pytest.mark.comfy
SIZES = tiny.config()  # heads and width of the text are none of a published Wan's: both are told core


def skyreels(state, folder):
    home = published.save_shards(
        folder / "transformer", published.diffusers_state(state), ["model.safetensors"]
    )[0]
    (home.parent / "config.json").write_text(json.dumps({"num_attention_heads": SIZES.heads}), "utf-8")
    return folder


def kaleido(state, folder):
    torch.save({"module": published.sat_state(state, SIZES.layers)}, folder / "mp_rank_00_model_states.pt")
    (folder / "config.json").write_text(json.dumps({"num_heads": SIZES.heads}), "utf-8")
    return folder


@pytest.mark.parametrize(("make", "recipe"), [(skyreels, "skyreels_v3"), (kaleido, "kaleido")])
def test_core_runs_a_converted_file_as_the_original(make, recipe, tmp_path):
    state = tiny.dit_state(SIZES)
    original = tiny.save_dit(tmp_path, "original.safetensors", SIZES, state, recipe)
    source = tmp_path / "published"
    source.mkdir()
    out = tmp_path / "converted.safetensors"
    cli.main(["convert", str(make(state, source)), "--out", str(out), "--recipe", recipe])
    files.require_dit(str(out))
    words = [[run.text(1), {}]]
    made = [
        run.sample(run.load_model(path), words, [[run.text(2), {}]], run.empty_latent(), steps=2)
        for path in (original, out)
    ]
    assert torch.equal(*made) and made[0].std() > 0.1
