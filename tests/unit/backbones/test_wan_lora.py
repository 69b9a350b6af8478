"""LoRA files on the plain DiT: every key is merged, or the file is refused by name and nothing changes."""

from pathlib import Path

import pytest
import refvid_loras as loras
import refvid_tiny as tiny
import torch

from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.geometry import WAN
from refvid.backbones.wan.lora import merge_lora, merge_lora_file
from refvid.core.adapter import load_adapter
from refvid.core.checkpoint import read_safetensors, save_model
from refvid.core.identity import Identity, save_identity
from refvid.core.lora import canonical, changes, lora_key
from refvid.demo import models
from refvid.hosts.plain.edit_film import with_editing_adapter
from refvid.hosts.plain.pipeline import load_pipeline

SIZES = tiny.config()
LAYER = "diffusion_model.blocks.0.cross_attn.q"
NAME, WIDTH = "blocks.0.cross_attn.q.weight", SIZES.width
DOWN, UP = torch.randn(2, WIDTH) / 10, torch.randn(WIDTH, 2)
LOW = {lora_key(0, "q", "lora_A.weight"): DOWN, lora_key(0, "q", "lora_B.weight"): UP}
ONE = torch.tensor(1.0)


@pytest.fixture
def dit() -> WanDiT:
    made = WanDiT(SIZES)
    made.load_state_dict(tiny.dit_state(SIZES))
    return made


def copied(dit: WanDiT) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in dit.named_parameters()}


def changed(dit: WanDiT, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, weight in dit.named_parameters() if not torch.equal(weight, before[name])}


# ---- what is merged


@pytest.mark.parametrize("form", loras.forms(tiny.dit_state(SIZES)))
def test_every_layer_of_a_file_changes_and_no_other(dit, form):
    before, state = copied(dit), loras.forms(tiny.dit_state(SIZES))[form]
    merge_lora(dit, state)
    flat = {name.replace(".", "_"): name for name in before}
    told = set()
    for key in state:
        bias = key.endswith(".diff_b")
        stem = key.removeprefix("diffusion_model.").removeprefix("lora_unet_").lstrip("_").split(".lora")[0]
        stem = (
            stem.removesuffix(".diff")
            .removesuffix(".diff_b")
            .removesuffix(".alpha")
            .removesuffix(".dora_scale")
        )
        name = stem if stem in before else f"{stem}.{'bias' if bias else 'weight'}"
        told.add(flat.get(name.replace(".", "_"), name))
    assert changed(dit, before) == told


@pytest.mark.parametrize("strength", [1.0, -0.5, 2.0])
def test_full_differences_of_weight_and_bias_are_added_at_the_strength(dit, strength):
    before, more = copied(dit), {f"{LAYER}.diff": UP @ DOWN, f"{LAYER}.diff_b": UP[:, 0]}
    merge_lora(dit, more, strength)
    after = copied(dit)
    torch.testing.assert_close(after[NAME], before[NAME] + strength * UP @ DOWN)
    bias = NAME.replace("weight", "bias")
    torch.testing.assert_close(after[bias], before[bias] + strength * UP[:, 0])


def test_modulation_in_the_distilled_files_own_name_is_changed(dit):
    """Keys that ComfyUI's LoRA loader does not know, and drops."""
    more = {
        f"diffusion_model.{of}.diff_m": torch.randn(1, rows, WIDTH)
        for of, rows in (("blocks.1", 6), ("head", 2))
    }
    before = copied(dit)
    merge_lora(dit, more, 0.5)
    assert changed(dit, before) == {"blocks.1.modulation", "head.modulation"}
    torch.testing.assert_close(
        copied(dit)["blocks.1.modulation"],
        before["blocks.1.modulation"] + 0.5 * more["diffusion_model.blocks.1.diff_m"],
    )
    asked = changes(
        {"diffusion_model.blocks.1.diff_m": more["diffusion_model.blocks.1.diff_m"]}, before, "it"
    )
    assert canonical(asked).keys() == {"diffusion_model.blocks.1.modulation.diff"}


