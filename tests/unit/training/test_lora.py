"""LoRA of a frozen DiT: which layers targets name, in which types it is computed, what its file says, and a
run that begins with one."""

from pathlib import Path

import pytest
import refvid_loras as loras
import refvid_tiny as tiny
import torch
from torch import Tensor, nn

from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.lora import merge_lora
from refvid.core.checkpoint import save_model
from refvid.training.engine.lora import LowRank, add_lora, begin_with, changed_layers, lora_state

SIZES = tiny.config()
STATE = tiny.dit_state(SIZES)
ALL = (".*",)
GIVEN = (torch.randn(1, 16, 2, 4, 4), torch.tensor([500.0]), torch.randn(1, 5, SIZES.text_width))
ATTENTION = [f"{where}_attn.{one}" for where in ("self", "cross") for one in "qkvo"]


def fresh(dtype: torch.dtype = torch.float32) -> WanDiT:
    dit = WanDiT(SIZES)
    dit.load_state_dict(STATE)
    return dit.to(dtype).requires_grad_(False)


def named(*targets: str) -> list[str]:
    return [name for name, _, _ in changed_layers(add_lora(fresh(), 2, targets))]


def of_blocks(*names: str) -> list[str]:
    return [f"blocks.{block}.{name}" for block in range(SIZES.layers) for name in names]


@torch.no_grad()
def strong(layers: nn.ModuleDict, seed: int = 0) -> nn.ModuleDict:
    """Changes that are seen."""
    torch.manual_seed(seed)
    for parameter in layers.parameters():
        nn.init.normal_(parameter, std=0.2)
    return layers


def worst(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).abs().max())


# ---- targets


def test_a_name_takes_every_linear_layer_below_it_in_every_block():
    assert named("self_attn") == of_blocks(*ATTENTION[:4])
    assert named("ffn") == of_blocks("ffn.0", "ffn.2")
    assert named("blocks.1") == [f"blocks.1.{one}" for one in [*ATTENTION, "ffn.0", "ffn.2"]]


def test_an_expression_matches_whole_parts_of_names():
    assert named("blocks.1.self_attn.q") == ["blocks.1.self_attn.q"]
    assert named("ffn.0") == of_blocks("ffn.0")
    assert named(r"(self|cross)_attn\.[qv]") == of_blocks(
        *(f"{n}_attn.{x}" for n in ("self", "cross") for x in "qv")
    )
    assert named("text_embedding.0", "head.head") == ["text_embedding.0", "head.head"]
    pictures = WanDiT(tiny.config(in_channels=36, image_width=1280))
    found = [name for name, _, _ in changed_layers(add_lora(pictures, 2, ("blocks.0.cross_attn.k",)))]
    assert found == ["blocks.0.cross_attn.k"]  # and not k_img


def test_all_targets_are_all_linear_layers():
    wanted = [name for name, layer in fresh().named_modules() if isinstance(layer, nn.Linear)]
    assert named(*ALL) == wanted and len(wanted) == 10 * SIZES.layers + 6


def test_layers_come_target_by_target_and_each_once():
    assert named("cross_attn", "self_attn.q", "cross_attn.q") == [
        *of_blocks(*ATTENTION[4:]),
        *of_blocks("self_attn.q"),
    ]


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (("self_attn", "self_atn"), "targets: 'self_atn' matches no linear layer; the nearest is self_attn"),
        (("self",), "targets: 'self' matches no linear layer; the nearest is self_attn"),
        (("norm3",), "targets: 'norm3' matches no linear layer; needed self_attn, cross_attn, ffn, or a"),
        (
            ("blocks.9.ffn.0",),
            "targets: 'blocks.9.ffn.0' matches no linear layer; the nearest is blocks.[01].ffn.0",
        ),
        (("ffn", "(q"), r"targets: '\(q' is no regular expression \(.*\); needed self_attn"),
        (("",), "targets: '' matches no linear layer"),
        ((), "targets: there is none; needed self_attn"),
    ],
)
def test_targets_that_name_nothing_are_refused_and_nothing_is_changed(targets, said):
    dit = fresh()
    with pytest.raises(ValueError, match=said):
        add_lora(dit, 2, targets)
    assert not any(isinstance(module, LowRank) for module in dit.modules())


