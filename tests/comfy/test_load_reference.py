"""A picture as people have it, on a real server: which part of it is taken for the subject, what is said of
it, and references that are kept as files."""

import numpy as np
import pytest
import torch
from PIL import Image
from refvid_client import failure, node

from refvid import media
from refvid.core.controls import Controls, FrameWindow, StepWindow
from refvid.core.references import make_reference
from refvid.hosts.comfy.subject import mask_sense
from refvid.media.reference_files import read_controls, write_reference

pytestmark = pytest.mark.comfy

WIDE, HIGH = 40, 24
COLOURS = np.random.default_rng(4).integers(0, 256, (HIGH, WIDE, 3), dtype=np.uint8)
BLOB = np.zeros((HIGH, WIDE), np.uint8)
BLOB[6:20, 10:30] = 255
EDITED = "clipspace/clipspace-painted-masked-1.png"  # of earlier frontends
EDITED_BESIDE = "clipspace-painted-masked-1795931155928.png"  # of 1.49
EDITED_MASK = "clipspace-mask-1795931155928.png"  # of 1.49 too
ALL = np.full_like(BLOB, 255)


def with_alpha(alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([COLOURS, alpha]))


@pytest.fixture(scope="module")
def inputs(server):
    """The server, with pictures as people have them among its inputs."""
    folder = server.base / "input"
    (folder / "clipspace").mkdir(exist_ok=True)
    with_alpha(255 - BLOB).save(folder / EDITED)
    with_alpha(255 - BLOB).save(folder / EDITED_BESIDE)
    with_alpha(255 - BLOB).save(folder / EDITED_MASK)
    with_alpha(BLOB).save(folder / "cutout.png")
    with_alpha(255 - BLOB).save(folder / "framed.png")
    with_alpha(ALL).save(folder / "opaque.png")
    Image.fromarray(COLOURS).save(folder / "photograph.png")
    Image.fromarray(COLOURS[..., 0]).save(folder / "grey.png")
    with_alpha(BLOB).quantize(64).save(folder / "palette.png")
    Image.fromarray(COLOURS[:1, :1]).save(folder / "point.png")
    turned = Image.fromarray(COLOURS)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "turned.png", exif=exif)
    large = Image.new("RGB", (4000, 3000), (200, 30, 60))
    large.putalpha(Image.fromarray(255 - BLOB).resize((4000, 3000), Image.Resampling.NEAREST))
    large.save(folder / "clipspace/large.png", compress_level=1)
    return server


def load(client, image: str, subject: str = "auto", **asked):
    """-> what Save Reference wrote of what Load Reference made, what asks for it, and what the node said."""
    graph = {
        "load": node("RefVidLoadReference", image=image, subject=subject, strength=1.0),
        "save": node("RefVidSaveReference", reference=["load", 0], filename_prefix="references/test"),
    }
    graph["load"]["inputs"] |= asked
    entry = client.run(graph)
    assert entry["status"]["status_str"] == "success", failure(entry)
    (made,) = entry["outputs"]["save"]["images"]
    file = client.base / made["type"] / made["subfolder"] / made["filename"]
    text = "".join(entry["outputs"]["load"]["text"]) if "load" in entry["outputs"] else ""
    return media.read_picture(file, "saved"), read_controls(file, "saved"), text


@pytest.mark.parametrize(
    ("image", "subject", "mask", "said"),
    [
        (EDITED, "auto", BLOB, "subject: what was painted in the Mask Editor, 29% of the picture"),
        (f"{EDITED} [input]", "auto", BLOB, "painted in the Mask Editor"),
        (f"{EDITED_BESIDE} [input]", "auto", BLOB, "painted in the Mask Editor"),
        (EDITED_MASK, "auto", BLOB, "painted in the Mask Editor"),
        ("cutout.png", "auto", BLOB, "subject: what is not transparent, 29% of the picture"),
        ("opaque.png", "auto", ALL, "subject: the whole picture"),
        ("photograph.png", "auto", ALL, "subject: the whole picture"),
        ("cutout.png", "whole picture", ALL, "subject: the whole picture"),
        (EDITED, "painted", BLOB, "painted in the Mask Editor"),
        (EDITED, "cut-out", 255 - BLOB, "what is painted is left out. Choose auto\nis the mask inverted?"),
        ("framed.png", "auto", 255 - BLOB, "as an inverted mask does. Choose painted\nsubject: what is not transparent"),
        ("cutout.png", "painted", 255 - BLOB, "this is a cut-out: its transparent ground is shown"),
    ],
)  # fmt: skip
def test_the_part_that_counts_is_known_and_told(inputs, image, subject, mask, said):
    values, _, text = load(inputs, image, subject)
    assert torch.equal(values[..., 3], torch.from_numpy(mask) / 255) and said in text
    assert torch.equal(values[..., :3], torch.from_numpy(COLOURS) / 255)  # under the mask too


