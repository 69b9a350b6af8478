"""Wan variants through core's samplers on a real server, with core's own nodes around ours."""

import pytest
import refvid_base_folder
import refvid_tiny as tiny
from refvid_client import Graph, failure, node
from refvid_matrix_variants import SIZES, STEPS, make_state
from safetensors.torch import load_file
from torch import equal

pytestmark = pytest.mark.comfy
SIDE, LENGTH = {"width": 64, "height": 64}, {"length": 5, "batch_size": 1}


def around(variant: str) -> Graph:
    """Nodes before Apply References: model, VAE, texts, latent, and two references."""
    wan22 = SIZES[variant].out_channels == 48
    vae = ["wan22", 0] if wan22 else ["files", 2]
    graph = {
        "files": node(
            "RefVidLoadBackbone", diffusion_model=refvid_base_folder.DIT, text_encoder=refvid_base_folder.TEXT,
            vae=refvid_base_folder.VAE, weight_dtype="default", shift=3.0,
        ),
        "model": node("UNETLoader", unet_name=f"{variant}.safetensors", weight_dtype="default"),
        "positive": node("CLIPTextEncode", clip=["files", 1], text="a toy moving right"),
        "negative": node("CLIPTextEncode", clip=["files", 1], text=""),
        "latent": node("EmptyHunyuanLatentVideo", **SIDE, **LENGTH),
        "cut_out": node("LoadImage", image="refvid_toy.png"),
        "photo": node("LoadImage", image="photo.png"),
        "one": node(
            "RefVidReference", image=["cut_out", 0], mask=["cut_out", 1], mask_marks="background", strength=1.0
        ),
        "two": node("RefVidReference", image=["photo", 0], mask_marks="subject", strength=0.5),
    }  # fmt: skip
    if variant == "VACE":
        graph["control"] = node(
            "WanVaceToVideo", positive=["positive", 0], negative=["negative", 0], vae=vae, **SIDE, **LENGTH,
            strength=0.7, control_video=["photo", 0],
        )  # fmt: skip
    if wan22:
        start = {"start_image": ["photo", 0]} if "first frame" in variant else {}
        graph |= {
            "wan22": node("RefVidTestWan22VAE"),
            "latent": node("Wan22ImageToVideoLatent", vae=vae, **SIDE, **LENGTH, **start),
        }
    return graph


def branches(variant: str) -> Graph:
    """Core's two samplers behind Apply References; KSampler with both references off; and without our
    node."""
    graph = around(variant)
    control = "control" in graph
    positive, negative = (["control", 0], ["control", 1]) if control else (["positive", 0], ["negative", 0])
    latent, vae = (
        ["control", 2] if control else ["latent", 0],
        ["wan22", 0] if "wan22" in graph else ["files", 2],
    )
    graph["off"] = node("RefVidReference", image=["photo", 0], mask_marks="subject", strength=0.0)
    options = {
        "model": ["model", 0], "positive": positive, "negative": negative, "vae": vae, "latent": latent,
        "recipe": "saber", "null_pass": "keep",
    }  # fmt: skip
    references = {"references.reference_0": ["one", 0], "references.reference_1": ["two", 0]}
    graph["with"] = node("RefVidApplyReferences", **options, **references)
    graph["without"] = node("RefVidApplyReferences", **options, **{"references.reference_0": ["off", 0]})
    common = {"latent_image": latent}
    euler = {
        "sampler_name": "euler",
        "scheduler": "simple",
        "denoise": 1.0,
        "steps": STEPS,
        "cfg": 4.0,
        "seed": 3,
    }
    for name, model, up, down in (
        ("KSampler", ["with", 0], ["with", 2], ["with", 3]),
        ("off_KSampler", ["without", 0], ["without", 2], ["without", 3]),
        ("bare_KSampler", ["model", 0], positive, negative),
    ):
        graph[name] = node("KSampler", model=model, positive=up, negative=down, **common, **euler)
    graph |= {
        "noise": node("RandomNoise", noise_seed=3),
        "cfg": node("CFGGuider", model=["with", 0], positive=["with", 2], negative=["with", 3], cfg=4.0),
        "euler": node("KSamplerSelect", sampler_name="euler"),
        "sigmas": node("BasicScheduler", model=["with", 0], scheduler="simple", steps=STEPS, denoise=1.0),
        "Advanced": node(
            "SamplerCustomAdvanced", noise=["noise", 0], guider=["cfg", 0], sampler=["euler", 0],
            sigmas=["sigmas", 0], **common,
        ),
    }  # fmt: skip
    for name in ("KSampler", "Advanced", "off_KSampler", "bare_KSampler"):
        graph[f"save_{name}"] = node("SaveLatent", samples=[name, 0], filename_prefix=f"matrix/{name}")
    return graph


@pytest.mark.parametrize("variant", SIZES)
def test_cores_samplers_agree_on_references_and_see_nothing_where_there_are_none(server, variant):
    target = server.base / "models/diffusion_models"
    tiny.save_dit(target, f"{variant}.safetensors", SIZES[variant], make_state(variant))
    entry = server.run(branches(variant))
    assert entry["status"]["status_str"] == "success", failure(entry)
    made = {}
    for saved in (key for key in entry["outputs"] if key.startswith("save_")):
        (file,) = entry["outputs"][saved]["latents"]
        path = server.base / "output" / file["subfolder"] / file["filename"]
        made[saved.removeprefix("save_")] = load_file(path)["latent_tensor"]
    assert equal(made["KSampler"], made["Advanced"])
    assert equal(made["off_KSampler"], made["bare_KSampler"])
    assert (made["KSampler"] - made["bare_KSampler"]).abs().max() > 1e-3
