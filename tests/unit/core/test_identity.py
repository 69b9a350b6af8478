"""Identity files, adapters and LoRA files: what is written comes back, everything else is refused by name."""

import json

import pytest
import refvid_tiny as tiny
import torch
from safetensors.torch import load_file, save_file

from refvid.backbones.wan.geometry import WAN
from refvid.backbones.wan.loading import load_dit
from refvid.backbones.wan.lora import merge_lora
from refvid.core.adapter import load_adapter
from refvid.core.checkpoint import read_safetensors
from refvid.core.identity import (
    Bound,
    Identity,
    blend,
    key_bias,
    load_identity,
    require_adapter,
    save_identity,
)
from refvid.core.lora import lora_key
from refvid.core.slots import SlotEncoder

SIZES = tiny.config(layers=1)


def someone(seed: int = 0, adapter: str = "a1") -> Identity:
    generator = torch.Generator().manual_seed(seed)
    anchors, slots = torch.randn(2, 8, generator=generator), torch.randn(3, 8, generator=generator)
    return Identity(anchors, slots, adapter, torch.rand(6, 6, 3, generator=generator))


@pytest.fixture
def adapter(tmp_path):
    return tiny.save_adapter(tmp_path, SIZES)


def rewritten(path, change, metadata=None):
    """File with its tensors and its metadata changed."""
    state, told = read_safetensors(path, "test")
    change(state)
    save_file(state, path, {**told, **(metadata or {})})
    return path


# ---- identities


def test_an_identity_comes_back_bit_for_bit(tmp_path):
    one = someone()
    save_identity(one, tmp_path / "one.safetensors")
    back = load_identity(tmp_path / "one.safetensors")
    assert torch.equal(back.anchors, one.anchors) and torch.equal(back.slots, one.slots)
    assert back.adapter == "a1" and (back.preview - one.preview).abs().max() <= 0.5 / 255 + 1e-6


def test_parts_are_the_anchor_the_slots_or_both():
    one = someone()
    assert torch.equal(one.tokens("both"), torch.cat([one.anchors, one.slots]))
    assert torch.equal(one.tokens("anchor"), one.anchors) and torch.equal(one.tokens("slots"), one.slots)
    with pytest.raises(ValueError, match="parts is 'all'; choose one of both, slots, anchor"):
        one.tokens("all")


def test_a_blend_is_the_weighted_mean_and_ends_are_the_identities_themselves():
    one, other = someone(1), someone(2)
    half = blend([one, other], [1.0, 3.0])
    torch.testing.assert_close(half.slots, 0.25 * one.slots + 0.75 * other.slots)
    torch.testing.assert_close(half.anchors, 0.25 * one.anchors + 0.75 * other.anchors)
    assert torch.equal(half.preview, other.preview)
    assert torch.equal(blend([one, other], [1, 0]).slots, one.slots)


@pytest.mark.parametrize(
    ("identities", "weights", "says"),
    [
        ([], [], "0 identities and 0 weights"),
        ([someone()], [1, 2], "1 identities and 2 weights"),
        ([someone()], [0], "not all 0"),
        ([someone()], [float("nan")], "needed 0 or more"),
        ([someone(), someone()], [1, -1], "needed 0 or more"),
        ([someone(), someone(1, "b2")], [1, 1], "read by adapter b2, this is a1"),
    ],
)
def test_a_blend_that_means_nothing_is_refused(identities, weights, says):
    with pytest.raises(ValueError, match=says):
        blend(identities, weights)


def test_files_of_another_kind_version_or_shape_are_refused(tmp_path, adapter):
    path = tmp_path / "one.safetensors"
    with pytest.raises(ValueError, match=r"slot_id.safetensors is no identity file"):
        load_identity(adapter)
    with pytest.raises(ValueError, match="there is no file"):
        load_identity(path)
    save_identity(someone(), path)
    with pytest.raises(ValueError, match="has version 9, this refvid reads 1"):
        load_identity(rewritten(path, lambda state: None, {"refvid.version": "9"}))
    save_identity(someone(), path)
    with pytest.raises(ValueError, match=r"anchors are \[2, 8\], slots \[3, 9\]"):
        load_identity(rewritten(path, lambda state: state.update(slots=torch.zeros(3, 9))))
    save_identity(someone(), path)
    with pytest.raises(ValueError, match="NaN or infinite values in slots"):
        load_identity(rewritten(path, lambda state: state["slots"].fill_(float("nan"))))
    save_identity(someone(), path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="truncated"):
        load_identity(path)