def test_grey_palettes_and_turned_pictures_are_read_as_they_look(inputs):
    assert torch.equal(load(inputs, "grey.png")[0][..., 1], torch.from_numpy(COLOURS[..., 0]) / 255)
    assert torch.equal(load(inputs, "palette.png")[0][..., 3], torch.from_numpy(BLOB) / 255)
    assert torch.equal(load(inputs, "turned.png")[0][..., :3], torch.from_numpy(COLOURS).rot90(-1) / 255)


def test_a_large_painted_photograph_is_taken_whole(inputs):
    values, _, text = load(inputs, "clipspace/large.png")
    assert values.shape == (3000, 4000, 4) and values[1500, 2000, 3] == 1 and values[0, 0, 3] == 0
    assert "painted" in text


@pytest.mark.parametrize(
    ("image", "asked", "said"),
    [
        ("point.png", {}, "image is 1x1 pixels; a reference needs"),
        ("photograph.png", {"subject": "painted"}, "has no transparent part; paint in the Mask Editor"),
        ("photograph.png", {"subject": "cut-out"}, "has no transparent part"),
        ("photograph.png", {"subject": "remove background"}, "link Load Background Removal Model"),
        ("cutout.png", {"start_percent": 0.9, "end_percent": 0.1}, "step window is 0.9 to 0.1"),
    ],
)
def test_what_cannot_be_is_one_sentence(inputs, image, asked, said):
    graph = {
        "load": node("RefVidLoadReference", **{"image": image, "subject": "auto", "strength": 1.0, **asked}),
        "save": node("RefVidSaveReference", reference=["load", 0], filename_prefix="references/test"),
    }
    told = failure(inputs.run(graph))
    assert said in told.message and told.node == "load"


@pytest.mark.parametrize("image", ["gone.png", "../cutout.png", "/etc/hostname", "gone.png [output]", ""])
def test_a_file_that_is_not_there_is_refused_before_anything_runs(inputs, image):
    graph = {
        "load": node("RefVidLoadReference", image=image, subject="auto", strength=1.0),
        "save": node("RefVidSaveReference", reference=["load", 0], filename_prefix="references/test"),
    }
    status, answer = inputs.post("/prompt", {"prompt": graph})
    assert status == 400
    (error,) = answer["node_errors"]["load"]["errors"]
    assert (
        "image: " in error["details"]
        and "needed a picture, or a reference that Save Reference wrote" in error["details"]
    )


SAVED = Controls(0.5, StepWindow(0.125, 1 / 3), FrameWindow(1, 9), "video", True, 8.0, 0.25)


def test_a_saved_reference_is_listed_and_loads_as_it_was_with_the_nodes_own_controls_above(inputs):
    made = make_reference(torch.from_numpy(COLOURS) / 255, torch.from_numpy(BLOB) / 255, SAVED)
    write_reference(inputs.base / "output/references/deep/er.png", made)
    listed = inputs.get("/object_info/RefVidLoadReference")["RefVidLoadReference"]["input"]["required"][
        "image"
    ][1]
    name = "references/deep/er.png [output]"
    assert name in listed["options"] and "cutout.png" in listed["options"]
    values, controls, text = load(inputs, name)
    assert torch.equal(values[..., 3], made.mask) and controls == SAVED
    assert text == "subject: as it was saved, 29% of the picture\ncontrols as saved"
    _, controls, _ = load(inputs, name, strength=2.0, end_percent=0.5)
    assert (controls.strength, controls.steps, controls.sees) == (2.0, StepWindow(0, 0.5), "video")