def test_dora_at_strength_1_gives_rows_or_columns_the_norms_it_names(dit):
    """Over the outputs ComfyUI divides by the norm that the row had before, so that a change across the row's
    own direction keeps it."""
    norms = 1 + torch.rand(1, WIDTH)
    before = copied(dit)[NAME]
    merge_lora(dit, LOW | {f"{LAYER}.dora_scale": norms})
    torch.testing.assert_close(copied(dit)[NAME].norm(dim=0, keepdim=True), norms)
    once = copied(dit)[NAME]
    torch.testing.assert_close(once, (before + UP @ DOWN) * norms / (before + UP @ DOWN).norm(dim=0))
    rows = 1 + torch.rand(WIDTH, 1)
    merge_lora(dit, LOW | {f"{LAYER}.dora_scale": rows})
    wanted = (once + UP @ DOWN) * rows / once.norm(dim=1, keepdim=True)
    torch.testing.assert_close(copied(dit)[NAME], wanted)


def test_in_half_precision_a_change_is_rounded_once(dit):
    dit.to(torch.bfloat16)
    before = copied(dit)[NAME]
    merge_lora(dit, LOW, 0.3)
    assert torch.equal(copied(dit)[NAME], (before.float() + 0.3 * (UP @ DOWN)).bfloat16())


def test_names_without_a_prefix_are_those_of_wan(dit):
    before = copied(dit)
    merge_lora(dit, {key.removeprefix("diffusion_model."): value for key, value in LOW.items()})
    assert changed(dit, before) == {NAME}


# ---- what is refused, by its key, with nothing changed