@pytest.mark.parametrize(
    ("change", "metadata", "says"),
    [
        ({"preview": torch.zeros(6, 6, 4, dtype=torch.uint8)}, {}, r"preview \[6, 6, 4\]; needed"),
        ({"preview": torch.zeros(8193, 1, 3, dtype=torch.uint8)}, {}, "preview is .*, each from 1 to 8192"),
        ({"preview": torch.zeros(6, 6, 3)}, {}, "preview is torch.float32; needed torch.uint8"),
        ({"slots": torch.zeros(3, 8).half()}, {}, "slots is torch.float16; needed torch.float32"),
        ({"colour": torch.zeros(1)}, {}, "holds colour; needed anchors, slots and preview"),
        ({}, {"refvid.adapter": None}, r"names no adapter \(metadata refvid.adapter\); needed"),
    ],
)
def test_what_an_identity_file_has_more_less_or_otherwise_is_named(tmp_path, change, metadata, says):
    path = tmp_path / "one.safetensors"
    save_identity(someone(), path)
    state, told = read_safetensors(path, "test")
    told = {key: value for key, value in {**told, **metadata}.items() if value is not None}
    save_file({**state, **change}, path, told)
    with pytest.raises(ValueError, match=rf"^identity: one\.safetensors:? .*{says}"):
        load_identity(path)


def test_an_identity_of_another_adapter_is_refused():
    require_adapter(someone(), "a1", "identity")
    with pytest.raises(ValueError, match="identity: the identity was read by adapter a1, this is b2"):
        require_adapter(someone(), "b2", "identity")


@pytest.mark.parametrize("strength", [0.0, -1.0, 11.0, float("nan")])
def test_strengths_out_of_bounds_are_refused(strength):
    with pytest.raises(ValueError, match="strength is"):
        Bound(3, strength)


def test_a_strength_is_the_log_of_a_weight_and_one_needs_none():
    bias = key_bias([Bound(2, 0.5), Bound(1), Bound(1, 2.0)], torch.device("cpu"))
    torch.testing.assert_close(bias, torch.tensor([[0.5, 0.5, 1.0, 2.0]]).log())
    assert key_bias([Bound(2), Bound(1)], torch.device("cpu")) is None


# ---- adapters


def test_an_adapter_comes_back_and_any_changed_weight_makes_it_another(adapter):
    first = load_adapter(adapter, WAN)
    SlotEncoder(first.config, 2).load_state_dict(first.encoder)
    assert len(first.lora) == 4 * 3 and load_adapter(adapter, WAN).fingerprint == first.fingerprint
    for key in ("slot_encoder.gate.bias", lora_key(0, "v", "lora_A.weight")):
        before = load_adapter(adapter, WAN).fingerprint
        rewritten(adapter, lambda state, key=key: state[key].add_(1e-2))
        assert load_adapter(adapter, WAN).fingerprint != before, key


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("diffusion_model.blocks.0.self_attn.q.diff", "which is missing"),
        (lora_key(300, "q", "diff"), "which is missing"),
        (lora_key(1, "q", "diff"), r"by \[7\]; in this DiT it is \[96, 96\]"),
    ],
)
def test_a_lora_of_anything_but_cross_attentions_of_its_width_is_refused(adapter, key, says):
    rewritten(adapter, lambda state: state.update({key: torch.zeros(7)}))
    with pytest.raises(ValueError, match=rf"^adapter: slot_id\.safetensors: {key} changes .*{says}"):
        load_adapter(adapter, WAN)


