"""Bad input in a real server: refused at the edge, with a message that names it, and the next good graph
runs."""

import json
import re
from itertools import count
from pathlib import Path

import pytest
from refvid_base_folder import BACKBONE, TRAP
from refvid_client import edited, failure, node

pytestmark = pytest.mark.comfy

ROOT = Path(__file__).resolve().parents[2]
MAIN = json.loads((ROOT / "workflows/api/masked_reference_to_video.json").read_text("utf-8"))
GOOD = edited(MAIN, {"denoise.steps": 1})
SEEDS = count(1000)


def other_model(file: str) -> dict:
    """Graph with core's loader for the diffusion model."""
    loader = {"unet": node("UNETLoader", unet_name=file, weight_dtype="default")}
    return edited(GOOD, {"apply.model": ["unet", 0]}, loader)


def picture(**made: dict) -> dict:
    """Graph with another reference picture and no mask."""
    return edited(GOOD, {"reference.image": [next(iter(made)), 0], "reference.mask": None}, made)


def mask(value: float, width: int, height: int, marks: str) -> dict:
    solid = {"solid": node("SolidMask", value=value, width=width, height=height)}
    return edited(GOOD, {"reference.mask": ["solid", 0], "reference.mask_marks": marks}, solid)


def region(width: int, height: int, value: float = 1.0) -> dict:
    solid = {"solid": node("SolidMask", value=value, width=width, height=height)}
    return edited(GOOD, {"reference.region": ["solid", 0]}, solid)


VAE_OF_OTHERS = {"other": node("VAELoader", vae_name="taesd.safetensors")}
NINE = {"nine": node("RepeatImageBatch", image=["picture", 0], amount=9)}
DOT = {"dot": node("EmptyImage", width=1, height=1, batch_size=1, color=0)}

