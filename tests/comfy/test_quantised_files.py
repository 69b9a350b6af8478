"""Quantised model files: every format that core writes is taken, by its marks or its metadata; a scale that
core would drop without an error is refused by name."""

import json

import pytest
import refvid_tiny as tiny
import torch
from comfy.quant_ops import QUANT_ALGOS, QuantizedTensor
from safetensors.torch import load_file, save_file

from refvid.hosts.comfy import backbone, files
from refvid.hosts.comfy.quantised import QUANTISED_METADATA

pytestmark = pytest.mark.comfy
SIZES = tiny.DiTConfig(
    256, 512, 2, 1, 16, 16, 4096
)  # as large as the formats' groups; text as core has it unasked
LAYER = "blocks.0.self_attn.q"
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def plain() -> State:
    return tiny.dit_state(SIZES)


def linear(state: State) -> list[str]:
    """Layers that published files quantise."""
    ends = [
        key for key, value in state.items() if "block" in key and value.ndim == 2 and key.endswith(".weight")
    ]
    return [key.removesuffix(".weight") for key in ends if "relative" not in key]


def marked(conf: dict) -> torch.Tensor:
    return torch.tensor(list(json.dumps(conf).encode()), dtype=torch.uint8)


def quantised(state: State, kind: str) -> State:
    """State as core's own saving writes it."""
    made = dict(state)
    for layer in linear(state):
        scale = {"scale": "recalculate"} if kind.startswith("float8") else {}
        one = QuantizedTensor.from_float(
            made.pop(f"{layer}.weight"), QUANT_ALGOS[kind]["comfy_tensor_layout"], **scale
        )
        made |= one.state_dict(f"{layer}.weight")
        made[f"{layer}.comfy_quant"] = marked({"format": kind})
    if kind == "nvfp4":
        made |= {
            f"{LAYER}.input_scale": torch.tensor(1.0),
            f"{LAYER}.pre_quant_scale": torch.ones(SIZES.width),
        }
    return made


def scaled(state: State, marks: int = 2) -> State:
    """The older form: fp8, a scale beside each weight, and a mark of the file."""
    made = {**state, "scaled_fp8": torch.zeros(marks, dtype=torch.float8_e4m3fn)}
    for layer in linear(state):
        weight = state[f"{layer}.weight"]
        scale = weight.abs().max() / 448
        made[f"{layer}.weight"] = (weight / scale).to(torch.float8_e4m3fn)
        made |= {f"{layer}.scale_weight": scale, f"{layer}.scale_input": torch.tensor(1.0)}
    return made


def by_metadata(state: State) -> tuple[State, dict[str, str]]:
    """State without marks, whose words the metadata has."""
    marks = {key: value for key, value in state.items() if key.endswith(".comfy_quant")}
    layers = {key.removesuffix(".comfy_quant"): json.loads(bytes(one.tolist())) for key, one in marks.items()}
    return {key: value for key, value in state.items() if key not in marks}, {
        QUANTISED_METADATA: json.dumps({"layers": layers})
    }


def saved(folder, state: State, metadata: dict[str, str] | None = None, name: str = "dit"):
    path = folder / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, path, metadata)
    return str(path)


def require_alike(path: str, plain: State) -> None:
    """The layer that is loaded does about what the weight did that was quantised."""
    layer = backbone.load_model(path, None).model.diffusion_model.blocks[0].self_attn.q
    given = torch.randn(8, SIZES.width, generator=torch.Generator().manual_seed(0))
    wanted = torch.nn.functional.linear(given, plain[f"{LAYER}.weight"], plain[f"{LAYER}.bias"])
    assert (layer(given) - wanted).norm() < 0.2 * wanted.norm()


@pytest.mark.parametrize("kind", QUANT_ALGOS)
def test_every_format_is_taken_by_its_marks_and_by_metadata_under_any_prefix(plain, tmp_path, kind):
    state = quantised(plain, kind)
    require_alike(saved(tmp_path, state), plain)
    require_alike(saved(tmp_path, *by_metadata(state)), plain)
    under = {"model.diffusion_model." + key: value for key, value in state.items()}
    require_alike(saved(tmp_path, under), plain)
    require_alike(saved(tmp_path, *by_metadata(under)), plain)


@pytest.mark.parametrize("marks", [0, 2])
def test_the_older_form_of_fp8_is_taken(plain, tmp_path, marks):
    require_alike(saved(tmp_path, scaled(plain, marks)), plain)