def test_adapters_of_another_kind_version_or_size_are_refused(adapter, tmp_path):
    plain = tmp_path / "lora.safetensors"
    save_file({lora_key(0, "q", "lora_A.weight"): torch.zeros(2, 96)}, plain)
    with pytest.raises(ValueError, match="a plain LoRA goes into a LoRA loader"):
        load_adapter(plain, WAN)
    rewritten(adapter, lambda state: None, {"refvid.version": "1"})
    with pytest.raises(ValueError, match="has version 1, this refvid reads 2"):
        load_adapter(adapter, WAN)
    config = json.loads(read_safetensors(adapter, "test")[1]["refvid.config"])
    rewritten(
        adapter,
        lambda state: None,
        {"refvid.version": "2", "refvid.config": json.dumps({**config, "slots": 4})},
    )
    with pytest.raises(ValueError, match=r"first_slots.weight is \[3, 16\], needed \[4, 16\]"):
        load_adapter(adapter, WAN)
    rewritten(adapter, lambda state: None, {"refvid.config": json.dumps({**config, "colour": 4})})
    with pytest.raises(ValueError, match="says 'colour'; needed channels"):
        load_adapter(adapter, WAN)
    rewritten(
        adapter, lambda state: state.pop("slot_encoder.gate.bias"), {"refvid.config": json.dumps(config)}
    )
    with pytest.raises(ValueError, match=r"its encoder has no gate.bias"):
        load_adapter(adapter, WAN)


# ---- LoRA on the plain DiT


def test_a_lora_adds_alpha_over_rank_times_b_a_and_its_strength_scales_it(tmp_path):
    path = tiny.save_dit(tmp_path, "dit.safetensors", SIZES, tiny.dit_state(SIZES))
    key = "blocks.0.cross_attn.k.weight"
    down, up = torch.randn(2, 96), torch.randn(96, 2)
    lora = {
        lora_key(0, "k", "lora_A.weight"): down,
        lora_key(0, "k", "lora_B.weight"): up,
        lora_key(0, "k", "alpha"): torch.tensor(1.0),
    }
    dit, before = load_dit(path)[0], load_dit(path)[0].state_dict()
    merge_lora(dit, lora, 0.5)
    after = dit.state_dict()
    torch.testing.assert_close(after[key], before[key] + 0.5 * 0.5 * up @ down)
    assert all(torch.equal(after[name], before[name]) for name in before if name != key)


def test_a_lora_that_does_not_fit_is_refused_and_changes_nothing(tmp_path):
    path = tiny.save_dit(tmp_path, "dit.safetensors", SIZES, tiny.dit_state(SIZES))
    dit, before = load_dit(path)[0], load_dit(path)[0].state_dict()
    fits = {
        lora_key(0, "q", "lora_A.weight"): torch.ones(2, 96),
        lora_key(0, "q", "lora_B.weight"): torch.ones(96, 2),
    }
    other = {
        lora_key(7, "q", "lora_A.weight"): torch.ones(2, 96),
        lora_key(7, "q", "lora_B.weight"): torch.ones(96, 2),
    }
    wide = {
        lora_key(0, "k", "lora_A.weight"): torch.ones(2, 97),
        lora_key(0, "k", "lora_B.weight"): torch.ones(96, 2),
    }
    for lora, says in (
        (fits | other, "blocks.7.cross_attn.q.weight, which is missing"),
        (fits | wide, r"by \[96, 97\]; in this DiT it is \[96, 96\]"),
        ({lora_key(0, "q", "lora_A.weight"): torch.ones(2, 96)}, "pairs of lora_A and lora_B"),
        ({}, "pairs of lora_A and lora_B"),
        (fits | {"text.weight": torch.ones(1)}, "holds text.weight, which cannot be merged here"),
    ):
        with pytest.raises(ValueError, match=says):
            merge_lora(dit, lora)
    assert all(torch.equal(value, before[name]) for name, value in dit.state_dict().items())


def test_what_the_file_says_is_what_core_reads(adapter):
    """The LoRA's names are ComfyUI's own: nothing else is left beside the encoder."""
    keys = {key for key in load_file(adapter) if not key.startswith("slot_encoder.")}
    assert keys == {
        lora_key(0, p, part) for p in "qkvo" for part in ("lora_A.weight", "lora_B.weight", "alpha")
    }
    assert lora_key(3, "o", "alpha") == "diffusion_model.blocks.3.cross_attn.o.alpha"
