"""Refusals of `refvid convert`: by name, before a byte is written, and nothing of a pickle is run."""

import json
import os
import pickle
from pathlib import Path

import pytest
import refvid_published as published
import refvid_tiny as tiny
import torch
from refvid_malice import SPRUNG
from refvid_stand_in import adapter_state
from safetensors.torch import save_file

from refvid import cli
from refvid.backbones.wan.files import DiTConfig
from refvid.convert import conversion

SIZES = DiTConfig(128, 64, 1, 2, 16, 16, 32)
STATE = tiny.dit_state(SIZES)
NAMES = [f"model-{at:05d}-of-00003.safetensors" for at in (1, 2, 3)]


class Trap:
    """Object whose pickle makes a file when it is run."""

    def __init__(self, where: Path):
        self.where = where

    def __reduce__(self):
        return os.mkdir, (str(self.where),)


def refused(
    tmp_path: Path, capsys, *arguments: object, recipe: str | None = "refalign", code: int = 2
) -> str:
    """The last line of a refusal, after which nothing is there."""
    out = tmp_path / "out" / "converted.safetensors"
    said = ["--recipe", recipe] if recipe else []
    with pytest.raises(SystemExit) as ended:
        cli.main(["convert", *map(str, arguments), "--out", str(out), *said])
    assert ended.value.code == code and not [*out.parent.glob("*"), *out.parent.glob(".*")]
    return capsys.readouterr().err.strip().splitlines()[-1]


def save(path: Path, state: dict) -> Path:
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


def without(key: str) -> dict:
    return {one: value for one, value in STATE.items() if one != key}


def test_a_pickle_with_code_is_refused_and_nothing_runs(tmp_path, capsys):
    path, trap = tmp_path / "trap.pt", tmp_path / SPRUNG
    torch.save({**STATE, "trap": Trap(trap)}, path)
    said = refused(tmp_path, capsys, path)
    assert "trap.pt" in said and "mkdir" in said and "nothing was run" in said
    assert not trap.exists()
    path.write_bytes(pickle.dumps(Trap(trap)))
    assert "trap.pt" in refused(tmp_path, capsys, path) and not trap.exists()


@pytest.mark.parametrize("raw", [b"", b"hello", b"PK\x03\x04" + b"\0" * 64])
def test_a_file_that_is_no_pickle_is_named(raw, tmp_path, capsys):
    path = tmp_path / "broken.pth"
    path.write_bytes(raw)
    assert "broken.pth" in refused(tmp_path, capsys, path)


def test_a_pickle_of_an_old_torch_is_refused_by_name(tmp_path, capsys):
    path = tmp_path / "old.pt"
    torch.save(STATE, path, _use_new_zipfile_serialization=False)
    assert "1.6" in refused(tmp_path, capsys, path)


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ([1, 2], "a list"),
        ({"module": STATE, "ema": STATE}, "under module and under ema"),
        ({"step": 3}, "step and no tensors"),
        ({**STATE, "head.head.bias": torch.eye(3).to_sparse()}, "sparse"),
    ],
)
def test_a_pickle_of_anything_but_one_set_of_tensors_is_refused(held, says, tmp_path, capsys):
    torch.save(held, tmp_path / "odd.ckpt")
    assert says in refused(tmp_path, capsys, tmp_path / "odd.ckpt")


@pytest.mark.parametrize("key", ["blocks.1.ffn.2.bias", "patch_embedding.bias", "blocks.0.modulation"])
def test_a_tensor_that_is_missing_is_named(key, tmp_path, capsys):
    assert key in refused(tmp_path, capsys, save(tmp_path / "part.safetensors", without(key)))


