"""The Score node in a real server: its figures, its report and sheet, and what it refuses."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from refvid_client import edited, failure, node

pytestmark = pytest.mark.comfy

ROOT = Path(__file__).resolve().parents[2]
FLOW = json.loads((ROOT / "workflows/api/score_reference.json").read_text("utf-8"))
FIGURES = ("similarity", "texture", "shape", "leak", "dynamic_degree")


def still(frames: int, **score) -> dict:
    """The reference's own picture, repeated, against the reference: no model runs."""
    return {
        "picture": FLOW["picture"],
        "reference": FLOW["reference"],
        "subject": node("InvertMask", mask=["picture", 1]),
        "clip": node("RepeatImageBatch", image=["picture", 0], amount=frames),
        "score": node(
            "RefVidScore", clip=["clip", 0], reference=["reference", 0], subject_mask=["subject", 0], **score
        ),
        "numbers": node("PreviewAny", source=["score", 3]),
        "sheet": node("SaveImage", images=["score", 6], filename_prefix="refvid/sheet"),
    }


def said(entry, name: str = "score") -> dict[str, str]:
    """The report's figures: a number, or the reason why there is none."""
    (text,) = entry["outputs"][name]["text"]
    return {line[:16].strip(): line[16:] for line in text.splitlines() if line[:16].strip() in FIGURES} | {
        "notes": text
    }


@pytest.fixture(scope="module")
def ceiling(server):
    entry = server.run(still(2))
    assert failure(entry) is None, failure(entry)
    return entry


def test_the_references_own_picture_is_at_the_ceiling_and_still(ceiling):
    figures = said(ceiling)
    assert [float(figures[name]) for name in FIGURES[:3]] == pytest.approx([1, 1, 1], abs=1e-3)
    assert "subject: from the mask" in figures["notes"] and "no baseline" in figures["notes"]
    motion = figures["dynamic_degree"]
    # Where this ComfyUI has no OpenCV the report must say so; where it has, a still clip does not move.
    assert "pip install opencv-python" in motion or float(motion) == 0


def test_the_sheet_is_a_picture_and_the_numbers_go_on(ceiling, server):
    (sheet,) = ceiling["outputs"]["sheet"]["images"]
    with Image.open(server.base / sheet["type"] / sheet["subfolder"] / sheet["filename"]) as picture:
        assert picture.width > 400 and len(picture.convert("RGB").getcolors(100_000)) > 3
    (leak,) = ceiling["outputs"]["numbers"]["text"]
    assert float(leak) == pytest.approx(float(said(ceiling)["leak"]), abs=1e-4)


def test_a_baseline_explains_its_own_background(server):
    entry = server.run(still(2, baseline=["clip", 0]))
    assert "not measured: the reference's background has the colours of the baseline" in said(entry)["leak"]
    assert "beyond the baseline" in said(entry)["notes"]


def test_one_frame_has_no_motion_and_a_whole_picture_no_leak(server):
    whole = edited(still(1), {"reference.mask": None, "reference.image": ["photo", 0]}, {
        "photo": node("LoadImage", image="photo.png"),
    })  # fmt: skip
    figures = said(server.run(whole))
    assert figures["dynamic_degree"] == "not measured: the clip has one frame: motion needs two"
    assert "mask is full" in figures["leak"]


def test_the_workflow_scores_both_clips_and_saves_the_video(server):
    short = {"denoise.steps": 1, "denoise_without.steps": 1}
    entry = server.run(edited(FLOW, short))
    assert failure(entry) is None, failure(entry)
    assert float(said(entry, "score_without")["leak"]) == 0  # its own baseline
    assert all(0 <= float(said(entry)[name]) <= 1 for name in FIGURES[:3])
    assert entry["outputs"]["save"]["images"] and entry["outputs"]["sheet"]["images"]


REFUSED = {
    "three subject masks for two frames": (
        edited(still(2), {"score.subject_mask": ["three", 0]}, {
            "pictures": node("RepeatImageBatch", image=["picture", 0], amount=3),
            "three": node("ImageToMask", image=["pictures", 0], channel="red"),
        }), r"^subject mask has 3 frames, clip 2",
    ),
    "empty subject mask": (
        edited(still(2), {"score.subject_mask": ["solid", 0]}, {
            "solid": node("SolidMask", value=0.0, width=64, height=64),
        }), r"^subject mask has no pixels",
    ),
    "two references": (
        edited(still(2), {"reference.image": ["clip", 0]}), r"^reference: 2 pictures came; .* one",
    ),
    "clip with NaN": (
        edited(still(2), {"score.clip": ["nan", 0]}, {"nan": node("RefVidTestPicture")}), r"^clip holds NaN",
    ),
    "baseline of a few pixels": (
        edited(still(2), {"score.baseline": ["dot", 0]}, {
            "dot": node("EmptyImage", width=4, height=4, batch_size=1, color=0),
        }), r"^baseline is 4x4 pixels; needed 8x8",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_by_name_and_the_next_graph_runs(server, case):
    graph, message = REFUSED[case]
    told = failure(server.run(graph))
    assert told is not None, "it ran"
    assert (told.node, told.kind) == ("score", "ValueError"), told
    assert re.search(message, told.message, re.DOTALL), told.message
    assert failure(server.run(still(2))) is None
