"""Slot-ID in ComfyUI: from pictures to a file and back on a real server, the LoRA by core's own loader, what
is refused."""

import json
import shutil
from pathlib import Path

import comfy.sd
import comfy.utils
import numpy as np
import pytest
import refvid_in_process as run
import refvid_tiny as tiny
import torch
from PIL import Image
from refvid_base_folder import SLOT_ID, TRAP
from refvid_client import edited, failure, node

from refvid.core.identity import Identity, load_identity
from refvid.hosts.comfy import adapters, identities, wire
from refvid.hosts.comfy.identities import AttachedIdentities

pytestmark = pytest.mark.comfy
ROOT = Path(__file__).resolve().parents[2]
MAIN = json.loads((ROOT / "workflows/api/masked_reference_to_video.json").read_text("utf-8"))
TEXTS = [[run.text(1), {}]], [[run.text(2), {}]]


def film(seed: int, frames: int = 7) -> torch.Tensor:
    return torch.rand(frames, 48, 48, 3, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def loaded(folder):
    return adapters.load_comfy_adapter(str(tiny.save_adapter(folder, tiny.config())))


@pytest.fixture(scope="module")
def people(loaded, vae):
    return [adapters.encode_comfy_identity(loaded, vae, film(seed), None, None)[0] for seed in (1, 2)]


def applied(model, loaded, identity, texts=TEXTS, **asked):
    (model,), positive, negative = identities.apply_identity([model], *texts, loaded, identity, **asked)
    return model, positive, negative


# ---- in process


def carried(conditioning):
    return wire.read(AttachedIdentities, conditioning[0][1])


def test_strength_0_gives_back_what_came(t2v, loaded, people):
    model, positive, negative = applied(t2v, loaded, people[0], strength=0.0)
    assert model is t2v and positive is TEXTS[0] and negative is TEXTS[1]


def test_core_s_lora_loader_reads_the_lora_from_the_same_file(t2v, folder, loaded, people):
    """The weights that core's node would make are those that Apply Identity makes."""
    state = comfy.utils.load_torch_file(str(tiny.save_adapter(folder, tiny.config())))
    theirs, _ = comfy.sd.load_lora_for_models(t2v, None, state, 1.0, 0.0)
    ours = applied(t2v, loaded, people[0])[0]
    changed = {key for key in theirs.patches if "cross_attn" in key}
    assert changed == set(ours.patches) and len(changed) == 4 * tiny.config().layers
    for key in changed:
        weights = [model.patch_weight_to_device(key, return_weight=True) for model in (theirs, ours)]
        assert torch.equal(*weights)


def test_two_people_share_one_lora_and_one_nobody(t2v, loaded, people):
    one = applied(t2v, loaded, people[0])
    both = applied(one[0], loaded, people[1], texts=one[1:])
    assert {key: len(patches) for key, patches in both[0].patches.items()} == dict.fromkeys(one[0].patches, 1)
    assert len(carried(both[1]).tokens) == 2 and len(carried(both[2]).tokens) == 1
    assert len(carried(one[1]).tokens) == 1  # what came in is as it was


def test_both_experts_carry_it(t2v, loaded, people):
    models, _, _ = identities.apply_identity([t2v, t2v.clone()], *TEXTS, loaded, people[0])
    assert all(model.patches and model.attachments[wire.ADAPTER] for model in models)


def test_a_region_may_have_any_whole_number_of_pixels_to_a_cell(t2v, loaded, people):
    left = torch.zeros(64, 64).index_fill(1, torch.arange(32), 1.0)
    larger = left.repeat_interleave(3, 0).repeat_interleave(3, 1)
    reach = [
        carried(applied(t2v, loaded, people[0], region=one, latent=run.empty_latent())[1]).reach[0]
        for one in (left, larger)
    ]
    assert torch.equal(*reach) and reach[0].float().mean() == 0.5


def test_what_does_not_belong_together_is_refused(t2v, vae, folder, loaded, people):
    other = adapters.load_comfy_adapter(
        str(tiny.save_adapter(folder, tiny.config(), "other.safetensors", seed=9))
    )
    with pytest.raises(ValueError, match="identity: the identity was read by adapter"):
        applied(t2v, other, people[0])
    stranger = adapters.encode_comfy_identity(other, vae, film(1), None, None)[0]
    model, *texts = applied(t2v, loaded, people[0])
    with pytest.raises(ValueError, match=r"model carries adapter .* already"):
        applied(model, other, stranger, texts=texts)
    wide = tiny.config(in_channels=48, out_channels=48)
    channels = adapters.load_comfy_adapter(str(tiny.save_adapter(folder, wide, "wide.safetensors")))
    with pytest.raises(ValueError, match="vae makes latents of 16 channels, the adapter reads 48"):
        adapters.encode_comfy_identity(channels, vae, film(1), None, None)
    with pytest.raises(ValueError, match="region needs the latent"):
        applied(t2v, loaded, people[0], region=torch.ones(64, 64))
    with pytest.raises(ValueError, match="phrase is 'the star', which needs the text encoder"):
        adapters.encode_phrase(None, "the star")
    with pytest.raises(ValueError, match="strength is 11"):
        applied(t2v, loaded, people[0], strength=11.0)


def test_an_adapter_of_another_wan_is_refused(t2v, folder):
    for name, sizes, says in (
        ("wide", tiny.DiTConfig(192, 128, 2, 2, 16, 16, 32), "a Wan of width 192 and latents of 16 channels"),
        ("deep", tiny.config(48, 48), "a Wan of width 96 and latents of 48 channels"),
        ("long", tiny.config(layers=3), r"^adapter: .* changes blocks\.2\..*, which is missing"),
    ):
        loaded = adapters.load_comfy_adapter(str(tiny.save_adapter(folder, sizes, f"{name}.safetensors")))
        nobody = loaded.adapter.nobody
        identity = Identity(nobody[:2], nobody[2:], loaded.adapter.fingerprint, torch.zeros(4, 4, 3))
        with pytest.raises(ValueError, match=says):
            applied(t2v, loaded, identity)


def test_a_phrase_is_its_words_without_padding_and_closing_token():
    states = torch.zeros(1, 8, 4)
    states[0, :3] = torch.randn(3, 4)
    assert torch.equal(identities.phrase_states(states), states[:, :2])
    with pytest.raises(ValueError, match="phrase has no words"):
        identities.phrase_states(states[:, 2:])


# ---- on a server


def graph(**apply) -> dict:
    """The main graph without references: two pictures become a clip, the clip an identity, the identity a
    video."""
    without = {key: value for key, value in MAIN.items() if key not in ("picture", "reference", "apply")}
    return edited(
        without,
        {
            "guider.model": ["apply", 0],
            "guider.positive": ["apply", 2],
            "guider.negative": ["apply", 3],
            "denoise.steps": 2,
        },
        {
            "one": node("LoadImage", image="refvid_toy.png"),
            "two": node("LoadImage", image="refvid_toy_2.png"),
            "clip": node("ImageBatch", image1=["one", 0], image2=["two", 0]),
            "shown": node("InvertMask", mask=["one", 1]),
            "adapter": node("RefVidLoadAdapter", adapter=SLOT_ID),
            "encode": node("RefVidEncodeIdentity", clip=["clip", 0], mask=["shown", 0], vae=["backbone", 2], adapter=["adapter", 0]),
            "apply": node("RefVidApplyIdentity", model=["backbone", 0], positive=["positive_prompt", 0], negative=["negative_prompt", 0],
                          adapter=["adapter", 0], identity=["encode", 0], strength=1.0, parts="both", **apply),
        },
    )  # fmt: skip


def test_from_a_clip_to_a_video_a_picture_of_the_routing_and_a_file_that_makes_the_same(server):
    more = {
        "routing": node("SaveImage", images=["encode", 1], filename_prefix="refvid/routing"),
        "keep": node("RefVidSaveIdentity", identity=["encode", 0], filename_prefix="identities/kept"),
        "frames": node("SaveImage", images=["decode", 0], filename_prefix="refvid/identity"),
    }
    entry = server.run(edited(graph(), {}, more))
    assert failure(entry) is None, failure(entry)
    (kept,) = sorted((server.base / "output" / "identities").glob("kept_*.safetensors"))
    assert load_identity(kept).tokens("both").shape == (5, tiny.config().width)
    kept_as = entry["outputs"]["keep"]
    assert [one["filename"] for one in kept_as["identities"]] == [kept.name]
    assert [one["filename"] for one in kept_as["images"]] == [kept.with_suffix(".png").name]
    shown = torch.from_numpy(np.asarray(Image.open(kept.with_suffix(".png")))) / 255
    assert torch.equal(shown, load_identity(kept).preview)
    name = f"identities/{kept.name} [output]"
    offered = server.get("/object_info/RefVidLoadIdentity")["RefVidLoadIdentity"]["input"]["required"]["file"]
    assert name in offered[1]["options"]
    first = [made["filename"] for made in entry["outputs"]["frames"]["images"]]
    again = edited(
        graph(),
        {"apply.identity": ["load", 0]},
        {
            "load": node("RefVidLoadIdentity", file=name),
            "frames": node("SaveImage", images=["decode", 0], filename_prefix="refvid/loaded"),
        },
    )
    entry = server.run(again)
    assert failure(entry) is None, failure(entry)
    second = [made["filename"] for made in entry["outputs"]["frames"]["images"]]
    for one, other in zip(first, second, strict=True):
        assert pixels(server.base / "output/refvid" / one) == pixels(server.base / "output/refvid" / other)


def pixels(path: Path) -> bytes:
    with Image.open(path) as picture:
        return picture.convert("RGB").tobytes()


def test_phrase_blend_and_refusals_on_the_server(server):
    phrased = graph(phrase="toy", clip=["backbone", 1])
    blended = edited(
        phrased,
        {"apply.identity": ["blend", 0]},
        {
            "turned": node("ImageBatch", image1=["two", 0], image2=["one", 0]),
            "other": node(
                "RefVidEncodeIdentity", clip=["turned", 0], vae=["backbone", 2], adapter=["adapter", 0]
            ),
            "blend": node("RefVidBlendIdentities", first=["encode", 0], second=["other", 0], share=0.3),
        },
    )
    assert failure(server.run(blended)) is None
    single = failure(server.run(edited(graph(), {"encode.clip": ["one", 0]})))
    assert single is not None and single.kind == "ValueError" and "clip has 1 frame" in single.message
    nobody = failure(
        server.run(
            edited(
                graph(),
                {"shown.mask": ["shown2", 0]},
                {"shown2": node("SolidMask", value=1.0, width=64, height=64)},
            )
        )
    )
    assert nobody is not None and "mask has no pixels in any frame" in nobody.message
    assert failure(server.run(graph())) is None  # the server lives


def test_an_adapter_of_the_wrong_kind_is_refused_by_name(server):
    plain = server.base / "models/loras/plain.safetensors"
    shutil.copy(server.base / "models/vae/refvid_demo_vae.safetensors", plain)
    said = failure(server.run(edited(graph(), {"adapter.adapter": "plain.safetensors"})))
    assert said is not None and said.node == "adapter" and "is no slot_id file" in said.message


@pytest.mark.parametrize(
    ("name", "says"), [("truncated.safetensors", "is truncated"), (TRAP, "pickled weights can run code")]
)
def test_a_broken_or_dangerous_adapter_is_refused_unread(server, name, says):
    said = failure(server.run(edited(graph(), {"adapter.adapter": name})))
    assert said is not None and said.node == "adapter" and said.message.startswith(f"adapter: {name}")
    assert says in said.message and not (server.base / "models/loras/sprung").exists()


def test_on_an_fp8_base_lora_and_identity_act_as_on_its_weights_in_fp32(folder, loaded, people):
    """Core's weight adapters put the LoRA on what fp8 stands for and round it to fp8 again: that rounding, 1
    in 16 of each patched weight, is all that may differ."""
    path = tiny.save_dit(folder, "whole.safetensors", tiny.config(), tiny.dit_state(tiny.config()))
    quantised = comfy.sd.load_diffusion_model(str(path), model_options={"dtype": torch.float8_e4m3fn})
    state = quantised.model.diffusion_model.state_dict()
    assert state["blocks.0.cross_attn.k.weight"].dtype == torch.float8_e4m3fn
    rounded = {key: value.float() for key, value in state.items()}
    twin = run.load_model(tiny.save_dit(folder, "rounded.safetensors", tiny.config(), rounded))
    models = (quantised, twin)
    latent = run.empty_latent()
    bare, whole = (
        [run.sample(model, *texts, latent) for model, *texts in given]
        for given in (
            [(model, *TEXTS) for model in models],
            [applied(model, loaded, people[0]) for model in models],
        )
    )
    assert run.worst(bare[0], bare[1]) < 1e-5
    assert run.worst(*whole) < 0.25 * run.worst(whole[1], bare[1])