def test_a_missing_block_is_named(tmp_path, capsys):
    state = tiny.dit_state(DiTConfig(128, 64, 1, 3, 16, 16, 32))
    held = {key: value for key, value in state.items() if not key.startswith("blocks.1.")}
    assert "blocks.2" in refused(tmp_path, capsys, save(tmp_path / "gap.safetensors", held))


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (STATE | {"time_projection_ref.1.weight": torch.ones(2)}, "time_projection_ref.1.weight"),
        (published.diffusers_state(STATE) | {"condition_embedder.text_projector.linear_1.weight": torch.ones(2)},
         "condition_embedder.text_projector.linear_1.weight"),
        (published.sat_state(STATE, 2) | {published.PREFIX + "mixins.pos_embed.freqs": torch.ones(2)},
         "mixins.pos_embed.freqs"),
        (STATE | {"conditioner.shared.weight": torch.ones(2)}, "conditioner.shared.weight"),
        (published.diffusers_state(STATE) | {"blocks.00.norm2.weight": torch.ones(128)}, "blocks.00"),
        ({"decoder.conv1.weight": torch.ones(2)}, "a VAE"),
        ({"shared.weight": torch.ones(2)}, "a text encoder"),
        ({"diffusion_model.blocks.0.self_attn.q.lora_A.weight": torch.ones(2)}, "a LoRA"),
        ({"token_embedding.weight": torch.ones(2)}, "token_embedding.weight"),
        (STATE | {"vace_patch_embedding.weight": torch.ones(2)}, "VACE"),
        (STATE | {"blocks.0.ffn.0.weight": STATE["blocks.0.ffn.0.weight"].to(torch.float8_e4m3fn)}, "quantised"),
        (STATE | {"blocks.0.ffn.0.weight_scale": torch.ones(1)}, "blocks.0.ffn.0.weight_scale"),
        (STATE | {"head.head.bias": torch.ones(64, dtype=torch.int64)}, "int64"),
        (STATE | {"head.head.bias": torch.ones(64, dtype=torch.float64)}, "--dtype"),
        (STATE | {"blocks.0.norm3.bias": torch.ones(3)}, "blocks.0.norm3.bias"),
        (STATE | {"head.head.bias": torch.full((64,), torch.nan)}, "head.head.bias"),
        ({"blocks.0.self_attn.q_loras.down.weight": torch.ones(2, 8)}, "k_loras"),
    ],
)  # fmt: skip
def test_what_is_no_plain_wan_is_refused_by_name(state, says, tmp_path, capsys):
    said = refused(tmp_path, capsys, save(tmp_path / "it.safetensors", state))
    assert says in said and "it.safetensors" in said


def test_rows_that_do_not_part_are_refused(tmp_path, capsys):
    state = published.sat_state(STATE, 2)
    key = published.PREFIX + "transformer.layers.1.attention.query_key_value.bias"
    torch.save({"module": state | {key: state[key][:-1]}}, tmp_path / "sat.pt")
    assert "query_key_value.bias" in refused(tmp_path, capsys, tmp_path / "sat.pt")


def test_numbers_that_fp16_does_not_hold_are_refused(tmp_path, capsys):
    path = save(tmp_path / "large.safetensors", STATE | {"head.head.bias": torch.full((64,), 1e5)})
    assert "fp16" in refused(tmp_path, capsys, path, "--dtype", "fp16")


def test_plain_keys_need_a_recipe_and_an_unknown_one_is_refused(tmp_path, capsys):
    path = save(tmp_path / "plain.safetensors", STATE)
    assert "--recipe" in refused(tmp_path, capsys, path, recipe=None)
    assert "nonsense" in refused(tmp_path, capsys, path, recipe="nonsense")


@pytest.mark.parametrize("recipe", ["phantom", "vace"])
def test_an_adapter_is_for_no_recipe_of_a_whole_model(recipe, tmp_path, capsys):
    """Its loader would refuse the file after all of it was written."""
    path = save(tmp_path / "stand_in.safetensors", adapter_state(SIZES))
    said = refused(tmp_path, capsys, path, recipe=recipe)
    assert f"it is {recipe}, as said, but stand_in.safetensors holds a LoRA on reference tokens" in said


@pytest.mark.parametrize("recipe", ["stand_in", "vace"])
def test_a_whole_model_is_for_no_recipe_of_an_adapter_or_of_a_hint_branch(recipe, tmp_path, capsys):
    said = refused(tmp_path, capsys, save(tmp_path / "plain.safetensors", STATE), recipe=recipe)
    assert f"it is {recipe}, as said, but plain.safetensors holds a DiT without a hint branch" in said


