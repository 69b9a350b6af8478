"""Each published format, made of the demo's DiT by its publisher's own mapping, comes back bit for bit."""

import json
import random
import shutil
from collections import OrderedDict
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import refvid_published as published
import refvid_tiny as tiny
import torch
from safetensors.torch import load_file, save_file

from refvid import cli
from refvid.backbones.wan.files import DiTConfig
from refvid.backbones.wan.loading import load_dit
from refvid.core.checkpoint import read_metadata
from refvid.core.token_lora import TokenLoraSizes, read_token_lora
from refvid.demo import models

LAYERS = 2  # of the demo's: the others are left out, which keeps it quick
REFALIGN = [f"model-{at:05d}.safetensors" for at in range(6)]
HUGGING = [f"diffusion_pytorch_model-{at:05d}-of-00003.safetensors" for at in (1, 2, 3)]
DIFFUSERS_INDEX = "diffusion_pytorch_model.safetensors.index.json"


@pytest.fixture(scope="module")
def demo() -> dict[str, torch.Tensor]:
    state = load_file(models.DIT)
    return {
        key: state[key]
        for key in state
        if not key.startswith(tuple(f"blocks.{at}." for at in range(LAYERS, 6)))
    }


def converted(tmp_path: Path, *arguments: object) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    out = tmp_path / "converted.safetensors"
    cli.main(["convert", *map(str, arguments), "--out", str(out)])
    return load_file(out), read_metadata(out, "--out")


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert all(
        value.dtype == wanted[key].dtype and torch.equal(value, wanted[key]) for key, value in found.items()
    )


def refalign_folder(demo, folder):
    return [published.save_shards(folder / "RefAlign-14B", demo, REFALIGN)[0].parent]


def refalign_files_in_odd_order(demo, folder):
    return sorted(
        published.save_shards(folder, demo, REFALIGN), key=lambda one: sha256(one.name.encode()).digest()
    )


def skyreels_folder(demo, folder):
    state = published.diffusers_state(demo)
    published.save_shards(folder / "transformer", state, HUGGING, DIFFUSERS_INDEX)
    (folder / "transformer" / "config.json").write_text(json.dumps({"num_attention_heads": 2}))
    (folder / "text_encoder").mkdir()
    published.save_shards(folder / "text_encoder", {"shared.weight": torch.ones(2, 2)}, ["model.safetensors"])
    return [folder]


def skyreels_without_an_index(demo, folder):
    return [published.save_shards(folder, published.diffusers_state(demo), HUGGING)[0].parent]


def kaleido_checkpoint(demo, folder):
    path = folder / "mp_rank_00_model_states.pt"
    torch.save({"module": OrderedDict(published.sat_state(demo, LAYERS))}, path)
    return [path]


def kaleido_with_what_sat_saves_beside(demo, folder):
    path = folder / "fsdp2_rank_0000_checkpoint.pt"
    beside = {
        "first_stage_model.encoder.conv1.weight": torch.ones(2),
        "conditioner.shared.weight": torch.ones(2),
    }
    state = OrderedDict({**beside, **published.sat_state(demo, LAYERS)})
    states = {
        "random_rng_state": random.getstate(),
        "np_rng_state": np.random.RandomState(1).get_state(),
        "torch_rng_state": torch.get_rng_state(),
    }
    torch.save({"iteration": 1, **states, "module": state}, path)
    return [path]


def phantom_pickle(demo, folder):
    torch.save(demo, folder / "Phantom-Wan-1.3B.pth")
    return [folder / "Phantom-Wan-1.3B.pth"]


def concat_id_nested(demo, folder):
    state = {f"module.{key}": value for key, value in demo.items()}
    torch.save({"state_dict": state, "global_step": 7, "optimizer": {"state": {}}}, folder / "first_stage.pt")
    return [folder / "first_stage.pt"]


def twice_nested(demo, folder):
    torch.save({"model": {"ema": {f"model.{key}": value for key, value in demo.items()}}}, folder / "a.ckpt")
    return [folder / "a.ckpt"]


def pickled_shards(demo, folder):
    keys = sorted(demo)
    for at in (0, 1):
        name = f"pytorch_model-0000{at + 1}-of-00002.bin"
        torch.save({key: demo[key] for key in keys[at::2]}, folder / name)
    return [folder]


def one_prefixed_file(demo, folder):
    path = folder / "one.safetensors"
    save_file({f"model.diffusion_model.{key}": value for key, value in demo.items()}, path)
    return [path]


SOURCES = [
    refalign_folder, refalign_files_in_odd_order, skyreels_folder, skyreels_without_an_index, kaleido_checkpoint,
    kaleido_with_what_sat_saves_beside, phantom_pickle, concat_id_nested, twice_nested, pickled_shards,
    one_prefixed_file,
]  # fmt: skip