WIDE, FLAT = torch.ones(WIDTH, WIDTH + 1), torch.ones(WIDTH, WIDTH)
REFUSED = {
    "lora_mid": ({f"{LAYER}.lora_mid.weight": FLAT}, r"holds \S+\.q\.lora_mid\.weight, which cannot"),
    "set_weight": ({f"{LAYER}.set_weight": FLAT}, r"\.q\.set_weight, which cannot"),
    "reshape_weight": ({f"{LAYER}.reshape_weight": ONE}, r"\.q\.reshape_weight, which cannot"),
    "w_norm": ({"diffusion_model.blocks.0.norm3.w_norm": ONE}, r"norm3\.w_norm, which cannot"),
    "LoHa": ({f"{LAYER}.hada_w1_a": FLAT}, r"\.q\.hada_w1_a, which cannot"),
    "LoKr": ({f"{LAYER}.lokr_w1": FLAT}, r"\.q\.lokr_w1, which cannot"),
    "a bias of lora_B": ({f"{LAYER}.lora_B.bias": ONE}, r"lora_B\.bias, which cannot"),
    "diffusers names": (
        {f"transformer.blocks.0.attn2.to_q.lora_{end}.weight": FLAT for end in "AB"},
        r"transformer\.blocks\.0\.attn2\.to_q\.lora_A\.weight changes transformer\S+, which is missing in this DiT",
    ),
    "a block too far": (
        {lora_key(9, "q", "lora_B.weight"): UP},
        r"blocks\.9\.cross_attn\.q\.weight, which is missing",
    ),
    "a bias that is none": (
        {"diffusion_model.blocks.0.self_attn.norm_q.diff_b": ONE},
        r"norm_q\.diff_b changes blocks\.0\.self_attn\.norm_q\.bias, which is missing",
    ),
    "down alone": (
        {lora_key(1, "q", "lora_A.weight"): DOWN},
        r"holds \S+blocks\.1\S+lora_A\.weight for .* no change",
    ),
    "alpha alone": (
        {lora_key(1, "q", "alpha"): ONE},
        r"blocks\.1\.cross_attn\.q\.alpha for .* make no change",
    ),
    "dora_scale alone": ({f"{LAYER[:-1]}k.dora_scale": FLAT}, r"\.k\.dora_scale for .* make no change"),
    "alpha of a difference": (
        {f"{LAYER[:-1]}k.diff": FLAT, f"{LAYER[:-1]}k.alpha": ONE},
        r"\.k\.alpha and \S+\.k\.diff for blocks\.0\.cross_attn\.k\.weight, which together make no change",
    ),
    "a pair and a difference": ({f"{LAYER}.diff": FLAT}, r"\.q\.diff and .*lora_A.* make no change"),
    "one weight by two names": (
        {"lora_unet_blocks_0_cross_attn_q.lora_up.weight": UP},
        r"says twice how blocks\.0\.cross_attn\.q\.weight changes: \S+lora_B\.weight and lora_unet\S+lora_up",
    ),
    "a difference of another size": (
        {f"{LAYER[:-1]}k.diff": WIDE},
        r"k\.weight by \[96, 97\]; .* it is \[96, 96\]",
    ),
    "a bias of another size": (
        {f"{LAYER[:-1]}k.diff_b": torch.ones(7)},
        r"k\.bias by \[7\]; in this DiT it is \[96\]",
    ),
    "two ranks": (
        {
            lora_key(0, "k", "lora_A.weight"): torch.ones(3, 96),
            lora_key(0, "k", "lora_B.weight"): torch.ones(96, 2),
        },
        r"k\.lora_B\.weight and \S+k\.lora_A\.weight have ranks 2 and 3",
    ),
    "an alpha for each": (
        {lora_key(0, "q", "alpha"): torch.ones(2)},
        r"q\.alpha is \[2\]; needed one number",
    ),
    "a flat dora_scale": (
        {f"{LAYER}.dora_scale": torch.ones(96)},
        r"is \[96\]; needed \[96, 1\] or \[1, 96\]",
    ),
    "whole numbers": ({f"{LAYER[:-1]}k.diff": FLAT.to(torch.int8)}, r"k\.diff is torch\.int8; needed fp32"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_key_that_cannot_be_used_is_named_and_nothing_changes(dit, case):
    before, (more, says) = copied(dit), REFUSED[case]
    with pytest.raises(ValueError, match=f"^file: .*{says}|^file .*{says}"):
        merge_lora(dit, LOW | more, what="file")
    assert changed(dit, before) == set()


@pytest.mark.parametrize("strength", [float("nan"), float("inf")])
def test_a_strength_that_is_no_number_is_refused(dit, strength):
    before = copied(dit)
    with pytest.raises(ValueError, match="needed a number"):
        merge_lora(dit, LOW, strength)
    assert changed(dit, before) == set()


def test_what_does_not_fit_is_refused_at_strength_0_too(dit):
    with pytest.raises(ValueError, match="set_weight"):
        merge_lora(dit, LOW | {f"{LAYER}.set_weight": FLAT}, 0.0)


# ---- files of other kinds, with the place where they belong


def identity_file(folder: Path) -> Path:
    path = folder / "somebody.safetensors"
    save_identity(Identity(torch.zeros(1, 4), torch.zeros(2, 4), "abc", torch.zeros(2, 2, 3)), path)
    return path


def saved(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    save_model(state, folder / "file.safetensors")
    return folder / "file.safetensors"


MODULES = tiny.semantic_state(WIDTH)
ELSEWHERE = {
    "a whole DiT": (lambda folder: models.DIT, "is a whole DiT, .* --dit takes it"),
    "a prefixed DiT": (
        lambda folder: saved(
            folder, {f"model.diffusion_model.{k}": v for k, v in tiny.dit_state(SIZES).items()}
        ),
        "is a whole DiT",
    ),
    "a VAE": (lambda folder: models.VAE, "is a VAE, .* --vae takes it"),
    "a text encoder": (lambda folder: models.TEXT_ENCODER, "is a text encoder, .* --text-encoder takes it"),
    "a Slot-ID adapter": (
        lambda folder: models.SLOT_ID,
        "is a Slot-ID adapter, .* to --adapter, with --identity",
    ),
    "an editing adapter": (
        lambda folder: models.SAMA,
        "an editing adapter .* `refvid edit` takes it as --adapter",
    ),
    "modules with a prefix": (
        lambda folder: saved(
            folder, LOW | {f"diffusion_model.{key}": value for key, value in MODULES.items()}
        ),
        "an editing adapter",
    ),
    "an identity": (identity_file, "is an identity, .* --identity takes it"),
    "a LoRA of both": (
        lambda folder: saved(folder, LOW | {"lora_te_text_model_q.lora_up.weight": UP}),
        "is a LoRA for a text encoder too",
    ),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_a_file_that_is_no_lora_is_told_where_it_belongs(dit, tmp_path, case):
    before, (make, says) = copied(dit), ELSEWHERE[case]
    with pytest.raises(ValueError, match=f"--lora: .*safetensors {says}|--lora: .*safetensors is {says}"):
        merge_lora_file(dit, make(tmp_path), 1.0, "--lora")
    assert changed(dit, before) == set()


# ---- adapters that hold a LoRA beside what is theirs


def tiny_backbone(folder: Path):
    dit = tiny.save_dit(folder, "dit.safetensors", SIZES, tiny.dit_state(SIZES))
    return load_pipeline(dit, tiny.save_vae(folder, width=2), tiny.save_text_encoder(folder))


def test_an_editing_adapter_brings_all_of_its_lora_or_is_refused(tmp_path):
    backbone = tiny_backbone(tmp_path)
    before, more = copied(backbone.dit), {f"{LAYER}.diff_b": UP[:, 0], f"{LAYER[:-1]}k.diff": FLAT}
    with_editing_adapter(backbone, saved(tmp_path, MODULES | LOW | more), 1.0, "--adapter")
    names = {NAME, NAME.replace("weight", "bias"), "blocks.0.cross_attn.k.weight"}
    assert changed(backbone.dit, before) == names
    before = copied(backbone.dit)
    for odd in ({f"{LAYER}.set_weight": FLAT}, {"somewhere.else": FLAT}):
        path = saved(tmp_path, MODULES | LOW | odd)
        with pytest.raises(ValueError, match=rf"--adapter: file.safetensors holds {next(iter(odd))}"):
            with_editing_adapter(backbone, path, 1.0, "--adapter")
    assert changed(backbone.dit, before) == set()


def test_of_a_whole_model_given_as_an_editing_adapter_only_the_modules_are_taken(tmp_path):
    backbone = tiny_backbone(tmp_path)
    before, path = copied(backbone.dit), saved(tmp_path, tiny.sama_state(SIZES, seed=5))
    made = with_editing_adapter(backbone, path, 1.0, "--adapter")
    assert made.modules is not None and made.recipe == "sama" and changed(backbone.dit, before) == set()


def test_a_strength_for_a_lora_that_an_adapter_does_not_hold_is_refused(tmp_path):
    backbone, path = tiny_backbone(tmp_path), saved(tmp_path, MODULES)
    assert with_editing_adapter(backbone, path, 1.0, "--adapter").modules is not None
    with pytest.raises(
        ValueError, match=r"holds no LoRA beside the modules; a strength of 0.5 acts on nothing"
    ):
        with_editing_adapter(backbone, path, 0.5, "--adapter")


def test_a_slot_id_adapter_with_more_than_its_own_is_refused_by_name(tmp_path):
    path = tiny.save_adapter(tmp_path, SIZES)
    state, metadata = read_safetensors(path, "adapter")
    save_model(state | {"extra.weight": ONE}, path, metadata)
    with pytest.raises(ValueError, match=r"holds extra\.weight, which is neither of its encoder"):
        load_adapter(path, WAN)