def test_a_mask_painted_onto_a_saved_reference_is_what_was_painted(inputs):
    """Earlier Mask Editors kept a file's text; all write one minus the mask into the alpha."""
    made = make_reference(torch.from_numpy(COLOURS) / 255, torch.from_numpy(255 - BLOB) / 255, SAVED)
    write_reference(inputs.base / "input/clipspace/again.png", made)
    values, controls, text = load(inputs, "clipspace/again.png")
    assert torch.equal(values[..., 3], torch.from_numpy(BLOB) / 255) and controls == SAVED
    assert "painted in the Mask Editor" in text


# ---- Masked Reference


def masked(client, image: str, marks: str = "auto"):
    graph = {
        "picture": node("LoadImage", image=image),
        "reference": node(
            "RefVidReference", image=["picture", 0], mask=["picture", 1], mask_marks=marks, strength=1.0
        ),
        "save": node("RefVidSaveReference", reference=["reference", 0], filename_prefix="references/test"),
    }
    entry = client.run(graph)
    (made,) = entry["outputs"]["save"]["images"]
    file = client.base / made["type"] / made["subfolder"] / made["filename"]
    return media.read_picture(file, "saved")[..., 3], "".join(entry["outputs"]["reference"]["text"])


@pytest.mark.parametrize(
    ("image", "marks", "mask", "said"),
    [
        (EDITED, "auto", BLOB, ""),
        (f"{EDITED_BESIDE} [input]", "auto", BLOB, ""),
        ("cutout.png", "auto", BLOB, ""),
        ("opaque.png", "auto", ALL, ""),
        ("photograph.png", "auto", ALL, ""),
        ("photograph.png", "subject", ALL, ""),
        (EDITED, "subject", BLOB, ""),
        ("cutout.png", "background", BLOB, ""),
        ("framed.png", "auto", 255 - BLOB, "as an inverted mask does. Set mask_marks to subject"),
        ("cutout.png", "subject", 255 - BLOB, "cut-out: it is the background. Choose auto\nis the mask inverted?"),
        (EDITED, "background", 255 - BLOB, "mask_marks is background, but this mask is what was painted"),
    ],
)  # fmt: skip
def test_a_mask_of_load_image_is_known_for_a_cut_out_or_for_paint(inputs, image, marks, mask, said):
    found, text = masked(inputs, image, marks)
    assert torch.equal(found, torch.from_numpy(mask) / 255)
    assert said in text and bool(said) == bool(text)


def test_several_references_become_several_files_and_a_region_is_told_of(inputs):
    graph = {
        "picture": node("LoadImage", image="photograph.png"),
        "two": node("ImageBatch", image1=["picture", 0], image2=["picture", 0]),
        "region": node("SolidMask", value=1.0, width=96, height=96),
        "reference": node(
            "RefVidReference", image=["two", 0], mask_marks="auto", strength=1.0, region=["region", 0]
        ),
        "save": node("RefVidSaveReference", reference=["reference", 0], filename_prefix="references/two/of"),
    }
    made = inputs.run(graph)["outputs"]["save"]
    images = made["images"]
    assert made["text"] == ["The region is not kept: it belongs to a video. Link it to Load Reference."]
    assert [one["subfolder"] for one in images] == ["references/two"] * 2
    assert len({one["filename"] for one in images}) == 2


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "sense"),
    [
        ("LoadImage", {"image": "cutout.png"}, 1, "background"),
        ("LoadImage", {"image": EDITED}, 1, "subject"),
        ("LoadImageMask", {"image": "cutout.png", "channel": "alpha"}, 0, "background"),
        ("LoadImageMask", {"image": "cutout.png", "channel": "red"}, 0, "subject"),
        ("LoadImageMask", {"image": EDITED, "channel": "alpha"}, 0, "subject"),
        ("LoadImage", {"image": ["other", 0]}, 1, "subject"),
        ("InvertMask", {"mask": ["other", 0]}, 0, "subject"),
    ],
)
def test_the_sense_of_a_mask_is_that_of_the_node_it_comes_from(kind, inputs, output, sense):
    graph = {"from": {"class_type": kind, "inputs": inputs}, "me": {"inputs": {"mask": ["from", output]}}}
    assert mask_sense(graph, "me", "auto", torch.ones(1, 8, 8)) == (sense, [])
    assert mask_sense(None, None, "auto", None) == ("subject", [])
