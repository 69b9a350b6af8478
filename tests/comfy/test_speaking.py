"""What a user finds and reads in ComfyUI's own frontend: nodes by the words that people type, texts and
refusals on the nodes, and numbers as they were typed."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from refvid_browser import in_browser
from refvid_client import edited

pytestmark = pytest.mark.comfy

ROOT = Path(__file__).resolve().parents[2]
MAIN = json.loads((ROOT / "workflows/api/masked_reference_to_video.json").read_text("utf-8"))
KEPT = ROOT / "tests/data/0.1.0/inputs/refvid_kept_identity.safetensors"
GOOD = edited(MAIN, {"denoise.steps": 1})
FIRST = 9  # results that a search shows without scrolling
# Words that people type, by the nodes that they are to find. Others ("lora", "cfg", "wan") are in the names
# of more of ComfyUI's nodes, which come before every alias.
WORDS = {
    "RefVidReference": "saber, subject, subject to video, reference image, reference to video, r2v, s2v, mask, masked",
    "RefVidApplyReferences": "videomaker, phantom, bernini, skyreels, refalign, kaleido, concat-id, stand-in, r2v, s2v",
    "RefVidLoadReferenceAdapter": "stand-in",
    "RefVidApplyIdentity": "slot-id, identity, character, consistent character, ip-adapter, ipadapter, person",
    "RefVidEncodeIdentity": "slot id, consistent character, identity",
    "RefVidLoadIdentity": "identity, person",
    "RefVidReplaceFrames": "stiv, first frame, last frame, start image, end image, i2v, extend video",
    "RefVidKeyframes": "keyframes, long video, in-between",
    "RefVidInbetween": "in-between, inbetween, interpolation, keyframes",
    "RefVidJoinSegments": "long video, extend video",
    "RefVidJointGuider": "jit-cfg, guider",
    "RefVidSeparateGuider": "sit-cfg",
    "RefVidRenormGuidance": "renorm",
    "RefVidInstructionEdit": "sama, edit video, instruction, v2v",
    "RefVidScore": "score, similarity",
    "RefVidInspect": "inspect, debug",
    "RefVidTrainingPlan": "training, train",
    "RefVidLoadBackbone": "wan 2.1, wan 2.2, load wan",
}
SEARCHES = [(word, node) for node, words in WORDS.items() for word in words.split(", ")]
TYPED = {
    "RefVidReference": {
        "start_percent": 0.125,
        "end_percent": 0.333,
        "fade_in": 0.005,
        "strength": 0.35,
        "focus": 1.25,
    },
    "RefVidJointGuider": {"scale": 7.25, "fade_out": 0.125},
    "RefVidBlendIdentities": {"share": 0.333},
    "RefVidApplyIdentity": {"strength": 1.01},
}
REFUSED = {"reference.first_frame": 5, "reference.last_frame": 2}
GRAPHS = {
    "refused": edited(GOOD, REFUSED),
    "mended": edited(GOOD, {"reference.first_frame": 0, "reference.last_frame": -1, "backbone.shift": 3.5}),
    "truncated": edited(GOOD, {"backbone.diffusion_model": "truncated.safetensors"}),
}


@pytest.fixture(scope="module")
def said(browser, server, tmp_path_factory):
    """What tests/frontend/speak.mjs saw in one visit."""
    folder = server.base / "output/identities"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("anna", "zoe"):
        shutil.copy(KEPT, folder / f"{name}.safetensors")
    Image.new("RGB", (8, 8)).save(folder / "anna.png")
    asked = tmp_path_factory.mktemp("speak") / "asked.json"
    asked.write_text(json.dumps({"words": [word for word, _ in SEARCHES], "graphs": GRAPHS, "typed": TYPED}))
    return json.loads(in_browser("speak.mjs", server.url, asked))


@pytest.mark.parametrize(("word", "node"), SEARCHES)
def test_a_node_is_found_by_the_words_that_people_type(said, word, node):
    assert node in said["found"][word][:FIRST]


def test_load_identity_shows_who_is_in_each_file_and_a_click_chooses(said):
    faces = dict(said["people"]["faces"])
    assert faces["identities/anna.safetensors [output]"] and not faces["identities/zoe.safetensors [output]"]
    assert said["people"]["chosen"] == list(faces)[-1]


def test_numbers_are_kept_as_they_were_typed(said):
    assert said["kept"] == TYPED


def test_a_refusal_is_drawn_on_the_node_that_refuses_and_goes_with_the_next_good_run(said):
    assert said["drawn"]["refused"]["RefVidReference"].startswith("frame window is 5 to 2; needed")
    assert "is truncated" in said["drawn"]["truncated"]["RefVidLoadBackbone"]
    assert not said["drawn"]["mended"].get("RefVidReference", "").strip()


def test_what_a_node_says_is_drawn_on_it(said):
    drawn = said["drawn"]["mended"]
    assert drawn["RefVidApplyReferences"].startswith("references that act: 1")
    assert drawn["RefVidLoadBackbone"].strip()
