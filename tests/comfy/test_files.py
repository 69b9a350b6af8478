"""Files that Load Wan Backbone takes and refuses: core loads what it finds and leaves the rest as memory was,
so every key, shape and value is asked for before."""

import comfy.ldm.wan.vae
import comfy.ldm.wan.vae2_2
import comfy.memory_management
import comfy.sd
import comfy.text_encoders.t5
import pytest
import refvid_tiny as tiny
import torch
from refvid_matrix_variants import SIZES, make_state
from safetensors.torch import load_file, save_file

from refvid.backbones.wan.files import WAN_2_2_VAE, XXL
from refvid.hosts.comfy import backbone, files

pytestmark = pytest.mark.comfy
KINDS = [*(kind for kind in SIZES if "," not in kind), "sama"]
CHECKS = {"vae": files.require_vae_file, "text": files.require_umt5}
MARKS = (
    "img_emb.proj.0.bias",
    "vace_patch_embedding.weight",
)  # by which core knows a kind: without them another
Q = "blocks.0.self_attn.q.weight"


def state_of(kind: str) -> dict[str, torch.Tensor]:
    return tiny.sama_state(tiny.config()) if kind == "sama" else make_state(kind)


def written(folder, state, metadata=None):
    made = tiny.save_dit(folder, "dit.safetensors", tiny.config(), state)
    return made if metadata is None else save_file(state, made, metadata) or made


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A VAE and a text encoder."""
    place = tmp_path_factory.mktemp("models")
    tiny.save_vae(place), tiny.save_text_encoder(place)
    return place


def test_a_whole_file_of_every_kind_is_taken(tmp_path):
    for kind in KINDS:
        files.require_dit(str(written(tmp_path, state_of(kind))))


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_a_diffusion_model_is_asked_for(tmp_path, kind):
    whole = state_of(kind)
    for key in [key for key in whole if not key.startswith(("segment", "siglip", "semantic"))]:
        path = written(tmp_path, {name: value for name, value in whole.items() if name != key})
        named = "also has" if key in MARKS else f"(no|a layer) {key[:24]}"
        with pytest.raises(ValueError, match=rf"^diffusion_model: dit.safetensors .*{named}"):
            files.require_dit(str(path))


def test_every_shape_and_type_of_a_diffusion_model_is_asked_for(tmp_path):
    whole = make_state("T2V")
    for key, value in whole.items():
        for wrong in (value[..., :-1].contiguous(), value.sum(), value.to(torch.int32)):
            with pytest.raises(ValueError, match=r"^diffusion_model: dit\.safetensors") as refusal:
                files.require_dit(str(written(tmp_path, {**whole, key: wrong})))
            assert "needed" in str(refusal.value) or "text_dim" in str(refusal.value), key


@pytest.mark.parametrize("kind", CHECKS)
def test_every_key_and_shape_of_a_vae_and_a_text_encoder_is_asked_for(models, tmp_path, kind):
    whole, path = load_file(models / f"{kind}.safetensors"), tmp_path / f"{kind}.safetensors"
    for key in sorted(whole)[:: 7 if kind == "vae" else 1]:
        wrong = (
            whole[key][:-1].contiguous()
            if len(whole[key]) > 1
            else whole[key].repeat(2, *[1] * (whole[key].ndim - 1))
        )
        for state in ({name: value for name, value in whole.items() if name != key}, {**whole, key: wrong}):
            if key == "spiece_model" and key in state:
                continue
            save_file(state, path)
            with pytest.raises(ValueError, match=rf": {path.name}"):
                CHECKS[kind](str(path))


def test_what_is_more_than_a_model_is_refused_as_the_other_host_does(tmp_path):
    more = {**make_state("T2V"), "motion.weight": torch.zeros(2)}
    with pytest.raises(ValueError, match=r"also has motion.weight \(1 such keys\)"):
        files.require_dit(str(written(tmp_path, more)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(models, tmp_path, value):
    broken = make_state("T2V")
    broken[Q] = broken[Q].clone().index_put((torch.tensor([3]), torch.tensor([5])), torch.tensor(value))
    with pytest.raises(
        ValueError, match=f"^diffusion_model: dit.safetensors holds NaN or infinite values in {Q}"
    ):
        files.require_dit(str(written(tmp_path, broken)))


@pytest.mark.parametrize("kind", CHECKS)
def test_values_of_a_vae_and_a_text_encoder_are_looked_at(models, tmp_path, kind):
    whole, path = load_file(models / f"{kind}.safetensors"), tmp_path / f"{kind}.safetensors"
    key = [key for key in whole if key != "spiece_model"][-1]
    save_file({**whole, key: torch.full_like(whole[key], float("nan"))}, path)
    with pytest.raises(ValueError, match=f"{path.name} holds NaN or infinite values in {key}"):
        CHECKS[kind](str(path))


def test_every_loader_asks_before_core_does(models, tmp_path):
    loads = {"vae": backbone.load_comfy_vae, "text": backbone.load_comfy_text_encoder}
    for kind, load in loads.items():
        state = load_file(models / f"{kind}.safetensors")
        key = sorted(state)[2]
        save_file(
            {name: value for name, value in state.items() if name != key}, tmp_path / "less.safetensors"
        )
        with pytest.raises(ValueError, match=f"less.safetensors.* has no {key}"):
            load(str(tmp_path / "less.safetensors"))
    state = make_state("T2V")
    with pytest.raises(ValueError, match=f"dit.safetensors has no {Q}"):
        backbone.load_model(str(written(tmp_path, {k: v for k, v in state.items() if k != Q})), None)


def test_modules_that_do_not_fit_each_other_are_refused_with_the_model(tmp_path):
    state = state_of("sama")
    key = "siglip_feat_mlp.fc2.weight"
    with pytest.raises(ValueError, match=rf"^diffusion_model: dit\.safetensors: {key} is .*needed"):
        files.require_dit(str(written(tmp_path, {**state, key: state[key][:-1].contiguous()})))


def test_a_wan_of_a_kind_that_core_does_not_know_is_refused(tmp_path):
    """Image-to-video by its features of pictures, with the channels of text-to-video."""
    sizes = tiny.config(in_channels=16, image_width=1280)
    path = tiny.save_dit(tmp_path, "dit.safetensors", sizes, tiny.dit_state(sizes))
    with pytest.raises(ValueError, match="is not a model ComfyUI knows; needed a Wan DiT"):
        files.require_dit(str(path))


def test_a_prefix_is_taken_off_and_two_are_refused(tmp_path):
    whole = make_state("T2V")
    for prefix in ("model.diffusion_model.", "model.", "net."):
        path = written(tmp_path, {prefix + key: value for key, value in whole.items()})
        loaded = backbone.load_model(str(path), None).model.diffusion_model
        assert torch.equal(dict(loaded.named_parameters())[Q], whole[Q]), prefix
    mixed = {("net." if key == Q else "") + key: value for key, value in whole.items()}
    with pytest.raises(ValueError, match="have different prefixes"):
        files.require_dit(str(written(tmp_path, mixed)))


def quantised(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """State as published: weights of the blocks' layers in fp8, each with its scale, and a mark."""
    made = {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    for key, value in state.items():
        if key.startswith("blocks.") and value.ndim == 2 and key.endswith("weight"):
            scale = value.abs().max() / 448
            made[key] = (value / scale).to(torch.float8_e4m3fn)
            made[key.replace(".weight", ".scale_weight")] = scale
        else:
            made[key] = value
    return made


def test_a_quantised_file_is_taken_and_asked_as_strictly(tmp_path):
    state = quantised(make_state("T2V"))
    model = backbone.load_model(str(written(tmp_path, state)), None)
    assert model.model.diffusion_model.blocks[0].self_attn.q.weight.shape == state[Q].shape
    for key in (Q, "blocks.1.ffn.0.bias", "head.modulation"):
        with pytest.raises(ValueError, match=f"has no {key}"):
            files.require_dit(str(written(tmp_path, {k: v for k, v in state.items() if k != key})))
    broken = state[Q].view(torch.uint8).clone()
    broken[0, 0] = 0x7F
    with pytest.raises(ValueError, match=f"NaN or infinite values in {Q}"):
        files.require_dit(str(written(tmp_path, {**state, Q: broken.view(torch.float8_e4m3fn)})))


def test_layers_that_core_makes_empty_until_they_are_loaded_are_asked_for_too(tmp_path, monkeypatch):
    """Under DynamicVRAM core's linear layers have no parameters at first, and zeros where a file lacks
    them."""
    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", True)
    whole = make_state("T2V")
    files.require_dit(str(written(tmp_path, whole)))
    with pytest.raises(ValueError, match=f"has no {Q}"):
        files.require_dit(str(written(tmp_path, {key: value for key, value in whole.items() if key != Q})))
    with pytest.raises(ValueError, match=f"{Q} is .*needed"):
        files.require_dit(str(written(tmp_path, {**whole, Q: whole[Q][:, :-2].contiguous()})))


@pytest.mark.parametrize(
    ("module", "mark"), [(comfy.ldm.wan.vae, ()), (comfy.ldm.wan.vae2_2, (WAN_2_2_VAE,))]
)
def test_both_vaes_are_built_as_core_builds_them(models, tmp_path, monkeypatch, module, mark):
    asked = []

    def record(**sizes):
        asked.append(sizes)
        raise RuntimeError("enough")

    monkeypatch.setattr(module, "WanVAE", record)
    state = load_file(models / "vae.safetensors") | {key: torch.zeros(2) for key in mark}
    save_file(state, tmp_path / "vae.safetensors")
    for build in (
        lambda: comfy.sd.VAE(sd=state),
        lambda: files.require_vae_file(str(tmp_path / "vae.safetensors")),
    ):
        with pytest.raises(RuntimeError, match="enough"):
            build()
    core, ours = asked
    core.pop("dropout")  # none
    assert ours == core


def test_the_published_text_encoder_goes_through_cores_loader(tmp_path, monkeypatch):
    """It knows quantised files; ours reads sizes only."""
    path, asked = tmp_path / "umt5_xxl.safetensors", []
    monkeypatch.setattr(backbone, "require_umt5", lambda path: XXL)
    monkeypatch.setattr(comfy.sd, "load_clip", lambda paths, *_: asked.append(paths) or "the encoder")
    assert backbone.load_comfy_text_encoder(str(path)) == "the encoder" and asked == [[str(path)]]


def test_the_published_sizes_are_cores():
    config = files.json.loads(files.UMT5_CONFIG.read_text("utf-8"))
    assert {**config, **files.core_sizes(XXL)} == config
    model = comfy.text_encoders.t5.T5(config, torch.float32, "meta", torch.nn)
    shapes = dict(model.named_parameters())
    shapes["spiece_model"] = torch.empty(1000, dtype=torch.uint8, device="meta")
    assert files.umt5_sizes(shapes, "test") == XXL
