"""The main job with the shipped model: `comfyui-files`, the workflow through a real server, and the same video from
the command line's pipeline."""

import json
from pathlib import Path

import numpy as np
import pytest
import refvid_comfy
import torch
from PIL import Image
from refvid_client import Client

from refvid import cli
from refvid.demo import models, showcase
from refvid.hosts import pipeline

pytestmark = pytest.mark.comfy
API = Path(__file__).resolve().parents[2] / "workflows" / "api" / "masked_reference_to_video.json"


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """(9, 80, 80, 3) that ComfyUI made, before an MP4's losses."""
    base = tmp_path_factory.mktemp("ComfyUI")
    cli.main(["comfyui-files", "--dest", str(base)])
    root = refvid_comfy.find_comfyui()
    assert root is not None
    graph = json.loads(API.read_text("utf-8"))
    graph["pictures"] = {
        "class_type": "SaveImage",
        "inputs": {"images": ["decode", 0], "filename_prefix": "x"},
    }
    with refvid_comfy.serve(root, base) as url:
        made = Client(url, base, "refvid").outputs(graph, "pictures")
    return np.stack([np.asarray(Image.open(file)) for file in sorted(made)])


def test_comfyui_and_the_command_line_make_the_same_video(frames):
    """Same files, same seed: what is left is rounding to bytes and the order of sums."""
    backbone = models.load_demo()
    ours = pipeline.generate(
        backbone, pipeline.Request(showcase.PROMPT, backbone.settings, (showcase.sample_reference(),))
    )
    pixels = ((ours.permute(1, 2, 3, 0) + 1) * 127.5).numpy()
    assert frames.shape == pixels.shape
    assert np.abs(frames - pixels).max() < 1.5


def test_the_toy_wears_its_references_colours(frames):
    reference = showcase.sample_reference()
    clip = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    picture = (reference.picture * 2 - 1).movedim(-1, 0)
    alike = showcase.score.similarity(clip, picture[None], reference.mask[None, None])
    assert alike.item() > 0.25
