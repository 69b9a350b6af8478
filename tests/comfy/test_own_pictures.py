"""A stranger's pictures in the starter graph and in those for a first frame and an edit: each ends in a clip,
none inverted, none out of shape, or in one sentence that says what to do."""

import numpy as np
import pytest
from PIL import Image
from refvid_client import edited, failure, node
from refvid_templates import PROMPTS

pytestmark = pytest.mark.comfy

STARTER = PROMPTS["a_first_video"]


def only(kind: str, prompt: dict) -> str:
    (found,) = [key for key, one in prompt.items() if one["class_type"] == kind]
    return found


LOAD, APPLY = only("RefVidLoadReference", STARTER), only("RefVidApplyReferences", STARTER)
STEPS = only("RefVidDenoiseSteps", STARTER)
SHORT = {f"{STEPS}.steps": 1}


def photograph(width: int, height: int) -> tuple[Image.Image, Image.Image]:
    """A disc on a ramp, as wide as it is high, and its mask."""
    down, across = np.mgrid[:height, :width].astype(np.float32)
    disc = (down - height / 2) ** 2 + (across - width / 2) ** 2 < (min(width, height) / 4) ** 2
    ramp = np.stack([255 * across / width, 255 * down / height, 0 * down], -1)
    return Image.fromarray(np.where(disc[..., None], 255, ramp).astype(np.uint8)), Image.fromarray(
        disc.astype(np.uint8) * 255
    )


@pytest.fixture(scope="module")
def inputs(demo_server):
    folder = demo_server.base / "input"
    picture, disc = photograph(4000, 3000)
    painted = picture.copy()
    painted.putalpha(Image.eval(disc, lambda one: 255 - one))
    painted.save(folder / "clipspace-painted-masked-7.png", compress_level=1)
    portrait, cut = photograph(60, 100)
    portrait.save(folder / "portrait.png")
    portrait.putalpha(cut)
    portrait.save(folder / "cut_out.png")
    picture.convert("L").resize((200, 150)).save(folder / "grey.png")
    disc.resize((120, 90)).convert("RGB").save(folder / "small_mask.png")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    return demo_server


def made(client, prompt) -> dict:
    entry = client.run(prompt)
    assert failure(entry) is None, failure(entry)
    return entry["outputs"]


def shown(client, outputs: dict, key: str) -> np.ndarray:
    """The masked picture that a node drew."""
    (one,) = outputs[key]["images"]
    return np.asarray(
        Image.open(client.base / one["type"] / one["subfolder"] / one["filename"]).convert("RGB"), int
    )


@pytest.mark.parametrize(
    ("image", "shape", "said"),
    [
        ("clipspace-painted-masked-7.png", (384, 512), "painted in the Mask Editor"),
        ("cut_out.png", (100, 60), "not transparent"),
        ("portrait.png", (100, 60), "the whole picture"),
        ("grey.png", (150, 200), "the whole picture"),
    ],
)
def test_a_picture_ends_in_a_clip_and_its_subject_is_seen_upright_and_in_shape(inputs, image, shape, said):
    outputs = made(inputs, edited(STARTER, {f"{LOAD}.image": image, **SHORT}))
    drawn = shown(inputs, outputs, LOAD)
    assert drawn.shape[:2] == shape and said in "".join(outputs[LOAD]["text"])
    white = (drawn > 250).all(-1)
    high, wide = white.any(1).sum(), white.any(0).sum()
    assert white[shape[0] // 2, shape[1] // 2] and abs(high - wide) <= 2  # the disc is there, and round
    if "whole" not in said:
        assert (abs(drawn[0] - 127) <= 1).all()  # and its ground is not
    assert any(
        one.get("images") and one["images"][0]["filename"].endswith(".mp4") for one in outputs.values()
    )


def test_a_mask_of_another_size_marks_what_it_marked(inputs):
    masked = {
        "picture": node("LoadImage", image="grey.png"),
        "mask": node("LoadImageMask", image="small_mask.png", channel="red"),
        "masked": node(
            "RefVidReference", image=["picture", 0], mask=["mask", 0], mask_marks="auto", strength=1.0
        ),
    }
    prompt = edited(STARTER, {f"{APPLY}.references.reference_0": ["masked", 0], **SHORT}, masked)
    outputs = made(inputs, {key: one for key, one in prompt.items() if key != LOAD})
    drawn = shown(inputs, outputs, "masked")
    assert drawn[75, 100].min() > 250 and (abs(drawn[0] - 127) <= 1).all()
    assert "".join(outputs["masked"]["text"]) == ""


def test_one_pixel_is_one_sentence(inputs):
    said = failure(inputs.run(edited(STARTER, {f"{LOAD}.image": "dot.png", **SHORT})))
    assert said.node == LOAD and said.message == "image is 1x1 pixels; a reference needs 8x8 or more"


def test_a_first_frame_of_another_aspect_begins_the_clip_in_shape(inputs):
    prompt = PROMPTS["first_frame_to_video"]
    first, steps = only("RefVidReplaceFrames", prompt), only("RefVidDenoiseSteps", prompt)
    decode = only("VAEDecode", prompt)
    more = {
        "wide": node("LoadImage", image="grey.png"),
        "frames": node("SaveImage", images=[decode, 0], filename_prefix="own"),
    }
    outputs = made(inputs, edited(prompt, {f"{first}.frames": ["wide", 0], f"{steps}.steps": 1}, more))
    one = outputs["frames"]["images"][0]
    frame = np.asarray(
        Image.open(inputs.base / one["type"] / one["subfolder"] / one["filename"]).convert("L"), int
    )
    white = frame > 200
    assert abs(int(white.any(1).sum()) - int(white.any(0).sum())) <= 6 and white[40, 40]


def test_an_edit_of_any_size_has_about_its_size(inputs):
    prompt = PROMPTS["edit_video_by_instruction"]
    edit, steps, decode = (
        only(kind, prompt) for kind in ("RefVidInstructionEdit", "RefVidDenoiseSteps", "VAEDecode")
    )
    source = prompt[edit]["inputs"]["source"]
    more = {
        "odd": node(
            "ImageScale", image=source, upscale_method="bilinear", width=90, height=72, crop="disabled"
        ),
        "frames": node("SaveImage", images=[decode, 0], filename_prefix="edit"),
    }
    outputs = made(inputs, edited(prompt, {f"{edit}.source": ["odd", 0], f"{steps}.steps": 1}, more))
    one = outputs["frames"]["images"][0]
    size = Image.open(inputs.base / one["type"] / one["subfolder"] / one["filename"]).size
    assert size == (96, 64)
