"""Loading: what is written comes back, and every other file is refused by name."""

import io
import json

import pytest
import refvid_tiny as tiny
import sentencepiece
import torch
from safetensors.torch import load_file, save_file

from refvid.backbones.wan.files import RELATIVE, require_tokenizer
from refvid.backbones.wan.geometry import WAN_2_1, WAN_2_2
from refvid.backbones.wan.loading import dit_config, load_dit, load_vae
from refvid.backbones.wan.text import load_text_encoder
from refvid.backbones.wan.vae import LATENT_DEVIATION_16, LATENT_MEAN_16
from refvid.backbones.wan.vae22 import LATENT_DEVIATION_48, LATENT_MEAN_48
from refvid.core.checkpoint import read_safetensors, save_model
from refvid.hosts.plain.pipeline import load_pipeline

SIZES = tiny.config(layers=1)
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
PUBLISHED = {"vae": (LATENT_MEAN_16, LATENT_DEVIATION_16), "vae22": (LATENT_MEAN_48, LATENT_DEVIATION_48)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A DiT, both VAEs and a text encoder."""
    place = tmp_path_factory.mktemp("models")
    tiny.save_dit(place, "dit.safetensors", SIZES, tiny.dit_state(SIZES), recipe="saber")
    tiny.save_vae(place)
    tiny.save_vae22(place)
    tiny.save_text_encoder(place)
    return place


def edited(folder, tmp_path, name, change):
    """A copy of a file with its tensors changed."""
    state, metadata = read_safetensors(folder / name, "test")
    change(state)
    save_file(state, tmp_path / name, metadata)
    return tmp_path / name


# ---- what comes back


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_dit_comes_back_in_the_dtype_it_was_written_in(tmp_path, dtype):
    state = tiny.dit_state(SIZES)
    metadata = {"config": json.dumps({"transformer": {"num_heads": 2}}), "refvid.recipe": "saber"}
    save_model(state, tmp_path / "dit.safetensors", metadata, dtype)
    dit, seen = load_dit(tmp_path / "dit.safetensors", dtype)
    assert seen == {"format": "pt", **metadata}
    loaded = dit.state_dict()
    assert loaded.keys() == state.keys()
    for key, value in state.items():
        assert torch.equal(loaded[key], value.to(dtype)), key
    assert not dit.training
    assert not any(parameter.requires_grad for parameter in dit.parameters())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_vae_comes_back_with_the_published_statistics(folder, dtype, name):
    mean, deviation = PUBLISHED[name]
    vae, state = load_vae(folder / f"{name}.safetensors", dtype), load_file(folder / f"{name}.safetensors")
    for key, value in vae.state_dict().items():
        assert torch.equal(value, state[key].to(dtype)), key
    assert vae.dtype == dtype and not vae.training and vae.geometry.channels == len(mean)
    torch.testing.assert_close(vae.mean.flatten(), torch.tensor(mean))
    torch.testing.assert_close(vae.deviation.flatten(), torch.tensor(deviation))


@pytest.mark.parametrize("widths", [(8, 8), (3, 5)])
def test_a_wan_2_2_vae_may_be_of_two_widths(tmp_path, widths):
    vae = load_vae(tiny.save_vae22(tmp_path, "vae.safetensors", *widths))
    assert (vae.encoder.conv1.out_channels, vae.decoder.head[2].in_channels) == widths


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_text_encoder_comes_back_with_one_table_and_its_vocabulary(folder, dtype):
    encoder, state = (
        load_text_encoder(folder / "text.safetensors", dtype),
        load_file(folder / "text.safetensors"),
    )
    for key, value in encoder.model.state_dict().items():
        assert torch.equal(value, state[key.replace("encoder.embed_tokens", "shared")].to(dtype)), key
    assert encoder.model.encoder.embed_tokens.weight is encoder.model.shared.weight
    assert encoder.spiece_model == bytes(state["spiece_model"].tolist())


def test_the_table_of_words_may_stand_under_both_of_its_names(folder, tmp_path):
    def twice(state):
        state["encoder.embed_tokens.weight"] = state["shared.weight"].clone()

    plain = load_text_encoder(folder / "text.safetensors")
    other = load_text_encoder(edited(folder, tmp_path, "text.safetensors", twice))
    assert torch.equal(plain.encode(["a toy"]), other.encode(["a toy"]))


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "model.model.", "net.", "model."])
def test_a_checkpoint_prefix_is_taken_off(folder, tmp_path, prefix):
    def prefixed(state):
        for key in list(state):
            state[prefix + key] = state.pop(key)

    plain, _ = load_dit(folder / "dit.safetensors")
    other, _ = load_dit(edited(folder, tmp_path, "dit.safetensors", prefixed))
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in plain.state_dict().items())


@pytest.mark.parametrize(
    "sizes",
    [
        tiny.config(),
        tiny.config(36, 16, layers=3),
        tiny.config(48, 48),
        tiny.config(36, 16, image_width=1280),
    ],
    ids=["t2v", "fun-inp", "ti2v", "i2v"],
)
def test_all_sizes_are_read_back(sizes):
    metadata = {"config": json.dumps({"transformer": {"num_heads": sizes.heads}})}
    assert dit_config(tiny.dit_state(sizes), metadata, "test") == sizes


def test_without_metadata_a_head_is_128_wide():
    sizes = tiny.DiTConfig(256, 64, 2, 1, 16, 16, 32)
    assert dit_config(tiny.dit_state(sizes), {}, "test") == sizes


# ---- what is refused


def halved(key):
    def change(state):
        state[key] = state[key][: len(state[key]) // 2].clone()

    return change


def added(key, value=None):
    return lambda state: state.update({key: torch.zeros(3) if value is None else value})


def narrowed(state):
    state["blocks.0.ffn.0.weight"] = state["blocks.0.ffn.0.weight"].to(torch.float8_e4m3fn)


def layered(count):
    """So many layers, by which core knows the published text encoder."""
    names = [f"encoder.block.{number}.layer.0.layer_norm.weight" for number in range(1, count)]
    return lambda state: state.update({name: torch.ones(2) for name in names})


KEY = "blocks.0.self_attn.q.weight"
REFUSED = {
    "a missing key": ("dit", lambda s: s.pop(KEY), rf"has no {KEY} \(1 such keys\)"),
    "a missing first key": ("dit", lambda s: s.pop("patch_embedding.weight"), "has no patch_embedding.weight"),
    "an extra key": ("dit", added("motion.weight"), r"also has motion.weight \(1 such keys\); needed those of its kind alone"),
    "VACE": ("dit", added("vace_patch_embedding.weight"), "is a Wan VACE model, which has a forward"),
    "FLF2V": ("dit", added("img_emb.emb_pos"), "first-and-last-frame"),
    "a wrong shape": ("dit", halved(KEY), rf"{KEY} is \[48, 96\], needed \[96, 96\]"),
    "fp8 weights": ("dit", narrowed, r"blocks.0.ffn.0.weight is torch.float8_e4m3fn; quantised .* fp32"),
    "a mark of a quantised layer": (
        "dit", added("blocks.0.self_attn.q.comfy_quant", torch.zeros(3, dtype=torch.uint8)),
        r"it holds blocks.0.self_attn.q.comfy_quant; quantised files load in ComfyUI",
    ),
    "one key under another prefix": (
        "dit", lambda s: s.update({"net." + KEY: s.pop(KEY)}), rf"and net.{KEY} have different prefixes",
    ),
    "a Wan 2.1 VAE with one layer of a 2.2": (
        "vae", added("decoder.upsamples.0.upsamples.0.residual.2.weight"), "has no decoder.upsamples.0.upsamples.0.residual.0.gamma",
    ),
    "a Wan 2.2 VAE without a layer": ("vae22", lambda s: s.pop("conv2.weight"), r"has no conv2.weight \(1 such keys\)"),
    "a Wan 2.2 VAE with a layer more": ("vae22", added("conv3.weight"), "also has conv3.weight"),
    "a Wan 2.2 VAE of other latents": ("vae22", halved("conv2.bias"), r"conv2.bias is \[24\], needed \[48\]"),
    "a Wan 2.2 VAE without a width": ("vae22", lambda s: s.pop("encoder.conv1.weight"), "is not a Wan VAE .* has no encoder.conv1.weight"),
    "a Wan 2.2 VAE of a whole picture": (
        "vae22", lambda s: s.update({"encoder.conv1.weight": torch.zeros(8, 3, 3, 3, 3)}), r"encoder.conv1.weight is .*needed \[8, 12, 3, 3, 3\]",
    ),
    "another VAE": ("vae", lambda s: s.pop("decoder.head.0.gamma"), "it has no decoder.head.0.gamma"),
    "a broken VAE": ("vae", lambda s: s.pop("conv1.bias"), "has no conv1.bias"),
    "a text encoder without a vocabulary": ("text", lambda s: s.pop("spiece_model"), "has no spiece_model"),
    "a text encoder of as many layers as the published": ("text", layered(24), "has 24 layers of width 32; needed fewer"),
    "a layer far away": ("dit", added("blocks.9.norm3.weight"), "has a layer blocks.9 among 2; needed numbers from 0 on"),
    "a layer that is no number": ("dit", added("blocks.01.norm3.weight"), "has a layer blocks.01 among 2"),
    "more layers than any Wan": (
        "dit", lambda s: s.update({f"blocks.{n}.norm3.bias": torch.ones(2) for n in range(257)}), "has 257 layers blocks.…; needed at most 256",
    ),
    "heads that do not split a query": (
        "text", lambda s: s.update({RELATIVE: torch.zeros(32, 5)}), r"features of a query do not split into the 5 heads of encoder",
    ),
    "a tokenizer of other numbers": ("text", lambda s: s.update(spiece_model=s["spiece_model"].float()), "spiece_model is torch.float32 of"),
    "a tokenizer of zeros": ("text", lambda s: s.update(spiece_model=torch.zeros(99, dtype=torch.uint8)), "spiece_model is no tokenizer"),
    "fewer rows than words": ("text", lambda s: s.update({"shared.weight": s["shared.weight"][:9].clone()}), "knows [0-9]+ pieces.* needed up to 9"),
    "a text encoder of fewer layers, empty": ("text", layered(23), "has no encoder.block.10.layer"),
    "a broken text encoder": (
        "text", lambda s: s.pop("encoder.final_layer_norm.weight"), "has no encoder.final_layer_norm.weight",
    ),
}  # fmt: skip
LOADERS = {"dit": load_dit, "vae": load_vae, "vae22": load_vae, "text": load_text_encoder}


@pytest.mark.parametrize("case", REFUSED)
def test_it_refuses(folder, tmp_path, case):
    kind, change, message = REFUSED[case]
    path = edited(folder, tmp_path, f"{kind}.safetensors", change)
    with pytest.raises(ValueError, match=f"^the input: {path.name}.*{message}"):
        LOADERS[kind](path, what="the input")


@pytest.mark.parametrize(
    ("name", "needed", "message"),
    [
        ("vae", WAN_2_2, r"the Wan 2.1 VAE \(16 channels\); it needs the Wan 2.2 VAE \(48 channels\)"),
        ("vae22", WAN_2_1, r"the Wan 2.2 VAE \(48 channels\); it needs the Wan 2.1 VAE \(16 channels\)"),
    ],
)
def test_the_vae_of_the_other_latents_is_refused_where_one_is_needed(folder, name, needed, message):
    with pytest.raises(ValueError, match=rf"^the input: {name}.safetensors is {message}$"):
        load_vae(folder / f"{name}.safetensors", what="the input", needed=needed, by="it")
    other = WAN_2_1 if needed is WAN_2_2 else WAN_2_2
    assert load_vae(folder / f"{name}.safetensors", needed=other).geometry is other


@pytest.mark.parametrize("kind", LOADERS)
def test_a_missing_a_truncated_and_a_pickled_file_are_refused(folder, tmp_path, kind):
    whole = (folder / f"{kind}.safetensors").read_bytes()
    cut, pickled = tmp_path / "cut.safetensors", tmp_path / "weights.pth"
    cut.write_bytes(whole[: len(whole) // 2])
    pickled.write_bytes(whole)
    for path, message in (
        (tmp_path / "none.safetensors", "there is no file .*none.safetensors"),
        (tmp_path, "there is no file"),
        (cut, "cut.safetensors is truncated or not a safetensors file"),
        (pickled, "weights.pth is not a .safetensors file; pickled weights can run code"),
    ):
        with pytest.raises(ValueError, match=f"^the input: {message}"):
            LOADERS[kind](path, what="the input")


def test_the_default_name_of_an_input_is_the_command_lines(tmp_path):
    for load, option in ((load_dit, "--dit"), (load_vae, "--vae"), (load_text_encoder, "--text-encoder")):
        with pytest.raises(ValueError, match=f"^{option}: there is no file"):
            load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("width", [96, 192])
def test_a_width_that_128_does_not_divide_needs_heads_from_metadata(tmp_path, width):
    sizes = tiny.DiTConfig(width, 64, 2, 1, 16, 16, 32)
    save_model(tiny.dit_state(sizes), tmp_path / "dit.safetensors", dtype=torch.float32)
    with pytest.raises(ValueError, match="heads"):
        load_dit(tmp_path / "dit.safetensors")


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"num_heads": True}, "True heads"),
        ({"num_heads": 2.0}, "2.0 heads"),
        ({"num_heads": "2"}, "2 heads"),
        ({"num_heads": None}, "None heads"),
        ({"num_heads": 0}, "0 heads"),
        ({"num_heads": -2}, "-2 heads"),
        ({"num_heads": 5}, "5 heads"),
        ({"num_heads": 32}, "32 heads of even size"),  # of 3
        ({"num_heads": 192}, "192 heads"),
        ({"num_heads": 2, "text_dim": 33}, "says text_dim = 33; needed 32"),
        ({"num_heads": 2, "text_dim": None}, "says text_dim = None"),
        ({"num_heads": 2, "num_layers": 1}, "needed num_heads and text_dim"),
        ([2], "needed num_heads and text_dim"),
    ],
)
def test_what_metadata_says_of_sizes_is_bounded(said, says):
    """Core builds the model by it."""
    metadata = {"config": json.dumps({"transformer": said})}
    with pytest.raises(ValueError, match=rf"^it: .*{says}"):
        dit_config(tiny.dit_state(SIZES), metadata, "it")


def test_features_of_a_timestep_and_the_width_of_the_head_are_those_that_core_knows():
    state, metadata = tiny.dit_state(SIZES), {"config": '{"transformer": {"num_heads": 2, "text_dim": 32}}'}
    assert dit_config(state, metadata, "it") == SIZES
    for key, shape in (("time_embedding.0.weight", (96, 258)), ("head.modulation", (1, 2, 192))):
        with pytest.raises(ValueError, match=rf"^it: {key} .*needed"):
            dit_config({**state, key: torch.zeros(shape)}, metadata, "it")


def test_a_tokenizer_without_an_end_of_texts_is_refused():
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a toy"]),
        model_writer=made,
        vocab_size=7,
        model_type="char",
        eos_id=-1,
        minloglevel=2,
    )
    with pytest.raises(
        ValueError, match="it: spiece_model knows 7 pieces, the last of a text being number -1"
    ):
        require_tokenizer(made.getvalue(), 100, "it")


def test_a_text_encoder_of_another_width_than_the_model_takes_is_refused(folder):
    sizes = tiny.DiTConfig(96, 128, 2, 1, 16, 16, 40)
    dit = tiny.save_dit(folder, "other.safetensors", sizes, tiny.dit_state(sizes))
    with pytest.raises(ValueError, match="--text-encoder gives states of width 32, --dit takes 40"):
        load_pipeline(dit, folder / "vae.safetensors", folder / "text.safetensors")
