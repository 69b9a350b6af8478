"""Memory of a LoRA's step, measured in processes of their own, against the plan; and attention that holds no
pairs."""

import pytest
import torch
import torch.nn.functional as F
from refvid_alive import Alive
from refvid_rss import measured, sizes, write_random_dit

from refvid.backbones.base import attend_all
from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.files import DiTConfig, planned_from_shapes
from refvid.backbones.wan.loading import load_dit, on_meta
from refvid.core.lora import matched_layers
from refvid.core.plan import GIB, PlannedClips, TrainingShape, planned_memory

ATTENTIONS = ("self_attn", "cross_attn")


def heads(length: int, keys: int) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    return tuple(torch.randn(1, 1, rows, 8, requires_grad=True) for rows in (length, keys, keys))


def test_short_sequences_are_attended_by_products_to_the_bit():
    query, key, value = heads(2048, 2047)
    wanted = torch.softmax(query @ key.transpose(-1, -2) * 8**-0.5, dim=-1) @ value
    assert torch.equal(attend_all(query, key, value, None), wanted)


def test_long_sequences_are_attended_without_a_matrix_of_pairs():
    query, key, value = heads(2048, 2048)
    with Alive() as alive:
        out = attend_all(query, key, value, None)
        out.sum().backward()
    assert alive.most < 2048 * 2048 * 4 / 8
    torch.testing.assert_close(out, F.scaled_dot_product_attention(query, key, value))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_files_of_any_type_are_held_in_bf16_and_never_twice(tmp_path, dtype, monkeypatch):
    config = DiTConfig(256, 512, 2, 4, 16, 16, 64)
    write_random_dit(tmp_path / "dit.safetensors", config, dtype)
    with Alive() as alive:
        dit, _ = load_dit(tmp_path / "dit.safetensors", torch.bfloat16)
    held = sum(weight.numel() * weight.element_size() for weight in dit.parameters())
    largest = max(weight.numel() for weight in dit.parameters()) * dtype.itemsize
    assert {weight.dtype for weight in dit.parameters()} == {torch.bfloat16}
    assert alive.most < held + 2 * largest + (1 << 16)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "checkpointing"),
    [
        (DiTConfig(512, 2048, 4, 6, 16, 16, 64), "none"),
        (DiTConfig(2048, 8192, 4, 2, 16, 16, 64), "blocks"),
    ],
    ids=["none", "blocks"],
)
def test_plan_is_within_15_percent_of_the_growth_of_resident_memory(config, checkpointing):
    found = measured(
        config=sizes(config), rank=8, checkpointing=checkpointing, latent=[33, 32, 32], batches=1
    )
    model = planned_from_shapes(on_meta(WanDiT, config).state_dict(), config)
    changed = tuple(matched_layers(list(model.linear), ATTENTIONS))
    run = TrainingShape(
        model, (PlannedClips(129, 256, 256),), changed, 24.0, 8, checkpointing=checkpointing, cuda=False
    )
    planned = planned_memory(run, run.largest)
    growth = found["after"] - found["before"]
    assert growth > GIB and planned.inputs + planned.block == pytest.approx(growth, rel=0.15)


@pytest.mark.slow
def test_a_step_on_wan_1_3b_takes_less_than_7_gib_and_two_minutes(tmp_path):
    write_random_dit(tmp_path / "dit.safetensors", DiTConfig(1536, 8960, 12, 30, 16, 16, 4096))
    found = measured(
        path=str(tmp_path / "dit.safetensors"), rank=32, checkpointing="blocks", latent=[2, 16, 16], batches=1
    )
    assert found["whole"] < 7 * GIB and found["seconds"] < 120 and found["finite"]
