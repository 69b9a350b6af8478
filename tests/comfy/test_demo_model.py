"""Workflows with the shipped model and adapters: `comfyui-files`, the workflow through a real server, and the
same video from the command line's pipeline."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from refvid import media
from refvid.backbones.wan.geometry import GROUP
from refvid.backbones.wan.lora import merge_lora_file
from refvid.core.editing import LONGEST_EDIT, Windows
from refvid.demo import models
from refvid.evidence import showcase
from refvid.evidence.toy_figures import toy_similarity
from refvid.hosts.plain import pipeline
from refvid.hosts.plain.edit_film import edit_film, with_editing_adapter
from refvid.hosts.plain.pipeline import Request

pytestmark = pytest.mark.comfy
API = Path(__file__).resolve().parents[2] / "workflows" / "api"
Run = Callable[[str, str], np.ndarray]


@pytest.fixture(scope="module")
def run(demo_server) -> Run:
    """Pictures of a workflow, (F, H, W, 3) of bytes, by the node that gives its pictures: before an MP4's
    losses."""

    def pictures(name: str, node: str) -> np.ndarray:
        graph = json.loads((API / f"{name}.json").read_text("utf-8"))
        inputs = {"images": [node, 0], "filename_prefix": name}
        graph["pictures"] = {"class_type": "SaveImage", "inputs": inputs}
        made = demo_server.outputs(graph, "pictures")
        return np.stack([np.asarray(Image.open(file)) for file in sorted(made)])

    return pictures


@pytest.fixture(scope="module")
def frames(run) -> np.ndarray:
    return run("masked_reference_to_video", "decode")


def as_bytes(video: Tensor) -> np.ndarray:
    """(3, F, H, W) in [-1, 1] as pictures (F, H, W, 3), not rounded."""
    return ((video.permute(1, 2, 3, 0) + 1) * 127.5).numpy()


def test_comfyui_and_the_command_line_make_the_same_video(frames):
    """Same files, same seed: what is left is rounding to bytes and the order of sums."""
    backbone = models.load_demo()
    ours = pipeline.generate(
        backbone, Request(showcase.PROMPT, backbone.settings, (showcase.sample_reference(),))
    )
    assert frames.shape == as_bytes(ours).shape
    assert np.abs(frames - as_bytes(ours)).max() < 1.5


def test_the_videomaker_adapter_makes_the_same_video_on_both_hosts(run):
    backbone = models.load_demo()
    recipe = merge_lora_file(backbone.dit, models.VIDEOMAKER, 1.0, "adapter") or ""
    settings = replace(backbone.settings, scale=2.0)
    asked = Request(showcase.PROMPT, settings, (showcase.sample_reference(),), recipe=recipe)
    found = run("inherent_reference", "decode")
    assert np.abs(found - as_bytes(pipeline.generate(backbone, asked))).max() < 1.5


def test_the_editing_adapter_makes_the_same_video_on_both_hosts(run):
    """ComfyUI decodes films to floats, the command line to bytes."""
    backbone = with_editing_adapter(models.load_demo(), models.SAMA, 1.0, "adapter")
    asked = Request("change the background to light", replace(backbone.settings, scale=3.0))
    film = media.read_film(showcase.SCENE, "sample", LONGEST_EDIT)
    found = run("edit_video_by_instruction", "whole")
    ours = as_bytes(edit_film(backbone, asked, film.pictures, Windows(GROUP)))
    assert found.shape == ours.shape and np.abs(found - ours).max() < 6


def test_the_toy_wears_its_references_colours(frames):
    reference = showcase.sample_reference()
    clip = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    picture = (reference.picture * 2 - 1).movedim(-1, 0)
    alike = toy_similarity(clip, picture[None], reference.mask[None, None])
    assert alike.item() > 0.25
