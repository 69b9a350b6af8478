"""LoRA on reference tokens: files in the published layout, each tensor accounted for, and what it changes."""

import logging
from dataclasses import replace

import pytest
import refvid_tiny as tiny
import torch
from refvid_stand_in import RANK, adapter_state, save_adapter

from refvid.core.recipes import recipe_named
from refvid.core.token_lora import (
    TokenLora,
    TokenLoraSizes,
    read_token_lora,
    require_token_lora,
    token_lora_sizes,
)

SIZES = tiny.config(layers=3)
FIRST = "blocks.0.self_attn.q_loras.down.weight"


def read(folder, state, width=SIZES.width, layers=SIZES.layers, **said):
    return read_token_lora(save_adapter(folder, state, **said), width, layers, "adapter")


@pytest.mark.parametrize("prefix", ["", "diffusion_model.", "model.diffusion_model."])
def test_a_file_in_the_published_layout_is_read_whole_under_any_prefix(tmp_path, prefix):
    sizes, state, recipe = read(tmp_path, adapter_state(SIZES, prefix=prefix))
    assert (sizes, recipe) == (TokenLoraSizes(SIZES.width, 3, RANK), "stand_in")
    assert len(state) == 3 * 6 and torch.equal(state[FIRST], adapter_state(SIZES)[FIRST])
    TokenLora(sizes).load_state_dict(state)


def test_the_published_file_has_240_tensors_of_rank_128():
    with torch.device("meta"):
        state = TokenLora(TokenLoraSizes(5120, 40, 128)).state_dict()
    assert len(state) == 240 and tuple(state[FIRST].shape) == (128, 5120)
    assert tuple(state["blocks.39.self_attn.v_loras.up.weight"].shape) == (5120, 128)
    assert token_lora_sizes(state, "file") == TokenLoraSizes(5120, 40, 128)


def test_the_recipe_is_what_the_file_says_where_it_is_of_this_kind(tmp_path):
    state = adapter_state(SIZES)
    assert read(tmp_path, state, **{"refvid.recipe": "stand_in"})[2] == "stand_in"
    with pytest.raises(ValueError, match="trained for the recipe phantom; needed stand_in"):
        read(tmp_path, state, **{"refvid.recipe": "phantom"})


def without(key):
    return {name: value for name, value in adapter_state(SIZES).items() if name != key}


WRONG = {
    "no q of block 0": (without(FIRST), f"adapter: stand_in.safetensors is not a LoRA .*: it has no {FIRST}"),
    "one missing": (without("blocks.2.self_attn.v_loras.up.weight"), "has no blocks.2.self_attn.v_loras.up"),
    "one more": (
        adapter_state(SIZES) | {"blocks.0.ffn.0.weight": torch.ones(2, 2)},
        "also has blocks.0.ffn.0",
    ),
    "of no block": (adapter_state(SIZES) | {"alpha": torch.ones(1)}, "also has alpha"),
    "another rank": (
        adapter_state(SIZES) | {"blocks.1.self_attn.k_loras.down.weight": torch.ones(2, 96)},
        r"blocks.1.self_attn.k_loras.down.weight is \[2, 96\], needed \[4, 96\]",
    ),
    "a vector": (adapter_state(SIZES) | {FIRST: torch.ones(96)}, r"is \[96\]; needed 2 sides"),
    "whole numbers": (
        adapter_state(SIZES) | {FIRST: torch.ones(4, 96, dtype=torch.int32)},
        "is torch.int32; needed fp32, fp16 or bf16",
    ),
    "twice": (adapter_state(SIZES) | adapter_state(SIZES, prefix="diffusion_model."), "holds tensors twice"),
    "a far block": (
        adapter_state(SIZES) | {"blocks.999999.self_attn.q_loras.down.weight": torch.ones(4, 96)},
        "a block 999999",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_that_is_not_whole_and_alone_is_refused_by_the_tensor(tmp_path, wrong):
    state, said = WRONG[wrong]
    with pytest.raises(ValueError, match=said):
        read(tmp_path, state)


def test_fp8_is_refused():
    state = {key: value.to(torch.float8_e4m3fn) for key, value in adapter_state(SIZES).items()}
    with pytest.raises(ValueError, match="float8_e4m3fn; needed fp32, fp16 or bf16"):
        token_lora_sizes(state, "adapter: f")


@pytest.mark.parametrize(("width", "layers"), [(96, 2), (192, 3)])
def test_a_file_of_another_model_is_refused_with_both_sizes(tmp_path, width, layers):
    with pytest.raises(ValueError, match=f"width 96 with 3 blocks, the model has {width} and {layers}"):
        read(tmp_path, adapter_state(SIZES), width, layers)


def test_it_changes_the_last_tokens_by_up_of_down_and_leaves_the_others_to_the_last_bit():
    lora = TokenLora(TokenLoraSizes(SIZES.width, 3, RANK)).double()
    state = {key: value.double() for key, value in adapter_state(SIZES).items()}
    lora.load_state_dict(state)
    made = torch.randn(4, 2, 7, SIZES.width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    tokens, before = made[3], (made[0], made[1], made[2])
    changed = lora.blocks[1](before, tokens, 3)
    for one, given, got in zip("qkv", before, changed, strict=True):
        down, up = (state[f"blocks.1.self_attn.{one}_loras.{part}.weight"] for part in ("down", "up"))
        assert torch.equal(got[:, :-3], given[:, :-3])
        torch.testing.assert_close(got[:, -3:], given[:, -3:] + tokens[:, -3:] @ (up @ down).mT)
        assert (got - given)[:, -3:].abs().amin() > 0


def test_a_recipe_of_such_weights_needs_them_and_another_ignores_them_with_a_word(caplog):
    ours = recipe_named("stand_in")
    with pytest.raises(ValueError, match=r"recipe is stand_in, .* the model has none: load it"):
        require_token_lora(ours, False, "load it")
    require_token_lora(ours, True, "")
    require_token_lora(recipe_named("saber"), False, "")
    with caplog.at_level(logging.WARNING):
        assert not caplog.records
        require_token_lora(replace(ours, name="mine", token_lora=False), True, "")
    assert (
        "recipe is mine, in which the model's LoRA on reference tokens does nothing: choose stand_in"
        in caplog.text
    )