def test_shards_that_are_missing_or_double_are_named(tmp_path, capsys):
    files = published.save_shards(tmp_path / "a", STATE, NAMES)
    assert "00002" in refused(tmp_path, capsys, files[0], files[2])
    files[1].unlink()
    assert "00002" in refused(tmp_path, capsys, tmp_path / "a")
    files = published.save_shards(
        tmp_path / "b", STATE, ["model-00000.safetensors", "model-00002.safetensors"]
    )
    assert "00001" in refused(tmp_path, capsys, tmp_path / "b")
    assert "twice" in refused(tmp_path, capsys, *files, files[0])
    again = save(tmp_path / "b" / "again.safetensors", {"head.head.bias": STATE["head.head.bias"]})
    files[1].rename(tmp_path / "b" / "model-00001.safetensors")
    said = refused(tmp_path, capsys, files[0], tmp_path / "b" / "model-00001.safetensors", again)
    assert "head.head.bias" in said and "again.safetensors" in said


def test_an_index_names_a_file_that_is_not_there(tmp_path, capsys):
    files = published.save_shards(tmp_path / "a", STATE, NAMES, "model.safetensors.index.json")
    files[1].unlink()
    assert NAMES[1] in refused(tmp_path, capsys, tmp_path / "a")
    index = tmp_path / "a" / "model.safetensors.index.json"
    for said in ("{}", "[]", '{"weight_map": {"a": 3}}', '{"weight_map": {"a": "../b.safetensors"}}', "{"):
        index.write_text(said, "utf-8")
        assert "index" in refused(tmp_path, capsys, tmp_path / "a")


def test_folders_of_several_models_or_none_are_refused(tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no weights" in refused(tmp_path, capsys, empty)
    for name in ("one", "two"):
        save(empty / f"{name}.safetensors", STATE)
    assert "2 sets" in refused(tmp_path, capsys, empty)
    for name in ("transformer", "transformer_2"):
        (tmp_path / "a14b" / name).mkdir(parents=True)
    assert "one at a time" in refused(tmp_path, capsys, tmp_path / "a14b")


def test_other_files_are_told_from_weights(tmp_path, capsys):
    pointer = tmp_path / "large.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "utf-8")
    assert "Git LFS" in refused(tmp_path, capsys, pointer)
    assert "GGUF" in refused(tmp_path, capsys, tmp_path / "model.gguf")
    assert ".txt" in refused(tmp_path, capsys, tmp_path / "model.txt")
    assert "no file" in refused(tmp_path, capsys, tmp_path / "model.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    assert "cut.safetensors" in refused(tmp_path, capsys, tmp_path / "cut.safetensors")


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(tmp_path, capsys, monkeypatch):
    path = save(tmp_path / "plain.safetensors", STATE)
    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda where: _Usage)
    assert "GiB" in refused(tmp_path, capsys, path, code=1)


class _Usage:
    free = 1000


def test_the_source_is_never_the_output(tmp_path, capsys):
    path = save(tmp_path / "plain.safetensors", STATE)
    before = path.read_bytes()
    with pytest.raises(SystemExit):
        cli.main(["convert", str(path), "--out", str(path), "--recipe", "refalign"])
    assert "take the place" in capsys.readouterr().err and path.read_bytes() == before


def test_config_json_that_is_none_is_refused(tmp_path, capsys):
    path = save(tmp_path / "plain.safetensors", STATE)
    (tmp_path / "config.json").write_text("{", "utf-8")
    assert "config.json" in refused(tmp_path, capsys, path)
    (tmp_path / "config.json").write_text(json.dumps({"num_heads": 1}), "utf-8")


def test_a_folder_that_is_not_there_is_said_to_be_missing(tmp_path, capsys):
    assert "there is no file or folder" in refused(tmp_path, capsys, tmp_path / "RefAlign-14B")