def test_a_rank_below_1_and_a_second_lora_are_refused():
    with pytest.raises(ValueError, match="rank is 0; needed 1 or more"):
        add_lora(fresh(), 0, ("ffn",))
    dit = fresh()
    add_lora(dit, 2, ("ffn",))
    with pytest.raises(ValueError, match="has a LoRA already; give all targets at once"):
        add_lora(dit, 2, ("self_attn",))


# ---- what is computed


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@torch.no_grad()
def test_at_the_start_the_base_is_as_it_was_bit_for_bit(dtype):
    plain, dit = fresh(dtype), fresh(dtype)
    given = [one.to(dtype) for one in GIVEN]
    layers = add_lora(dit, 4, ALL)
    assert {parameter.dtype for parameter in layers.parameters()} == {torch.float32}
    assert (dit.dtype, dit.device) == (plain.dtype, plain.device)
    assert torch.equal(dit(*given), plain(*given))
    with torch.autocast("cpu", torch.bfloat16 if dtype == torch.float32 else dtype):
        assert torch.equal(dit(*given), plain(*given))


def test_a_change_is_w_plus_b_a_and_only_it_learns():
    torch.manual_seed(1)
    base = nn.Linear(6, 5).double()
    layer = LowRank(base, 3).double()
    layer.up.weight.data.normal_()
    x = torch.randn(4, 6, dtype=torch.float64)
    whole = base.weight + layer.up.weight @ layer.down.weight
    torch.testing.assert_close(layer(x), x @ whole.T + base.bias, atol=1e-12, rtol=0)
    dit = WanDiT(SIZES)
    layers = strong(add_lora(dit, 2, ("ffn", "head.head")))
    dit(*GIVEN).sum().backward()
    learns = {id(parameter) for parameter in layers.parameters()}
    assert {id(p) for p in dit.parameters() if p.grad is not None} == learns
    assert {id(p) for p in dit.parameters() if p.requires_grad} == learns
    assert all(parameter.grad.any() for parameter in layers.parameters())


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_change_is_computed_in_autocasts_type_or_in_fp32_and_gradients_are_fp32(dtype, autocast):
    """bfloat16 has 8 bits: 1 + 2^-10 is 1 there, and not in fp32."""
    layer = LowRank(nn.Linear(1, 1, bias=False, dtype=dtype).requires_grad_(False), 1)
    for weight, value in (
        (layer.base.weight, 0.0),
        (layer.down.weight, 1 + 2**-10),
        (layer.up.weight, 256.0),
    ):
        weight.data.fill_(value)
    seen = []
    layer.up.register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = layer(torch.ones(1, 1, dtype=dtype))
    assert seen[0].dtype == (torch.bfloat16 if autocast else torch.float32)
    assert float(seen[0].detach()) == (256.0 if autocast else 256.25)
    assert out.dtype == (torch.bfloat16 if autocast else dtype)
    out.float().sum().backward()
    assert layer.down.weight.grad.dtype == layer.up.weight.grad.dtype == torch.float32


def test_under_autocast_a_change_keeps_its_input_itself_and_no_copy():
    layer, x = (
        LowRank(nn.Linear(7, 5, dtype=torch.bfloat16).requires_grad_(False), 2),
        torch.ones(3, 7).bfloat16(),
    )
    kept = []
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one),
        torch.autocast("cpu", torch.bfloat16),
    ):
        layer(x)
    assert {one.data_ptr() for one in kept if one.shape == x.shape} == {x.data_ptr()}


# ---- the file


@torch.no_grad()
def test_the_state_merged_is_what_was_trained_and_alpha_is_the_rank():
    dit, merged = fresh(), fresh()
    state = lora_state(strong(add_lora(dit, 4, ALL)))
    merge_lora(merged, state)
    assert worst(merged(*GIVEN), dit(*GIVEN)) < 2e-4 < worst(fresh()(*GIVEN), dit(*GIVEN))
    layers = [name for name, module in fresh().named_modules() if isinstance(module, nn.Linear)]
    ends = ("lora_A.weight", "lora_B.weight", "alpha")
    assert state.keys() == {f"diffusion_model.{name}.{end}" for name in layers for end in ends}
    assert {float(value) for key, value in state.items() if key.endswith(".alpha")} == {4.0}


# ---- a start