# what is wrong: (graph, node that must refuse, what its message must say)
REFUSED = {
    "mask without pixels": (mask(0.0, 64, 64, "subject"), "reference", r"^mask has no pixels"),
    "background mask over everything": (mask(1.0, 64, 64, "background"), "reference", r"^mask has no pixels"),
    "two masks for one picture": (
        edited(
            GOOD, {"reference.mask": ["two", 0]},
            {"pictures": node("RepeatImageBatch", image=["picture", 0], amount=2),
             "two": node("ImageToMask", image=["pictures", 0], channel="red")},
        ), "reference", r"^mask is a batch of 2, image one of 1",
    ),
    "picture with NaN": (picture(nan=node("RefVidTestPicture")), "reference", r"^(picture|image) holds NaN"),
    "picture of one pixel": (picture(**DOT), "reference", r"^(picture|image) is 1x1 pixels"),
    "nine references": (picture(**NINE), "reference", r"^image holds 9 pictures; at most 8 .* use Encode Slot Identity"),
    "five references for phantom": (
        edited(
            picture(five=node("RepeatImageBatch", image=["picture", 0], amount=5)), {"apply.recipe": "phantom"}
        ), "apply", r"^references: 5 pictures .*phantom takes at most 4",
    ),
    "VAE of another family, in the loader": (
        edited(GOOD, {"backbone.vae": "taesd.safetensors"}), "backbone", r"^vae: taesd.safetensors is not a Wan VAE",
    ),
    "VAE of another family, from core's loader": (
        edited(GOOD, {"apply.vae": ["other", 0]}, VAE_OF_OTHERS), "apply", r"^vae .*another family.*Wan 2.1 VAE",
    ),
    "model of another family, in the loader": (
        edited(GOOD, {"backbone.diffusion_model": "ltxv.safetensors"}), "backbone",
        r"^diffusion_model: ltxv.safetensors is not a Wan file",
    ),
    "model of another family, from core's loader": (
        other_model("ltxv.safetensors"), "apply", r"^model is LTXV, not a Wan model",
    ),
    "Wan variant off the list, in the loader": (
        edited(GOOD, {"backbone.diffusion_model": "camera.safetensors"}), "backbone",
        r"^diffusion_model: camera.safetensors is the Wan variant \w*Camera.*connect Wan T2V",
    ),
    "Wan variant off the list, from core's loader": (
        other_model("camera.safetensors"), "apply", r"^model is the Wan variant \w*Camera.*connect Wan T2V",
    ),
    "model file that names no recipe": (
        edited(GOOD, {"backbone.diffusion_model": "plain.safetensors"}), "apply",
        r"^recipe is auto, .* choose one of saber, phantom, bernini",
    ),
    "size off the grid": (edited(GOOD, {"apply.latent": ["odd", 0]}, {
        "odd": node("EmptyHunyuanLatentVideo", width=72, height=64, length=9, batch_size=1),
    }), "apply", r"^latent is 9x8 cells"),
    "size of nothing": (edited(GOOD, {"apply.latent": ["odd", 0]}, {
        "odd": node("EmptyHunyuanLatentVideo", width=64, height=["five", 0], length=9, batch_size=1),
        "five": node("RefVidTestAnything", what="number"),
    }), "apply", r"^latent is 8x0 cells"),
    "latent of a picture": (edited(GOOD, {"apply.latent": ["still", 0]}, {
        "still": node("EmptyLatentImage", width=64, height=64, batch_size=1),
    }), "apply", r"^latent is not a video's"),
    "region without pixels": (region(96, 96, 0.0), "apply", r"^region has no pixels"),
    "frames outside the clip": (
        edited(GOOD, {"reference.first_frame": 3, "reference.last_frame": 40}), "apply",
        r"^frame window is 3 to 40; the video has the frames 0 to 16",
    ),
    "frames reversed": (
        edited(GOOD, {"reference.first_frame": 5, "reference.last_frame": 2}), "reference", r"^frame window is 5 to 2",
    ),
    "step window reversed": (
        edited(GOOD, {"reference.start_percent": 0.8, "reference.end_percent": 0.2}), "reference",
        r"^step window is 0.8 to 0.2; needed two shares",
    ),
    "fades longer than the window": (
        edited(GOOD, {"reference.end_percent": 0.3, "reference.fade_in": 0.2, "reference.fade_out": 0.2}), "reference",
        r"^fades are 0.2 in and 0.2 out",
    ),
    "nothing to inspect": (
        edited(GOOD, {"save.video": ["video", 0]}, {
            "look": node("RefVidInspect", model=["apply", 0], positive=["positive_prompt", 0], latent=["empty_video", 0]),
        }), "look", r"^positive carries no references",
    ),
    "no step to run": (edited(GOOD, {"denoise.start_at_step": 9}), "denoise", r"^start_at_step is 9"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_by_name_and_the_next_graph_runs(server, case):
    graph, where, message = REFUSED[case]
    said = failure(server.run(graph))
    assert said is not None, "it ran"
    assert (said.node, said.kind) == (where, "ValueError"), said
    assert re.search(message, said.message, re.DOTALL), said.message
    assert server.outputs(edited(GOOD, {"denoise.noise_seed": next(SEEDS)}))


@pytest.mark.parametrize("folder", BACKBONE)
def test_a_truncated_file_is_refused_by_its_inputs_name(server, folder):
    where = {"diffusion_models": "diffusion_model", "text_encoders": "text_encoder", "vae": "vae"}[folder]
    said = failure(server.run(edited(GOOD, {f"backbone.{where}": "truncated.safetensors"})))
    assert said is not None and said.kind == "ValueError"
    assert said.message.startswith(f"{where}: truncated.safetensors is truncated"), said.message


@pytest.mark.parametrize("folder", BACKBONE)
def test_a_file_that_could_run_code_is_refused_unread(server, folder):
    where = {"diffusion_models": "diffusion_model", "text_encoders": "text_encoder", "vae": "vae"}[folder]
    said = failure(server.run(edited(GOOD, {f"backbone.{where}": TRAP})))
    assert said is not None and said.kind == "ValueError"
    assert said.message.startswith(f"{where}: {TRAP} is not a .safetensors file"), said.message
    assert not (server.base / "models" / folder / "sprung").exists()


@pytest.mark.parametrize(
    ("inputs", "where", "label", "details"),
    [
        ({"reference.image": ["backbone", 0]}, "reference", "image", "MODEL"),
        ({"apply.references.reference_0": ["picture", 0]}, "apply", "references.reference_0", "IMAGE"),
        ({"apply.vae": None}, "apply", "vae", "vae"),
        ({"apply.references.reference_0": None}, "apply", "references.reference_0", "reference_0"),
        ({"guider.scale": None}, "guider", "scale", "scale"),
        ({"apply.recipe": "magref"}, "apply", "recipe", "magref"),
        ({"backbone.diffusion_model": "absent.safetensors"}, "backbone", "diffusion_model", "absent"),
        ({"reference.strength": -1.0}, "reference", "strength", "strength"),
        ({"denoise.steps": "many"}, "denoise", "steps", "many"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_graph_that_cannot_run_is_refused_with_node_and_input(server, inputs, where, label, details):
    refusals = server.refusals(edited(GOOD, inputs))
    assert list(refusals) == [where]
    ((name, said),) = refusals[where]
    assert details in said and (name == label or label in said), refusals