def test_a_file_whose_layers_are_all_left_as_they_are_is_taken(plain, tmp_path):
    files.require_dit(saved(tmp_path, {**plain, "scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}))


def without(state: State, *ends: str) -> State:
    return {key: value for key, value in state.items() if not key.endswith(ends)}


REFUSED = {
    "scales that nothing marks": (lambda s: without(s, ".comfy_quant"), "weight_scale, and nothing that tells ComfyUI"),
    "a layer without its mark": (lambda s: without(s, f"{LAYER}.comfy_quant"), f"has {LAYER}.weight_scale, and nothing"),
    "a layer without its scale": (lambda s: without(s, f"{LAYER}.weight_scale"), f"has no {LAYER}.weight_scale, and says that {LAYER} is quantised"),
    "a layer without its weight": (lambda s: without(s, f"{LAYER}.weight"), f"has no {LAYER}.weight, and says"),
    "a mark without a layer": (lambda s: {**s, "motion.comfy_quant": marked({"format": "float8_e4m3fn"})}, "has no motion.weight, and says that motion is quantised"),
    "a scale without a layer": (lambda s: {**s, "motion.weight_scale": torch.ones(1)}, "has motion.weight_scale, and nothing"),
    "a mark of another place": (lambda s: {**s, "motion.scaled_fp8": torch.ones(1)}, "has motion.scaled_fp8, and nothing"),
    "an unknown format": (lambda s: {**s, f"{LAYER}.comfy_quant": marked({"format": "int3"})}, f"{LAYER} is quantised as int3; needed one of"),
    "a mark without a format": (lambda s: {**s, f"{LAYER}.comfy_quant": marked({})}, f"{LAYER} is quantised as None"),
    "a mark that is no JSON": (lambda s: {**s, f"{LAYER}.comfy_quant": torch.zeros(3, dtype=torch.uint8)}, f"{LAYER}.comfy_quant.* no JSON"),
    "a mark of numbers": (lambda s: {**s, f"{LAYER}.comfy_quant": torch.zeros(3)}, rf"{LAYER}.comfy_quant is torch.float32 of \[3\]"),
    "a mark without end": (lambda s: {**s, f"{LAYER}.comfy_quant": torch.zeros(5000, dtype=torch.uint8)}, "needed up to 4096 bytes"),
    "a weight of another shape": (
        lambda s: {**s, f"{LAYER}.weight": s[f"{LAYER}.weight"][:-1]}, rf"{LAYER}.weight is \[255, 256\]; needed \[256, 256\], or half",
    ),
    "a weight of a quarter of the columns": (
        lambda s: {**s, f"{LAYER}.weight": s[f"{LAYER}.weight"][:, :64]}, rf"{LAYER}.weight is \[256, 64\]; needed \[256, 256\], or half",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("kind", ["float8_e4m3fn", "int8_tensorwise"])
def test_what_core_would_drop_or_stumble_over_is_refused(plain, tmp_path, kind, case):
    change, message = REFUSED[case]
    with pytest.raises(ValueError, match=rf"^diffusion_model: dit\.safetensors.*{message}"):
        files.require_dit(saved(tmp_path, change(quantised(plain, kind))))


def test_whole_numbers_without_a_mark_are_refused(plain, tmp_path):
    state = without(quantised(plain, "int8_tensorwise"), f"{LAYER}.comfy_quant", f"{LAYER}.weight_scale")
    with pytest.raises(ValueError, match=rf"{LAYER}\.weight is torch\.int8; needed"):
        files.require_dit(saved(tmp_path, state))


def test_the_older_form_without_its_mark_is_refused(plain, tmp_path):
    with pytest.raises(ValueError, match=r"scale_(weight|input), and nothing that tells ComfyUI"):
        files.require_dit(saved(tmp_path, without(scaled(plain), "scaled_fp8")))


@pytest.mark.parametrize(
    "said", ["{", "[]", "{}", '{"layers": 3}', '{"layers": {"a": 3}}', '{"layers": {"a": {}}}']
)
def test_metadata_of_another_form_is_refused(plain, tmp_path, said):
    with pytest.raises(
        ValueError,
        match=r"^diffusion_model: dit\.safetensors: .*(_quantization_metadata|a is quantised as None)",
    ):
        files.require_dit(saved(tmp_path, plain, {QUANTISED_METADATA: said}))


def test_a_small_text_encoder_is_unpacked_as_the_published_one_is(tmp_path):
    tiny.save_text_encoder(tmp_path)
    whole = load_file(tmp_path / "text.safetensors")
    states = []
    for state in (whole, scaled(whole)):
        clip = backbone.load_comfy_text_encoder(saved(tmp_path, state, name="other"))
        states.append(clip.encode_from_tokens_scheduled(clip.tokenize("a toy"))[0][0])
    assert (states[0] - states[1]).norm() < 0.1 * states[0].norm()


def test_a_vae_that_core_does_not_unpack_is_refused(tmp_path):
    tiny.save_vae(tmp_path)
    more = {"scaled_fp8": torch.zeros(2), "decoder.head.2.scale_weight": torch.ones(1)}
    path = saved(tmp_path, load_file(tmp_path / "vae.safetensors") | more, name="vae")
    with pytest.raises(
        ValueError, match=r"vae\.safetensors also has decoder\.head\.2\.scale_weight \(2 such keys\)"
    ):
        backbone.load_comfy_vae(path)


def test_fp8_is_not_packed(plain, tmp_path):
    state = quantised(plain, "float8_e4m3fn")
    halved = {**state, f"{LAYER}.weight": state[f"{LAYER}.weight"][:, :128]}
    with pytest.raises(ValueError, match=rf"{LAYER}\.weight is \[256, 128\]; needed \[256, 256\]"):
        files.require_dit(saved(tmp_path, halved))
