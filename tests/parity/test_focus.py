"""Automatic regions on both hosts: same files, same inputs, same numbers over the steps of a run."""

import comfy.sample
import pytest
import refvid_in_process as run
import refvid_riders as plain
import refvid_tiny as tiny
import torch

from refvid.backbones.wan.loading import load_dit, load_vae
from refvid.backbones.wan.sampler import flow_sigmas, sample_euler
from refvid.core.controls import Controls, StepWindow
from refvid.core.guidance import Scale, joint
from refvid.core.recipes import recipe_named
from refvid.core.references import make_reference
from refvid.hosts.comfy.backbone import with_shift
from refvid.hosts.comfy.guiders import table_guider
from refvid.hosts.comfy.references import apply_references

pytestmark = pytest.mark.comfy
SHIFT = 5.0
LEFT = torch.zeros(64, 64).index_fill(1, torch.arange(32), 1.0)
CASES = {
    "one": ("saber", [Controls(focus=8.0, focus_start=0.0)], None),
    "two, one weaker and late": (
        "saber",
        [Controls(0.5, focus=16.0, soft=True), Controls(focus=2.0, steps=StepWindow(0.3))],
        None,
    ),
    "in a region": ("phantom", [Controls(focus=8.0, focus_start=0.0), Controls()], LEFT),
    "with kept keys": ("videomaker", [Controls(focus=8.0, focus_start=0.0, sees="itself")], None),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, sizes = tmp_path_factory.mktemp("models"), tiny.config()
    return tiny.save_dit(folder, "t2v.safetensors", sizes, tiny.dit_state(sizes)), tiny.save_vae(folder)


@pytest.mark.parametrize("name", CASES)
def test_a_whole_run_agrees(files, name):
    recipe, controls, region = CASES[name]
    given = [
        make_reference(run.picture(3 + k, 48, 80), None, one, region if k == 0 else None)
        for k, one in enumerate(controls)
    ]
    texts, guidance = {"positive": run.text(1), "negative": run.text(2)}, joint(Scale(3.0))
    model, vae = with_shift(run.load_model(files[0]), SHIFT), run.load_vae(files[1])
    out = apply_references(
        model, None, [[texts["positive"], {}]], [[texts["negative"], {}]], vae, run.empty_latent(), given,
        recipe,
    )  # fmt: skip
    guider = table_guider(out.model, out.positive, out.negative, guidance)
    got = run.sample(out.model, None, None, run.empty_latent(), steps=5, guider=guider)
    dit, coder = load_dit(files[0])[0], load_vae(files[1])
    encoded = plain.encode_references(dit, coder, given, recipe_named(recipe), (3, 8, 8))
    noise = comfy.sample.prepare_noise(run.empty_latent()["samples"], 5)
    velocity = plain.guided_velocity(dit, plain.condition(texts, encoded, shift=SHIFT), guidance)
    ours = model.model.latent_format.process_out(sample_euler(velocity, noise, flow_sigmas(5, SHIFT)))
    assert run.worst(ours, got) < 1e-3
