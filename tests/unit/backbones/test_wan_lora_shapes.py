"""Shapes and types of a LoRA's parts that can change a weight: looked at by shape and type alone, so that
nothing large is made."""

import math

import pytest
import refvid_tiny as tiny
import torch
from safetensors.torch import save_file

from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.lora import merge_lora_file
from refvid.core.lora import MOST_RANK, canonical, changes

LAYER, WEIGHTS = "blocks.0.ffn.0", {"blocks.0.ffn.0.weight": torch.empty(8, 6, device="meta")}


def empty(*shape: int, dtype: torch.dtype = torch.float16) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def pair(rank: int, rows: int = 8, columns: int = 6, **other: torch.Tensor) -> dict[str, torch.Tensor]:
    parts = {"lora_B.weight": empty(rows, rank), "lora_A.weight": empty(rank, columns)}
    return {f"{LAYER}.{end}": value for end, value in {**parts, **other}.items()}


@pytest.mark.parametrize(
    "lora",
    [
        pair(1),
        pair(MOST_RANK),
        pair(2, alpha=torch.tensor(2)),
        pair(2, alpha=torch.ones(1, dtype=torch.bfloat16)),
        {f"{LAYER}.diff": empty(8, 6)},
    ],
)
def test_what_fits_is_taken(lora):
    assert changes(lora, WEIGHTS, "it").keys() == WEIGHTS.keys()


@pytest.mark.parametrize(
    ("lora", "says"),
    [
        (pair(0), "needed a matrix of rank 1 to"),
        (pair(MOST_RANK + 1), "needed a matrix of rank 1 to"),
        (
            pair(2, 4, 12),
            r"lora_B\.weight changes blocks\.0\.ffn\.0\.weight by \[4, 12\]; in this DiT it is \[8, 6\]",
        ),
        (pair(2, 8, 7), r"by \[8, 7\]"),
        ({f"{LAYER}.diff": empty(4, 12)}, r"diff changes blocks\.0\.ffn\.0\.weight by \[4, 12\]"),
        ({f"{LAYER}.diff": empty(48)}, r"by \[48\]"),
        ({f"{LAYER}.diff": empty(8, 6, dtype=torch.float8_e4m3fn)}, "is torch.float8_e4m3fn; needed fp32"),
        ({f"{LAYER}.diff": empty(8, 6, dtype=torch.complex64)}, "is torch.complex64; needed fp32"),
        (pair(2, alpha=torch.tensor(True)), r"alpha is torch\.bool; needed a number"),
        (pair(2, alpha=torch.tensor(1j)), r"alpha is torch\.complex64; needed a number"),
        (pair(2, alpha=torch.ones(0)), r"alpha is \[0\]; needed one number"),
    ],
)
def test_what_does_not_fit_is_named(lora, says):
    with pytest.raises(ValueError, match=f"^it: {LAYER}.*{says}"):
        changes(lora, WEIGHTS, "it")


def test_a_lora_under_any_names_reaches_comfyui_under_those_it_knows():
    weights = {**WEIGHTS, "blocks.0.ffn.0.bias": empty(8), "blocks.0.modulation": empty(1, 6, 8)}
    low, known = pair(2), "diffusion_model." + LAYER
    flat = {"lora_unet_blocks_0_ffn_0.lora_down.weight": low[f"{LAYER}.lora_A.weight"]}
    more = {f"{known}.diff_b": empty(8), "blocks.0.diff_m": empty(1, 6, 8), f"{LAYER}.alpha": torch.tensor(2)}
    named = canonical(
        changes({f"{LAYER}.lora_up.weight": low[f"{LAYER}.lora_B.weight"], **flat, **more}, weights, "it")
    )
    assert named[f"{known}.lora_A.weight"] is low[f"{LAYER}.lora_A.weight"]
    assert named[f"{known}.lora_B.weight"] is low[f"{LAYER}.lora_B.weight"]
    others = {f"{known}.alpha", f"{known}.diff_b", "diffusion_model.blocks.0.modulation.diff"}
    assert named.keys() == {f"{known}.lora_A.weight", f"{known}.lora_B.weight", *others}


@pytest.mark.parametrize(
    ("state", "metadata", "says"),
    [
        (
            {"blocks.0.norm3.bias": torch.zeros(2)},
            {"refvid.kind": "videomaker", "refvid.version": "9"},
            "has version 9",
        ),
        (
            {"blocks.0.norm3.bias": torch.zeros(2)},
            {"refvid.kind": "poem", "refvid.version": "1"},
            "is no videomaker file",
        ),
        ({"blocks.0.norm3.diff": torch.full((7,), math.nan)}, {}, r"by \[7\]; in this DiT it is \[96\]"),
    ],
)
def test_kind_version_and_shapes_of_a_file_are_looked_at_before_its_values(tmp_path, state, metadata, says):
    save_file(state, tmp_path / "one.safetensors", metadata)
    with pytest.raises(ValueError, match=rf"^--lora: one\.safetensors.* {says}"):
        merge_lora_file(WanDiT(tiny.config()), tmp_path / "one.safetensors", 1.0, "--lora")
