"""Weights as they are published, made of a DiT in original names: the other direction of `refvid convert`,
written from the publishers' own scripts."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

State = dict[str, Tensor]
# scripts/convert_wan_to_diffusers.py: replaced in a key, in this order.
RENAMED = (
    ("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    ("time_projection.1", "condition_embedder.time_proj"),
    ("head.modulation", "scale_shift_table"),
    ("head.head", "proj_out"),
    ("modulation", "scale_shift_table"),
    ("ffn.0", "ffn.net.0.proj"),
    ("ffn.2", "ffn.net.2"),
    ("norm2", "norm__placeholder"),
    ("norm3", "norm2"),
    ("norm__placeholder", "norm3"),
    ("img_emb.proj.0", "condition_embedder.image_embedder.norm1"),
    ("img_emb.proj.1", "condition_embedder.image_embedder.ff.net.0.proj"),
    ("img_emb.proj.3", "condition_embedder.image_embedder.ff.net.2"),
    ("img_emb.proj.4", "condition_embedder.image_embedder.norm2"),
    ("self_attn.q", "attn1.to_q"),
    ("self_attn.k", "attn1.to_k"),
    ("self_attn.v", "attn1.to_v"),
    ("self_attn.o", "attn1.to_out.0"),
    ("self_attn.norm_q", "attn1.norm_q"),
    ("self_attn.norm_k", "attn1.norm_k"),
    ("cross_attn.k_img", "attn2.add_k_proj"),
    ("cross_attn.v_img", "attn2.add_v_proj"),
    ("cross_attn.norm_k_img", "attn2.norm_added_k"),
    ("cross_attn.q", "attn2.to_q"),
    ("cross_attn.k", "attn2.to_k"),
    ("cross_attn.v", "attn2.to_v"),
    ("cross_attn.o", "attn2.to_out.0"),
    ("cross_attn.norm_q", "attn2.norm_q"),
    ("cross_attn.norm_k", "attn2.norm_k"),
)
PREFIX = "model.diffusion_model."


def diffusers_state(state: Mapping[str, Tensor]) -> State:
    """A DiT under the names of diffusers' WanTransformer3DModel."""
    renamed = {}
    for key, value in state.items():
        for original, theirs in RENAMED:
            key = key.replace(original, theirs)
        renamed[key] = value
    return renamed


def sat_state(state: Mapping[str, Tensor], layers: int) -> State:
    """A DiT as Kaleido's convert_ckpt_init_wan2sat.py writes it."""
    left, sat = dict(state), {}

    def move(to: str, *keys: str) -> None:
        parts = [left.pop(key) for key in keys]
        sat[PREFIX + to] = parts[0] if len(parts) == 1 else torch.cat(parts, dim=0)

    for kind in ("weight", "bias"):
        move(f"mixins.patch_embed.proj.{kind}", f"patch_embedding.{kind}")
        for at in (0, 2):
            move(f"text_embedding.{at}.{kind}", f"text_embedding.{at}.{kind}")
            move(f"time_embed.{at}.{kind}", f"time_embedding.{at}.{kind}")
        move(f"adaln_projection.1.{kind}", f"time_projection.1.{kind}")
        move(f"mixins.final_layer.linear.{kind}", f"head.head.{kind}")
    move("mixins.final_layer.adaLN_modulation", "head.modulation")
    for i in range(layers):
        layer, block = f"transformer.layers.{i}", f"blocks.{i}"
        for kind in ("weight", "bias"):
            move(
                f"{layer}.attention.query_key_value.{kind}",
                *(f"{block}.self_attn.{one}.{kind}" for one in ("q", "k", "v")),
            )
            move(
                f"{layer}.cross_attention.key_value.{kind}",
                *(f"{block}.cross_attn.{one}.{kind}" for one in ("k", "v")),
            )
            for theirs, ours in (
                ("attention.dense", "self_attn.o"),
                ("cross_attention.dense", "cross_attn.o"),
                ("cross_attention.query", "cross_attn.q"),
                ("post_cross_attention_layernorm", "norm3"),
                ("mlp.dense_h_to_4h", "ffn.0"),
                ("mlp.dense_4h_to_h", "ffn.2"),
            ):
                move(f"{layer}.{theirs}.{kind}", f"{block}.{ours}.{kind}")
        for theirs, ours in (
            ("query", "self_attn.norm_q"),
            ("key", "self_attn.norm_k"),
            ("cross_query", "cross_attn.norm_q"),
            ("cross_key", "cross_attn.norm_k"),
        ):
            move(f"mixins.adaln_layer.{theirs}_layernorm_list.{i}.weight", f"{block}.{ours}.weight")
        move(f"mixins.adaln_layer.adaLN_modulations.{i}", f"{block}.modulation")
    assert not left
    return sat


def stand_in_state(width: int, layers: int, rank: int = 4) -> State:
    """Stand-In's adapter (models/set_condition_branch.py), random."""
    generator = torch.Generator().manual_seed(5)
    return {
        f"blocks.{layer}.self_attn.{name}.{part}.weight": torch.randn(sides, generator=generator)
        for layer in range(layers)
        for name in ("q_loras", "k_loras", "v_loras")
        for part, sides in (("down", (rank, width)), ("up", (width, rank)))
    }


def save_shards(
    folder: Path, state: Mapping[str, Tensor], names: list[str], index: str | None = None
) -> list[Path]:
    """A state parted among safetensors files of these names, with an index where one is named."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = sorted(state)
    parts = {name: keys[at :: len(names)] for at, name in enumerate(names)}
    for name, mine in parts.items():
        save_file({key: state[key].contiguous() for key in mine}, folder / name, {"format": "pt"})
    if index is not None:
        where = {key: name for name, mine in parts.items() for key in mine}
        (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": where}), "utf-8")
    return [folder / name for name in names]
