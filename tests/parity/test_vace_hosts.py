"""VACE with reference frames under control, on both hosts from one set of files."""

import comfy.sample
import pytest
import refvid_in_process as run
import refvid_riders as plain
import refvid_tiny as tiny
import torch
from refvid_vace import FRAMES, references

from refvid.backbones.wan.loading import load_dit, load_vae
from refvid.backbones.wan.sampler import flow_sigmas, sample_euler
from refvid.core.controls import Controls, StepWindow
from refvid.core.guidance import CONDITIONED, Scale, joint
from refvid.core.recipes import recipe_named
from refvid.core.references import make_reference
from refvid.hosts.comfy.backbone import with_shift
from refvid.hosts.comfy.guiders import table_guider
from refvid.hosts.comfy.references import apply_references
from refvid.hosts.plain.vace import encode_hints

pytestmark = pytest.mark.comfy
SHIFT = 5.0
WORDS = {"positive": run.text(1), "negative": run.text(2)}


class Twin:
    """One set of files, loaded by both hosts."""

    def __init__(self, folder):
        sizes = tiny.config()
        path, vae = (
            tiny.save_dit(folder, "vace.safetensors", sizes, tiny.vace_state(sizes)),
            tiny.save_vae(folder),
        )
        self.comfy, self.comfy_vae = with_shift(run.load_model(path), SHIFT), run.load_vae(vae)
        self.plain, self.plain_vae = load_dit(path, hints=True)[0], load_vae(vae)

    def applied(self, given):
        sides = ([[WORDS[name], {}]] for name in ("positive", "negative"))
        return apply_references(self.comfy, None, *sides, self.comfy_vae, run.empty_latent(), given, "vace")

    def condition(self, given):
        rider = encode_hints(self.plain, self.plain_vae, given, recipe_named("vace"), (FRAMES, 8, 8))
        return plain.with_riders(plain.condition(WORDS, shift=SHIFT), rider)


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    return Twin(tmp_path_factory.mktemp("models"))


def behind(frames, count: int):
    """Frames in front, moved behind the video, where the plain host holds them."""
    return torch.cat([frames[:, :, count:], frames[:, :, :count]], dim=2)


@pytest.mark.parametrize("name", ["neutral", "a soft mask with a strength", "a region"])
def test_one_evaluation_agrees(twin, name):
    given, sigma = references(name), 0.6
    out, x = (
        twin.applied(given),
        torch.randn(1, 16, FRAMES + 2, 8, 8, generator=torch.Generator().manual_seed(1)),
    )
    got = behind(run.velocity_at(out.model, out.positive, out.negative, x, sigma), 2)
    ours = plain.velocity(twin.plain, behind(x, 2), torch.tensor(sigma), twin.condition(given), CONDITIONED)
    assert run.worst(ours, got) < 1e-5


def test_a_whole_run_agrees_with_windows_of_steps_and_other_sizes(twin):
    mask = torch.zeros(48, 80)
    mask[:, :30] = 1
    given = [
        make_reference(run.picture(3, 48, 80), mask, Controls(0.7, StepWindow(0.2))),
        make_reference(run.picture(5, 33, 20), None, Controls(steps=StepWindow(0.0, 0.6, fade_out=0.3))),
    ]
    out = twin.applied(given)
    noise = comfy.sample.prepare_noise(out.latent["samples"], 5)
    guider = table_guider(out.model, out.positive, out.negative, joint(Scale(3.0)))
    got = run.sample(out.model, None, None, out.latent, steps=6, guider=guider)[:, :, out.trim :]
    velocity = plain.guided_velocity(twin.plain, twin.condition(given), joint(Scale(3.0)))
    ours = sample_euler(velocity, behind(noise, 2), flow_sigmas(6, SHIFT))[:, :, :FRAMES]
    assert run.worst(out.model.model.process_latent_out(ours), got) < 1e-3