def written(folder: Path, state: dict[str, Tensor]) -> Path:
    path = folder / "given.safetensors"
    save_model(state, path, dtype=torch.float32)
    return path


FORMS = [*loras.PAIR_NAMES, "lora_unet_", "lora_unet__"]


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_a_run_begins_with_a_file_of_any_names(tmp_path, form):
    state = loras.forms(STATE)[form]
    targets = [
        name
        for name in (*loras.LAYERS, "blocks.0.cross_attn.k")
        if any(name.replace(".", "_") in key.replace(".", "_") for key in state)
    ]
    dit, merged = fresh(), fresh()
    begin_with(add_lora(dit, loras.RANK, targets), dit, written(tmp_path, state))
    merge_lora(merged, state)
    assert worst(merged(*GIVEN), dit(*GIVEN)) < 2e-4 < worst(fresh()(*GIVEN), dit(*GIVEN))


@torch.no_grad()
def test_alpha_is_folded_in_so_that_what_is_written_again_is_the_same_change(tmp_path):
    first = lora_state(strong(add_lora(fresh(), 4, ("ffn.0",))))
    given = {key: torch.tensor(1.0) if key.endswith(".alpha") else value for key, value in first.items()}
    dit = fresh()
    layers = add_lora(dit, 4, ("ffn.0",))
    begin_with(layers, dit, written(tmp_path, given))
    again = lora_state(layers)
    for key, value in first.items():
        assert torch.equal(again[key], value / 4 if "lora_B" in key else value), key
    once, twice = fresh(), fresh()
    merge_lora(once, given)
    merge_lora(twice, again)
    assert worst(once(*GIVEN), twice(*GIVEN)) < 1e-5


LAYER = "diffusion_model.blocks.1.ffn.0"


def without(state: dict[str, Tensor], layer: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.startswith(layer + ".")}


def a_dora(state):
    return state | {f"{LAYER}.dora_scale": torch.ones(SIZES.ffn_width, 1)}


def a_diff(state):
    return without(state, LAYER) | {f"{LAYER}.diff": torch.zeros(SIZES.ffn_width, SIZES.width)}


def a_bias(state):
    return state | {f"{LAYER}.diff_b": torch.zeros(SIZES.ffn_width)}


def fewer(state):
    return without(state, LAYER)


def more(state):
    other = lora_state(add_lora(fresh(), 2, ("head.head",)))
    return state | other


def of_another_rank(state):
    narrow = lora_state(add_lora(fresh(), 1, ("blocks.1.ffn.0",)))
    return state | narrow


def foreign(state):
    return state | {"text_model.weight": torch.zeros(2)}


def endless(state):
    return state | {f"{LAYER}.lora_A.weight": torch.full((2, SIZES.width), torch.inf)}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (a_dora, "start: given.safetensors changes blocks.1.ffn.0.weight by dora; needed pairs"),
        (a_diff, "changes blocks.1.ffn.0.weight by diff; needed pairs"),
        (a_bias, "changes blocks.1.ffn.0.bias by diff; needed pairs"),
        (fewer, "does not change blocks.1.ffn.0.weight: 1 layers in the file, 2 by the run's targets"),
        (more, "changes head.head.weight, which this run does not: 3 layers in the file, 2 by"),
        (of_another_rank, "changes blocks.1.ffn.0.weight with rank 1, this run's is 2; give rank 1"),
        (foreign, "start: given.safetensors holds text_model.weight, which cannot be merged"),
        (endless, "start: given.safetensors holds NaN or infinite values"),
    ],
)
def test_a_start_that_is_not_this_runs_is_refused_by_name_and_nothing_is_changed(tmp_path, changed, said):
    dit = fresh()
    layers = add_lora(dit, 2, ("ffn.0",))
    before = {name: value.clone() for name, value in layers.state_dict().items()}
    with pytest.raises(ValueError, match=said):
        begin_with(
            layers, dit, written(tmp_path, changed(lora_state(strong(add_lora(fresh(), 2, ("ffn.0",))))))
        )
    assert all(torch.equal(value, before[name]) for name, value in layers.state_dict().items())


def test_a_start_that_is_not_there_is_named(tmp_path):
    dit = fresh()
    with pytest.raises(ValueError, match=r"start: there is no file .*none.safetensors"):
        begin_with(add_lora(dit, 2, ("ffn",)), dit, tmp_path / "none.safetensors")
