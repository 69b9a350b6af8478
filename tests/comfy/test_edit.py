"""SAMA in ComfyUI: a source video and semantic tokens beside the video, equal to the plain host and to a dense computation."""

import comfy.sample
import comfy.samplers
import pytest
import refvid_run as run
import torch
from refvid_edit import FRAMES, SIDE, Editor

from refvid.core.guidance import Guidance, Scale, joint
from refvid.hosts import plain
from refvid.hosts.comfy.guiders import table_guider
from refvid.wan.sampler import flow_sigmas, sample_euler

pytestmark = pytest.mark.comfy
STEPS = 4


@pytest.fixture(scope="module")
def editor(tmp_path_factory) -> Editor:
    return Editor.make(tmp_path_factory.mktemp("sama"))


def plainly(editor, recipe="sama", scale=4.0, steps=STEPS, seed=5):
    """The latent that the plain host makes, as ComfyUI gives it out."""
    condition = editor.condition(recipe)
    noise = comfy.sample.prepare_noise(run.empty_latent(FRAMES, SIDE, SIDE)["samples"], seed)
    velocity = plain.guided_velocity(editor.dit, condition, joint(Scale(scale)))
    latent = sample_euler(velocity, condition.edit.begin(noise, seed), flow_sigmas(steps, plain_shift()))
    return editor.comfy.model.process_latent_out(latent[:, :, :FRAMES])


def plain_shift() -> float:
    from refvid_edit import SHIFT

    return SHIFT


@pytest.mark.parametrize("recipe", ["sama", "in_context"])
@pytest.mark.parametrize("guider", ["core", "joint"])
def test_a_whole_run_equals_the_plain_host(editor, recipe, guider):
    positive, negative = editor.words(recipe)
    model, latent = editor.installed(), run.empty_latent(FRAMES, SIDE, SIDE)
    chosen = None if guider == "core" else table_guider(model, positive, negative, joint(Scale(4.0)))
    got = run.sample(model, positive, negative, latent, cfg=4.0, steps=STEPS, guider=chosen)
    assert got.shape == latent["samples"].shape
    assert run.worst(got, plainly(editor, recipe)) < 1e-3
    bare = run.sample(editor.comfy, [[run.text(1), {}]], [[run.text(2), {}]], latent, steps=STEPS)
    assert run.worst(got, bare) > 0.1