@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)
def test_every_published_format_comes_back_bit_for_bit_and_loads(make, demo, tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    sources = make(demo, folder)
    found, metadata = converted(tmp_path, *sources, "--recipe", "refalign", "--licence", "MIT")
    assert_same(found, demo)
    assert (metadata["refvid.recipe"], metadata["refvid.licence"]) == ("refalign", "MIT")
    dit, _ = load_dit(tmp_path / "converted.safetensors", torch.float16)
    assert_same(dict(dit.state_dict()), demo)
    said = {one["name"]: one["sha256"] for one in json.loads(metadata["refvid.sources"])}
    files = [one for source in sources for one in (source.rglob("*") if source.is_dir() else [source])]
    known = {one.name: sha256(one.read_bytes()).hexdigest() for one in files if one.name in said}
    assert said == known and len(said) >= 1


def test_an_image_to_video_wan_in_diffusers_names_comes_back(tmp_path):
    sizes = DiTConfig(128, 192, 1, 1, 36, 16, 32, image_width=24)
    state = tiny.dit_state(sizes)
    path = tmp_path / "i2v.safetensors"
    save_file(published.diffusers_state(state), path)
    found, metadata = converted(tmp_path, path, "--recipe", "none")
    assert_same(found, state)
    assert "refvid.recipe" not in metadata


def test_stand_in_stays_an_adapter_with_its_own_recipe(tmp_path, capsys):
    state = published.stand_in_state(64, 3)
    torch.save({"state_dict": state}, tmp_path / "Stand-In_wan2.1_T2V_14B.ckpt")
    found, metadata = converted(tmp_path, tmp_path / "Stand-In_wan2.1_T2V_14B.ckpt")
    assert_same(found, state)
    assert metadata["refvid.recipe"] == "stand_in"
    sizes, read, recipe = read_token_lora(tmp_path / "converted.safetensors", 64, 3, "adapter")
    assert (sizes, recipe) == (TokenLoraSizes(64, 3, 4), "stand_in") and read.keys() == state.keys()
    assert "models/loras" in capsys.readouterr().out


def test_heads_that_no_shape_tells_are_taken_from_config_json(tmp_path):
    sizes = tiny.config()
    folder = tmp_path / "transformer"
    published.save_shards(folder, published.diffusers_state(tiny.dit_state(sizes)), HUGGING)
    shutil.copy(__file__, folder / "notes.txt")
    with pytest.raises(SystemExit):
        converted(tmp_path, folder, "--recipe", "skyreels_v3")
    (folder / "config.json").write_text(json.dumps({"num_attention_heads": sizes.heads}))
    _, metadata = converted(tmp_path, folder, "--recipe", "skyreels_v3")
    said = json.loads(metadata["config"])["transformer"]
    assert said == {"num_heads": sizes.heads, "text_dim": tiny.TEXT_WIDTH}
    assert load_dit(tmp_path / "converted.safetensors")[0].blocks[0].self_attn.heads == sizes.heads


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_dtype_is_that_of_every_tensor(name, dtype, demo, tmp_path):
    sources = kaleido_checkpoint(demo, tmp_path)
    found, _ = converted(tmp_path, *sources, "--recipe", "kaleido", "--dtype", name)
    assert_same(found, {key: value.to(dtype) for key, value in demo.items()})


def test_metadata_of_the_shards_is_kept_and_names_the_recipe(demo, tmp_path, capsys):
    _, metadata = converted(tmp_path, models.DIT)
    assert metadata["refvid.recipe"] == "saber" and "by its metadata" in capsys.readouterr().out
    assert {key: value for key, value in metadata.items() if key != "refvid.sources"} == read_metadata(
        models.DIT, "--dit"
    )


@pytest.mark.parametrize(
    ("where", "recipe"),
    [
        ("RefAlign-14B/model.safetensors", "refalign"),
        ("models--x--Concat-ID-Wan/snapshots/0/a.safetensors", "concat_id"),
    ],
)
def test_a_name_above_the_file_tells_the_recipe(where, recipe, demo, tmp_path, capsys):
    (tmp_path / where).parent.mkdir(parents=True)
    save_file(demo, tmp_path / where)
    _, metadata = converted(tmp_path, tmp_path / where)
    assert metadata["refvid.recipe"] == recipe and "by the name" in capsys.readouterr().out


def test_a_plan_writes_nothing(demo, tmp_path, capsys):
    sources = refalign_folder(demo, tmp_path)
    out = tmp_path / "out.safetensors"
    cli.main(["convert", str(sources[0]), "--out", str(out), "--recipe", "refalign", "--plan"])
    said = capsys.readouterr().out
    assert "6 files" in said and "refalign" in said and str(out) in said
    assert not out.exists() and list(tmp_path.iterdir()) == [sources[0]]


def test_a_file_that_is_there_is_replaced_whole(demo, tmp_path):
    (tmp_path / "converted.safetensors").write_text("old")
    found, _ = converted(tmp_path, *phantom_pickle(demo, tmp_path), "--recipe", "phantom")
    assert_same(found, demo)
    assert not list(tmp_path.glob(".*"))
